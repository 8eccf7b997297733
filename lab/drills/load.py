"""The machine's load during a drill: on an overloaded machine, measured times are those of the scheduler."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from lab.drills.result import Load

EVERY = 0.02
"""Length of the sleep whose delay is measured. Seconds."""


class Watch:
    """Measures, until it is stopped, how late a thread that only sleeps is woken, and how busy the processors are."""

    def __init__(self) -> None:
        self._late: list[float] = []
        self._begin = _ticks()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            due = time.monotonic() + EVERY
            if self._ended.wait(EVERY):
                return
            self._late.append(time.monotonic() - due)

    def stop(self) -> Load:
        self._ended.set()
        self._thread.join()
        busy, total = (now - then for now, then in zip(_ticks(), self._begin, strict=True))
        late = sorted(self._late) or [0.0]
        return Load(
            cores=os.cpu_count() or 1,
            busy=round(busy / total, 3) if total else 0.0,
            average=round(os.getloadavg()[0], 2),
            late_p99=round(late[len(late) * 99 // 100], 4),
            late_worst=round(late[-1], 4),
        )


def _ticks() -> tuple[int, int]:
    """(busy, all), of all processors together since the machine was started."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)  # without idle and iowait
