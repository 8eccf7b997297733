"""The page in a real browser: what a person sees, and that it says when the agent is gone."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import aiohttp
import pytest

from anycast_agent.core.model import Outcome
from tests.api.test_surfaces import serving, well
from tests.support.world import V4, V6

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser (package chromium)"),
    pytest.mark.timeout(180),
]


async def seen(profile: Path, url: str, wait: int = 0) -> str:
    """The document as it stands after so many milliseconds, scripts and all."""
    words = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom",
        f"--user-data-dir={profile}", *([f"--virtual-time-budget={wait}"] if wait else []), url,
    ]  # fmt: skip
    done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


async def test_the_page_shows_every_prefix_with_its_reason(tmp_path: Path) -> None:
    """Each prefix, its decision, rung, reason and routes; after a failure, that."""
    world = well()
    async with serving(world) as (_, server):
        text = await seen(tmp_path / "a", f"http://127.0.0.1:{server.port}/")
        assert V4 in text
        assert V6 in text
        assert "healthy" in text
        assert "wanted, taken, sent" in text
        world.outcomes["dns"] = Outcome.REFUSED
        world.until(lambda w: not w.router, 10)
        text = await seen(tmp_path / "b", f"http://127.0.0.1:{server.port}/")
        assert "not announced" in text
        assert "health_down" in text


LOADED = """new Promise((r) => document.readyState === "complete" ? r() : addEventListener("load", r)).then(() => %s)"""


async def evaluated(profile: Path, url: str, script: str) -> object:
    """What a script comes to in the page, as its reader's own hand would do it: the page's policy allows no other."""
    size = "--window-size=500,800"
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", size,
             "--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={profile}", url]  # fmt: skip
    process = await asyncio.create_subprocess_exec(*map(str, words), stderr=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as client:
            while not (profile / "DevToolsActivePort").exists() or "\n" not in (
                told := (profile / "DevToolsActivePort").read_text()
            ):
                await asyncio.sleep(0.05)
            debugger = f"http://127.0.0.1:{told.splitlines()[0]}/json"
            while True:
                targets = await (await client.get(debugger)).json()
                if pages := [t for t in targets if t["type"] == "page" and t["url"] == url]:
                    break
                await asyncio.sleep(0.05)
            async with client.ws_connect(pages[0]["webSocketDebuggerUrl"]) as page:
                expression = LOADED % script
                parameters = {"expression": expression, "awaitPromise": True, "returnByValue": True}
                while True:  # one that the page's arrival cut off is asked again
                    await page.send_json({"id": 1, "method": "Runtime.evaluate", "params": parameters})
                    answer = await page.receive_json()
                    if "result" in answer:
                        return answer["result"]["result"].get("value")
    finally:
        process.kill()
        await process.wait()


async def test_a_refresh_leaves_the_reader_where_he_is(tmp_path: Path) -> None:
    """On a narrow screen a table is scrolled to its side: the next refresh does not take it back."""
    script = """(async () => {
      const until = async (what) => { while (!what()) await new Promise((r) => setTimeout(r, 20)); };
      let before;
      // Before its style has come, the table is not one that can be scrolled.
      await until(() => (before = document.querySelector(".wide")) && ((before.scrollLeft = 50), before.scrollLeft === 50));
      await until(() => !before.isConnected);
      return document.querySelector(".wide").scrollLeft;
    })()"""
    async with serving(well()) as (_, server):
        url = f"http://127.0.0.1:{server.port}/"
        assert await evaluated(tmp_path / "d", url, script) == 50


async def test_the_page_refreshes_itself_and_says_when_the_agent_is_gone(tmp_path: Path) -> None:
    """The script is allowed by the page's own policy; with the agent away, the alert is shown with an age."""
    world = well()
    async with serving(world) as (_, server):
        url = f"http://127.0.0.1:{server.port}/"
        looking = asyncio.create_task(seen(tmp_path / "c", url, wait=300_000))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(60):
            while server.requests < 6:  # the page, its style and script, and refreshes after it
                await asyncio.sleep(0.05)
        await server.close()
        assert 'class="gone"' in await looking
