"""What is shown and asked: HTTP, metrics, the control socket, the command line; fed by the real engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import termios
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from anycast_agent.api import render
from anycast_agent.api.control import MAX_CONNECTIONS as MAX_CONTROL_CONNECTIONS
from anycast_agent.api.control import Answer, Control
from anycast_agent.api.http import MAX_CONNECTIONS, MAX_OF_A_CLIENT
from anycast_agent.api.page import page
from anycast_agent.api.server import Server
from anycast_agent.api.shapes import Announced, InForce
from anycast_agent.cli.config_verbs import DEFAULT
from anycast_agent.cli.live_verbs import Unreachable, ask, show_why
from anycast_agent.core import events as ev
from anycast_agent.core.model import AddressMode, SessionState
from anycast_agent.core.requests import HandOver, Reload, Request
from anycast_agent.core.snapshot import Snapshot
from anycast_agent.journal import Entry
from anycast_agent.metrics import Metrics
from tests.api.surfaces import picture, run, said, serving, well
from tests.support import ends
from tests.support.world import LEAF1, LEAF2, V4, V6, World, check, config, service

METRICS = Path(__file__).parents[2] / "docs" / "metrics.md"


def shown(world: World) -> dict[str, Any]:
    """The status, as JSON has it."""
    found: dict[str, Any] = json.loads("".join(render.status_json(picture(world))))
    return found


def explained(world: World, word: str) -> dict[str, Any]:
    """Why the one prefix that a word names is as it is, as JSON has it."""
    (found,) = json.loads("".join(render.why_json(picture(world), word)))["prefixes"]
    return {**found["prefix"], "checks": found["checks"]}


def routes_of(world: World, word: str = V4) -> dict[str, dict[str, Any]]:
    return {r["neighbor"]: r for r in explained(world, word)["routes"]}


class Controls:
    """What the control socket is given; remembers what was asked."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.asked: list[Any] = []
        self.in_force = InForce({}, ())

    def snapshot(self) -> Snapshot:
        return picture(self._world)

    def configuration(self) -> InForce:
        return self.in_force

    def journal(self) -> tuple[Entry, ...]:
        return tuple(Entry(n, at, change) for n, (at, change) in enumerate(self._world.changes, 1))

    async def ask(self, request: Request, who: str) -> Answer:
        assert who == "asked for by root"
        self.asked.append(request)
        if isinstance(request, Reload):
            return Answer(request.force, ("reloaded" if request.force else "refused: too much",))
        return Answer(True, ("handing over",))


# --- JSON ---------------------------------------------------------------------------------------------------


def test_taken_sent_and_session_are_never_shown_for_one_another() -> None:
    """A session that goes down takes ``sent`` with it, and leaves desired and acknowledged as they are."""
    world = well()
    world.set_session(LEAF1, up=False)
    routes = routes_of(world)
    assert [routes[LEAF1][k] is not None for k in ("desired", "acknowledged")] == [True, True]
    assert (routes[LEAF1]["sent"], routes[LEAF1]["session"]) == (False, "down")
    assert (routes[LEAF2]["sent"], routes[LEAF2]["session"]) == (True, "up")
    world.lose_pipe()
    routes = routes_of(world)
    assert (routes[LEAF2]["acknowledged_known"], routes[LEAF2]["sent"]) == (False, None)


def test_why_says_rung_reason_evidence_age_and_remedy() -> None:
    """By prefix and by address; what is not configured is said to be that."""
    world = well()
    world.outcomes["dns"] = ends.REFUSED
    world.until(lambda w: not w.router, 10)
    world.run(3.0)
    said = explained(world, "192.0.2.53")
    assert (said["rung"], said["reason"], said["announce"]) == (9, "health_down", False)
    assert "check answers: refused" in said["evidence"]
    assert "1 of 1 local checks up" in said["remedy"]
    assert 2.9 < said["age"] < 3.2
    assert explained(world, "2001:DB8:53:0::53")["prefix"] == V6  # as a person may write it
    with pytest.raises(LookupError, match=r"no prefix and no service '192\.0\.2\.54/32' is configured here"):
        explained(world, "192.0.2.54/32")


