"""Blocking calls, apart from the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def to_its_end(call: Callable[..., T], *args: object) -> T:
    """Run in a thread. A cancellation waits for its end, so that the next call never meets one half done."""
    work = asyncio.ensure_future(asyncio.to_thread(call, *args))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise
