"""``anycast-agent check``: any type of check once, from the command line."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.adapters.checks.servers import closed_port, hang, tcp_server


async def run(*words: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "anycast_agent.cli.main", "check", *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


async def test_a_probe_says_what_it_saw(tmp_path: Path) -> None:
    """Outcome, evidence, time, words and numbers; the exit code says whether it is as asked for."""
    file = tmp_path / "flag"
    file.write_text("well")
    code, out, err = await run("file", f"path={file}", "contains=well")
    assert (code, out.startswith("ok (success), "), "\n  size 4 bytes" in out, err) == (0, True, True, "")
    code, out, _ = await run("file", f"path={file}", "state=absent", "--output", "json")
    shown = json.loads(out)
    assert (code, shown["outcome"], shown["evidence"], shown["detail"]) == (
        1,
        "present",
        "definite",
        f"{file} is there",
    )
    assert {number["name"]: number["unit"] for number in shown["numbers"]} == {"age": "seconds", "size": "bytes"}


async def test_it_is_pinned_to_an_address_of_the_node_or_asks_a_target() -> None:
    """As the probes of a service are; it is over at its timeout."""
    async with tcp_server(hang) as port:
        assert (await run("tcp", f"port={port}", "--address", "127.0.0.1"))[0] == 0
        code, out, _ = await run("tcp", f"port={port}", "target=127.0.0.1", "expect=x", "--timeout", "200ms")
        assert (code, out.startswith("timeout (doubtful)")) == (1, True)
    code, out, _ = await run("tcp", f"port={await closed_port()}", "target=127.0.0.1")
    assert (code, "refused (definite)" in out) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tpc", "port=1"), "no type 'tpc' (did you mean 'tcp'?); there are tcp, "),
        (("tcp", "prot=1", "--address", "127.0.0.1"), "'port' is missing\nunknown key 'prot'"),
        (("tcp", "port=0", "--address", "127.0.0.1"), "port: at least 1, not 0"),
        (("tcp", "port", "--address", "127.0.0.1"), "'port': write KEY=VALUE"),
        (("tcp", "port=[", "--address", "127.0.0.1"), "port: not a value of YAML: ["),
        (("tcp", "port=1"), "where to ask? --address"),
        (("tcp", "port=1", "target=127.0.0.1", "--address", "127.0.0.1"), "leave --address out"),
        (("tcp", "port=1", "--address", "localhost"), "invalid _address value"),
    ],
)
async def test_what_is_wrong_is_said(words: tuple[str, ...], said: str) -> None:
    """In the words of the configuration; exit code 2."""
    code, out, err = await run(*words)
    assert (code, out, said in err) == (2, "", True), err
