"""From what happened to what it means: streams, windows of loss, figures, and which expectations were met."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from lab.drills.conduct import Request, Story
from lab.drills.drill import AnsweredBy, Drill, Expect, Loss, Who, bound
from lab.drills.result import BUCKET, Expectation, Figures, Mark, Result, Stream, Window
from lab.net.tables import Change

JOINS = 0.25
"""Losses that are no further apart are one window: with ECMP, other flows are answered in between. Seconds."""

TABLES_SETTLE = 5.0
"""A change of a table later than this after a fault, with none in between, is not of its making. Seconds."""

MARKS_MOST = 200
LOSSES_TOLD = 3

NOTHING_ASKED = "nothing was asked"


def judge(story: Story, drill: Drill, slack: float = 1.0) -> Result:
    """``slack`` widens every bound on time: on a busy machine, the end states are judged, not the scheduler."""
    streams = tuple(_streams(story, drill))
    figures = _figures(story, streams)
    expectations = (*story.met, *_expectations(story, drill, streams, figures, slack))
    return Result(
        drill=story.drill,
        title=drill.title,
        about=drill.about.strip(),
        variant=story.variant,
        started=story.started,
        duration=round(story.end - story.begin, 3),
        marks=tuple(_marks(story)),
        streams=streams,
        figures=figures,
        expectations=expectations,
        problem=story.problem,
    )


# --- streams ---


def _streams(story: Story, drill: Drill) -> Iterator[Stream]:
    by: dict[tuple[str, str], list[Request]] = defaultdict(list)
    for request in story.requests:
        by[request.client, request.stream].append(request)
    for (client, stream), requests in sorted(by.items()):
        requests.sort(key=lambda r: r.sent)
        protocol, family = stream.split()
        gap = 1 / getattr(drill.traffic, protocol)
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


# --- figures ---


def _figures(story: Story, streams: Sequence[Stream]) -> Figures:
    windows = [w for s in streams for w in s.windows]
    fault = next((m.at for m in story.marks if m.kind == "fault"), None)
    if fault is None:
        return Figures(loss=_longest(windows, story), flaps=_flaps(story))
    recovery = next((m.at for m in story.marks if m.kind == "recovery" and m.at > fault), story.end)
    detected = next((s.at for s in story.seen if fault <= s.at < recovery), None)
    changes = sorted(c.at for c in story.changes if fault <= c.at < recovery)
    withdrawals = [c.at for c in story.changes if fault <= c.at < recovery and _a_way_less(c)]
    lost = [w for w in windows if w.end is None or w.end + story.begin > fault]
    open_end = any(w.end is None for w in lost)
    ends = [w.end + story.begin for w in lost if w.end is not None and w.begin + story.begin < recovery]
    return Figures(
        detected=_ago(detected, fault),
        withdrawn=_ago(min(withdrawals, default=None), fault),
        table=_ago(_burst_end(changes), fault),
        loss=_longest(windows, story),
        restored=_ago(max(ends) if ends and not open_end else None, fault),
        flaps=_flaps(story),
    )


def _a_way_less(change: Change) -> bool:
    """A table leaves a next hop of a service's prefix; an edge's own way out says nothing of the service."""
    return not change.prefix.startswith("default") and bool(set(change.before or ()) - set(change.after or ()))


def _ago(at: float | None, since: float) -> float | None:
    return None if at is None else round(max(at - since, 0.0), 4)


def _longest(windows: Sequence[Window], story: Story) -> float:
    end = story.end - story.begin
    return round(max(((end if w.end is None else w.end) - w.begin for w in windows), default=0.0), 4)


def _burst_end(changes: Sequence[float]) -> float | None:
    """The last change that follows the ones before it."""
    last: float | None = None
    for at in changes:
        if last is not None and at - last > TABLES_SETTLE:
            break
        last = at
    return last


def _flaps(story: Story) -> int:
    """A table that changes away and back while nothing is done to the lab."""
    bounds = sorted(m.at for m in story.marks)
    seen: dict[tuple[str, str], list[object]] = {}
    flaps = 0
    phase = 0
    for change in sorted(story.changes, key=lambda c: c.at):
        while phase < len(bounds) and change.at >= bounds[phase]:
            phase, seen = phase + 1, {}
        states = seen.setdefault((change.node, change.prefix), [change.before])
        flaps += change.after in states
        states.append(change.after)
    return flaps


def _marks(story: Story) -> Iterator[Mark]:
    """The chart's lines: what was done, the first notice of each phase, and how the tables moved."""
    bounds = [m.at for m in story.marks if m.kind in ("fault", "recovery")]
    found = list(story.marks)
    for begin, end in zip(bounds, [*bounds, story.end][1:], strict=True):
        noticed = next((s for s in story.seen if begin <= s.at < end), None)
        if noticed is not None:
            found.append(Mark(noticed.at, "detected", f"{noticed.node}: {noticed.text}"))
        changes = sorted((c for c in story.changes if begin <= c.at < end), key=lambda c: c.at)
        if changes:
            first = changes[0]
            gone = first.after is None or set(first.after) < set(first.before or ())
            kind = "withdrawn" if gone else "announced"
            to = " and ".join(first.after) if first.after else "nobody"
            found.append(Mark(first.at, kind, f"{first.node}: {first.prefix} → {to}"))
            last = _burst_end([c.at for c in changes])
            if last is not None and last > first.at:
                at_last = next(c for c in reversed(changes) if c.at == last)
                to = " and ".join(at_last.after) if at_last.after else "nobody"
                found.append(
                    Mark(last, "table", f"the last of {len(changes)}: {at_last.node}: {at_last.prefix} → {to}")
                )
    for mark in sorted(found, key=lambda m: m.at)[:MARKS_MOST]:
        yield Mark(round(mark.at - story.begin, 4), mark.kind, mark.text)


