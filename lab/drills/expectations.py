"""Compares each expectation with what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.drills.conduct import Request, Story
from lab.drills.drill import Drill
from lab.drills.expect import AnsweredBy, Back, Bound, Expect, Loss, Who, Withdrawn, bound
from lab.drills.figures import FAMILIES, ago, detected_of, family_of, host_routes, withdrawals_of
from lab.drills.phases import BACK, BEFORE, FAULT, Phases, Span
from lab.drills.result import Expectation, Figures, Stream, Window
from lab.drills.scene import STREAMS
from lab.drills.windows import lasted

LOSSES_TOLD = 3

NOTHING_ASKED = "nothing was asked"

RATE_FLOOR = 0.9
"""A flow that asked less than this share of its rate in a phase proves nothing about that phase."""

RATE_CEILING = 1.1
"""A flow that asked more than this share of its rate has counted requests twice, or somebody else's."""

RATE_STOPPED = 0.5
"""Below this share it is no busy machine any more: the client has stopped."""

SHORT = 0.5
"""A shorter phase is not judged by its rate: it is a handful of requests. Seconds."""


@dataclass(frozen=True, slots=True)
class Case:
    """All that expectations are judged by."""

    story: Story
    drill: Drill
    streams: Sequence[Stream]
    figures: Figures
    slack: float
    phases: Phases

    def asked(self, who: Who, phase: str) -> list[Request]:
        return [r for r in self.story.requests if matches(who, r) and self.phases.at(r.sent) == phase]

    def windows(self, stream: Stream, phase: str) -> list[Window]:
        """Those that begin in a phase."""
        return [w for w in stream.windows if self.phases.at(w.begin + self.story.begin) == phase]

    def limit(self, value: Bound) -> float | None:
        return bound(value, self.story.variant)


def expectations_of(case: Case) -> Iterator[Expectation]:
    """Those of every drill first, then those of this one."""
    if case.story.clients:
        yield _rates(case)
    if case.phases.faults:
        yield _before(case)
    for expect in case.drill.expect:
        yield from _expected(expect, case)
    for back in case.drill.back:
        yield from _losses(back, case, BACK)
    if case.drill.objective is not None:
        yield from _objective(case.drill.objective.restore, case)


# --- of every drill ---


def _rates(case: Case) -> Expectation:
    """A client that asks nothing loses nothing."""
    sent = Counter((r.client, r.stream, _span(case, r)) for r in case.story.requests)
    least, most = (1.0, "no phase is long enough"), (1.0, "")
    for client in case.story.clients:
        for stream in STREAMS:
            rate = case.drill.traffic.rate(stream.split()[0])
            for span in case.phases.spans if rate else ():
                if span.length >= SHORT:
                    number, wanted = sent[client, stream, span], rate * span.length
                    said = f"{client} {stream}: {number / wanted:.0%} in {span.kind}"
                    # The first and the last request of a phase may lie just beyond its borders.
                    least, most = min(least, ((number + 1) / wanted, said)), max(most, ((number - 1) / wanted, said))
    text = f"each flow asks at {RATE_FLOOR:.0%} to {RATE_CEILING:.0%} of its rate, in each phase"
    share, worst = most if most[0] > RATE_CEILING else least
    return Expectation(text, RATE_FLOOR <= share <= RATE_CEILING, worst, timed=share >= RATE_STOPPED)


def _span(case: Case, request: Request) -> Span | None:
    return next((s for s in case.phases.spans if s.begin <= request.sent < s.end), None)


def _before(case: Case) -> Expectation:
    found = case.asked(Who(), BEFORE)
    return _nothing_lost("before the fault, nothing is lost", found, case)


# --- of the fault ---


def _expected(expect: Expect, case: Case) -> Iterator[Expectation]:
    yield from _losses(expect, case, FAULT)
    if expect.answered_by is not None:
        yield answered_by(expect.answered_by, case.story)
    if expect.flaps is not None:
        flaps = case.figures.flaps
        yield Expectation(f"tables flap {expect.flaps} times at the most", flaps <= expect.flaps, str(flaps))
    if expect.detected is not None:
        yield from _detected(expect.detected, case)
    if expect.withdrawn is not None:
        yield from _withdrawn(expect.withdrawn, case)
    if expect.table is not None:
        yield from _table(expect.table, case)


def _detected(limits: Bound, case: Case) -> Iterator[Expectation]:
    limit = case.limit(limits)
    if limit is not None:
        since = min(case.phases.faults, default=case.story.begin)
        at = {family: ago(detected_of(case.story, family), since) for family in FAMILIES}
        met = all(value is not None and value <= limit for value in at.values())
        found = ", ".join(f"{family} {seconds(value)}" for family, value in at.items())
        yield Expectation(
            f"detected within {seconds(limit)}, in both families", met, found, timed=None not in at.values()
        )


