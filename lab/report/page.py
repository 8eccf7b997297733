"""The report of drills: one file that needs nothing else, to be read, sent on and printed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from lab.drills.result import Expectation, Family, Result, Stream
from lab.report.drawn import Colors, charts, events
from lab.report.markup import count, seconds, text
from lab.report.style import STYLE

_FLOOR = (
    "The lab has no distance: its links take microseconds, its routers stand next to each other. On the internet the "
    "withdrawal of an aggregate can take minutes, because routers hunt through ever longer paths before they give up. "
    "The figures here are the floor of the mechanism, not a promise."
)
_TERMS = (
    "Longest: the longest time of loss of any flow (client, protocol, family). From the fault: detected, until an "
    "agent or a router said so; withdrawn, until the first table lost a next hop; table, until the last kernel table "
    "had changed; restored, until nothing more was lost, or never, if that went on to the end. Flaps: changes of a "
    "router's table, and back, that nobody asked for. A dash: not seen. Overloaded: the machine held the runner itself "
    "up, so the times measure the machine, and the drill has neither passed nor failed by them."
)
_HATCH = (
    '<svg class="defs" aria-hidden="true"><defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse"'
    ' patternTransform="rotate(45)"><rect class="hatch-ground" width="5" height="5"/>'
    '<rect class="hatch-line" width="1.6" height="5"/></pattern></defs></svg>'
)


def html(results: Sequence[Result], topology_svg: str = "", about: Mapping[str, str] | None = None) -> str:
    """A whole document, well-formed as XML, too; ``topology_svg`` is the lab's own and stands in it as it is."""
    ordered = sorted(results, key=lambda r: (r.passed, bool(r.problem)))
    colors = Colors(results)
    picture = f'<h3>The network</h3><div class="wide picture">{topology_svg}</div>' if topology_svg else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>"
        f"<title>Failover drills: {text(_total(results))}</title><style>{STYLE}</style></head>\n<body>{_HATCH}"
        f"<header><h1>Failover drills</h1>{_head(results, about or {})}</header>\n<main>"
        f"{_summary(ordered)}\n{picture}\n"
        + "\n".join(_drill(number, result, colors) for number, result in enumerate(ordered, 1))
        + f"\n</main><footer><p>{_FLOOR}</p></footer></body></html>\n"
    )


