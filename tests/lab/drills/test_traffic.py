"""The clients' requests, against servers that answer well, badly, late and never; in a namespace of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.drills.conduct import TRAFFIC
from lab.drills.scene import STREAMS
from tests.lab.drills import answers
from tests.lab.drills.answers import SLOW, address
from tests.support.netns import namespaces, needs_root

pytestmark = needs_root

Record = tuple[float, str, str | None, Any]
TIMEOUT = 1.5


@contextmanager
def serving(space: str, *ways: str) -> Iterator[subprocess.Popen[str]]:
    words = ["ip", "netns", "exec", space, sys.executable, "-I", str(Path(answers.__file__)), *ways]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    """A namespace with servers of every way to answer."""
    with namespaces("traffic") as (space,), serving(space):
        yield space


def orders(way: str, **more: object) -> str:
    """Everything by IPv4 to a server of that way; by IPv6, to one that answers well."""
    targets = {stream: "::1" if stream.endswith("6") else address(way) for stream in STREAMS}
    return json.dumps({"dns": 20, "http": 20, "timeout": TIMEOUT, "seconds": 0.49, "targets": targets, **more})


@contextmanager
def traffic(space: str, text: str) -> Iterator[subprocess.Popen[str]]:
    words = ["ip", "netns", "exec", space, sys.executable, "-I", str(TRAFFIC), text]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def records(text: str) -> list[Record]:
    return [tuple(record) for line in text.splitlines() for record in json.loads(line)]


def asked(space: str, text: str) -> list[Record]:
    with traffic(space, text) as process:
        out, err = process.communicate(timeout=30)
    assert (err, process.returncode) == ("", 0)
    return records(out)


def told(found: list[Record], stream: str) -> dict[tuple[str | None, str], int]:
    """(who, why not) → how many."""
    return dict(Counter((who, "" if who else str(why)) for _, of, who, why in found if of == stream))


@pytest.fixture(scope="module")
def found(servers: str) -> Iterator[Mapping[str, list[Record]]]:
    """By the way of the server: all are asked at once, since most of it is waiting."""
    with ExitStack() as stack:
        asking = {way: stack.enter_context(traffic(servers, orders(way))) for way in answers.WAYS}
        said = {way: process.communicate(timeout=30) for way, process in asking.items()}
        assert {err for _, err in said.values()} == {""}
        yield {way: records(out) for way, (out, _) in said.items()}


@pytest.mark.parametrize(
    ("way", "dns", "http"),
    [
        ("well", ("a", ""), ("a", "")),
        ("silent", (None, "timeout"), (None, "timeout")),
        ("late", (None, "timeout"), (None, "timeout")),
        ("closed", (None, "timeout"), (None, "ECONNREFUSED")),
        ("wrong", (None, "wrong answer"), (None, "wrong answer")),
        ("empty", (None, "wrong answer"), (None, "wrong answer")),
        ("nobody", (None, "wrong answer"), (None, "wrong answer")),
        ("garbage", (None, "timeout"), (None, "wrong answer")),
        ("short", (None, "timeout"), (None, "cut short")),
        ("reset", (None, "timeout"), (None, "ECONNRESET")),
        ("endless", (None, "timeout"), (None, "wrong answer")),
    ],
)
def test_who_answered_is_told_or_why_nobody_did(
    found: Mapping[str, list[Record]], way: str, dns: tuple[str | None, str], http: tuple[str | None, str]
) -> None:
    """Every request once; and one family's trouble is not the other's."""
    assert told(found[way], "dns IPv4") == {dns: 10}
    assert told(found[way], "http IPv4") == {http: 10}
    assert told(found[way], "dns IPv6") == told(found[way], "http IPv6") == {("a", ""): 10}


def test_an_answer_within_its_time_counts_and_takes_its_time(servers: str) -> None:
    """And what is still on its way when the time is over is waited for."""
    found = asked(servers, orders("slow", timeout=10.0, seconds=0.29))
    assert told(found, "dns IPv4") == told(found, "http IPv4") == {("a", ""): 6}
    assert all(took >= SLOW * 0.9 for _, stream, _, took in found if stream.endswith("4"))


def test_a_client_that_is_held_up_takes_no_answer_for_a_loss(servers: str) -> None:
    """On a busy machine it may look only when the time is over: what was answered meanwhile was answered."""
    with traffic(servers, orders("slow", dns=50, http=50, timeout=1.0, seconds=600)) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)  # longer than a request's time
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=9)
    assert (err, process.returncode) == ("", 0)
    found = records(first + out)
    assert any(took > 1.4 for *_, took in found) and all(who == "a" for _, _, who, _ in found), found


def test_the_rate_is_what_was_asked_for(servers: str) -> None:
    """Each stream its own, evenly; zero is none. A busy machine catches up: none is left out."""
    found = asked(servers, orders("well", dns=200, http=50, timeout=5.0, seconds=0.499))
    assert {stream: sum(of == stream for _, of, _, _ in found) for stream in STREAMS} == {
        "dns IPv4": 100, "dns IPv6": 100, "http IPv4": 25, "http IPv6": 25,
    }  # fmt: skip
    begun = min(sent for sent, *_ in found)
    assert max(sent for sent, *_ in found) - begun > 0.4
    assert {stream for _, stream, _, _ in asked(servers, orders("well", http=0))} == {"dns IPv4", "dns IPv6"}


def test_no_more_than_so_many_are_under_way(servers: str) -> None:
    """Nobody answers, and memory is not without end: what is not sent is told as lost."""
    with traffic(servers, orders("silent", dns=6000, http=0, timeout=60.0, seconds=60)) as process:
        assert process.stdout is not None
        end = time.monotonic() + 30
        for line in process.stdout:
            found = [record for record in records(line) if record[1] == "dns IPv4"]
            assert time.monotonic() < end
            if found:
                break
    assert {(who, why) for _, _, who, why in found} == {(None, "not sent")}


def test_without_a_descriptor_left_it_goes_on(servers: str) -> None:
    """What it could not open a socket for is lost, with that reason."""
    words = orders("silent", http=200, seconds=0.499, timeout=2.0)
    limited = ["ip", "netns", "exec", servers, "prlimit", "--nofile=100", sys.executable, "-I", str(TRAFFIC), words]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=30)
    assert (done.stderr, done.returncode) == ("", 0)
    found = told(records(done.stdout), "http IPv4")
    assert set(found) == {(None, "EMFILE"), (None, "timeout")} and sum(found.values()) == 100


@pytest.mark.parametrize("rate", [20, 0.05])
def test_sigterm_ends_it_and_nothing_is_left_out(servers: str, rate: float) -> None:
    """What is on its way is still waited for, and told; but for the next request, however far off, it does not wait."""
    with traffic(servers, orders("slow", dns=rate, http=rate, timeout=10.0, seconds=600)) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=9)
    assert (err, process.returncode) == ("", 0)
    found = records(first + out)
    assert found and all(who == "a" for _, _, who, _ in found)


def test_it_ends_when_nobody_listens_any_more(servers: str) -> None:
    """Whoever started it has died."""
    with traffic(servers, orders("well", seconds=600)) as process:
        assert process.stdout is not None and process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 0


def test_what_was_due_while_the_machine_held_the_client_up_is_asked(servers: str) -> None:
    """Also when its time was over meanwhile: a drill counts on its requests."""
    with traffic(servers, orders("well", dns=50, http=0, seconds=0.999)) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.2)  # longer than the client's time
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=9)
    assert (err, process.returncode) == ("", 0)
    found = records(first + out)
    assert told(found, "dns IPv4") == told(found, "dns IPv6") == {("a", ""): 50}


def test_a_server_that_dies_and_comes_back() -> None:
    """Nobody answers in between; before and afterwards, it does."""
    with namespaces("dies") as (space,), traffic(space, orders("well", dns=50, http=50, seconds=600)) as process:
        assert process.stdout is not None

        def until(stream: str, who: str | None) -> None:
            end = time.monotonic() + 20
            for line in process.stdout or ():
                if any(of == stream and by == who for _, of, by, _ in records(line)):
                    return
                assert time.monotonic() < end, f"{stream}: never {who}"

        for _ in range(2):
            with serving(space, "well"):
                for stream in STREAMS:
                    until(stream, "a")
            for stream in STREAMS:
                until(stream, None)


def test_an_order_that_cannot_be_carried_out_is_said() -> None:
    """On standard error, whose last line the drill tells; as for a family that the node has not."""
    done = subprocess.run([sys.executable, "-I", str(TRAFFIC), "{}"], capture_output=True, text=True, timeout=20)
    assert done.returncode != 0 and done.stderr.splitlines()[-1] == "KeyError: 'dns'"
