"""The report's style sheet: the look of the agent's own page, and one palette for every chart."""

from __future__ import annotations

NODES = 8
"""The number of nodes with a color of their own."""

_LIGHT = ("#2f6fb5", "#a3c8e8", "#b9770e", "#f2cd77", "#1c7a6c", "#93d3c4", "#77509f", "#cdb5e3")
_DARK = ("#3d7fc9", "#a9cdec", "#c48318", "#f0cf86", "#26907f", "#9ad8ca", "#8a62b4", "#d2bdea")
"""Pairs of one hue, dark and light: neighbors in a stack differ in brightness, so also for those who see no color."""


def _colors(values: tuple[str, ...]) -> str:
    return " ".join(f"--c{place}: {value};" for place, value in enumerate(values))


STYLE = (
    f"""
:root {{ color-scheme: light dark; --bg: #fbfbf9; --fg: #1d2327; --dim: #5b646b; --line: #d9dcd8; --ok: #14692f;
  --bad: #a3161a; --warn: #835200; --card: #fff; --lost: #d0121b; --slit: #ffd9d6; --rest: #9aa2a8;
  {_colors(_LIGHT)} }}
@media screen and (prefers-color-scheme: dark) {{
  :root {{ --bg: #14171a; --fg: #e4e7e9; --dim: #9ba4ab; --line: #323a41; --ok: #6fd08c; --bad: #ff9088;
    --warn: #f0bd5e; --card: #1b1f23; --lost: #ff3b3f; --slit: #4d0c0e; --rest: #6d777f;
    {_colors(_DARK)} }}
}}
"""
    + """
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0 auto; max-width: 76rem; padding: 1.2rem; background: var(--bg); color: var(--fg);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; margin: 0 0 .2rem; }
h2 { font-size: 1.15rem; margin: 0; line-height: 1.35; }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
h3 .dim, h4 .dim { font-size: .85rem; margin-left: .4em; }
h4 { font-size: .95rem; margin: 1.2rem 0 .1rem; font-weight: 600; }
p { margin: .3rem 0; max-width: 54rem; }
a { color: inherit; text-decoration-color: var(--dim); text-underline-offset: .18em; }
.dim { color: var(--dim); font-weight: 400; }
.ok { color: var(--ok); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.ok, .bad, .warn { font-weight: 600; white-space: nowrap; }
.total { font-size: 1.15rem; margin: .1rem 0 .8rem; }
.facts { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: .6rem 0; }
.facts div { min-width: 0; }
dt { color: var(--dim); font-size: .85rem; }
dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; }
.about dd { font-weight: 400; }
.nb { white-space: nowrap; }
.noticed { font-size: 1.05rem; font-weight: 600; }
.wide { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 6px; }
.picture { padding: .4rem; background: var(--bg); }
.picture svg { display: block; margin: 0 auto; height: auto; width: 100%; min-width: 36rem; max-width: 44rem; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { text-align: left; padding: .38rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: normal; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--dim); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 400; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.summary { min-width: 62rem; }
.summary tbody th { min-width: 13rem; }
.streams { min-width: 56rem; }
.streams th, .streams td:nth-child(2) { white-space: nowrap; }
.hint { color: var(--dim); font-size: .88rem; margin-top: .5rem; }
.drill { border-top: 1px solid var(--line); margin-top: 2.2rem; padding-top: 1.3rem; }
.box { border: 1px solid var(--line); border-left: 4px solid var(--bad); border-radius: 4px; padding: .5rem .8rem;
  margin: .8rem 0; background: var(--card); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; font-size: .88rem; margin: .9rem 0 0; padding: 0;
  list-style: none; }
.key { width: 12px; height: 12px; margin-right: .4em; vertical-align: -1px; }
.answers { display: flex; flex-wrap: wrap; gap: 0 1rem; }
.answers span { white-space: nowrap; }
.charts { display: flex; flex-wrap: wrap; gap: .6rem 1.2rem; }
figure { margin: 0; flex: 1 1 334px; min-width: 0; padding: 0 20px 0 44px; }
figure.whole { flex-grow: 1.5; }
figcaption { font-size: .85rem; color: var(--dim); margin: .2rem 0 .3rem -44px; }
.chart { display: block; overflow: visible; font: 11px system-ui, sans-serif; }
.chart text { fill: var(--dim); }
.chart .x { text-anchor: middle; } .chart .y { text-anchor: end; }
.chart .grid { stroke: var(--line); } .chart .axis { stroke: var(--dim); }
.chart .focus { fill: none; stroke: var(--fg); stroke-width: 1; opacity: .55; }
.chart .done { stroke: var(--fg); stroke-width: 1.5; } .chart .seen { stroke: var(--fg); stroke-dasharray: 3 2; }
.chart text.done { fill: var(--fg); stroke: none; font-weight: 600; }
.chart text.seen { fill: var(--fg); stroke: none; }
.chart .halo { stroke: var(--card); stroke-width: 4; opacity: .6; }
.chart .rug { stroke: var(--fg); vector-effect: non-scaling-stroke; opacity: .7; }
.bars path { shape-rendering: crispEdges; }
.lost { fill: url(#hatch); stroke: var(--lost); stroke-width: 1; }
.lane { fill: var(--lost); stroke: var(--lost); stroke-width: 1; }
.hatch-ground { fill: var(--lost); } .hatch-line { fill: var(--slit); }
.rest { fill: var(--rest); }
.list { margin: .3rem 0; padding: 0; list-style: none; max-width: 60rem; font-size: .93rem; }
.list li { display: grid; grid-template-columns: 5.2rem 4.6rem 6rem minmax(0, 1fr); gap: 0 .7rem; padding: .12rem 0; }
.found li { grid-template-columns: 5.2rem minmax(0, 1fr); }
.list .n { text-align: left; }
footer { border-top: 1px solid var(--line); margin-top: 2.5rem; padding: 1rem 0; color: var(--dim); font-size: .9rem; }
.defs { position: absolute; width: 0; height: 0; }
@media (max-width: 40rem) {
  body { padding: 1rem; }
  .summary { min-width: 0; }
  .summary .more { display: none; }
  .summary tbody th { min-width: 0; }
  .summary th, .summary td { padding: .38rem .4rem; overflow-wrap: anywhere; }
  .list li { grid-template-columns: 4.4rem 4.4rem minmax(0, 1fr); }
  .list li .what { grid-column: 1 / -1; color: var(--dim); padding-bottom: .3rem; }
  .found li { grid-template-columns: 4.6rem minmax(0, 1fr); }
  .found li .what { grid-column: 2; }
}
@media print {
  :root { --bg: #fff; --card: #fff; font-size: 10.5px; }
  body { font-size: 1rem; max-width: none; padding: 0; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .summary, .streams, .picture svg { min-width: 0; }
  .summary tbody th { min-width: 8rem; position: static; }
  .wide { overflow: visible; }
  th, td { padding: .2rem .35rem; }
  figure, tr, .box, .facts, .picture { break-inside: avoid; }
  h2, h3, h4 { break-after: avoid; }
}
"""
    + "".join(f".c{place} {{ fill: var(--c{place}); }}\n" for place in range(NODES))
)