async def test_every_page_answers_read_only_with_strict_headers() -> None:
    """GET and HEAD only; a name that is not ours is refused; errors are problem+json."""
    world = well()
    async with serving(world, allowed_hosts=("Edge1.example",)) as (client, server):
        for path in (
            "/",
            "/livez",
            "/readyz",
            "/metrics",
            "/api/v1/status",
            "/api/v1/services/dns",
            "/static/page.css",
        ):
            async with client.get(path) as response:
                assert response.status == 200, path
                assert "default-src 'none'" in response.headers["Content-Security-Policy"]
                assert response.headers["Cache-Control"] == "no-store"
                assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        async with client.post("/api/v1/status") as response:
            assert response.status == 405
            assert response.headers["Allow"] == "GET,HEAD"
            assert response.headers["Cache-Control"] == "no-store"
        async with client.get("/api/v1/services/nothing") as response:
            assert response.status == 404
            assert response.content_type == "application/problem+json"
            assert "dns" in (await response.json())["detail"]
        async with client.get("/", headers={"Host": "evil.example"}) as response:
            assert response.status == 403
        async with client.get("/", headers={"Host": "edge1.EXAMPLE:80"}) as response:
            assert response.status == 200
        assert (await said(server, b"GET /livez HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_domain_allows_every_name_below_it() -> None:
    """A fleet shares one configuration; a name elsewhere that begins alike is refused."""
    async with serving(well(), allowed_hosts=("edge1", "*.example.org")) as (client, _):
        for name, status in [("edge1", 200), ("edge1.example.org", 200), ("Edge2.ams.example.org:9179", 200),
                             ("example.org", 403), ("example.org.evil.example", 403), ("edge1.example", 403)]:  # fmt: skip
            async with client.get("/livez", headers={"Host": name}) as response:
                assert response.status == status, name


async def test_malformed_requests_write_nothing_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Who may connect may not fill the journal; each is answered with 400."""
    async with serving(well()) as (_, server):
        for request in (b"\x16\x03\x01 garbage\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"G ET / HTTP/9\r\n\r\n"):
            assert b" 400 " in await said(server, request)
    assert caplog.text == ""


async def test_a_fault_of_ours_is_a_problem_with_the_same_headers(caplog: pytest.LogCaptureFixture) -> None:
    """500 as problem+json, not kept by anybody; the log has the reason."""
    world = World()  # has no engine to take a picture of
    async with serving(world) as (client, _), client.get("/api/v1/status") as response:
        assert (response.status, response.content_type) == (500, "application/problem+json")
        assert response.headers["Cache-Control"] == "no-store"
    assert "AssertionError" in caplog.text


async def test_readiness_says_what_it_waits_for() -> None:
    """503 until the speaker is there, and again when it goes; alive all the time."""
    world = well()
    world.lose_pipe()
    async with serving(world) as (client, _):
        async with client.get("/readyz") as response:
            assert response.status == 503
            assert (await response.json())["detail"] == "waits for: speaker"
        async with client.get("/livez") as response:
            assert response.status == 200


async def test_a_busy_port_is_named_with_its_setting() -> None:
    """The message says which port, and where to change it."""
    async with serving(well()) as (_, server):
        other = Server("127.0.0.1", server.port, lambda: picture(well()))
        with pytest.raises(OSError, match=r"in use by another process; set agent\.api\.listen"):
            await other.start()


async def test_a_huge_request_is_refused_and_others_are_served() -> None:
    """A request line without end does not grow the agent."""
    async with serving(well()) as (client, server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /" + b"x" * 1_000_000)
        with contextlib.suppress(OSError):
            await writer.drain()
        assert b" 400 " in await asyncio.wait_for(reader.read(200), 10)
        writer.close()
        async with client.get("/livez") as response:
            assert response.status == 200


async def test_many_slow_connections_keep_nobody_out_and_are_bounded() -> None:
    """The oldest give way, also those that ask and read nothing: probes need descriptors, too."""
    async with serving(well()) as (client, server):
        ways = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3 * MAX_CONNECTIONS)]
        for _, writer in ways:
            writer.write(b"GET /api/v1/status HTTP/1.1\r\nHost: local")
        async with client.get("/livez") as response:
            assert response.status == 200
        ended = [asyncio.create_task(reader.read()) for reader, _ in ways]
        async with asyncio.timeout(10):
            while sum(task.done() for task in ended) < 3 * MAX_CONNECTIONS - MAX_OF_A_CLIENT:
                await asyncio.sleep(0.02)
        for task, (_, writer) in zip(ended, ways, strict=True):
            task.cancel()
            writer.close()
        await asyncio.gather(*ended, return_exceptions=True)


def test_the_page_escapes_what_comes_from_outside() -> None:
    """A detail that a service answered is text, whatever it holds."""
    world = well()
    world.post(ev.Warned("arp", "<script>alert(1)</script>"))
    world.post(ev.SessionChanged(LEAF1, SessionState.DOWN, "<b>reason</b>"))
    text = "".join(page(picture(world)))
    assert "<script>alert" not in text
    assert "&lt;b&gt;reason" in text


# --- metrics ------------------------------------------------------------------------------------------------


def families(world: World) -> dict[str, Any]:
    return {f.name: f for f in text_string_to_metric_families(Metrics(lambda: picture(world)).text())}


def value(found: dict[str, Any], name: str, **labels: str) -> float:
    family = found[name.removesuffix("_total")]
    return float(next(s.value for s in family.samples if s.name == name and labels.items() <= s.labels.items()))


CODES = ("ok", "timeout", "refused", "not_run")


def test_series_are_there_from_the_start_and_tell_the_facts_apart() -> None:
    """Before the first probe each series exists; then desired, acknowledged and sent are three of them."""
    world = World()
    world.start(config(service(checks=(check(codes=CODES),))))
    found = families(world)
    assert value(found, "anycast_prefix_announce", prefix=V4) == 0
    for code in CODES:
        assert value(found, "anycast_check_probes_total", service="dns", outcome=code) == 0
    assert math.isnan(value(found, "anycast_speaker_exabgp_age_seconds"))  # not 0: nobody has answered yet
    world.until(lambda w: w.announced(V4) == {LEAF1, LEAF2}, 5)
    world.set_session(LEAF1, up=False)
    found = families(world)
    facts = [
        value(found, f"anycast_route_{f}", prefix=V4, neighbor=LEAF1)
        for f in ("desired", "acknowledged", "sent", "echoed")
    ]
    assert facts == [1, 1, 0, 0]
    assert value(found, "anycast_session_up", neighbor=LEAF1) == 0
    assert value(found, "anycast_prefix_reason", prefix=V4, reason="healthy", rung="12") == 1
    assert value(found, "anycast_agent_state", state="running") == 1


def test_an_address_that_nobody_looks_for_is_not_said_to_be_away() -> None:
    """node.addresses: unmanaged: not known, on every surface."""
    world = World()
    world.start(config(address_mode=AddressMode.UNMANAGED))
    world.until(lambda w: w.announced(V4) == {LEAF1, LEAF2}, 5)
    assert explained(world, V4)["address"]["known"] is False
    why = render.now(render.Drawing(picture(world)).why(V4))
    assert "  address   unknown" in show_why(why)
    assert math.isnan(value(families(world), "anycast_address_present", prefix=V4))


def test_each_metric_has_help_and_a_proper_name() -> None:
    """anycast_ in front (process_ where every exporter has it), base units, and the table in the docs is current."""
    lines = [
        "# Metrics",
        "",
        "Generated; `tests/api` says when it is out of date.",
        "",
        "| name | type | meaning |",
        "|---|---|---|",
    ]
    for name, family in sorted(families(well()).items()):
        assert name.startswith(("anycast_", "process_")), name
        assert family.documentation, name
        lines.append(f"| `{name}` | {family.type} | {family.documentation} |")
    text = "\n".join(lines) + "\n"
    if os.environ.get("UPDATE_DOCS"):
        METRICS.write_text(text)
    assert METRICS.read_text() == text


# --- the control socket -------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def controlled(path: Path, world: World, **options: Any) -> AsyncIterator[Controls]:
    controls = Controls(world)
    control = Control(path, controls, **options)
    await control.start()
    try:
        yield controls
    finally:
        await control.close()


def say(path: Path, data: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(data)
        with client.makefile("rb") as file:
            answer: dict[str, Any] = json.loads(file.readline())
            return answer


async def test_the_control_socket_is_for_its_owner_and_group(tmp_path: Path) -> None:
    """Mode 660; what is no request is answered as that; what is asked is done."""
    path = tmp_path / "control.sock"
    async with controlled(path, well()) as controls:
        assert path.stat().st_mode & 0o777 == 0o660
        for data in (
            b"nonsense\n",
            b"[1]\n",
            b"[" * 60_000 + b"\n",
            b'{"verb": "explode"}\n',
            b'{"verb": "handover", "for": NaN}\n',
            b'{"verb": "handover", "for": -1}\n',
            b'{"verb": "handover", "for": [1]}\n',
            b"x" * 200_000 + b"\n",
        ):
            assert not (await asyncio.to_thread(say, path, data))["ok"]
        assert (await asyncio.to_thread(say, path, b'{"verb": "reload", "force": true}\n'))["ok"]
        assert controls.asked == [Reload(force=True)]
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
async def test_a_further_group_of_the_peer_counts() -> None:
    """A member of the socket's group is answered, whichever group the process has first; a stranger is not."""
    code = (
        "import os, socket, sys; os.setgroups([int(sys.argv[2])]); os.setgid(4300); os.setuid(4300)\n"
        's = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b\'{"verb": "status"}\\n\')\n'
        "print(s.makefile().readline()[:11])"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "control.sock"
        async with controlled(path, well()):
            os.chown(path, 0, 4242)
            path.chmod(0o666)  # the peer's credentials are to decide, and not the mode
            said = {}
            for group in ("4242", "4241"):
                words = [sys.executable, "-c", code, str(path), group]
                done = await asyncio.to_thread(subprocess.run, words, timeout=30, capture_output=True, text=True)
                said[group] = done.stdout
    assert said == {"4242": '{"ok": true\n', "4241": ""}


async def test_who_does_not_go_on_does_not_keep_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there are places ask by halves: after a while they are cut off, and the next is answered."""
    path = tmp_path / "control.sock"
    async with controlled(path, well(), within=0.3):
        silent = []
        for number in range(MAX_CONTROL_CONNECTIONS):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(path))
            client.sendall(b'{"verb": "status"}\n' if number % 2 else b"{")
            silent.append(client)
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(OSError, ValueError):
                    if (await asyncio.to_thread(say, path, b'{"verb": "status"}\n'))["ok"]:
                        break
                await asyncio.sleep(0.05)
        for client in silent:
            client.close()


async def test_a_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    """A wrong agent.control_socket costs nobody a file."""
    path = tmp_path / "control.sock"
    path.write_text("precious")
    with pytest.raises(OSError, match="no socket"):
        await Control(path, Controls(well())).start()
    assert path.read_text() == "precious"


async def test_a_second_agent_does_not_take_the_socket(tmp_path: Path) -> None:
    """One that a dead process left is replaced; one that is answered is not."""
    path = tmp_path / "control.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    async with controlled(path, well()):
        with pytest.raises(OSError, match="another agent listens"):
            await Control(path, Controls(well())).start()


# --- the command line ---------------------------------------------------------------------------------------


async def test_the_live_verbs(tmp_path: Path) -> None:
    """status, why, changes, reload, handover: text and JSON, data on stdout, messages on stderr, exit codes as documented."""
    path = tmp_path / "control.sock"
    where = ("--socket", str(path))
    assert (await run("status", *where))[0] == 3
    async with controlled(path, well()) as controls:
        code, out, _ = await run("status", *where)
        assert (code, V4 in out, "2 of 2 prefixes announced, 2 of 2 sessions up" in out) == (0, True, True)
        code, out, _ = await run("status", "--output", "json", *where)
        assert (code, json.loads(out)["services"]["dns"]["health"]) == (0, "up")
        code, out, _ = await run("why", "192.0.2.53", *where)
        assert (code, "rung      12. preference" in out) == (0, True)
        code, _, err = await run("why", "192.0.2.54", *where)
        assert (code, "no prefix and no service '192.0.2.54' is configured here\nthere are 192.0.2.53/32" in err) == (
            1,
            True,
        )
        assert "of 3; `anycast-agent status` lists all)" in err
        code, out, _ = await run("changes", *where)
        assert (code, "192.0.2.53/32: announce, full: healthy (1 of 1 local checks up, 1 needed)" in out) == (0, True)
        code, out, _ = await run("changes", "--output", "json", *where)
        decided = [c for c in json.loads(out)["changes"] if c["subject"] == V4 and c["reason"]]
        assert (code, decided[-1]["reason"], decided[-1]["level"]) == (0, "healthy", "info")
        code, _, err = await run("reload", *where)
        assert (code, err) == (1, "refused: too much\n")
        assert (await run("reload", "--force", *where))[0] == 0
        assert (await run("handover", "--for", "60s", *where))[0] == 0
        assert (await run("handover", "--for", "soon", *where))[0] == 2
        assert controls.asked == [Reload(), Reload(force=True), HandOver(60.0)]


@contextlib.asynccontextmanager
async def answering(path: Path, answer: bytes | None) -> AsyncIterator[None]:
    """Something that takes a request, and says this; None: it does not answer, and does not hang up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield
    finally:
        server.close()


async def test_an_agent_that_hangs_is_said_to_hang(tmp_path: Path) -> None:
    """The whole answer has a deadline, however slowly it drips; nobody waits for ever."""
    path = tmp_path / "control.sock"
    async with answering(path, None):
        with pytest.raises(Unreachable, match="the agent hangs, or is stopped"):
            await asyncio.to_thread(ask, path, 0.2, verb="status")

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()

    (tmp_path / "drip").mkdir()
    path = tmp_path / "drip" / "control.sock"
    async with await asyncio.start_unix_server(drip, str(path)):
        with pytest.raises(Unreachable, match="the agent hangs, or is stopped"):
            await asyncio.to_thread(ask, path, 0.5, verb="status")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "answered nothing that this version understands"),
        (b"[" * 100_000 + b"\n", "answered nothing that this version understands"),
        (b'["ok"]\n', "answered nothing that this version understands"),
        (b'{"ok": true, "lines": [], "data": {"edge": "1"}}\n', "the agent is of another version"),
        (
            b'{"ok": true, "lines": [], "data": {"node": 1, "site": [], "life": {}}}\n',
            "the agent is of another version",
        ),
        (b"", "closed"),
    ],
)
async def test_an_answer_that_is_none_is_said_in_a_line(tmp_path: Path, answer: bytes, message: str) -> None:
    """Exit 3, one line on stderr and nothing on stdout: no traceback, whatever listens there."""
    path = tmp_path / "control.sock"
    async with answering(path, answer):
        code, out, err = await run("status", "--socket", str(path))
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert message in err


