"""The course of a picture's links: where they leave a box, how they bend around others, where their names fit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from lab.net.topology import Link, Topology
from lab.report.layout import Rect

Point = tuple[float, float]
_BENDS = (0.0, *(sign * step for step in (45.0, 90.0, 150.0, 220.0, 300.0) for sign in (1, -1)))
_LETTER, _LETTER_HEIGHT = 6.4, 12.0
_OUT = 14.0
"""The distance of an interface's name from its box."""
MAX_BOXES = 24
"""Beyond so many nodes, the names of interfaces are clutter; a link's tooltip still says them."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A curve from ``begin`` to ``end``, drawn towards ``pull``: a straight line where that is between them."""

    link: Link
    begin: Point
    pull: Point
    end: Point

    def at(self, t: float) -> Point:
        a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
        return (
            a * self.begin[0] + b * self.pull[0] + c * self.end[0],
            a * self.begin[1] + b * self.pull[1] + c * self.end[1],
        )


@dataclass(frozen=True, slots=True)
class Name:
    """An interface's name, in its place."""

    node: str
    text: str
    place: Rect


def wires(topology: Topology, boxes: Mapping[str, Rect]) -> list[Wire]:
    ports = _ports(topology, boxes)
    return [_wire(link, number, ports, boxes) for number, link in enumerate(topology.links)]


def names(drawn: list[Wire], boxes: Mapping[str, Rect]) -> list[Name]:
    """Those that fit: one that would touch a box or another name is left out."""
    if len(boxes) > MAX_BOXES:
        return []
    taken = list(boxes.values())
    found = []
    for wire in drawn:
        for end, forward in zip(wire.link.ends, (True, False), strict=True):
            width = len(end.interface) * _LETTER
            place = _place(wire, forward, width)
            if place is None or any(place.touches(other) for other in taken):
                continue
            taken.append(place)
            found.append(Name(end.node, end.interface, place))
    return found


def _ports(topology: Topology, boxes: Mapping[str, Rect]) -> dict[tuple[int, int], tuple[Point, str]]:
    """The point where each end (link's number, 0 or 1) meets its box: spread over a side, ordered by the far ends."""
    sides: dict[tuple[str, str], list[tuple[float, int, int]]] = defaultdict(list)
    for number, link in enumerate(topology.links):
        for which, (own, far) in enumerate((link.ends, link.ends[::-1])):
            side = _side(own.node, far.node, boxes)
            sides[own.node, side].append((boxes[far.node].middle, number, which))
    found = {}
    for (node, side), ends in sides.items():
        box = boxes[node]
        for place, (_, number, which) in enumerate(sorted(ends)):
            share = (place + 1) / (len(ends) + 1)
            x = {"left": box.x, "right": box.x + box.w}.get(side, box.x + box.w * share)
            y = {"top": box.y, "bottom": box.y + box.h}.get(side, box.y + box.h * share)
            found[number, which] = ((x, y), side)
    return found


def _side(own: str, far: str, boxes: Mapping[str, Rect]) -> str:
    a, b = boxes[own], boxes[far]
    if a.y != b.y:
        return "bottom" if a.y < b.y else "top"
    between = any(r.y == a.y and min(a.x, b.x) < r.x < max(a.x, b.x) for r in boxes.values())
    if between or own == far:
        return "bottom"
    return "right" if a.x < b.x else "left"


def _wire(
    link: Link, number: int, ports: Mapping[tuple[int, int], tuple[Point, str]], boxes: Mapping[str, Rect]
) -> Wire:
    (begin, side), (end, _) = ports[number, 0], ports[number, 1]
    middle = ((begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2)
    if side == "bottom" and begin[1] == end[1]:  # below the boxes of the row that stand between
        return Wire(link, begin, (middle[0], middle[1] + 60 + number % 3 * 8), end)
    others = [box for name, box in boxes.items() if name not in (link.a.node, link.b.node)]
    tries = [Wire(link, begin, (middle[0] + bend, middle[1]), end) for bend in _BENDS]
    return next((wire for wire in tries if _free(wire, others)), tries[0])


def _free(wire: Wire, boxes: list[Rect]) -> bool:
    points = [wire.at(step / 32) for step in range(1, 32)]
    return not any(Rect(x - 3, y - 3, 6, 6).touches(box) for x, y in points for box in boxes)


def _place(wire: Wire, forward: bool, width: float) -> Rect | None:
    """On the line, a little out of the box; None where the line is too short for a name at each end."""
    (x1, y1), (x2, y2) = (wire.begin, wire.end) if forward else (wire.end, wire.begin)
    flat = y1 == y2 and wire.pull[1] == y1
    length = abs(x2 - x1) if flat else abs(wire.pull[1] - y1) * 2
    out = width / 2 + 5 if flat else _OUT
    if length < 2 * (out + (width / 2 if flat else _LETTER_HEIGHT / 2)) + 6:
        return None
    t = out / length
    x, y = wire.at(t if forward else 1 - t)
    return Rect(x - width / 2, y - _LETTER_HEIGHT / 2, width, _LETTER_HEIGHT)
