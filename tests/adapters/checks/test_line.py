"""line checks: a real server that is asked in lines, and servers that misbehave."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from anycast_agent.checks.line import LineParams
from tests.adapters.checks.servers import Handler, closed_port, drip, garbage, hang, reset, tcp_server
from tests.adapters.checks.test_redis import needs_redis, redis
from tests.support.probes import descriptors, prober


def at(port: int, *steps: dict[str, Any], **more: Any) -> LineParams:
    return LineParams(**{"target": "127.0.0.1", "port": port, "steps": steps, **more})


GREETING: tuple[dict[str, Any], ...] = ({"expect": "^220 "},)
SESSION = (*GREETING, {"send": "EHLO probe.example", "expect": "^250 ", "lines": 5}, {"send": "QUIT", "expect": "^221"})


@needs_redis
async def test_a_real_server(tmp_path: Path) -> None:
    """Redis takes commands in lines: what it stores in one step it has in the next; another value is a definite no."""
    before = descriptors()
    async with redis(tmp_path) as port, prober() as ask:
        stored = [{"send": "SET probe v1", "expect": r"^\+OK$"}, {"send": "GET probe", "expect": "^v1$", "lines": 2}]
        end = await ask(at(port, *stored, line_end="lf"))
        assert (end.outcome.code, end.outcome.detail) == ("ok", "v1")
        other = await ask(at(port, stored[0], {**stored[1], "expect": "^v2$"}))
        assert (other.outcome.code, other.outcome.detail) == ("bad_answer", "step 2: v1, not '^v2$'")
        wrong = await ask(at(port, {"send": "NONSENSE", "expect": r"^\+"}))
        assert (wrong.outcome.code, "step 1: -ERR unknown command" in wrong.outcome.detail) == ("bad_answer", True)
    assert descriptors() <= before + 1


def mail(*answers: bytes) -> Handler:
    """A server that greets with the first of these, and answers each line with the next."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            writer.write(answer)
            await writer.drain()
            if not await reader.readline():
                return
        await reader.read()

    return serve


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for _ in itertools.count():
        writer.write(b"220-more\r\n" * 1000)
        await writer.drain()


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 he")
    await writer.drain()


@pytest.mark.parametrize(
    ("handler", "steps", "outcome", "detail"),
    [
        (mail(b"220 mx\r\n", b"250-mx\r\n250-SIZE\r\n250 HELP\r\n", b"221 bye\r\n"), SESSION, "ok", "221 bye"),
        (mail(b"220 mx\n"), GREETING, "ok", "220 mx"),
        (mail(b"421 too many\r\n"), GREETING, "busy", "step 1: 421 too many, not '^220 '"),
        (mail(b"554 no\r\n"), GREETING, "bad_answer", "step 1: 554 no, not '^220 '"),
        (mail(b"\r\n"), GREETING, "bad_answer", "an empty line"),
        (mail(b"220 mx\r\n", b"250-a\r\n" * 9), SESSION, "bad_answer", "step 2: 250-a, not '^250 '"),
        (mail(b"220 mx\r\n", b"250 HELP\r\n", b"554 \x1b[31mno\r\n"), SESSION, "bad_answer", "step 3: 554"),
        (mail(b"x" * 20_000), GREETING, "protocol", "a line of more than 8192 bytes"),
        (mail(b"x" * 20_000 + b"\r\n"), GREETING, "protocol", "a line of more than 8192 bytes"),
        (flood, ({"expect": "^never", "lines": 100},), "bad_answer", "220-more, not '^never'"),
        (half, GREETING, "reset", "closed after '220 he'"),
        (garbage, GREETING, "bad_answer", "this is no protocol"),
        (hang, GREETING, "timeout", ""),
        (hang, ({"send": "x"},), "ok", ""),
        (drip, ({"expect": "^220", "lines": 100},), "timeout", ""),
        (reset, GREETING, "reset", ""),
    ],
)
async def test_servers_that_are_made_up(handler: Handler, steps: Any, outcome: str, detail: str) -> None:
    """Busy is doubtful; another answer is definite; a flood, a long line, a byte at a time, half a line end the probe."""
    async with tcp_server(handler) as port, prober() as ask:
        end = await ask(at(port, *steps, busy="^4"), timeout=0.4)
        assert (end.outcome.code, detail in end.outcome.detail) == (outcome, True), end
        assert end.outcome.detail.isprintable()
        evidence = {"ok": "success", "busy": "doubtful", "timeout": "doubtful"}.get(outcome, "definite")
        assert end.outcome.evidence == evidence


async def test_a_closed_port() -> None:
    """Refused, at once."""
    async with prober() as ask:
        assert (await ask(at(await closed_port(), *GREETING))).outcome.code == "refused"


@pytest.mark.parametrize(
    "steps", [[], [{}], [{"send": "a\r\nb"}], [{"send": "a", "lines": 2}], [{"expect": "("}], [{"send": "a"}] * 17, "a"]
)
def test_parameters_are_checked_when_they_are_read(steps: Any) -> None:
    """A step does something, and sends one line."""
    with pytest.raises(ValidationError):
        LineParams(port=25, steps=steps)
