"""The page: ``/api/v1/status`` for people. Plain HTML, all text escaped; a script only refreshes it.

Each row has a key by which the script finds it again. Each cell names its column, for narrow screens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from urllib.parse import quote

from anycast_agent.api import render, words
from anycast_agent.api.shapes import Check, LastResort, Mood, Neighbor, Prefix, Route, Status
from anycast_agent.core.snapshot import Snapshot

_GOOD = frozenset({"up", "running", "synced", "ok"})
_POOR = frozenset(
    {"unknown", "starting", "syncing", "connected", "suspect", "recovering", "stopping", "handing_over", "none yet"}
)
_MOODS = (Mood.BAD, Mood.WARN, Mood.OK, Mood.OFF)
"""Rows that need attention come first."""

MAX_ERRORS = 20

_HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<title>{title}</title>"
    '<link rel="icon" href="/static/icon.svg" type="image/svg+xml">'
    '<link rel="stylesheet" href="/static/page.css"><script src="/static/page.js" defer></script>'
    '<noscript><meta http-equiv="refresh" content="2"></noscript></head><body>'
    '<p class="box" id="gone" role="alert"><span class="bad">The agent does not answer.</span> '
    'What follows is <span id="since"></span> old.</p>\n<main>'
)
_FOOT = '</main>\n<footer class="dim">anycast-agent {version}</footer></body></html>\n'


def page(snapshot: Snapshot) -> Iterator[str]:
    """A whole HTML document, in pieces."""
    status = yield from render.marked(render.Drawing(snapshot).status())
    yield _HEAD.format(title=escape(f"{status.node}: {status.headline}"))
    yield from _top(status)
    yield from _prefixes(status)
    yield from _last_resorts(status)
    yield from _sessions(status)
    yield from _checks(status)
    yield _FOOT.format(version=escape(status.version))


def _top(s: Status) -> Iterator[str]:
    site = f" in {escape(s.site)}" if s.site else ""
    why = f" <span class=dim>({escape(s.speaker.why)})</span>" if s.speaker.why else ""
    waits = f"; waits for {escape(', '.join(s.waits_for))}" if s.waits_for else ""
    yield f"<h1>{escape(s.node)}{site}</h1>"
    yield f'<p class="headline {s.mood}" data-key="headline">{escape(s.headline)}</p>'
    yield (
        f'<p data-key="life">{_word(s.life)} for {_age(s.life_age)}; speaker {_word(s.speaker.state)}'
        f" for {_age(s.speaker.age)}{why}{waits}; configuration {_age(s.configuration.age)} old. "
        '<span class="dim">The same as <a href="/api/v1/status">JSON</a> and <a href="/metrics">metrics</a>.</span></p>'
    )
    if s.configuration.errors:
        lines = "<br>".join(escape(line) for line in s.configuration.errors[:MAX_ERRORS])
        more = len(s.configuration.errors) - MAX_ERRORS
        lines += f"<br>and {more} more" if more > 0 else ""
        yield (
            '<div class="box" role="alert" data-key="reload"><span class=bad>The last reload was refused</span> '
            f"{_age(s.configuration.failed_age)} ago; nothing has changed.<br>{lines}</div>"
        )
    for subject, text in s.warnings.items():
        key = escape(f"warning {subject}")
        yield f'<div class="box" data-key="{key}"><span class=warn>{escape(subject)}</span>: {escape(text)}</div>'


def _prefixes(s: Status) -> Iterator[str]:
    found = [p for service in s.services.values() for p in service.prefixes]
    found.sort(key=lambda p: _MOODS.index(p.mood))
    yield from _table("Prefixes", ("Prefix", "Service", "State", "Why", "For", "On the wire"), map(_prefix, found))


def _prefix(p: Prefix) -> tuple[str, ...]:
    left = f"; {_age(p.remaining)} left" if p.remaining is not None else ""
    link = f'<a href="/api/v1/services/{quote(p.service, safe="")}">{escape(p.service)}</a>'
    remedy = "" if p.mood is Mood.OK else f"<br>changes with: {escape(p.remedy)}"
    remedy += "".join(f"<br>{escape(line)}" for line in p.advice)
    why = (
        f"{p.rung}. {escape(p.rung_title)}: <b>{escape(p.reason)}</b><br>"
        f"<span class=dim>{escape(p.evidence)}{left}</span>{remedy}"
    )
    routes = "<br>".join(_route(r) for r in p.routes) or "<span class=dim>no neighbor</span>"
    if p.consumers.state not in ("off", "home"):
        routes += f"<br><span class=dim>{escape(words.consumers(p.consumers))}</span>"
    state = f'<span class="{p.mood}">{escape(p.headline)}</span>'
    return p.prefix, f"<code>{escape(p.prefix)}</code>", link, state, why, _age(p.age), routes


def _last_resorts(s: Status) -> Iterator[str]:
    found = [c for service in s.services.values() for c in service.last_resorts]
    found.sort(key=lambda c: _MOODS.index(c.mood))
    heads = ("Prefix", "Protects", "State", "Why", "For", "On the wire")
    if found:
        yield from _table("Last resort", heads, map(_last_resort, found))


def _last_resort(c: LastResort) -> tuple[str, ...]:
    link = f'<a href="/api/v1/services/{quote(c.service, safe="")}">{escape(c.service)}</a>'
    protects = "<br>".join(f"<code>{escape(prefix)}</code>" for prefix in c.protects)
    remedy = "" if c.mood is Mood.OK else f"<br>changes with: {escape(c.remedy)}"
    why = (
        f"{c.rung}. {escape(c.rung_title)}: <b>{escape(c.reason)}</b><br>"
        f"<span class=dim>{escape(c.evidence)}; {escape(words.blackhole(c.blackhole))}</span>{remedy}"
    )
    routes = "<br>".join(_route(r) for r in c.routes) or "<span class=dim>no neighbor</span>"
    state = f'<span class="{c.mood}">{escape(c.headline)}</span>'
    return c.prefix, f"<code>{escape(c.prefix)}</code>", f"{link}<br>{protects}", state, why, _age(c.age), routes


def _route(r: Route) -> str:
    error = f' <span class="bad">{escape(r.error)}</span>' if r.error else ""
    said = f"{', '.join(words.facts(r))}; session {r.session}"
    return f"<code>{escape(r.neighbor)}</code> <span class=dim>{escape(said)}</span>{error}"


def _sessions(s: Status) -> Iterator[str]:
    yield from _table("Sessions", ("Neighbor", "Address", "AS", "Session", "For", "Why"), map(_session, s.neighbors))


def _session(n: Neighbor) -> tuple[str, ...]:
    why = _dim(words.session_why(n))
    name, address = f"<code>{escape(n.name)}</code>", f"<code>{escape(words.place(n))}</code>"
    return n.name, name, address, str(n.remote_as), _word(n.session), _age(n.age), why


def _checks(s: Status) -> Iterator[str]:
    found = ((name, c) for name, service in s.services.items() for c in service.checks)
    heads = ("Service", "Check", "Asks", "Verdict", "Last probe", "Took", "Next in", "Detail")
    yield from _table("Checks", heads, (_check(name, c) for name, c in found))


def _check(service: str, c: Check) -> tuple[str, ...]:
    stale = " <span class=warn>stale</span>" if c.stale else ""
    last = "none yet" if c.outcome is None else f"{escape(c.outcome)}, {_age(c.probe_age)} ago"
    took = "" if c.duration is None else f"{c.duration * 1000:.1f}&nbsp;ms"
    return (
        f"{service} {c.name} {c.asks}", escape(service), escape(c.name), f"<code>{escape(c.asks)}</code>",
        _word(c.verdict) + stale, last, took, _age(c.next_in), _dim(c.detail),
    )  # fmt: skip


def _table(title: str, heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """The first of each row is its key. The region can be scrolled by keyboard where it is too narrow."""
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    yield f'<h2 id="{title}">{title}</h2>'
    yield f'<div class="wide" tabindex="0" role="region" aria-labelledby="{title}">'
    yield f"<table><thead><tr>{head}</tr></thead><tbody data-key='{title}'>"
    for key, *cells in rows:
        row = "".join(f'<td data-head="{h}">{cell}</td>' for h, cell in zip(heads, cells, strict=True))
        yield f'<tr data-key="{escape(key)}">{row}</tr>\n'
    yield "</tbody></table></div>"


def _dim(text: str) -> str:
    return f"<span class=dim>{escape(text)}</span>" if text else ""


def _word(state: str) -> str:
    mood = "ok" if state in _GOOD else "warn" if state in _POOR else "bad"
    return f'<span class="{mood}">{escape(state.replace("_", " "))}</span>'


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f}&nbsp;s" if seconds < 10 else f"{seconds:.0f}&nbsp;s"
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    return f"{minutes:.0f}&nbsp;min" if minutes < 90 else f"{hours:.0f}&nbsp;h" if hours < 48 else f"{days:.0f}&nbsp;d"
