"""A topology as a picture: one SVG that needs nothing else, for light and dark pages and for paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lab.net.topology import Topology
from lab.report.layout import Layout, Rect, arrange, site
from lab.report.markup import number, shortened, text
from lab.report.wires import Name, Wire, names, wires

_NAME, _NOTE = 8.4, 6.8
"""Widths of a letter: of the widest of the usual system fonts, because which one a reader has is not known."""
_WELL = frozenset({"", "up", "running", "ready", "healthy", "ok"})

_STYLE = """
.topology { --bg: #fbfbf9; --area: #f0f2ee; --fg: #1d2327; --dim: #5b646b; --line: #c3c8c4; --wire: #87919a;
  --card: #fff; --bad: #a3161a; font-family: system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .topology { --bg: #14171a; --area: #1c2126; --fg: #e4e7e9; --dim: #9ba4ab;
  --line: #46515a; --wire: #77838d; --card: #262c32; --bad: #ff9088; } }
@media print { .topology { --bg: #fff; --area: #f3f4f1; --fg: #000; --dim: #444; --line: #999; --wire: #666;
  --card: #fff; --bad: #a3161a; } }
.topology .ground { fill: var(--bg); }
.topology .area { fill: var(--area); }
.topology .wire { fill: none; stroke: var(--wire); stroke-width: 1.5; }
.topology .box { fill: var(--card); stroke: var(--line); stroke-width: 1.2; }
.topology .away .box { stroke: var(--bad); stroke-width: 2; stroke-dasharray: 5 3; }
.topology text { text-anchor: middle; fill: var(--dim); font-size: 11px; }
.topology .name { fill: var(--fg); font-size: 13px; font-weight: 600; }
.topology .away .state { fill: var(--bad); font-weight: 600; }
.topology .site { text-anchor: start; font-size: 12px; font-weight: 600; letter-spacing: .04em; }
.topology .port { font-size: 10px; stroke: var(--bg); stroke-width: 4px; stroke-linejoin: round; paint-order: stroke; }
.topology .inside { stroke: var(--area); }
"""


def svg(topology: Topology, states: Mapping[str, str] | None = None) -> str:
    """A standalone SVG document, without an XML declaration so that it can stand in a page as it is."""
    told = states or {}
    notes = {name: shortened(node.labels.get("graph-note", ""), 28) for name, node in topology.nodes.items()}
    longest = max(
        [len(name) * _NAME for name in topology.nodes]
        + [len(note) * _NOTE for note in (*notes.values(), *map(_state, told.values()))]
    )
    lines = 1 + any(notes.values()) + any(_state(told.get(name, "")) for name in topology.nodes)
    layout = arrange(topology, max(96.0, longest + 24), 22.0 + 16 * lines)
    drawn = wires(topology, layout.boxes)
    size = f"{number(layout.width)} {number(layout.height)}"
    width, height = size.split()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="topology" viewBox="0 0 {size}" width="{width}"'
        f' height="{height}" role="img" aria-labelledby="topology-title topology-desc">',
        f'<title id="topology-title">Topology {text(topology.name)}</title>',
        f'<desc id="topology-desc">{text(_described(topology))}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{width}" height="{height}" rx="6"/>',
        *_areas(layout),
        *(_wire(wire) for wire in drawn),
        *(_port(topology, name) for name in names(drawn, layout.boxes)),
        *(_node(name, box, notes[name], told.get(name, "")) for name, box in layout.boxes.items()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _described(topology: Topology) -> str:
    links = ", ".join(f"{link.a.node} to {link.b.node}" for link in topology.links)
    return f"{len(topology.nodes)} nodes: {', '.join(topology.nodes)}. {len(topology.links)} links: {links or 'none'}."


def _areas(layout: Layout) -> Iterator[str]:
    for name, r in layout.regions.items():
        yield (
            f'<rect class="area" x="{number(r.x)}" y="{number(r.y)}" width="{number(r.w)}" height="{number(r.h)}"'
            f' rx="12"/><text class="site" x="{number(r.x + 14)}" y="{number(r.y + 18)}">'
            f"{text(shortened(name, int((r.w - 28) / 9)))}</text>"
        )


def _wire(wire: Wire) -> str:
    (x1, y1), (x2, y2), (x3, y3) = wire.begin, wire.pull, wire.end
    straight = abs((x2 - x1) * (y3 - y1) - (x3 - x1) * (y2 - y1)) < 1
    bend = "L" if straight else f"Q{number(x2)} {number(y2)} "
    a, b = wire.link.ends
    said = f"{a.node}:{a.interface} – {b.node}:{b.interface}"
    return (
        f'<path class="wire" d="M{number(x1)} {number(y1)}{bend}{number(x3)} {number(y3)}">'
        f"<title>{text(said)}</title></path>"
    )


def _port(topology: Topology, name: Name) -> str:
    kind = "port inside" if site(topology, name.node) else "port"
    x, y = number(name.place.middle), number(name.place.y + 9.5)
    return f'<text class="{kind}" x="{x}" y="{y}">{text(name.text)}</text>'


def _state(state: str) -> str:
    return "" if state in _WELL else shortened(state, 20)


def _node(name: str, box: Rect, note: str, state: str) -> str:
    wrong = _state(state)
    lines = [("name", name)] + [("note", note)] * bool(note) + [("state", f"✕ {wrong}")] * bool(wrong)
    first = box.y + box.h / 2 - (len(lines) - 1) * 8 + 4.5
    said = "".join(
        f'<text class="{kind}" x="{number(box.middle)}" y="{number(first + place * 16)}">{text(line)}</text>'
        for place, (kind, line) in enumerate(lines)
    )
    tip = f"{name}: {state}" if state else name
    return (
        f'<g class="{"node away" if wrong else "node"}"><title>{text(tip)}</title>'
        f'<rect class="box" x="{number(box.x)}" y="{number(box.y)}" width="{number(box.w)}" height="{number(box.h)}"'
        f' rx="8"/>{said}</g>'
    )
