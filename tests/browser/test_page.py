"""The page in a real browser: what a person sees, and that it says when the agent is gone."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import aiohttp
import pytest

from anycast_agent.core import events as ev
from tests.api.surfaces import serving, well
from tests.support import ends
from tests.support.world import V4, V6, World

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
        assert "desired, acknowledged, sent" in text
        world.outcomes["dns"] = ends.REFUSED
        world.until(lambda w: not w.router, 10)
        text = await seen(tmp_path / "b", f"http://127.0.0.1:{server.port}/")
        assert "not announced" in text
        assert "health_down" in text


LOADED = """(async () => {
  const loaded = () => document.readyState === "complete" && document.querySelector("main");
  while (!loaded()) await new Promise((r) => setTimeout(r, 20));
  return await %s;
})()"""


async def evaluated(profile: Path, url: str, script: str, size: str = "1200,900") -> object:
    """What a script comes to in the page, as its reader's own hand would do it: the page's policy allows no other."""
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--window-size={size}",
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
                parameters = {"expression": LOADED % script, "awaitPromise": True, "returnByValue": True}
                while True:  # one that the page's arrival cut off is asked again
                    await page.send_json({"id": 1, "method": "Runtime.evaluate", "params": parameters})
                    answer = await page.receive_json()
                    if "result" in answer:
                        return answer["result"]["result"].get("value")
    finally:
        process.kill()
        await process.wait()


REFRESHED = """
      const until = async (what) => { while (!what()) await new Promise((r) => setTimeout(r, 20)); };
      const text = () => document.querySelector("[data-key=life]").textContent;
      const refreshed = async () => { const before = text(); await until(() => text() !== before); };
"""


async def test_a_refresh_leaves_the_reader_where_he_is(tmp_path: Path) -> None:
    """What is selected stays selected, a table that is scrolled to its side stays there, and the focus stays; what has
    changed is nevertheless shown."""
    script = f"""(async () => {{ {REFRESHED}
      document.querySelector("main").style.width = "20rem";
      const table = document.querySelector(".wide"), code = document.querySelector("tbody code");
      await until(() => ((table.scrollLeft = 50), table.scrollLeft === 50)); // not before its style has come
      getSelection().selectAllChildren(code);
      table.focus();
      for (let n = 0; n < 3; n++) await refreshed();
      return [String(getSelection()), table.scrollLeft, document.activeElement === table].join("|");
    }})()"""
    world = well()
    async with serving(world) as (_, server):
        ticking = asyncio.create_task(_ticks(world))
        url = f"http://127.0.0.1:{server.port}/"
        assert await evaluated(tmp_path / "d", url, script, "900,800") == f"{V4}|50|true"
        ticking.cancel()


async def test_rows_come_and_go_and_change_places_in_a_refresh(tmp_path: Path) -> None:
    """A prefix that fails goes to the top, with its row, and so does the box of a warning."""
    script = f"""(async () => {{ {REFRESHED}
      const rows = () => [...document.querySelectorAll("tbody[data-key=Prefixes] tr")].map((r) => r.dataset.key);
      const last = [...document.querySelectorAll("tbody[data-key=Prefixes] tr")].pop();
      const before = rows();
      await until(() => document.querySelector(".box[data-key='warning arp']"));
      await until(() => rows()[0] === before[before.length - 1]);
      const same = document.querySelector("tbody[data-key=Prefixes] tr") === last;
      return [before.length, rows().length, same, last.textContent.includes("not announced")].join("|");
    }})()"""
    world = well()
    async with serving(world) as (_, server):

        async def fail() -> None:
            asked = server.requests
            while server.requests < asked + 3:
                await asyncio.sleep(0.05)
            world.outcomes[f"dns/answers@{V6.partition('/')[0]}"] = ends.REFUSED
            world.until(lambda w: not w.announced(V6), 10)
            world.post(ev.Warned("arp", "somebody else has it"))

        failing, ticking = asyncio.create_task(fail()), asyncio.create_task(_ticks(world))
        url = f"http://127.0.0.1:{server.port}/"
        assert await evaluated(tmp_path / "e", url, script) == "2|2|true|true"
        await failing
        ticking.cancel()


async def _ticks(world: World) -> None:
    """The world's time goes on while somebody looks."""
    while True:
        await asyncio.sleep(0.1)
        world.run(0.1)


async def test_on_a_phone_nothing_has_to_be_scrolled_to_the_side(tmp_path: Path) -> None:
    """Each row is a card: an IPv6 prefix, its state and its reason are within the width, and each cell is named."""
    script = """(async () => {
      const until = async (what) => { while (!what()) await new Promise((r) => setTimeout(r, 20)); };
      await until(() => getComputedStyle(document.querySelector("td")).display === "block");
      const cells = [...document.querySelectorAll("td")].filter((cell) => cell.offsetParent);
      const out = cells.filter((cell) => cell.getBoundingClientRect().right > innerWidth + 1).length;
      const named = cells.every((cell) => getComputedStyle(cell, "::before").content.length > 2);
      return [document.documentElement.scrollWidth <= innerWidth, out, named].join("|");
    }})()"""
    async with serving(well()) as (_, server):
        url = f"http://127.0.0.1:{server.port}/"
        assert await evaluated(tmp_path / "f", url, script.replace("}})()", "})()"), "500,900") == "true|0|true"


async def test_every_head_has_a_text_and_every_region_can_be_reached_by_keyboard(tmp_path: Path) -> None:
    """What axe-core asks for: no empty table header, no region that only a mouse can scroll; and nothing is missing
    that the page refers to."""
    script = """(async () => {
      const heads = [...document.querySelectorAll("th")].every((head) => head.textContent.trim());
      const regions = [...document.querySelectorAll(".wide")].every((region) => region.tabIndex === 0
        && document.getElementById(region.getAttribute("aria-labelledby")).textContent);
      const urls = [...document.querySelectorAll("link, script, a")].map((e) => e.href || e.src);
      const found = await Promise.all(urls.map(async (url) => (await fetch(url)).status));
      return [heads, regions, urls.length > 5, found.every((status) => status === 200)].join("|");
    })()"""
    async with serving(well()) as (_, server):
        url = f"http://127.0.0.1:{server.port}/"
        assert await evaluated(tmp_path / "g", url, script) == "true|true|true|true"


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
