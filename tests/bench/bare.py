"""aiohttp alone, asking as often as the agent does: what such requests cost before anybody decides anything by them.

``python -m tests.bench.bare RATE SECONDS`` prints the processor time of a thousand requests, in seconds.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time

import aiohttp

from tests.support.agent import HTTP_PORT


async def main(rate: float, seconds: float) -> float:
    connector = aiohttp.TCPConnector(force_close=True, limit=0, use_dns_cache=False)
    timeout, cookies = aiohttp.ClientTimeout(total=None), aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=cookies) as session:

        async def ask() -> None:
            async with asyncio.timeout(1), session.get(f"http://127.0.0.1:{HTTP_PORT}/") as response:
                assert response.status == 200

        count = round(rate * seconds)
        due, before = time.monotonic(), _used()
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(ask())
                due += 1 / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        return 1000 * (_used() - before) / count


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    print(asyncio.run(main(float(sys.argv[1]), float(sys.argv[2]))))