def _withdrawn(expect: Withdrawn, case: Case) -> Iterator[Expectation]:
    limit = case.limit(expect.within)
    if limit is None:
        return
    story, since = case.story, min(case.phases.faults, default=case.story.begin)
    prefixes = [p for name in expect.prefixes for p in story.prefixes[name]] or host_routes(story)
    gone = {prefix: ago(at, since) for prefix, at in withdrawals_of(story, prefixes).items()}
    met = bool(gone) and all(at is not None and at <= limit for at in gone.values())
    found = "; ".join(_of_family(family, gone) for family in FAMILIES if any(family_of(p) == family for p in gone))
    which = f" ({', '.join(expect.prefixes)})" if expect.prefixes else ""
    timed = bool(gone) and None not in gone.values()
    yield Expectation(f"every prefix is withdrawn within {seconds(limit)}{which}", met, found or "no prefix", timed)


def _of_family(family: str, gone: dict[str, float | None]) -> str:
    mine = {prefix: at for prefix, at in gone.items() if family_of(prefix) == family}
    never = sorted(prefix for prefix, at in mine.items() if at is None)
    if never:
        return f"{family}: {', '.join(never)} never"
    times = sorted(at for at in mine.values() if at is not None)
    return f"{family} {seconds(times[0])}" + (f" to {seconds(times[-1])}" if len(times) > 1 else "")


def _table(limits: Bound, case: Case) -> Iterator[Expectation]:
    """The only bound that slack widens: how soon a router installs a route depends on the machine's load."""
    limit, value = case.limit(limits), case.figures.table
    if limit is not None:
        text = f"table within {seconds(limit)}"
        if case.slack != 1:
            text += f", and with slack {case.slack:g} within {seconds(limit * case.slack)}"
        met = value is not None and value <= limit * case.slack
        yield Expectation(text, met, seconds(value), timed=value is not None)


# --- losses, of the fault and of the way back ---


def _losses(expect: Expect | Back, case: Case, phase: str) -> Iterator[Expectation]:
    on = "on the way back, " if phase == BACK else ""
    if expect.no_loss is not None:
        who = expect.no_loss
        yield _nothing_lost(f"{on}nothing is lost{_for(who)}", case.asked(who, phase), case)
    if expect.loss is not None:
        yield from _loss(expect.loss, case, phase, on)


def _nothing_lost(text: str, sent: Sequence[Request], case: Case) -> Expectation:
    lost = sorted((r for r in sent if r.who is None), key=lambda r: r.sent)
    found = f"{len(lost)} of {len(sent)}" if sent else NOTHING_ASKED
    if lost:  # a number alone says nothing of where to look
        first = [f"{r.client} {r.stream} at {r.sent - case.story.begin:+.3f} s: {r.why}" for r in lost[:LOSSES_TOLD]]
        found += f" ({'; '.join(first)}{'; …' if lost[LOSSES_TOLD:] else ''})"
    return Expectation(text, bool(sent) and not lost, found, timed=bool(sent))


def _loss(loss: Loss, case: Case, phase: str, on: str) -> Iterator[Expectation]:
    limit = case.limit(loss.within)
    total = limit if loss.total is None else case.limit(loss.total)
    if limit is None or total is None:
        return
    text = f"{on}each flow loses for {seconds(limit)} at the most, {_times(loss.times)}, {seconds(total)} in all"
    concerned = [s for s in case.streams if _concerns(loss, s)]
    if not concerned or not case.asked(loss, phase):
        yield Expectation(text + _for(loss), False, NOTHING_ASKED)
        return
    found = {f"{s.client} {s.protocol} {s.family}": case.windows(s, phase) for s in concerned}
    kept = {name: _within(windows, limit, loss.times, total, case) for name, windows in found.items()}
    worst = max(found, key=lambda name: (not kept[name], *_severity(found[name], case)))
    met = all(kept.values())
    lasting = any(w.end is None for windows in found.values() for w in windows)
    said = _said(worst, found[worst], case)
    if loss.share is not None:
        text += f", {loss.share:.0%} of what is sent then"
        lost, sent = _lost_since_fault(loss, case, [w for windows in found.values() for w in windows])
        met, said = met and lost <= loss.share * sent, f"{said}; {lost} of {sent}"
    yield Expectation(text + _for(loss), met, said, timed=not lasting)


def _within(windows: Sequence[Window], limit: float, times: int, total: float, case: Case) -> bool:
    lengths = [lasted(w, case.story) for w in windows]
    ended = all(w.end is not None for w in windows)
    return (
        ended
        and _outages(windows, limit, case) <= times
        and all(_at_most(one, limit) for one in lengths)
        and _at_most(sum(lengths), total)
    )