def write(
    results: Sequence[Result], folder: Path, topology_svg: str = "", about: Mapping[str, str] | None = None
) -> Path:
    """The report and, beside it, the same as data; returns the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"about": dict(about or {}), "results": [result.to_json() for result in results]}
    (folder / "results.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    report = folder / "report.html"
    report.write_text(html(results, topology_svg, about), encoding="utf-8")
    return report


def _total(results: Sequence[Result]) -> str:
    verdicts = Counter(r.verdict for r in results)
    parts = [f"{verdicts['passed']} of {len(results)} passed"]
    words = {"failed": "failed", "overloaded": "on an overloaded machine", "not run": "could not run"}
    return ", ".join(parts + [f"{verdicts[name]} {said}" for name, said in words.items() if verdicts[name]])


def _verdict(result: Result) -> str:
    kind, sign = {"passed": ("ok", "✓"), "overloaded": ("warn", "◐")}.get(result.verdict, ("bad", "✕"))
    return f'<span class="{kind}">{sign} {result.verdict}</span>'


def _facts(pairs: Sequence[tuple[str, str]], kind: str = "") -> str:
    inner = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="facts {kind}">{inner}</dl>' if pairs else ""


def _head(results: Sequence[Result], about: Mapping[str, str]) -> str:
    well = all(r.passed for r in results)
    kind, sign = ("ok", "✓") if well and results else ("bad", "✕")
    facts = []
    if results and "when" not in {name.lower() for name in about}:
        facts.append(("when", _moment(min(r.started for r in results))))
    variants = Counter(r.variant for r in results)
    facts.append(("variant", ", ".join(f"{name} ({many})" for name, many in sorted(variants.items())) or "–"))
    return (
        f'<p class="total"><span class="{kind}">{sign}</span> {text(_total(results))}</p>'
        f"{_facts([*facts, *about.items()], 'about')}"
    )


def _moment(started: str) -> str:
    try:
        return f"{datetime.fromisoformat(started):%Y-%m-%d %H:%M:%S %Z}".strip()
    except ValueError:
        return started


def _lost(result: Result) -> tuple[int, int]:
    return sum(s.lost for s in result.streams), sum(s.sent for s in result.streams)


def _restored(result: Result) -> str:
    """A loss that went on must not look like none."""
    lasting = any(w.end is None for s in result.streams for w in s.windows)
    return "never" if lasting and result.figures.restored is None else seconds(result.figures.restored)


def _table(kind: str, heads: Sequence[str], rows: Sequence[str], numbers: Sequence[str]) -> str:
    head = "".join(f'<th scope="col"{_right(name in numbers)}>{text(name)}</th>' for name in heads)
    return (
        f'<div class="wide" tabindex="0"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _right(number: bool) -> str:
    return ' class="n"' if number else ""


SHORT = ("Drill", "Passed", "Lost", "Longest")
"""The summary's columns on a phone; the drills' sections say the rest."""


def _summary(results: Sequence[Result]) -> str:
    heads = (*SHORT, "Sent", "Variant", "Detected", "Withdrawn", "Table", "Restored", "Flaps")
    head = "".join(f'<th scope="col" class="{_kind(name)}">{name}</th>' for name in heads)
    rows = []
    for place, result in enumerate(results, 1):
        cells = "".join(
            f'<td class="{_kind(name)}">{cell}</td>'
            for name, cell in zip(heads[1:], [_verdict(result), *_row(result)], strict=True)
        )
        link = f'<a href="#drill-{place}">{text(result.title or result.drill)}</a>'
        rows.append(f'<tr><th scope="row">{link}</th>{cells}</tr>')
    table = (
        f'<div class="wide" tabindex="0"><table class="summary"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
    return f'<h3>All drills</h3>{table}<p class="hint">{text(_TERMS)}</p>'


def _kind(name: str) -> str:
    words = ["n"] * (name not in ("Drill", "Passed", "Variant")) + ["more"] * (name not in SHORT)
    return " ".join(words)


def _row(result: Result) -> list[str]:
    f = result.figures
    lost, sent = _lost(result)
    if not result.streams:  # a nought would say that nothing was lost
        return ["–", "–", "–", text(result.variant), *["–"] * 5]
    times = [seconds(value) for value in (f.detected, f.withdrawn, f.table)]
    return [
        count(lost), seconds(f.loss), count(sent), text(result.variant), *times, _restored(result), count(f.flaps),
    ]  # fmt: skip


def _drill(number: int, result: Result, colors: Colors) -> str:
    head = '<div class="box" role="note"><span class="bad">Could not be run to its end</span>: '
    problem = f"{head}{text(result.problem)}</div>" if result.problem else ""
    noticed = f'<p class="noticed">{text(result.noticed)}</p>' if result.noticed else ""
    took = f' · <span class="nb">{seconds(result.duration)}</span>' if result.duration else ""
    return (
        f'<section class="drill" id="drill-{number}"><h2>{text(result.title or result.drill)} {_verdict(result)}</h2>'
        f'{noticed}<p class="dim">{text(result.drill)} · {text(result.variant)} · {text(_moment(result.started))}'
        f"{took}</p><p>{text(result.about)}</p>{problem}{_figures(result)}"
        f"{charts(result, colors)}{events(result)}{_expectations(result.expectations)}"
        f"{_streams(result.streams, colors)}{_evidence(result)}</section>"
    )


def _figures(result: Result) -> str:
    if not result.streams:
        return ""
    f = result.figures
    lost, sent = _lost(result)
    times = {"Longest": f.loss, "Detected": f.detected, "Withdrawn": f.withdrawn, "Table": f.table}
    pairs = [(name, seconds(value)) for name, value in times.items()] + [("Restored", _restored(result))]
    families = [
        (f"{family}: detected, withdrawn first and last", ", ".join(map(seconds, times_of(of))))
        for family, of in f.families.items()
        if any(value is not None for value in times_of(of))
    ]
    return _facts([("Lost", f"{count(lost)} of {count(sent)}"), *pairs, ("Flaps", count(f.flaps)), *families])


def times_of(family: Family) -> tuple[float | None, ...]:
    return family.detected, family.withdrawn_first, family.withdrawn_last


def _evidence(result: Result) -> str:
    """The machine's load, the slack, and the place of the raw evidence."""
    parts = []
    if result.load is not None:
        load = result.load
        held = f"held the runner up for {seconds(load.late_worst)} at the worst, {seconds(load.late_p99)} in 1 of 100"
        parts.append(f"The machine: {load.cores} cores, {load.busy:.0%} busy, load {load.average:g}; {held}.")
    if result.slack != 1:
        parts.append(f"Bounds on tables were widened: slack {result.slack:g}.")
    if result.commands:
        parts.append(f"{len(result.commands)} commands, with all that they said, are in results.json.")
    return f'<p class="dim">{text(" ".join(parts))}</p>' if parts else ""


def _expectations(expectations: Sequence[Expectation]) -> str:
    lines = "".join(
        f"<li>{_met(e.met)}<span>{text(e.text)}</span>"
        + (f'<span></span><span class="dim">found: {text(e.found)}</span>' if e.found else "")
        + "</li>"
        for e in expectations
    )
    return f'<h3>What was expected</h3><ul class="list found">{lines}</ul>' if lines else ""


def _met(met: bool) -> str:
    return '<span class="ok">✓ met</span>' if met else '<span class="bad">✕ not met</span>'


def _streams(streams: Sequence[Stream], colors: Colors) -> str:
    heads = ("Client", "Protocol", "Sent", "Answered by", "Lost", "Longest window", "p50", "p99")
    rows = ["<tr>" + "".join(_cells(stream, colors)) + "</tr>" for stream in streams]
    numbers = ("Sent", "Lost", "Longest window", "p50", "p99")
    return f"<h3>What clients sent</h3>{_table('streams', heads, rows, numbers)}" if rows else ""


def _cells(stream: Stream, colors: Colors) -> Iterator[str]:
    yield f'<th scope="row">{text(stream.client)}</th><td>{text(stream.protocol)}, {text(stream.family)}</td>'
    yield f'<td class="n">{count(stream.sent)}</td><td><div class="answers">'
    for node in sorted(stream.answered, key=colors.place):
        yield f"<span>{colors.key(node)}{text(node)} {count(stream.answered[node])}</span>"
    yield f'</div></td><td class="n">{count(stream.lost)}</td>'
    open_end = any(w.end is None for w in stream.windows)
    longest = max((w.end - w.begin for w in stream.windows if w.end is not None), default=None)
    said = "to the end" if open_end else seconds(longest)
    for figure in (said, seconds(stream.latency_p50), seconds(stream.latency_p99)):
        yield f'<td class="n">{figure}</td>'
