"""Requests are sorted into streams, and a stream's losses into windows of loss."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from lab.drills.conduct import Request, Story
from lab.drills.drill import Drill
from lab.drills.result import BUCKET, Stream, Window

JOINS = 0.25
"""Losses no further apart than this are one window: with ECMP, other flows are answered in between. Seconds."""


def streams_of(story: Story, drill: Drill) -> Iterator[Stream]:
    by: dict[tuple[str, str], list[Request]] = defaultdict(list)
    for request in story.requests:
        by[request.client, request.stream].append(request)
    for (client, stream), requests in sorted(by.items()):
        requests.sort(key=lambda r: r.sent)
        protocol, family = stream.split()
        gap = 1 / drill.traffic.rate(protocol)
        took = sorted(r.took for r in requests if r.who)
        yield Stream(
            client,
            protocol,
            family,
            sent=len(requests),
            answered=dict(sorted(Counter(r.who for r in requests if r.who).items())),
            lost=sum(r.who is None for r in requests),
            windows=tuple(_windows(requests, story, gap)),
            series=_series(requests, story),
            latency_p50=took[len(took) // 2] if took else None,
            latency_p99=took[len(took) * 99 // 100] if took else None,
        )


def _windows(requests: Sequence[Request], story: Story, gap: float) -> Iterator[Window]:
    """Stretches of loss, each to the next request of the stream that was answered."""
    run: list[Request] = []
    answered = False  # since the last loss: a client that was held up for a while has not been answered
    for request in requests:
        if request.who is not None:
            answered = True
            continue
        if run and answered and request.sent - run[-1].sent > max(JOINS, 2 * gap):
            yield _window(run, requests, story)
            run = []
        run.append(request)
        answered = False
    if run:
        yield _window(run, requests, story)


def _window(run: Sequence[Request], requests: Sequence[Request], story: Story) -> Window:
    begin, last = run[0].sent, run[-1].sent
    end = next((r.sent for r in requests if r.sent > last), None)
    sent = sum(begin <= r.sent <= last for r in requests)
    since = story.begin
    return Window(round(begin - since, 4), None if end is None else round(end - since, 4), len(run), sent)


def _series(requests: Sequence[Request], story: Story) -> dict[str, list[int]]:
    buckets = int((story.end - story.begin) / BUCKET) + 1
    series: dict[str, list[int]] = {}
    for request in requests:
        at = min(max(int((request.sent - story.begin) / BUCKET), 0), buckets - 1)
        series.setdefault(request.who or "lost", [0] * buckets)[at] += 1
    return dict(sorted(series.items()))


def longest(windows: Sequence[Window], story: Story) -> float:
    return round(max((lasted(window, story) for window in windows), default=0.0), 4)


def lasted(window: Window, story: Story) -> float:
    """A window that is open lasts to the drill's end, at the least."""
    return (story.end - story.begin if window.end is None else window.end) - window.begin
