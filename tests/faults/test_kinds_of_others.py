"""A package with a kind of check, really installed, in a real agent; and one that is broken beside it."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import V4, V6, Scene, configuration, scene
from tests.support.netns import namespaces, needs_root, run_inside
from tests.support.packages import install

pytestmark = [needs_root, pytest.mark.root, pytest.mark.timeout(180)]

PACKAGE = Path(__file__).parents[1] / "packages/anycast-check-qotd"
QUOTE, PORT, OTHER = b"Rough consensus and running code.\r\n", 1717, "192.0.2.99/32"
RAISES = """
async def no(params, target): raise ZeroDivisionError("boo")
K = kind("raises", no)
"""


def pip_install(package: Path, folder: Path) -> Path:
    """As an operator does, but without a network."""
    copy = shutil.copytree(package, folder / "source")  # the build leaves files there
    site = folder / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "--target", str(site), str(copy)],
        check=True, timeout=120,
    )  # fmt: skip
    return site


def service(prefixes: list[str], **check: Any) -> dict[str, Any]:
    hops = ["198.51.100.1", "2001:db8::1"][: len(prefixes)]
    return {
        "prefixes": prefixes,
        "attributes": {"next_hop": hops},
        "hold_down": {"initial": "100ms"},
        "linger": "200ms",
        "checks": {"quote": {"interval": "200ms", "rise": 2, **check}},
    }


def test_an_installed_kind_decides_and_a_broken_one_does_not(tmp_path: Path) -> None:
    """Its check announces and withdraws, its words and numbers are in status and metrics. A configuration with a kind
    that cannot be loaded is refused; one whose probes raise has no verdict, and takes nobody with it."""
    site = pip_install(PACKAGE, tmp_path)
    install(site, "pkg_raises", {"raises": "K"}, RAISES)
    install(site, "pkg_unloadable", {"unloadable": "K"}, "import no_such_module")
    said = [QUOTE]

    async def quote(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said[0])
        writer.close()

    def values(**more: Any) -> dict[str, Any]:
        services = {"quotes": service([V4, V6], type="qotd", port=PORT, contains="running code"), **more}
        return configuration(tmp_path, services=services)

    async def check_is(s: Scene, name: str, outcome: str) -> dict[str, Any]:
        status = await s.agent.until(lambda status: status["services"][name]["checks"][0]["outcome"] == outcome)
        return dict(status["services"][name]["checks"][0])

    async def story(s: Scene) -> None:
        servers = [await asyncio.start_server(quote, host, PORT) for host in ("0.0.0.0", "::")]
        s.agent.environment["PYTHONPATH"] = str(site)
        s.agent.start()
        await s.announced()
        check = await check_is(s, "quotes", "ok")
        assert (check["type"], check["numbers"]) == ("qotd", [{"name": "characters", "value": 35.0, "unit": ""}])
        why = await s.agent.why()
        assert why["checks"][0]["detail"] == "Rough consensus and running code."

        s.agent.write(values(bad=service([OTHER], type="unloadable")))
        s.agent.kill(signal.SIGHUP)
        refused = await s.agent.until(lambda status: bool(status["configuration"]["errors"]))
        assert "pkg_unloadable 1.0 cannot be loaded" in str(refused["configuration"]["errors"])

        s.agent.write(values(bad=service([OTHER], type="raises")))
        s.agent.kill(signal.SIGHUP)
        bad = await check_is_there(s)
        assert (bad["verdict"], bad["detail"]) == ("unknown", "the probe itself failed: ZeroDivisionError: boo")
        await s.announced()

        said[0] = b"All is well.\r\n"
        await s.withdrawn()
        assert (await check_is(s, "quotes", "bad_answer"))["verdict"] == "down"
        said[0] = QUOTE
        await s.announced()
        for server in servers:
            server.close()
        await s.withdrawn()
        assert "refused" in (await s.agent.why())["evidence"]

    async def check_is_there(s: Scene) -> dict[str, Any]:
        status = await s.agent.until(
            lambda status: "bad" in status["services"] and status["services"]["bad"]["checks"][0]["outcome"] == "broken"
        )
        return dict(status["services"]["bad"]["checks"][0])

    with namespaces("node") as (namespace,):

        async def inside() -> None:
            async with scene(tmp_path, namespace, values()) as s:
                await story(s)

        run_inside(namespace, inside, 100)
