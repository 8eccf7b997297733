"""A table of who answers whom while a drill runs, with a row every half second."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter

from lab.drills.conduct import Conductor, Story
from lab.drills.scene import Scene

EVERY = 0.5


async def alongside(conductor: Conductor, scene: Scene) -> Story:
    """Run it, with the table beside it."""
    watcher = asyncio.create_task(show(conductor.story, scene))
    try:
        return await conductor.run()
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


async def show(story: Story, scene: Scene) -> None:
    """Runs until it is cancelled. A row counts the requests of its half second; a loss is known one second later."""
    columns: list[str] = []
    told, shown, marks = 0.0, 0, 0
    while True:
        await asyncio.sleep(EVERY)
        if not story.requests:
            continue
        told = max(told, story.begin)  # which is set anew once all clients ask
        horizon = time.monotonic() - 1.2
        while told + EVERY <= horizon:
            for mark in sorted(story.marks[marks:], key=lambda m: m.at):
                if mark.at < told + EVERY:
                    _line(f"{mark.at - story.begin:7.1f}  ── {mark.kind}: {mark.text}")
                    marks += 1
            row: Counter[str] = Counter()
            for request in story.requests[shown:]:
                if told <= request.sent < told + EVERY:
                    row[f"{request.client}|{request.who or 'lost'}"] += 1
            names = sorted(set(columns) | set(row) | {f"{client}|lost" for client in scene.clients}, key=_order)
            if names != columns:
                columns = names
                _line(_head(columns))
            cells = "".join(f"{row.get(name, 0) or '·':>{_width(name)}}" for name in columns)
            _line(f"{told - story.begin:7.1f}{cells}")
            told += EVERY
            shown = max(0, next((n for n, r in enumerate(story.requests) if r.sent >= told - 3), shown))


def _order(name: str) -> tuple[str, bool, str]:
    client, who = name.split("|")
    return client, who == "lost", who


def _width(name: str) -> int:
    return len(name.split("|")[1]) + 2


def _head(columns: list[str]) -> str:
    groups: dict[str, int] = {}
    for name in columns:
        client = name.split("|")[0]
        groups[client] = groups.get(client, 0) + _width(name)
    over = " " * 7 + "".join(f"{f' {client} asks, answered by':<{width}.{width}}" for client, width in groups.items())
    return f"\n{over}\n{'seconds':>7}" + "".join(f"{name.split('|')[1]:>{_width(name)}}" for name in columns)


def _line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
