"""The first line of a drill's report: what users noticed, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.drills.conduct import Story
from lab.drills.expectations import seconds
from lab.drills.result import Stream

NEAR = 0.1
"""Times of loss of several flows of one client that are no further apart than this are one. Seconds."""

ALL = 0.95
"""From this share of lost requests on, the sentence says that nobody was answered."""


def noticed(story: Story, streams: Sequence[Stream]) -> str:
    """For each client: how long, how much, and of which streams. Empty if nobody asked anything."""
    clients = dict.fromkeys(s.client for s in streams)
    return "; ".join(f"{story.users.get(c, c)}: {_of(story, [s for s in streams if s.client == c])}" for c in clients)


def _of(story: Story, streams: Sequence[Stream]) -> str:
    times = list(_times(story, streams))
    if not times:
        return "nothing"
    begin, end = max(times, key=lambda span: span[1] - span[0])
    hit = [s for s in streams if any(_overlaps(w.begin, w.end, begin, end) for w in s.windows)]
    what = _what(hit, streams)
    sent = [
        r for r in story.requests
        if begin <= r.sent - story.begin < end and (r.client, r.stream) in {(s.client, _name(s)) for s in hit}
    ]  # fmt: skip
    share = sum(r.who is None for r in sent) / len(sent) if sent else 1.0
    lasting = any(w.end is None for s in streams for w in s.windows)
    how_long = f"for {seconds(end - begin)}" + (", and to the end" if lasting else "")
    said = f"no answer{what} {how_long}" if share >= ALL else f"{_percent(share)} of the requests{what} lost {how_long}"
    return said + (f", and {len(times) - 1} shorter times" if len(times) > 1 else "")


def _times(story: Story, streams: Sequence[Stream]) -> Iterator[tuple[float, float]]:
    """The client's times of loss, those of all flows together."""
    spans = sorted(
        (w.begin, story.end - story.begin if w.end is None else w.end) for stream in streams for w in stream.windows
    )
    current: tuple[float, float] | None = None
    for begin, end in spans:
        if current is not None and begin <= current[1] + NEAR:
            current = current[0], max(current[1], end)
            continue
        if current is not None:
            yield current
        current = begin, end
    if current is not None:
        yield current


def _overlaps(begin: float, end: float | None, first: float, last: float) -> bool:
    return begin <= last and (end is None or end >= first)


def _what(hit: Sequence[Stream], streams: Sequence[Stream]) -> str:
    """The protocol and the family, where not all were hit."""
    protocols, families = {s.protocol for s in hit}, {s.family for s in hit}
    words = [min(protocols).upper()] if len(protocols) == 1 < len({s.protocol for s in streams}) else []
    words += [f"over {min(families)}"] if len(families) == 1 < len({s.family for s in streams}) else []
    return f" to {' '.join(words)}" if words and words[0][0] != "o" else f" {words[0]}" if words else ""


def _name(stream: Stream) -> str:
    return f"{stream.protocol} {stream.family}"


def _percent(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{share * 100:.0f} %"