# --- expectations ---


def _expectations(
    story: Story, drill: Drill, streams: Sequence[Stream], figures: Figures, slack: float
) -> Iterator[Expectation]:
    for expect in drill.expect:
        found = _one(expect, story, streams, figures, slack)
        if found is not None:
            yield found
    if drill.objective is not None:
        limit = bound(drill.objective.restore, story.variant)
        if limit is not None:
            open_end = any(w.end is None for s in streams for w in s.windows)
            restored = 0.0 if streams and figures.restored is None and not open_end else figures.restored
            met = restored is not None and restored <= limit * slack
            yield Expectation(f"objective: restored within {_seconds(limit)}", met, _seconds(restored))


def _one(expect: Expect, story: Story, streams: Sequence[Stream], figures: Figures, slack: float) -> Expectation | None:
    if expect.no_loss is not None:
        return _no_loss(expect.no_loss, story)
    if expect.loss is not None:
        return _loss(expect.loss, story, streams, slack)
    if expect.answered_by is not None:
        return answered_by(expect.answered_by, story)
    if expect.flaps is not None:
        return Expectation(
            f"tables flap {expect.flaps} times at the most", figures.flaps <= expect.flaps, str(figures.flaps)
        )
    for name in ("detected", "withdrawn", "table"):
        limits = getattr(expect, name)
        limit = bound(limits, story.variant) if limits is not None else None
        if limit is not None:
            value = getattr(figures, name)
            met = value is not None and value <= limit * slack
            return Expectation(f"{name} within {_seconds(limit)}", met, _seconds(value))
    return None  # it says nothing of this variant


def _no_loss(who: Who, story: Story) -> Expectation:
    sent = [r for r in story.requests if _matches(who, r.client, *r.stream.split())]
    lost = sorted((r for r in sent if r.who is None), key=lambda r: r.sent)
    found = f"{len(lost)} of {len(sent)}" if sent else NOTHING_ASKED
    if lost:  # by itself a number says nothing of where to look
        first = [f"{r.client} {r.stream} at {r.sent - story.begin:+.3f} s: {r.why}" for r in lost[:LOSSES_TOLD]]
        found += f" ({'; '.join(first)}{'; …' if lost[LOSSES_TOLD:] else ''})"
    return Expectation(f"nothing is lost{_for(who)}", bool(sent) and not lost, found)


def _loss(loss: Loss, story: Story, streams: Sequence[Stream], slack: float) -> Expectation | None:
    limit = bound(loss.within, story.variant)
    if limit is None:
        return None
    concerned = _of(streams, loss)
    text = f"loss ends within {_seconds(limit)}{_for(loss)}"
    if not concerned:
        return Expectation(text, False, NOTHING_ASKED)
    windows = [w for s in concerned for w in s.windows]
    longest, lasting = _longest(windows, story), any(w.end is None for w in windows)
    met, found = longest <= limit * slack and not lasting, _seconds(longest) + (", and to the end" if lasting else "")
    if loss.share is not None and windows:
        lost, sent = _lost_since_fault(loss, story, windows)
        met = met and lost <= loss.share * sent
        text, found = f"{text}, of at most {loss.share:.0%} of what was sent", f"{found}, {lost} of {sent}"
    return Expectation(text, met, found)


def _lost_since_fault(loss: Loss, story: Story, windows: Sequence[Window]) -> tuple[int, int]:
    """Lost and sent from the first fault until its last loss is over: a window alone begins and ends with a loss.

    A loss that the recovery costs is not its: what was answered until then would make the share small.
    """
    fault = min((m.at for m in story.marks if m.kind == "fault"), default=story.begin)
    recovery = min((m.at for m in story.marks if m.kind == "recovery" and m.at > fault), default=story.end)
    its_own = [w for w in windows if w.begin + story.begin < recovery] or windows
    until = max(story.end if w.end is None else w.end + story.begin for w in its_own)
    sent = [r for r in story.requests if fault <= r.sent < until and _matches(loss, r.client, *r.stream.split())]
    return sum(r.who is None for r in sent), len(sent)


def answered_by(expect: AnsweredBy, story: Story) -> Expectation:
    fault = max((m.at for m in story.marks if m.kind == "fault"), default=story.begin)
    until = min((m.at for m in story.marks if m.kind == "recovery" and m.at > fault), default=story.end)
    since = max((at for at in story.settled if fault <= at < until), default=fault) + expect.after
    who = Counter(
        r.who or "nobody"
        for r in story.requests
        if since <= r.sent < until and _matches(expect, r.client, *r.stream.split())
    )
    met = bool(who) and set(who) <= set(expect.only)
    found = ", ".join(f"{name} {count}" for name, count in sorted(who.items())) or "nothing was asked then"
    return Expectation(f"answered by {' and '.join(expect.only)} alone{_for(expect)}", met, found)


def _matches(who: Who, client: str, protocol: str, family: str) -> bool:
    return who.client in ("", client) and who.protocol in ("", protocol) and who.family in ("", family)


def _of(streams: Sequence[Stream], who: Who) -> list[Stream]:
    return [s for s in streams if _matches(who, s.client, s.protocol, s.family)]


def _for(who: Who) -> str:
    words = [word for word in (who.protocol and who.protocol.upper(), who.family, who.client) if word]
    return f" ({', '.join(words)})" if words else ""


def _seconds(value: float | None) -> str:
    if value is None:
        return "never seen"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
