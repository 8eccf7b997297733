"""The places of a topology's nodes in its picture: rows by level, columns by site. Pure geometry, in pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from statistics import fmean

from lab.net.topology import Topology

ROW_GAP, BOX_GAP, SITE_GAP = 66.0, 28.0, 56.0
SIDE, HEAD, FOOT = 40.0, 46.0, 24.0
"""A site's region is so much larger than its boxes. The head holds its name and, below it, the names of interfaces."""
WIDEST = 8
"""Boxes beside each other: more would not be readable at the width of a page."""


@dataclass(frozen=True, slots=True)
class Rect:
    x: float
    y: float
    w: float
    h: float

    @property
    def middle(self) -> float:
        return self.x + self.w / 2

    def touches(self, other: Rect) -> bool:
        across = self.x < other.x + other.w and other.x < self.x + self.w
        return across and self.y < other.y + other.h and other.y < self.y + self.h

    def moved(self, x: float, y: float) -> Rect:
        return Rect(self.x + x, self.y + y, self.w, self.h)


@dataclass(frozen=True, slots=True)
class Layout:
    boxes: Mapping[str, Rect]
    regions: Mapping[str, Rect]
    """By site."""
    width: float
    height: float


def arrange(topology: Topology, box_width: float, box_height: float) -> Layout:
    return _Arranging(topology, box_width, box_height).layout()


def site(topology: Topology, node: str) -> str:
    return topology.nodes[node].labels.get("site", "")


class _Arranging:
    def __init__(self, topology: Topology, width: float, height: float) -> None:
        self._topology, self._w, self._h = topology, width, height
        self._pitch = width + BOX_GAP
        self._near: dict[str, list[str]] = {name: [] for name in topology.nodes}
        for link in topology.links:
            self._near[link.a.node].append(link.b.node)
            self._near[link.b.node].append(link.a.node)
        self._sites = list(dict.fromkeys(s for name in topology.nodes if (s := site(topology, name))))
        self._row = self._rows()
        self._x: dict[str, float] = {}
        """Of the middle of a box."""
        self._line: dict[str, int] = {}
        """Which line of its row: a row too wide for one is broken."""

    def layout(self) -> Layout:
        blocks: dict[str, list[str]] = {name: [] for name in self._sites}
        free = []
        sited = [self._row[name] for name in self._near if site(self._topology, name)]
        for name in self._near:
            here = site(self._topology, name)
            if not here and sited and not min(sited) <= self._row[name] <= max(sited):
                free.append(name)  # above or below all sites: it may stand over what it leads to
            else:
                blocks.setdefault(here, []).append(name)
        left = 0.0
        for members in blocks.values():
            left = self._block(members, left, max(2, WIDEST // len(blocks))) + SITE_GAP
        self._free(free)
        return self._measured()

    def _rows(self) -> dict[str, int]:
        """Rows by label; a node without a label stands a row below a neighbor that has a place."""
        level: dict[str, float] = {}
        for name, node in self._topology.nodes.items():
            try:
                written = float(node.labels.get("graph-level", ""))
            except ValueError:
                continue
            if isfinite(written):
                level[name] = written
        self._spread(level, list(level))
        for name in self._near:
            if name not in level:
                level[name] = min(level.values(), default=1.0)
                self._spread(level, [name])
        ranks = {value: row for row, value in enumerate(sorted(set(level.values())))}
        return {name: ranks[level[name]] for name in self._near}

    def _spread(self, level: dict[str, float], waiting: list[str]) -> None:
        while waiting:
            name = waiting.pop(0)
            for other in self._near[name]:
                if other not in level:
                    level[other] = level[name] + 1
                    waiting.append(other)

    def _block(self, members: list[str], left: float, widest: int) -> float:
        """Place a site's nodes, each row in the middle of its column; returns the column's right border."""
        rows: dict[int, list[str]] = defaultdict(list)
        for name in members:
            rows[self._row[name]].append(name)
        across = min(widest, max(map(len, rows.values())))
        middle = left + SIDE + (across * self._pitch - BOX_GAP) / 2
        for row in sorted(rows):
            names = sorted(rows[row], key=lambda name: self._pull(name, middle))
            for line, begin in enumerate(range(0, len(names), widest)):
                part = names[begin : begin + widest]
                for place, name in enumerate(part):
                    self._x[name] = middle + (place - (len(part) - 1) / 2) * self._pitch
                    self._line[name] = line
        return middle * 2 - left

    def _pull(self, name: str, middle: float) -> float:
        """A box below the one that it is linked to crosses few links. Sorting is stable: the file decides the rest."""
        above = [self._x[n] for n in self._near[name] if n in self._x and self._row[n] < self._row[name]]
        return fmean(above) if above else middle

    def _free(self, names: list[str]) -> None:
        rows: dict[int, list[tuple[float, str]]] = defaultdict(list)
        for name in names:
            rows[self._row[name]].append((self._over(name), name))
        for row in rows.values():
            row.sort(key=lambda pair: pair[0])
            for line, begin in enumerate(range(0, len(row), WIDEST)):
                self._apart(row[begin : begin + WIDEST], line)

    def _over(self, name: str) -> float:
        """The middle of the nearest nodes that have a place, by hops."""
        seen, edge = {name}, [name]
        while edge:
            placed = [self._x[n] for n in edge if n in self._x and site(self._topology, n)]
            if placed:
                return fmean(placed)
            edge = list(dict.fromkeys(n for e in edge for n in self._near[e] if n not in seen))
            seen.update(edge)
        return fmean(self._x.values())

    def _apart(self, wanted: list[tuple[float, str]], line: int) -> None:
        places: list[float] = []
        for x, _ in wanted:
            places.append(max(x, places[-1] + self._pitch) if places else x)
        back = fmean(place - x for place, (x, _) in zip(places, wanted, strict=True))
        for place, (_, name) in zip(places, wanted, strict=True):
            self._x[name], self._line[name] = place - back, line

    def _measured(self) -> Layout:
        tops = self._tops()
        boxes = {
            n: Rect(x - self._w / 2, tops[self._row[n], self._line[n]], self._w, self._h) for n, x in self._x.items()
        }
        regions = {s: _around([boxes[n] for n in boxes if site(self._topology, n) == s]) for s in self._sites}
        every = [*boxes.values(), *regions.values()]
        left, top = min(r.x for r in every), min(r.y for r in every)
        right, bottom = max(r.x + r.w for r in every), max(r.y + r.h for r in every)
        edge = 16.0
        dx, dy = edge - left, edge - top
        return Layout(
            {n: boxes[n].moved(dx, dy) for n in self._near},
            {s: r.moved(dx, dy) for s, r in regions.items()},
            right - left + 2 * edge,
            bottom - top + 2 * edge,
        )

    def _tops(self) -> dict[tuple[int, int], float]:
        lines = sorted({(self._row[name], self._line[name]) for name in self._near})
        begins = {min(r for n, r in self._row.items() if site(self._topology, n) == s) for s in self._sites}
        tops: dict[tuple[int, int], float] = {}
        y = 0.0
        for row, line in lines:
            if row in begins and line == 0 and tops:
                y += HEAD - FOOT  # a region begins here: its head must not reach the boxes above
            tops[row, line] = y
            y += self._h + ROW_GAP
        return tops


def _around(boxes: Iterable[Rect]) -> Rect:
    every = list(boxes)
    left, top = min(b.x for b in every) - SIDE, min(b.y for b in every) - HEAD
    right, bottom = max(b.x + b.w for b in every) + SIDE, max(b.y + b.h for b in every) + FOOT
    return Rect(left, top, right - left, bottom - top)