def _outages(windows: Sequence[Window], limit: float, case: Case) -> int:
    """How often the flow was out. All that is lost within one allowed time is one outage: with ECMP, only a part of a
    flow's requests takes the broken path, and a flow of few requests has answers in between."""
    number, begin = 0, float("-inf")
    for window in windows:
        if not _at_most(window.begin + lasted(window, case.story) - begin, limit):
            number, begin = number + 1, window.begin
    return number


def _at_most(value: float, limit: float) -> bool:
    return round(value, 4) <= limit


def _severity(windows: Sequence[Window], case: Case) -> tuple[bool, float, int]:
    return any(w.end is None for w in windows), sum(lasted(w, case.story) for w in windows), len(windows)


def _said(name: str, windows: Sequence[Window], case: Case) -> str:
    if not windows:
        return "no flow lost anything"
    lengths = [lasted(w, case.story) for w in windows]
    longest = f"{seconds(max(lengths))} at the longest, {_times(len(lengths))}, {seconds(sum(lengths))} in all"
    return f"the worst is {name}: {longest}{', and to the end' if any(w.end is None for w in windows) else ''}"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _lost_since_fault(loss: Loss, case: Case, windows: Sequence[Window]) -> tuple[int, int]:
    """Lost and sent from the first fault until its last loss is over: a window alone begins and ends with a loss."""
    story = case.story
    fault = min(case.phases.faults, default=story.begin)
    until = max((story.end if w.end is None else w.end + story.begin for w in windows), default=fault)
    sent = [r for r in story.requests if fault <= r.sent < until and matches(loss, r)]
    return sum(r.who is None for r in sent), len(sent)


# --- who answers, and when all is well again ---


def answered_by(expect: AnsweredBy, story: Story, begin: float | None = None) -> Expectation:
    """``begin``: judged from then on, monotonic; by default from the last fault and the tables it leads to."""
    fault = max((m.at for m in story.marks if m.kind == "fault"), default=story.begin)
    until = min((m.at for m in story.marks if m.kind == "recovery" and m.at > fault), default=story.end)
    since = max((at for at in story.settled if fault <= at < until), default=fault) + expect.after
    since = since if begin is None else begin
    who = Counter(r.who or "nobody" for r in story.requests if since <= r.sent < until and matches(expect, r))
    met = set(who) == set(expect.only)
    found = ", ".join(f"{name} {count}" for name, count in sorted(who.items())) or "nothing was asked then"
    silent = [name for name in expect.only if name not in who]
    if who and silent:
        found += f"; not {' or '.join(silent)}"
    only_lost = set(who) - {"nobody"} == set(expect.only)
    return Expectation(f"answered by {' and '.join(expect.only)}{_for(expect)}, and nobody else", met, found, only_lost)


def _objective(limits: Bound, case: Case) -> Iterator[Expectation]:
    """Each flow is restored at the end of its last loss, counted from the fault before that loss."""
    limit = case.limit(limits)
    if limit is None:
        return
    found: list[tuple[float, str]] = []
    for stream in case.streams:
        ends = [_restored(window, case) for window in case.windows(stream, FAULT)]
        found.append((max(ends, default=0.0), f"{stream.client} {stream.protocol} {stream.family}"))
    worst, name = max(found, default=(float("inf"), ""))
    said = NOTHING_ASKED if not found else f"the last is {name}: {seconds(worst if worst != float('inf') else None)}"
    text = f"objective: each flow is restored within {seconds(limit)}"
    timed = worst != float("inf")
    yield Expectation(text, _at_most(worst, limit), said if worst else "no flow lost anything", timed)


def _restored(window: Window, case: Case) -> float:
    begin = window.begin + case.story.begin
    fault = case.phases.fault_before(begin)
    if window.end is None:
        return float("inf")
    return window.end + case.story.begin - (begin if fault is None else fault)


# --- words ---


def matches(who: Who, request: Request) -> bool:
    protocol, family = request.stream.split()
    return who.client in ("", request.client) and who.protocol in ("", protocol) and who.family in ("", family)


def _concerns(who: Who, stream: Stream) -> bool:
    return all(
        wanted in ("", there)
        for wanted, there in ((who.client, stream.client), (who.protocol, stream.protocol), (who.family, stream.family))
    )


def _for(who: Who) -> str:
    words = [word for word in (who.protocol and who.protocol.upper(), who.family, who.client) if word]
    return f" ({', '.join(words)})" if words else ""


def seconds(value: float | None) -> str:
    if value is None:
        return "never"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
