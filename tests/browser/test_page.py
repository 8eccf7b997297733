"""The page in a real browser: what a person sees, and that it says when the agent is gone."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from anycast_agent.core import events as ev
from tests.api.surfaces import serving, well
from tests.support import ends
from tests.support.until import until, wait_until
from tests.support.world import V4, V6, World

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser (package chromium)"),
    pytest.mark.timeout(180),
]


@dataclass
class Browser:
    """One process for all tests, each in a page of its own."""

    port: int

    @contextlib.asynccontextmanager
    async def page(self, url: str, size: tuple[int, int] = (1200, 900)) -> AsyncIterator[Page]:
        async with asyncio.timeout(100), aiohttp.ClientSession(f"http://127.0.0.1:{self.port}") as client:
            async with client.put("/json/new?about:blank") as answer:
                target = await answer.json(content_type=None)
            async with client.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                await page.do("Emulation.setDeviceMetricsOverride",
                              width=size[0], height=size[1], deviceScaleFactor=1, mobile=False)  # fmt: skip
                await page.do("Page.navigate", url=url)
                yield page
            await (await client.get(f"/json/close/{target['id']}")).read()


@dataclass
class Page:
    """Asked over the browser's own protocol: the page's policy allows no script of ours."""

    socket: aiohttp.ClientWebSocketResponse
    asked: int = 0

    async def do(self, method: str, **parameters: object) -> dict[str, Any]:
        self.asked += 1
        await self.socket.send_json({"id": self.asked, "method": method, "params": parameters})
        while True:
            answer = await self.socket.receive_json()
            if answer.get("id") == self.asked:
                return dict(answer)

    async def comes_to(self, script: str) -> object:
        """What a script comes to in the page, as its reader's own hand would do it."""
        while True:  # one that the page's arrival cut off is asked again
            answer = await self.do(
                "Runtime.evaluate", expression=LOADED % script, awaitPromise=True, returnByValue=True
            )
            if "result" in answer:
                return answer["result"]["result"].get("value")

    async def shown(self) -> str:
        """The document as it stands, after its scripts."""
        return str(await self.comes_to("document.documentElement.outerHTML"))


LOADED = """(async () => {
  const until = async (what) => { while (!what()) await new Promise((r) => setTimeout(r, 20)); };
  await until(() => document.readyState === "complete" && document.querySelector("main"));
  return await %s;
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    profile = tmp_path_factory.mktemp("browser")
    words = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
        "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen([str(word) for word in words], stderr=subprocess.DEVNULL)
    told = profile / "DevToolsActivePort"
    try:
        wait_until(lambda: told.exists() and "\n" in told.read_text(), "no browser", 100)
        yield Browser(int(told.read_text().splitlines()[0]))
    finally:
        process.kill()
        process.wait()


async def test_the_page_shows_every_prefix_with_its_reason(browser: Browser) -> None:
    """Each prefix, its decision, rung, reason and routes; after a failure, that."""
    world = well()
    async with serving(world) as (_, server):
        url = f"http://127.0.0.1:{server.port}/"
        async with browser.page(url) as page:
            text = await page.shown()
        assert V4 in text
        assert V6 in text
        assert "healthy" in text
        assert "desired, acknowledged, sent" in text
        world.outcomes["dns"] = ends.REFUSED
        world.until(lambda w: not w.router, 10)
        async with browser.page(url) as page:
            text = await page.shown()
        assert "not announced" in text
        assert "health_down" in text


REFRESHED = """
      const text = () => document.querySelector("[data-key=life]").textContent;
      const refreshed = async () => { const before = text(); await until(() => text() !== before); };
"""


async def test_a_refresh_leaves_the_reader_where_he_is(browser: Browser) -> None:
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
        async with browser.page(url, (900, 800)) as page:
            assert await page.comes_to(script) == f"{V4}|50|true"
        ticking.cancel()


async def test_rows_come_and_go_and_change_places_in_a_refresh(browser: Browser) -> None:
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
        async with browser.page(url) as page:
            assert await page.comes_to(script) == "2|2|true|true"
        await failing
        ticking.cancel()


async def _ticks(world: World) -> None:
    """The world's time goes on while somebody looks."""
    while True:
        await asyncio.sleep(0.1)
        world.run(0.1)


async def test_on_a_phone_nothing_has_to_be_scrolled_to_the_side(browser: Browser) -> None:
    """Each row is a card: an IPv6 prefix, its state and its reason are within the width, and each cell is named."""
    script = """(async () => {
      await until(() => getComputedStyle(document.querySelector("td")).display === "block");
      const cells = [...document.querySelectorAll("td")].filter((cell) => cell.offsetParent);
      const out = cells.filter((cell) => cell.getBoundingClientRect().right > innerWidth + 1).length;
      const named = cells.every((cell) => getComputedStyle(cell, "::before").content.length > 2);
      return [document.documentElement.scrollWidth <= innerWidth, out, named].join("|");
    })()"""
    async with serving(well()) as (_, server):
        url = f"http://127.0.0.1:{server.port}/"
        async with browser.page(url, (500, 900)) as page:
            assert await page.comes_to(script) == "true|0|true"


async def test_every_head_has_a_text_and_every_region_can_be_reached_by_keyboard(browser: Browser) -> None:
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
        async with browser.page(url) as page:
            assert await page.comes_to(script) == "true|true|true|true"


async def test_the_page_refreshes_itself_and_says_when_the_agent_is_gone(browser: Browser) -> None:
    """The script is allowed by the page's own policy; with the agent away, the alert is shown with an age."""
    world = well()
    async with serving(world) as (_, server):
        url = f"http://127.0.0.1:{server.port}/"
        async with browser.page(url) as page:
            await until(lambda: server.requests >= 6)  # the page, its style and script, and refreshes after it
            await server.close()
            script = """(async () => {
              await until(() => document.body.className === "gone");
              const box = document.getElementById("gone");
              return [getComputedStyle(box).display !== "none", /\\d s/.test(box.textContent)].join("|");
            })()"""
            assert await page.comes_to(script) == "true|true"
