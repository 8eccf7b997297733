"""The effects of a drill: the victim carried traffic before the fault, and the fault changed something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from lab.drills.conduct import Counted
from lab.drills.expect import Carried, Changed, Effect, Lost, Replaced
from lab.drills.expectations import NOTHING_ASKED, Case
from lab.drills.phases import BEFORE, FAULT
from lab.drills.result import Expectation


def effects_of(case: Case) -> Iterator[Expectation]:
    for effect in case.drill.effect:
        yield _effect(effect, case)


def _effect(effect: Effect, case: Case) -> Expectation:
    if effect.carried is not None:
        return _by_link(effect.carried, case) if effect.carried.link else _by_nodes(effect.carried, case)
    if effect.lost is not None:
        return _lost(effect.lost, case)
    if effect.replaced is not None:
        return _replaced(effect.replaced, case)
    assert effect.changed is not None  # noqa: S101 -- the file has exactly one key
    return _changed(effect.changed, case)


def _by_nodes(carried: Carried, case: Case) -> Expectation:
    """Judge each flow by itself: one family that goes elsewhere must not hide behind the other."""
    low, high = carried.share
    text = f"effect: {' and '.join(carried.by)} answered {low:.0%} to {high:.0%} of each flow before the fault"
    answers: dict[tuple[str, str], Counter[str]] = {}
    for request in case.asked(carried, BEFORE):
        if request.who is not None:
            answers.setdefault((request.client, request.stream), Counter())[request.who] += 1
    shares = {key: sum(who[n] for n in carried.by) / who.total() for key, who in sorted(answers.items())}
    found = ", ".join(f"{client} {stream} {share:.0%}" for (client, stream), share in shares.items())
    return Expectation(text, bool(shares) and all(low <= s <= high for s in shares.values()), found or NOTHING_ASKED)


def _by_link(carried: Carried, case: Case) -> Expectation:
    assert carried.link is not None  # noqa: S101 -- the caller has checked
    low, high = carried.share
    name = "–".join(carried.link)
    text = f"effect: {name} carried {low:.0%} to {high:.0%} of the packets of {carried.client} before the fault"
    all_of = _crossed(case, lambda c: c.node == carried.client)
    here = _crossed(case, lambda c: {c.node, c.far} == set(carried.link or ()))
    if not all_of or here is None:
        return Expectation(text, False, "not counted")
    share = here / all_of
    return Expectation(text, low <= share <= high, f"{here} of {all_of}, {share:.0%}")


def _crossed(case: Case, wanted: Callable[[Counted], bool]) -> int | None:
    """Packets between the drill's begin and its first fault."""
    counts = [c.packets for c in sorted(case.story.counted, key=lambda c: c.at) if wanted(c)]
    return counts[-1] - counts[0] if len(counts) > 1 else None


def _lost(lost: Lost, case: Case) -> Expectation:
    found = sum(r.who is None for r in case.asked(lost, FAULT))
    which = f" ({lost.client})" if lost.client else ""
    return Expectation(
        f"effect: the fault costs {lost.at_least} requests at the least{which}", found >= lost.at_least, str(found)
    )


def _replaced(replaced: Replaced, case: Case) -> Expectation:
    wrong = []
    for node in replaced.nodes:
        seen = [r.pids for r in case.story.running if (r.node, r.process) == (node, replaced.process)]
        before, after = (set(seen[0]), set(seen[-1])) if len(seen) > 1 else (set[int](), set[int]())
        if not before or not after:
            wrong.append(f"{node}: it ran {'not before' if not before else 'no more at the end'}")
        elif before & after:
            wrong.append(f"{node}: process {min(before & after)} is the same as before")
    text = f"effect: {replaced.process} on {' and '.join(replaced.nodes)} is another process in the end"
    return Expectation(text, not wrong, "; ".join(wrong) or "yes")


def _changed(changed: Changed, case: Case) -> Expectation:
    times = Counter((c.node, c.prefix) for c in case.story.changes if case.phases.at(c.at) == FAULT)
    wanted = [
        (node, prefix) for node in changed.nodes for name in changed.prefixes for prefix in case.story.prefixes[name]
    ]
    fewest = min(wanted, key=lambda key: times[key])
    text = f"effect: the fault changes the tables of {' and '.join(changed.nodes)} for {', '.join(changed.prefixes)}"
    text += f", {changed.times} times" if changed.times > 1 else ""
    return Expectation(text, times[fewest] >= changed.times, f"{fewest[0]}: {fewest[1]} {times[fewest]} times")
