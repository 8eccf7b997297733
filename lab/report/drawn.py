"""The charts of one drill with their legend, and the list of events. One chart for each client and stretch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lab.drills.result import Mark, Result, Stream
from lab.report.chart import Chart
from lab.report.markup import count, seconds, text
from lab.report.style import NODES
from lab.report.views import DONE, LOST, View, bars, moments, whole, zooms

REST = "other nodes"
_MOST_EVENTS = 14


class Colors:
    """Which node has which color, in every chart of a report."""

    def __init__(self, results: Iterable[Result]) -> None:
        answers: Counter[str] = Counter()
        for stream in (stream for result in results for stream in result.streams):
            answers.update(stream.answered)
            answers.update({name: sum(values) for name, values in stream.series.items() if name not in stream.answered})
        del answers[LOST]
        chosen = [name for name, _ in sorted(answers.items(), key=lambda item: (-item[1], item[0]))[:NODES]]
        self._places = {name: place for place, name in enumerate(sorted(chosen))}
        self.groups: Mapping[str, str] = {name: REST for name in answers if name not in self._places}

    def place(self, node: str) -> tuple[int, str]:
        return self._places.get(node, NODES), node

    def kind(self, node: str) -> str:
        return f"c{self._places[node]}" if node in self._places else "rest"

    def key(self, node: str) -> str:
        return _key(self.kind(node))

    def order(self, names: Iterable[str]) -> list[tuple[str, str]]:
        return [(name, self.kind(name)) for name in sorted(names, key=self.place)]


def _key(kind: str) -> str:
    return f'<svg class="key" aria-hidden="true"><rect class="{kind}" width="12" height="12"/></svg>'


def charts(result: Result, colors: Colors) -> str:
    everything, close = whole(result), zooms(result)
    clients = {s.client: [t for t in result.streams if t.client == s.client] for s in result.streams}
    drawn = {
        client: _client(client, streams, result, colors, [everything, *close]) for client, streams in clients.items()
    }
    if not drawn:
        return ""
    every = [chart for row in drawn.values() for chart in row]
    top = max((_highest(chart) for chart in every), default=0.0) or 1.0
    lanes = max(chart.lanes for chart in every)
    names = {name for chart in every for name, _ in chart.order if any(chart.bars.counts[name])}
    rows = []
    for client, row in drawn.items():
        figures = "".join(_figure(chart, top, lanes) for chart in row)
        rows.append(f'<h4>{text(client)} <span class="dim">{text(_sum(clients[client]))}</span></h4>')
        rows.append(f'<div class="charts">{figures}</div>')
    return _legend(colors.order(names)) + "".join(rows)


def _client(
    client: str, streams: Sequence[Stream], result: Result, colors: Colors, views: Sequence[View]
) -> list[Chart]:
    every = []
    for view in views:
        all_of_it = view is views[0]
        counted = bars(streams, colors.groups, views[0], fine=not all_of_it)
        order = colors.order(name for name in counted.counts if name != LOST)
        summary = f"{client}, {view.title.lower()}: {_sum(streams)}"
        focus = views[1:] if all_of_it else ()
        every.append(Chart(view, counted, order, streams, result.marks, focus, 1.0, summary))
    return every


def _highest(chart: Chart) -> float:
    counts = chart.bars.counts
    return max((sum(column) for column in zip(*(chart.bars.rates(n) for n in counts), strict=True)), default=0.0)


def _figure(chart: Chart, top: float, lanes: int) -> str:
    view = chart.view
    said = "Whole drill, in seconds" if view.zero is None else f"{view.title}, in seconds from it"
    if chart.ticked:
        said += f"; {count(len(chart.ticked))} more moments as ticks above the bars"
    return (
        f'<figure class="{"whole" if view.zero is None else "close"}"><figcaption>{text(said)}</figcaption>'
        f"{chart.with_top(top * 1.05).svg(lanes)}</figure>"
    )


def _sum(streams: Sequence[Stream]) -> str:
    lost, sent = sum(s.lost for s in streams), sum(s.sent for s in streams)
    return f"requests per second; {count(sent)} sent, {count(lost)} lost"


def _legend(order: Sequence[tuple[str, str]]) -> str:
    keys = [(kind, name) for name, kind in order] + [("lost", "lost (below the axis, too)")]
    return '<ul class="legend">' + "".join(f"<li>{_key(kind)}{text(name)}</li>" for kind, name in keys) + "</ul>"


def events(result: Result) -> str:
    """The events in order; of very many, the first of each kind and the earliest."""
    shown, more = moments(result.marks, _MOST_EVENTS)
    if not shown:
        return ""
    done = sorted(mark.at for mark in result.marks if mark.kind in DONE)
    lines = "".join(_event(mark, max((at for at in done if at <= mark.at), default=None)) for mark in shown)
    rest = f'<p class="hint">and {count(more)} more moments like these</p>' if more else ""
    head = 'What happened <span class="dim">when, and how long after the fault or the recovery before</span>'
    return f'<h3>{head}</h3><ol class="list">{lines}</ol>{rest}'


def _event(mark: Mark, since: float | None) -> str:
    done = mark.kind in DONE
    after = "" if done or since is None else f"+{seconds(mark.at - since)}"
    name = f"<b>{text(mark.kind)}</b>" if done else f"<span>{text(mark.kind)}</span>"
    return (
        f'<li><span class="n dim">{mark.at:.2f} s</span><span class="n">{after}</span>{name}'
        f'<span class="what">{text(mark.text)}</span></li>'
    )
