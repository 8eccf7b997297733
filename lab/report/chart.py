"""Answers and losses over time, as an SVG that is as wide as the page lets it: bars stretch, letters do not.

Positions across are percentages; the bars are one path for each node, in a drawing of their own that may be distorted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, log10

from lab.drills.result import Mark, Stream
from lab.report.labels import LANES, Label, place
from lab.report.markup import number, text
from lab.report.views import DONE, LOST, Bars, View, lost_spans, moments

HEIGHT, LANE, FOOT = 112, 14, 28
_FINE = 10
"""Steps to a pixel in the bars' own drawing: whole numbers keep the file small."""
_MOST_LINES = 24
_THINNEST = 0.4
"""Share of the width, in percent, below which a loss would be hard to see."""


@dataclass(frozen=True, slots=True)
class Chart:
    view: View
    bars: Bars
    order: Sequence[tuple[str, str]]
    """Names, from the bottom of the stack, each with its class."""
    streams: Sequence[Stream]
    marks: Sequence[Mark]
    focus: Sequence[View]
    """Stretches that another chart shows larger, with the effects of the fault."""
    top: float
    """Requests a second at the upper border."""
    summary: str

    @property
    def shown(self) -> list[Mark]:
        """Those that get a line: all, or, of very many, the first of each kind. The others are ticks above the bars."""
        here = [m for m in self.marks if self.view.holds(m.at) and self._said_here(m)]
        return moments(here, len(here) if len(here) <= _MOST_LINES else len({m.kind for m in here}))[0]

    @property
    def ticked(self) -> list[Mark]:
        lined = self.shown
        return [m for m in self.marks if self.view.holds(m.at) and self._said_here(m) and m not in lined]

    def _said_here(self, mark: Mark) -> bool:
        return mark.kind in DONE or not any(view.holds(mark.at) for view in self.focus)

    @property
    def labels(self) -> list[Label | None]:
        """One for each mark that is shown."""
        return place([(self.view.share(mark.at), mark.kind) for mark in self.shown])

    @property
    def lanes(self) -> int:
        return max((label.lane + 1 for label in self.labels if label), default=0)

    def with_top(self, top: float) -> Chart:
        return replace(self, top=top)

    def svg(self, lanes: int = LANES) -> str:
        """``lanes``: as many as the charts beside it have, so that they stand at one height."""
        head = lanes * LANE + 4
        loss, lines = "".join(self._losses(head)), "".join(self._lines(head))
        return (
            f'<svg class="chart" width="100%" height="{head + HEIGHT + FOOT}" role="img"'
            f' aria-label="{text(self.summary)}">'
            + "".join([*self._grid(head), self._answers(head)])
            # On a small chart, a line must not hide a loss. On a large one, a loss must not hide a line.
            + (lines + loss if self.focus else loss + lines)
            + "".join([*self._focus(head), *self._ticks(head), *self._lane(head)])
            + f"{self._rug(head)}</svg>"
        )

    def _x(self, at: float) -> str:
        return number(min(100.0, max(0.0, self.view.share(at) * 100))) + "%"

    def _wide(self, begin: float, end: float, least: float = 0.0) -> str:
        share = (min(end, self.view.end) - max(begin, self.view.begin)) / self.view.span * 100
        return number(max(share, least)) + "%"

    def _focus(self, head: int) -> Iterator[str]:
        for view in self.focus:
            x, width = self._x(view.begin), self._wide(view.begin, view.end)
            yield f'<rect class="focus" x="{x}" y="{head - 5}" width="{width}" height="{HEIGHT + 5}" rx="3"/>'

    def _grid(self, head: int) -> Iterator[str]:
        for value in ticks(0, self.top, 4):
            y = number(head + HEIGHT * (1 - value / self.top))
            yield f'<line class="grid" x2="100%" y1="{y}" y2="{y}"/><text class="y" x="-7" dy="4" y="{y}">'
            yield f"{text(_short(value))}</text>"

    def _answers(self, head: int) -> str:
        """Each node's path reaches from the ground to the top of its share; the lower ones cover the higher."""
        heights = [0.0] * len(self.bars)
        paths = []
        for name, kind in self.order:
            if name in self.bars.counts:
                heights = [h + rate for h, rate in zip(heights, self.bars.rates(name), strict=True)]
                paths.append(f'<path class="{kind}" d="{self._path(heights)}"/>')
        unit = self.bars.width
        box = f"{number(self.view.begin / unit)} 0 {number(self.view.span / unit)} {HEIGHT * _FINE}"
        return (
            f'<svg class="bars" y="{head}" width="100%" height="{HEIGHT}" viewBox="{box}" preserveAspectRatio="none">'
            + "".join(reversed(paths))
            + "</svg>"
        )

    def _path(self, rates: Sequence[float]) -> str:
        """Steps, of the bars that the view touches, in units of a bar; equal neighbors are one step."""
        first = max(0, floor(self.view.begin / self.bars.width + 1e-9))
        beyond = min(len(rates), ceil(self.view.end / self.bars.width - 1e-9))
        ground = HEIGHT * _FINE
        parts, level, run = [f"M{first} {ground}"], ground, 0.0
        for index in range(first, beyond):
            wanted = ground - round(min(rates[index] / self.top, 1) * ground)
            if wanted != level:
                parts.append((f"h{number(run)}" if run else "") + f"v{wanted - level}")
                level, run = wanted, 0.0
            run += self.bars.last / self.bars.width if index == len(rates) - 1 else 1.0
        return "".join(parts) + f"h{number(run)}V{ground}z"

    def _losses(self, head: int) -> Iterator[str]:
        """Drawn on top of the answers, and apart from the bars, so that their hatching is not distorted."""
        if LOST not in self.bars.counts:
            return
        names = [name for name, _ in self.order if name in self.bars.counts]
        columns = zip(self.bars.rates(LOST), *(self.bars.rates(name) for name in names), strict=True)
        runs: list[tuple[float, float, float, float]] = []
        for index, (lost, *answered) in enumerate(columns):
            begin = index * self.bars.width
            end = begin + (self.bars.last if index == len(self.bars) - 1 else self.bars.width)
            if not lost or end <= self.view.begin or begin >= self.view.end:
                continue
            tall = max(lost / self.top * HEIGHT, 2.0)
            y = head + HEIGHT * (1 - sum(answered) / self.top) - tall
            if runs and runs[-1][2:] == (y, tall) and abs(runs[-1][1] - begin) < 1e-9:
                begin = runs.pop()[0]
            runs.append((begin, end, y, tall))
        for begin, end, y, tall in runs:
            yield (
                f'<rect class="lost" x="{self._x(begin)}" y="{number(y)}" width="{self._wide(begin, end, _THINNEST)}"'
                f' height="{number(tall)}"/>'
            )

    def _lines(self, head: int) -> Iterator[str]:
        bottom = head + HEIGHT
        for mark, label in zip(self.shown, self.labels, strict=True):
            x = self._x(mark.at)
            top = label.lane * LANE + 2 if label else head
            kind = "done" if mark.kind in DONE else "seen"
            line = f'x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"'
            yield f'<line class="halo" {line}/><line class="{kind}" {line}/>'
            if label:
                side = ' text-anchor="end" dx="-4"' if label.left else ' dx="4"'
                yield f'<text class="{kind}" x="{x}" y="{top + 10}"{side}>{text(label.text)}</text>'

    def _rug(self, head: int) -> str:
        places = sorted({round(self.view.share(mark.at) * 500) for mark in self.ticked})
        ticks = "".join(f"M{place} 0v5" for place in places)
        box = f'y="{head - 7}" width="100%" height="5" viewBox="0 0 500 5" preserveAspectRatio="none"'
        return f'<svg {box}><path class="rug" d="{ticks}"/></svg>' if ticks else ""

    def _lane(self, head: int) -> Iterator[str]:
        """Below the axis, every stretch of loss, however short or small."""
        y = head + HEIGHT + 3
        for begin, end in lost_spans(self.streams, self.view, self.view.span / 400):
            x, width = self._x(begin), self._wide(begin, end, _THINNEST)
            yield f'<rect class="lane" x="{x}" y="{y}" width="{width}" height="6"/>'

    def _ticks(self, head: int) -> Iterator[str]:
        bottom = head + HEIGHT
        yield f'<line class="axis" x2="100%" y1="{bottom}" y2="{bottom}"/>'
        zero = self.view.zero or 0.0
        for value in ticks(self.view.begin - zero, self.view.end - zero, 8):
            x = self._x(value + zero)
            said = f"{abs(value):g}"
            if self.view.zero is not None and value:
                said = ("+" if value > 0 else "−") + said
            yield f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 10}"/>'
            yield f'<text class="x" x="{x}" y="{bottom + 23}">{said}</text>'


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values between two, at most so many steps apart."""
    raw = max(high - low, 1e-6) / most
    power = 10.0 ** floor(log10(raw))
    step = next(power * f for f in (1, 2, 5, 10) if power * f >= raw * 0.999)
    return [round(n * step, 9) + 0.0 for n in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:,g}"
