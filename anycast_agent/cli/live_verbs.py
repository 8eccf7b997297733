"""``status``, ``why``, ``reload``, ``handover``: asked of the running agent, over its control socket."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

from anycast_agent.api import words
from anycast_agent.api.shapes import (
    Changes,
    Check,
    Explained,
    LastResort,
    Mood,
    Names,
    Neighbor,
    Prefix,
    Route,
    Status,
    Why,
    read,
)

DEFAULT_SOCKET = Path("/run/anycast-agent/control.sock")
EXIT_NO, EXIT_UNREACHABLE = 1, 3
SHOWN_WITHIN, DONE_WITHIN = 10.0, 60.0
"""For the whole of an answer: an agent that hangs takes a request, and never answers. Seconds."""

MAX_ANSWER = 64 << 20
MAX_NEAR = 5
_COLOURS = {Mood.OK: "32", Mood.BAD: "31", Mood.WARN: "33", Mood.OFF: "2"}


def add_verbs(subparsers: Any) -> None:
    for name, func in (
        ("status", status),
        ("why", why),
        ("changes", changes),
        ("reload", reload),
        ("handover", handover),
    ):
        verb = subparsers.add_parser(name, description=func.__doc__)
        verb.add_argument("--socket", type=Path, default=DEFAULT_SOCKET, metavar="PATH", help=str(DEFAULT_SOCKET))
        verb.add_argument("--output", choices=("text", "json"), default="text")
        verb.set_defaults(func=func)
        if name == "why":
            verb.add_argument("what", nargs="?", default="", metavar="PREFIX|SERVICE",
                              help="a prefix or its address, or a service; left out: all that is not well")  # fmt: skip
        if name == "reload":
            verb.add_argument("--force", action="store_true", help="also where more than half would be withdrawn")
        if name == "handover":
            verb.add_argument("--for", dest="seconds", default="30s", metavar="DURATION",
                              help="how long the routes wait for the next agent (30s; 1h at the most)")  # fmt: skip


class Unreachable(Exception):  # noqa: N818  # a state of the agent, not an error of ours
    """The agent cannot be asked. The text names the reason and the remedy."""


def ask(path: Path, within: float = SHOWN_WITHIN, **request: object) -> dict[str, Any]:
    """One request to the agent. Raises Unreachable."""
    try:
        line = _exchange(path, json.dumps(request).encode() + b"\n", within)
    except FileNotFoundError:
        raise Unreachable(f"no agent listens on {path}: is it running? (--socket names another)") from None
    except ConnectionRefusedError:
        raise Unreachable(f"no agent listens on {path}: the one that made it has ended") from None
    except (ConnectionResetError, BrokenPipeError):
        line = b""  # closed before it read our request
    except PermissionError:
        raise Unreachable(f"{path}: permission denied; use sudo, or join the socket's group") from None
    except (TimeoutError, BlockingIOError):  # the second: its queue of connections is full
        raise Unreachable(f"no answer on {path} within {within:.0f} s: the agent hangs, or is stopped") from None
    except OSError as error:
        raise Unreachable(f"{path}: {error.strerror or error}") from None
    if not line:
        raise Unreachable(f"the agent closed {path} without an answer: not permitted, or it is ending")
    return _understood(line, path)


def _exchange(path: Path, request: bytes, within: float) -> bytes:
    """The line that is answered. Raises OSError."""
    end = time.monotonic() + within
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(within)
        client.connect(str(path))
        client.sendall(request)
        answer = bytearray()
        while len(answer) < MAX_ANSWER and not answer.endswith(b"\n"):
            client.settimeout(max(0.001, end - time.monotonic()))
            data = client.recv(1 << 16)
            if not data:
                break
            answer += data
        return bytes(answer)


def _understood(line: bytes, path: Path) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        ok, lines, data = answer.get("ok"), answer.get("lines", []), answer.get("data", {})
        if isinstance(ok, bool) and isinstance(lines, list) and isinstance(data, dict):
            return {"ok": ok, "lines": [str(line) for line in lines], "data": data}
    raise Unreachable(f"what listens on {path} answered nothing that this version understands")


def _asked(args: argparse.Namespace, show: Any, within: float = SHOWN_WITHIN, **request: object) -> int:
    try:
        answer = ask(args.socket, within, **request)
    except Unreachable as error:
        print(f"anycast-agent: {error}", file=sys.stderr)
        return EXIT_UNREACHABLE
    if args.output == "json":
        print(json.dumps(answer["data"] or {"ok": answer["ok"], "lines": answer["lines"]}, indent=2))
        return 0 if answer["ok"] else EXIT_NO
    try:
        shown = show(_fit(answer["data"])) if answer["ok"] and show is not None else []
    except (KeyError, TypeError, ValueError, AttributeError):
        print("anycast-agent: the agent is of another version than this command; --output json shows what it says",
              file=sys.stderr)  # fmt: skip
        return EXIT_UNREACHABLE
    for line in shown:
        print(line)
    for line in _fit(answer["lines"]):
        print(line, file=sys.stdout if answer["ok"] else sys.stderr)
    return 0 if answer["ok"] else EXIT_NO


def _fit(value: Any) -> Any:
    """The same, with nothing in its texts that a terminal would obey: some were written by who was asked."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " for c in value)
    if isinstance(value, dict):
        return {_fit(k): _fit(v) for k, v in value.items()}
    return [_fit(v) for v in value] if isinstance(value, list) else value


