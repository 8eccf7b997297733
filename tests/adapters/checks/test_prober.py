"""Probes run within their deadline, none in another's way; what the node lacks is not the service's fault."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from anycast_agent.checks import http as http_check
from anycast_agent.checks.dns import DnsParams
from anycast_agent.checks.exec import ExecParams
from anycast_agent.checks.http import HttpParams
from anycast_agent.checks.tcp import TcpParams
from tests.adapters.checks.servers import hang, http_server, tcp_server
from tests.support.netns import needs_root
from tests.support.probes import descriptors, prober


async def test_a_pattern_that_never_ends_delays_no_other() -> None:
    """It is killed at its deadline and says nothing of its service; others are matched while it runs, which takes the
    loop's turns; nothing is left of it."""

    async def said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readline()).startswith(b"GET"):
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        writer.write(b"a" * 60)
        await writer.drain()

    before = descriptors()
    async with tcp_server(said) as port, prober() as ask:
        evil = "(a+)+b"
        probes: list[Any] = [
            HttpParams(url=f"http://127.0.0.1:{port}/", regex=evil),
            TcpParams(target="127.0.0.1", port=port, send="x\n", expect=evil),
        ]
        open_ends = [asyncio.create_task(ask(params, timeout=2.0)) for params in probes]
        matched_meanwhile = 0
        while not any(task.done() for task in open_ends):
            end = await ask(HttpParams(url=f"http://127.0.0.1:{port}/", regex="^a+$"))
            assert end.outcome.code == "ok", end
            matched_meanwhile += not any(task.done() for task in open_ends)
        assert matched_meanwhile > 0
        for task in open_ends:
            end = await task
            assert (end.outcome.code, end.outcome.detail) == ("not_run", "the pattern takes too long to match"), end
    async with asyncio.timeout(5):
        while descriptors() > before:
            await asyncio.sleep(0.01)


async def test_a_probe_that_hangs_delays_no_other() -> None:
    """Fifty hang; one that answers is answered meanwhile."""
    async with tcp_server(hang) as port, http_server() as well_port, prober() as ask:
        hanging = [
            asyncio.create_task(ask(HttpParams(url=f"http://127.0.0.1:{port}/"), timeout=2.0)) for _ in range(50)
        ]
        end = await ask(HttpParams(url=f"http://127.0.0.1:{well_port}/health"), timeout=2.0)
        assert end.outcome.code == "ok"
        assert not any(task.done() for task in hanging)
        assert {(await task).outcome.code for task in hanging} == {"timeout"}


def test_without_file_descriptors_nothing_is_said_of_the_service() -> None:
    """In a process whose descriptors are used up: not_run; and well again once there are some."""
    code = """
import asyncio, os, resource, sys
from anycast_agent.core.actions import CheckKey, RunProbe
from anycast_agent.core.model import Check
from anycast_agent.checks.prober import Prober
from anycast_agent.checks.tcp import TcpParams
from anycast_agent.checks.http import HttpParams
from anycast_agent.checks.exec import ExecParams
async def main():
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ends = []
    prober = Prober(ends.append)
    async def ask(kind, params):
        prober.execute(RunProbe(len(ends), CheckKey("s", "c"), Check("c", kind, params, 1.0, 1.0, 0.1)))
        wanted = len(ends) + 1
        while len(ends) < wanted: await asyncio.sleep(0.01)
        return str(ends[-1].outcome.code)
    tcp, http = TcpParams(target="127.0.0.1", port=port), HttpParams(url=f"http://127.0.0.1:{port}/")
    await ask("tcp", tcp)
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    held = []
    try:
        while True: held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError: pass
    out = [await ask("tcp", tcp), await ask("http", http),
           await ask("exec", ExecParams(command=("/bin/true",)))]
    for fd in held: os.close(fd)
    out.append(await ask("tcp", tcp))
    print(*out)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["not_run", "not_run", "not_run", "ok"], done.stderr


@needs_root
@pytest.mark.root
def test_names_that_hang_hold_up_nobody_and_are_nobodys_fault(tmp_path: Path) -> None:
    """With a name server that is silent, probes by name say nothing of their services; all else that needs a thread
    has one, and the process ends when it is told to. Those of one service leave look-ups to another."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
    code = """
import asyncio, socket, subprocess, sys, threading
from anycast_agent.core.actions import CheckKey, RunProbe
from anycast_agent.core.model import Check
from anycast_agent.checks.prober import Prober
from anycast_agent.checks.http import HttpParams
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))
async def main():
    ends = []
    prober = Prober(ends.append)
    for i in range(40):
        params = HttpParams(url=f"http://host{i}.example/")
        prober.execute(RunProbe(i, CheckKey("s" if i < 39 else "other", str(i)), Check("c", "http", params, 1.0, 0.5, 0.1)))
    while sum(thread.name == "look-up" for thread in threading.enumerate()) < 18: await asyncio.sleep(0.01)
    async with asyncio.timeout(30):  # a look-up takes 150 s
        await asyncio.to_thread(lambda: None)
    while len(ends) < 40: await asyncio.sleep(0.01)
    print(*sorted({(end.outcome.code, end.outcome.detail) for end in ends}), sep="\\n")
    print(next(end.outcome.detail for end in ends if end.action == 39))
    await prober.close()
asyncio.run(main())
"""
    done = subprocess.run(
        ["unshare", "--mount", "--net", sys.executable, "-c", code, str(tmp_path / "resolv.conf")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "('not_run', 'the name does not resolve: 17 look-ups of this service hang already')",
        "('not_run', 'the name was not resolved in time')",
        "the name was not resolved in time",
    ], done.stderr


def test_parameters_are_checked_when_they_are_read() -> None:
    """Wrong ones are refused with a word on what is wrong; equal ones are equal, and can be hashed."""
    wrong: list[tuple[type, dict[str, Any]]] = [
        (HttpParams, {"regex": "("}), (HttpParams, {"url": "ftp://x/"}), (HttpParams, {"status": "20x"}),
        (HttpParams, {"key_file": "/k"}), (HttpParams, {"headers": {"X": "a\r\nb"}}), (TcpParams, {"port": 0}),
        (HttpParams, {"regex": "a{99999999999}"}), (HttpParams, {"regex": "(" * 490 + ")" * 490}),
        (HttpParams, {"url": "http://192.0.2.1:99999/"}), (HttpParams, {"url": "http://x..y/"}),
        (HttpParams, {"url": f"http://{'a' * 64}.example/"}), (HttpParams, {"headers": {"X": "a\0b"}}),
        (HttpParams, {"headers": {"X Y": "a"}}), (HttpParams, {"host": "a\r\nb"}), (HttpParams, {"server_name": "a..b"}),
        (TcpParams, {"port": 1, "expect": "\\u0031"}),
        (TcpParams, {"port": 1, "unknown": 2}), (DnsParams, {"name": "a..b"}), (DnsParams, {"name": "a", "record": "Q"}),
        (ExecParams, {"command": "ls /"}), (ExecParams, {"command": ["ls"]}),
    ]  # fmt: skip
    for kind, values in wrong:
        with pytest.raises(ValidationError):
            kind(**values)
    one, other = (HttpParams(headers={"X": "1"}, json={"pointer": "/a", "equals": 1}) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert not http_check.KIND.own_target(one)
    assert http_check.KIND.own_target(HttpParams(url="http://192.0.2.1/"))
