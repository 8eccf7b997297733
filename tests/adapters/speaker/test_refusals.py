"""A withdrawal that ExaBGP refuses: it is escalated within seconds, as a lost session is better than a stale route."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from anycast_agent.speaker.pipe.refusals import AFTER, Refusals, Step
from anycast_agent.speaker.wire import Key

A, B = "192.0.2.1", "192.0.2.2"
ONE, TWO, OTHER = (A, "192.0.2.53/32"), (A, "192.0.2.54/32"), (B, "192.0.2.53/32")


# --- the steps, in virtual time -------------------------------------------------------------------------------


def _taken(refusals: Refusals, until: float) -> list[tuple[float, str, Step]]:
    taken = []
    while (at := refusals.deadline()) is not None and at <= until:
        taken += [(at, neighbor, step) for neighbor, step in refusals.due(at)]
    return taken


def test_the_steps_follow_one_another_from_the_first_refusal() -> None:
    """However often it is tried in between, each step is taken once, and only where it is refused."""
    refusals = Refusals()
    for at in (10.0, 10.5, 11.5):
        refusals.refused([ONE], at)
    assert _taken(refusals, 30.0) == [(10.0 + AFTER[step], A, step) for step in Step]
    assert refusals.deadline() is None


@pytest.mark.parametrize("over", [[ONE, TWO], [ONE]])
def test_what_was_taken_is_over(over: list[Key]) -> None:
    """One route of a neighbor that is still refused keeps its own time; without any, nothing follows."""
    refusals = Refusals()
    refusals.refused([ONE], 10.0)
    refusals.refused([TWO, OTHER], 10.4)
    refusals.over([OTHER])
    refusals.over(over)
    assert _taken(refusals, 30.0) == ([] if len(over) == 2 else [(10.4 + AFTER[step], A, step) for step in Step])


def test_a_refusal_after_one_that_is_over_begins_anew() -> None:
    """The first step again, not the one after the last."""
    refusals = Refusals()
    refusals.refused([ONE], 10.0)
    assert refusals.due(11.0) == [(A, Step.CLEAR)]
    refusals.over([ONE])
    refusals.refused([ONE], 20.0)
    assert refusals.due(21.0) == [(A, Step.CLEAR)]


# --- the pipe, with an ExaBGP that refuses --------------------------------------------------------------------

EXABGP = """
import signal, subprocess, sys
refused, pipe = sys.argv[1].split(","), sys.argv[2:]
if "TERM" in refused:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
helper = subprocess.Popen(pipe, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
for line in helper.stdout:
    print(line, end="", flush=True)
    if line.startswith("show neighbor summary"):
        helper.stdin.write("127.0.0.2 65011 0:00:05 established 1 1\\n")
    helper.stdin.write("error\\n" if any(word in line for word in refused) else "done\\n")
"""
"""Answers as ExaBGP does; a command that has one of the words is refused."""


class Agent:
    """A connection to the pipe."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._said = connection.makefile()

    def ask(self, **request: object) -> None:
        self._connection.sendall(json.dumps(request).encode() + b"\n")

    def until(self, op: str) -> dict[str, Any]:
        """The next message of a kind."""
        return next(m for m in map(json.loads, self._said) if m["op"] == op)


def _connect(connection: socket.socket, path: Path) -> None:
    """Once the pipe listens: nobody tells when that is."""
    end = time.monotonic() + 10
    while True:
        try:
            connection.connect(str(path))
            return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.01)


@contextmanager
def refusing(folder: Path, neighbor: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], Agent]]:
    """The pipe below an ExaBGP that refuses, and an agent that has put a route at the neighbor and takes it back."""
    path, settings = folder / "s", folder / "pipe.json"
    settings.write_text(json.dumps({"dead_man": 30, "adopt_for": 30, "allow": [ONE[1]], "owned": False}))
    pipe = [sys.executable, "-m", "anycast_agent.speaker.pipe", str(path), str(settings)]
    command = [sys.executable, "-c", EXABGP, ",".join(words), *pipe]
    exabgp = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            _connect(connection, path)
            agent = Agent(connection)
            agent.ask(op="hello", versions=[1], agent="a")
            agent.until("synced")
            agent.ask(op="put", id=1, neighbor=neighbor, head="attributes next-hop 127.0.0.1 nlri", prefixes=[ONE[1]])
            assert agent.until("done")["error"] is None
            agent.ask(op="drop", id=2, keys=[[neighbor, ONE[1]]])
            assert agent.until("done")["error"] is not None
            yield exabgp, agent
    finally:
        os.killpg(exabgp.pid, signal.SIGKILL)
        exabgp.communicate()


def test_all_of_the_neighbor_is_withdrawn_at_once_and_the_agent_is_told(tmp_path: Path) -> None:
    """By a command that names no route. The agent announces again what it wants."""
    with refusing(tmp_path, "127.0.0.2", " withdraw ") as (exabgp, agent):
        told = agent.until("dropped")
        assert told["keys"] == [["127.0.0.2", ONE[1]]]
        assert "refuses to withdraw" in told["why"]
        assert exabgp.stdout is not None
        assert any("neighbor 127.0.0.2 clear adj-rib out" in line for line in exabgp.stdout)
        assert exabgp.poll() is None


@pytest.mark.parametrize("term", [(), ("TERM",)])
def test_an_exabgp_that_refuses_that_too_is_ended(tmp_path: Path, term: tuple[str, ...]) -> None:
    """Its sessions end with it, and the routers drop what they have; one that does not end by itself is killed."""
    with refusing(tmp_path, "127.0.0.2", " withdraw ", " clear ", *term) as (exabgp, _):
        assert exabgp.wait(20) == -(signal.SIGKILL if term else signal.SIGTERM)


def test_a_neighbor_that_exabgp_does_not_have_is_no_refusal(tmp_path: Path) -> None:
    """It was taken out by a reload, or is not in yet: no router has a route, and the other sessions are let be."""
    with refusing(tmp_path, "127.0.0.3", " withdraw ", " clear ") as (exabgp, agent):
        # Beats that are answered until after the last step would have been taken.
        end = time.monotonic() + AFTER[Step.KILL] + 1.0
        while time.monotonic() < end:
            agent.ask(op="beat", n=1)
            agent.until("beat")
            time.sleep(0.1)
        assert exabgp.poll() is None