def status(args: argparse.Namespace) -> int:
    """Every prefix with its decision and reason, every session, every check. Exit 3: the agent cannot be reached."""
    return _asked(args, lambda data: show_status(read(Status, data)), verb="status")


def why(args: argparse.Namespace) -> int:
    """What is on the wire, the rung of the ladder that decides, its reason and evidence, since when, and what would
    change it: of a prefix, of all prefixes of a service, or of every prefix that is not well. Exit 1: there is no such
    prefix or service; 3: the agent cannot be reached."""
    code = _asked(args, lambda data: show_why(read(Why, data)), verb="why", prefix=args.what)
    if code == EXIT_NO and args.output == "text":
        print(_near(args), file=sys.stderr)
    return code


def _near(args: argparse.Namespace) -> str:
    """Names similar to the word. The search runs here: over thousands of names it would keep the agent busy."""
    try:
        names = read(Names, _fit(ask(args.socket, verb="names")["data"])).names
    except (Unreachable, ValueError):
        return "`anycast-agent status` lists what there is"
    near = difflib.get_close_matches(args.what, names, n=MAX_NEAR, cutoff=0.6) or list(names[:MAX_NEAR])
    rest = f" ({len(near)} of {len(names)}; `anycast-agent status` lists all)" if len(near) < len(names) else ""
    return f"there are {', '.join(near)}{rest}" if near else "nothing is configured here"


def changes(args: argparse.Namespace) -> int:
    """The last changes since the agent's start, at most 1,000, the newest last. Exit 3: the agent cannot be reached."""
    return _asked(args, lambda data: show_changes(read(Changes, data)), verb="changes")


def reload(args: argparse.Namespace) -> int:
    """All or nothing. Exit 1: refused, nothing has changed; 3: the agent cannot be reached."""
    return _asked(args, None, DONE_WITHIN, verb="reload", force=args.force)


def handover(args: argparse.Namespace) -> int:
    """The agent ends, and systemd does not start it again: that is yours to do. No route changes; the speaker waits so
    long for the next agent, at least agent.dead_man, before it withdraws. Exit 1: refused; 3: the agent cannot be
    reached."""
    from anycast_agent.checks.durations import duration

    try:
        seconds = duration(args.seconds)
    except ValueError as error:
        print(f"anycast-agent: --for: {error}", file=sys.stderr)
        return 2
    return _asked(args, None, DONE_WITHIN, verb="handover", **{"for": seconds})


# --- for people ---------------------------------------------------------------------------------------------


