"""A page over all runs that were kept: evidence that failure is rehearsed, and whether it still ends as it should."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.report.markup import seconds, text
from lab.report.style import STYLE

MOST = 30
"""The number of columns; older runs have none."""

_SIGNS = {"passed": ("ok", "✓"), "overloaded": ("warn", "◐"), "failed": ("bad", "✕"), "not run": ("bad", "✕ not run")}


@dataclass(frozen=True, slots=True)
class Run:
    name: str
    drills: Mapping[tuple[str, str], tuple[str, float | None]]
    """The verdict and the longest loss, by drill and variant."""


def write(folder: Path) -> Path:
    """``index.html`` of a folder that holds a folder of results for each run."""
    runs, strange = [], []
    for path in sorted(folder.glob("*/results.json"))[-MOST:]:
        try:
            runs.append(_run(path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            strange.append(f"{path.parent.name} cannot be read: {error}")
    page = folder / "index.html"
    page.write_text(html(runs, strange), encoding="utf-8")
    return page


def _run(path: Path) -> Run:
    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    drills = {(str(r["drill"]), str(r["variant"])): (str(r["verdict"]), r["figures"]["loss"]) for r in results}
    return Run(path.parent.name, drills)


def html(runs: Sequence[Run], strange: Sequence[str] = ()) -> str:
    names = sorted({key for run in runs for key in run.drills})
    head = "".join(
        f'<th scope="col" class="n"><a href="{text(r.name)}/report.html">{text(r.name)}</a></th>' for r in runs
    )
    rows = "".join(
        f'<tr><th scope="row">{text(drill)}, {text(variant)}</th>'
        + "".join(f'<td class="n">{_cell(run.drills.get((drill, variant)))}</td>' for run in runs)
        + "</tr>"
        for drill, variant in names
    )
    notes = "".join(f'<p class="dim">{text(note)}</p>' for note in strange)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>"
        f"<title>Failover drills: all runs</title><style>{STYLE}</style></head>\n<body><header><h1>All runs</h1>"
        f"<p>Each cell: the verdict, and the longest loss of any flow. The newest is on the right.</p></header><main>"
        f'<div class="wide" tabindex="0"><table><thead><tr><th scope="col">Drill</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{notes}</main></body></html>\n"
    )


def _cell(found: tuple[str, float | None] | None) -> str:
    if found is None:
        return "–"
    kind, sign = _SIGNS.get(found[0], ("bad", found[0]))
    return f'<span class="{kind}">{text(sign)}</span> {seconds(found[1])}'