async def test_who_is_turned_away_is_told_so(tmp_path: Path) -> None:
    """An agent that does not permit it closes before it reads: a reset connection, and the reason all the same."""

    async def turn_away(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    path = tmp_path / "control.sock"
    async with await asyncio.start_unix_server(turn_away, str(path)):
        code, out, err = await run("status", "--socket", str(path))
    assert (code, out) == (3, "")
    assert err == f"anycast-agent: the agent closed {path} without an answer: not permitted, or it is ending\n"


async def test_a_socket_that_was_left_is_told_from_none(tmp_path: Path) -> None:
    """Exit 3: no agent, one that has ended, and a file that is no socket."""
    path = tmp_path / "control.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    code, _, err = await run("status", "--socket", str(path))
    assert (code, "has ended" in err) == (3, True)
    code, _, err = await run("status", "--socket", str(tmp_path / "none"))
    assert (code, "is it running?" in err) == (3, True)


async def test_what_others_wrote_moves_no_terminal(tmp_path: Path) -> None:
    """A router's reason for a closed session is shown; its control characters are not."""
    path = tmp_path / "control.sock"
    world = well()
    world.post(ev.SessionChanged(LEAF1, SessionState.DOWN, "bye\x1b[2J\x1b]0;owned\x07\r\nfor now"))
    async with controlled(path, world):
        code, out, _ = await run("status", "--socket", str(path))
    assert code == 0
    assert "bye [2J" in out
    assert not {"\x1b", "\x07", "\r"} & set(out)


async def test_who_stops_reading_gets_no_complaint(tmp_path: Path) -> None:
    """``| head``: exit 141 and not a word; a full disk is one line, and exit 1; ASCII alone is enough of a terminal."""
    words = [sys.executable, "-m", "anycast_agent.cli.main", "schema"]
    reading, writing = os.pipe()
    os.close(reading)
    done = await asyncio.to_thread(subprocess.run, words, stdout=writing, stderr=subprocess.PIPE, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
    with Path("/dev/full").open("wb") as full:
        done = await asyncio.to_thread(subprocess.run, words, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (1, b"anycast-agent: [Errno 28] No space left on device\n")
    path = tmp_path / "control.sock"
    world = World()
    world.start(config())  # nothing has been probed yet: its age is a dash that ASCII does not have
    words = [sys.executable, "-m", "anycast_agent.cli.main", "status", "--socket", str(path)]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    async with controlled(path, world):
        done = await asyncio.to_thread(subprocess.run, words, capture_output=True, timeout=60, env=env)
    assert (done.returncode, b"PREFIX" in done.stdout, done.stderr) == (0, True, b"")


async def on_terminal(columns: int, *words: str, **environment: str) -> str:
    """What a person sees on a terminal that is so wide."""
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    env = {**{k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}, "TERM": "xterm", **environment}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "anycast_agent.cli.main", *words, stdin=slave, stdout=slave, env=env
    )
    os.close(slave)
    seen = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while data := await asyncio.to_thread(os.read, master, 65536):
            seen += data
    os.close(master)
    await process.wait()
    return seen.decode()


async def test_a_terminal_gets_colours_and_lines_that_fit(tmp_path: Path) -> None:
    """Long details end with the terminal; NO_COLOR and TERM=dumb are heeded; a pipe gets everything, and no colour."""
    path = tmp_path / "control.sock"
    where = ("--socket", str(path))
    world = well()
    why = "a notification with a very long text that nobody has shortened " * 3
    world.post(ev.SessionChanged(LEAF1, SessionState.DOWN, why))
    async with controlled(path, world):
        narrow = await on_terminal(80, "status", *where)
        assert "…" in narrow
        assert all(len(line) <= 80 for line in narrow.splitlines() if line.startswith(LEAF1))
        assert "…" not in await on_terminal(400, "status", *where)
        assert why.strip() in (await run("status", *where))[1]
        assert "\x1b[33mannounced, at 1 of 2 neighbors: leaf1 is down" in await on_terminal(80, "why", V4, *where)
        assert "\x1b" in await on_terminal(80, "why", V4, *where, NO_COLOR="")
        assert "\x1b" not in await on_terminal(80, "why", V4, *where, NO_COLOR="1")
        assert "\x1b" not in await on_terminal(80, "why", V4, *where, TERM="dumb")
        assert "\x1b" not in (await run("why", V4, *where))[1]


async def test_probe_runs_a_services_checks_once(tmp_path: Path) -> None:
    """Exit 0 where all are well, 1 where one is not, and a near name for one that there is not."""
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    path = tmp_path / "agent.yaml"
    path.write_text(
        "bgp: {local_as: 65101, router_id: 198.51.100.1, neighbors: {leaf: {address: 198.51.100.0, remote_as: 65011}}}\n"
        "services: {web: {prefixes: [192.0.2.80/32], checks: {\n"
        f"  here: {{type: tcp, target: 127.0.0.1, port: {port}}}, gone: {{type: tcp, target: 127.0.0.1, port: 1}}}}}}}}\n"
    )
    code, out, _ = await run("probe", "web", "here", "--config", str(path), "--output", "json")
    assert (code, json.loads(out)[0]["outcome"]) == (0, "ok")
    code, out, _ = await run("probe", "web", "--config", str(path))
    assert (code, "refused" in out) == (1, True)
    code, _, err = await run("probe", "wbe", "--config", str(path))
    assert (code, err) == (1, "no service 'wbe' (did you mean 'web'?)\n")
    server.close()


@pytest.mark.parametrize("where", ["nonsense", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:٣", "[::1:x"])
async def test_demo_says_what_a_place_to_listen_looks_like(where: str) -> None:
    """One line, exit 1, nothing started."""
    code, out, err = await run("demo", "--once", "--listen", where)
    assert (code, out, err) == (
        1,
        "",
        f"demo: {where}: write an address and a port, like 127.0.0.1:9179; --listen names another port\n",
    )


PLANNED = (
    "bgp: {local_as: 65101, router_id: 198.51.100.1, neighbors: {leaf: {address: 198.51.100.0, remote_as: 65011}}}\n"
    "services: {web: {prefixes: [192.0.2.80/32%s], checks: {p: {type: tcp, port: 80}}}}\n"
)


async def test_plan_says_what_would_be_withdrawn(tmp_path: Path) -> None:
    """Exit 1 where a route goes; nothing where nothing differs; what only a restart changes is said, too."""
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(PLANNED % ", 192.0.2.81/32")
    new.write_text(PLANNED % "")
    code, out, err = await run("plan", "--config", str(old), "--against", str(old))
    assert (code, out, err) == (0, "nothing changes\n", f"compared with {old}\n")
    code, out, _ = await run("plan", str(new), "--against", str(old))
    assert (code, "! route 192.0.2.81/32 at leaf: withdrawn" in out) == (1, True)
    new.write_text(PLANNED % ", 192.0.2.81/32" + "agent: {api: {listen: '127.0.0.1:9180'}}\n")
    code, out, _ = await run("plan", str(new), "--against", str(old))
    assert (code, out) == (0, "  process api_port: 9179 → 9180, at the next restart\n")


@pytest.mark.parametrize(
    ("setting", "why"),
    [("enabled: false", "the service is disabled"), ("observe_only: true", "the service is only observed")],
)
async def test_plan_announces_nothing_that_is_not_to_be(tmp_path: Path, setting: str, why: str) -> None:
    """A service that is disabled or only observed: said to be that when it is new, when it becomes so, and when a
    route of it is new; its end withdraws nothing."""
    none, loud, silent = (tmp_path / f"{name}.yaml" for name in ("none", "loud", "silent"))
    loud.write_text(PLANNED % "")
    none.write_text(loud.read_text().partition("services:")[0])
    silent.write_text(loud.read_text().replace("web: {", f"web: {{{setting}, "))

    async def plan(old: Path, new: Path) -> tuple[int, str]:
        code, out, _ = await run("plan", str(new), "--against", str(old))
        return code, out

    assert await plan(none, loud) == (
        0, "  service web: added: announced once its checks have risen\n  route 192.0.2.80/32 at leaf: new\n",
    )  # fmt: skip
    code, out = await plan(none, silent)
    assert (code, f"  service web: added: not announced, {why}\n" in out) == (0, True)
    assert f"  route 192.0.2.80/32 at leaf: new, but not announced: {why}\n" in out
    assert (await plan(silent, none))[0] == 0
    code, out = await plan(loud, silent)
    assert (code, f"! service web: not announced, {why}\n" in out) == (1, True)
    code, out = await plan(silent, loud)
    assert (code, "  service web: announced once its checks have risen\n" in out) == (0, True)
    assert "True" not in out


async def test_plan_compares_with_what_the_running_agent_has(tmp_path: Path) -> None:
    """Not with the file, which may have changed since; a reload that would be refused is foreseen by what is really
    announced; without an agent the installed file takes its place, and where that is the new one, nothing is said."""
    new, path = tmp_path / "new.yaml", tmp_path / "control.sock"
    new.write_text(PLANNED % "")
    where = ("--socket", str(path))
    async with controlled(path, well()) as controls:
        files = {"/etc/agent.yaml": PLANNED % ", 192.0.2.81/32", "/etc/conf.d/b.yaml": "services: {}\n"}
        controls.in_force = InForce(files, (Announced("leaf", "192.0.2.81/32"),))
        code, out, err = await run("plan", str(new), *where)
        assert (code, err) == (1, "compared with the running agent\n")
        assert "! route 192.0.2.81/32 at leaf: withdrawn" in out
        assert "! reload refused: it would withdraw 1 of 1 announced routes" in out
        code, out, _ = await run("plan", str(new), "--output", "json", *where)
        assert json.loads(out)["against"] == "the running agent"
        controls.in_force = InForce({}, ())
        assert "of another version" in (await run("plan", "--config", str(new), *where))[2]
    code, out, err = await run("plan", *where)
    assert (code, out) == (1 if not DEFAULT.exists() else 3, "")
    code, _, err = await run("plan", str(new), *where)
    assert "no agent listens on" in err