def _paint(text: str, mood: Mood) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{_COLOURS[mood]}m{text}\033[0m"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.1f}s"
    return f"{seconds / 60:.0f}m" if seconds < 5400 else f"{seconds / 3600:.0f}h"


def _ago(seconds: float | None) -> str:
    return "" if seconds is None else f" {_age(seconds)} ago"


def _table(rows: list[tuple[str, ...]], *, cut: bool = False) -> list[str]:
    """``cut``: on a terminal, a line ends where the terminal does; JSON, and what is no terminal, get all of it."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    most = shutil.get_terminal_size().columns if cut and sys.stdout.isatty() else 0
    return [f"{line[: most - 1]}…" if 0 < most < len(line) else line for line in lines]


def show_status(s: Status) -> list[str]:
    site = f" {s.site}" if s.site else ""
    why = f" ({s.speaker.why})" if s.speaker.why else ""
    lines = [
        f"{s.node}{site}: {_paint(s.headline, s.mood)}",
        f"{s.life} for {_age(s.life_age)}, speaker {s.speaker.state}{why}",
    ]
    if s.waits_for:
        lines.append(_paint(f"waits for: {', '.join(s.waits_for)}", Mood.WARN))
    refused = f"reload refused {_age(s.configuration.failed_age)} ago"
    lines += [_paint(f"{refused}: {error}", Mood.BAD) for error in s.configuration.errors]
    lines += [_paint(f"warning: {subject}: {text}", Mood.WARN) for subject, text in s.warnings.items()]
    prefixes = [_prefix_row(p) for service in s.services.values() for p in service.prefixes]
    prefixes += [_last_resort_row(c) for service in s.services.values() for c in service.last_resorts]
    checks = [_check_row(name, c) for name, service in s.services.items() for c in service.checks]
    lines += ["", *_table([("PREFIX", "SERVICE", "STATE", "RUNG", "REASON", "FOR", "ROUTES"), *prefixes]), ""]
    sessions = [("NEIGHBOR", "ADDRESS", "AS", "SESSION", "FOR", "WHY"), *map(_session_row, s.neighbors)]
    lines += [*_table(sessions, cut=True), ""]
    return lines + _table([("CHECK", "ASKS", "VERDICT", "LAST", "AGO", "DETAIL"), *checks], cut=True)


def _prefix_row(p: Prefix) -> tuple[str, ...]:
    state = p.state + (f", {p.tier}" if p.tier not in (None, "full") else "")
    return p.prefix, p.service, state, str(p.rung), p.reason, _age(p.age), _sent(p.routes)


def _last_resort_row(c: LastResort) -> tuple[str, ...]:
    return c.prefix, c.service, c.state, str(c.rung), c.reason, _age(c.age), _sent(c.routes)


def _sent(routes: tuple[Route, ...]) -> str:
    said = [words.sent(r) for r in routes]
    unknown = f", {said.count('sent unknown')} unknown" if "sent unknown" in said else ""
    return f"sent to {said.count('sent')} of {len(said)}{unknown}"


def _session_row(n: Neighbor) -> tuple[str, ...]:
    return n.name, words.place(n), str(n.remote_as), n.session, _age(n.age), words.session_why(n)


def _check_row(service: str, c: Check) -> tuple[str, ...]:
    verdict = c.verdict + (" stale" if c.stale else " kept" if c.kept else "")
    return f"{service}/{c.name}", c.asks, verdict, c.outcome or "–", _age(c.probe_age), c.detail


def show_why(w: Why) -> list[str]:
    if w.asked:
        return [line for number, e in enumerate(w.prefixes) for line in [""] * (number > 0) + _explained(e)]
    lines = [_paint(w.headline, w.mood)]
    for explained in w.prefixes:
        lines += ["", *_explained(explained)]
    lines += [""] * bool(w.well or w.off)
    if w.well:
        lines.append(f"{w.well} announced at {'its' if w.well == 1 else 'their'} best, at every neighbor")
    if w.off:
        lines.append(f"{w.off} not wanted here: disabled, or only observed")
    return lines


def _explained(e: Explained) -> list[str]:
    p = e.prefix
    left = f"; {_age(p.remaining)} left" if p.remaining is not None else ""
    return [
        f"{p.prefix} of {p.service}: {_paint(p.headline, p.mood)}",
        f"  rung      {p.rung}. {p.rung_title}, for {_age(p.age)}",
        f"  reason    {p.reason}",
        f"  evidence  {p.evidence}",
        f"  changes   {p.remedy}{left}",
        *(f"  {'' if number else 'meaning':10}{line}" for number, line in enumerate(p.advice)),
        f"  address   {words.address(p.address)}",
        *(f"  consumers {text}" for text in [words.consumers(p.consumers)] if text),
        *(_route_line(r) for r in p.routes),
        *(_check_line(c) for c in e.checks),
        *(line for c in e.last_resorts for line in _last_resort_lines(c)),
    ]


def _last_resort_lines(c: LastResort) -> list[str]:
    lines = [f"  last resort {c.prefix}: {_paint(words.last_resort(c), c.mood)}"]
    lines += [f"    changes {c.remedy}"] * (c.mood is not Mood.OK)
    return lines + [f"  {_route_line(r)}" for r in c.routes]


def show_changes(c: Changes) -> list[str]:
    return [f"{_age(one.age):>6} ago  {one.subject}: {one.text}" for one in c.changes]


def _route_line(r: Route) -> str:
    error = f"; error: {r.error}" if r.error else ""
    return f"  route     {r.neighbor}: {', '.join(words.facts(r, _ago(r.sent_age)))}; session {r.session}{error}"


def _check_line(c: Check) -> str:
    last = f"last {c.outcome or 'none yet'}{_ago(c.probe_age)}"
    return f"  check     {c.name} ({c.scope}): {c.verdict}, {last} {c.detail}".rstrip()
