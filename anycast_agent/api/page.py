"""The page: what ``/api/v1/status`` says, to be read. Plain HTML, all text escaped; a script only refreshes it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

_GOOD = frozenset({"up", "running", "synced", "healthy", "full", "announced"})
_POOR = frozenset({"unknown", "starting", "syncing", "connected", "degraded", "adopted", "suspect", "recovering"})


def page(status: dict[str, Any]) -> str:
    """A whole HTML document."""
    title = escape(f"{status['node']} · anycast-agent")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title>"
        '<link rel="stylesheet" href="/static/page.css"><script src="/static/page.js" defer></script>'
        '<noscript><meta http-equiv="refresh" content="2"></noscript></head><body>'
        '<p class="box" id="gone" role="alert"><span class="bad">The agent does not answer.</span> '
        'What follows is <span id="since"></span> old.</p>'
        f"<main>{''.join(_main(status))}</main></body></html>"
    )


def _main(s: dict[str, Any]) -> list[str]:
    site = f" in {escape(s['site'])}" if s["site"] else ""
    parts = [
        f"<h1>{escape(s['node'])}{site}</h1>",
        f"<p>{_word(s['life'])} for {_age(s['life_age'])}; speaker {_word(s['speaker']['state'])}"
        f" for {_age(s['speaker']['age'])}"
        + (f" <span class=dim>({escape(s['speaker']['why'])})</span>" if s["speaker"]["why"] else "")
        + (f"; waits for {escape(', '.join(s['waits_for']))}" if s["waits_for"] else "")
        + f"; configuration {_age(s['configuration']['age'])} old</p>",
    ]
    if s["configuration"]["errors"]:
        lines = "<br>".join(escape(line) for line in s["configuration"]["errors"][:20])
        failed = _age(s["configuration"]["failed_age"])
        parts.append(f'<div class="box" role="alert"><span class=bad>The last reload was refused</span> {failed} ago; '
                     f"nothing has changed.<br>{lines}</div>")  # fmt: skip
    for subject, text in s["warnings"].items():
        parts.append(f'<div class="box"><span class=warn>{escape(subject)}</span>: {escape(text)}</div>')
    parts += ["<h2>Prefixes</h2>", _prefixes(s)]
    parts += ["<h2>Sessions</h2>", _table(("Neighbor", "Address", "AS", "Session", "Since", ""), [
        (f"<code>{escape(n['name'])}</code>", f"<code>{escape(n['address'])}</code>", str(n["remote_as"]),
         _word(n["session"]), _age(n["age"]), f"<span class=dim>{escape(n['why'])}</span>")
        for n in s["neighbors"]
    ])]  # fmt: skip
    parts += ["<h2>Checks</h2>", _table(("Service", "Check", "Asks", "Verdict", "Last probe", "Took", "Next", ""), [
        (escape(name), escape(c["name"]), f"<code>{escape(c['asks'])}</code>",
         _word(c["verdict"]) + (" <span class=warn>stale</span>" if c["stale"] else ""),
         _last(c), _milliseconds(c["duration"]),
         _age(c["next_in"]), f"<span class=dim>{escape(c['detail'])}</span>")
        for name, service in s["services"].items() for c in service["checks"]
    ])]  # fmt: skip
    return parts


def _last(c: dict[str, Any]) -> str:
    return "none yet" if c["outcome"] is None else f"{escape(str(c['outcome']))}, {_age(c['probe_age'])} ago"


def _prefixes(s: dict[str, Any]) -> str:
    rows = []
    for name, service in s["services"].items():
        for p in service["prefixes"]:
            state = _word("announced") if p["announce"] else '<span class="bad">not announced</span>'
            tier = f" {_word(p['tier'])}" if p["tier"] and p["tier"] != "full" else ""
            left = f"; {_age(p['remaining'])} left" if p["remaining"] is not None else ""
            rows.append((
                f"<code>{escape(p['prefix'])}</code>", escape(name), state + tier,
                f"{p['rung']}. {escape(p['rung_title'])}: <b>{escape(p['reason'])}</b><br>"
                f"<span class=dim>{escape(p['evidence'])}{left}</span>",
                _age(p["age"]), "<br>".join(_route(r) for r in p["routes"]),
            ))  # fmt: skip
    return _table(("Prefix", "Service", "Decision", "Why", "For", "On the wire"), rows)


def _route(r: dict[str, Any]) -> str:
    """Four facts, and the session, each by its own name."""
    known = "" if r["taken_known"] else "?"
    facts = [
        "wanted" if r["wanted"] is not None else "not wanted",
        ("taken" if r["taken"] is not None else "not taken") + known,
        {True: "sent", False: "not sent", None: "sent?"}[r["sent"]],
    ]
    if r["echoed"]:
        facts.append("echoed")
    if r["adopted"]:
        facts.append("adopted")
    error = f' <span class="bad">{escape(r["error"])}</span>' if r["error"] else ""
    return (
        f"<code>{escape(r['neighbor'])}</code> <span class=dim>{', '.join(facts)}; session {r['session']}</span>{error}"
    )


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _word(state: str) -> str:
    kind = "ok" if state in _GOOD else "warn" if state in _POOR else "bad"
    return f'<span class="{kind}">{escape(str(state).replace("_", " "))}</span>'


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f}&nbsp;ms"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f}&nbsp;s" if seconds < 10 else f"{seconds:.0f}&nbsp;s"
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    return f"{minutes:.0f}&nbsp;min" if minutes < 90 else f"{hours:.0f}&nbsp;h" if hours < 48 else f"{days:.0f}&nbsp;d"
