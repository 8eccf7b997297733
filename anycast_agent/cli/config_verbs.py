"""``validate``, ``schema``, ``plan``: what can be said of a configuration without an agent."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from anycast_agent.checks import table
from anycast_agent.cli.live_verbs import DEFAULT_SOCKET, EXIT_UNREACHABLE, Unreachable, ask
from anycast_agent.config import ConfigError, Loaded, load, load_texts
from anycast_agent.config.diff import Change, changes
from anycast_agent.config.problems import Problem
from anycast_agent.config.schema import schema
from anycast_agent.core.model import RouteKey

DEFAULT = Path("/etc/anycast-agent/agent.yaml")


def add_verbs(subparsers: Any) -> None:
    validate = subparsers.add_parser("validate", description=validate_.__doc__)
    _common(validate)
    validate.add_argument("file", type=Path, nargs="?", metavar="FILE", help="the same as --config")
    validate.add_argument(
        "--elsewhere",
        action="store_true",
        help="the file is for another machine: do not look for the secrets, certificates and programs that it names",
    )
    validate.set_defaults(func=validate_)
    schema_verb = subparsers.add_parser("schema", description="For an editor.")
    schema_verb.add_argument("--output", choices=("json",), default="json")
    schema_verb.set_defaults(func=lambda _: print(json.dumps(schema(table.usable()), indent=2)) or 0)
    plan = subparsers.add_parser("plan", description=plan_.__doc__)
    _common(plan)
    plan.add_argument("new", type=Path, nargs="?", metavar="NEW", help="the new one: the same as --config")
    plan.add_argument("--against", type=Path, metavar="OLD", help="a file, in place of what the running agent has")
    plan.add_argument("--socket", type=Path, default=DEFAULT_SOCKET, metavar="PATH", help=str(DEFAULT_SOCKET))
    plan.set_defaults(func=plan_)


def _common(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--config", type=Path, default=DEFAULT, metavar="PATH", help=str(DEFAULT))
    verb.add_argument("--output", choices=("text", "json"), default="text")


def _load(path: Path, output: str) -> Loaded | None:
    """The configuration; None where its problems were printed instead."""
    try:
        return load(path)
    except ConfigError as error:
        _refuse(error.problems, output)
        return None


def _refuse(problems: Sequence[Problem], output: str, warnings: Sequence[Problem] = ()) -> None:
    if output == "json":
        print(json.dumps({"valid": False, "problems": _rows(problems), "warnings": _rows(warnings)}))
    else:
        _print(problems, warnings)


def _print(problems: Sequence[Problem], warnings: Sequence[Problem]) -> None:
    for problem in problems:
        print(problem, file=sys.stderr)
    for warning in warnings:
        print(replace(warning, message=f"warning: {warning.message}"), file=sys.stderr)


def _rows(problems: Sequence[Problem]) -> list[dict[str, str | int]]:
    return [{"file": p.file, "line": p.line, "column": p.column, "message": p.message} for p in problems]


def validate_(args: argparse.Namespace) -> int:
    """Whether a configuration, with conf.d/*.yaml beside it, can be run on this machine; with --elsewhere, on another.
    Exit 0: valid, perhaps with warnings; 1: not, and every problem is named with its file, line and column."""
    try:
        loaded = load(args.file or args.config, elsewhere=args.elsewhere)
    except ConfigError as error:
        _refuse(error.problems, args.output)
        return 1
    if loaded.missing:
        _refuse(loaded.missing, args.output, loaded.warnings)
        if args.output == "text":
            print("if it is for another machine: validate --elsewhere", file=sys.stderr)
        return 1
    config = loaded.config
    prefixes = sum(len(s.prefixes) for s in config.services.values())
    if args.output == "json":
        counts = {"services": len(config.services), "prefixes": prefixes, "warnings": _rows(loaded.warnings)}
        print(json.dumps({"valid": True, **counts}))
        return 0
    _print((), loaded.warnings)
    counted = [(len(config.services), "service"), (prefixes, "prefix"), (len(config.neighbors), "neighbor")]
    counted.append((len(loaded.files), "file"))
    nothing = "" if config.services else "; there is no service, so nothing is announced"
    print("valid: " + ", ".join(_count(n, word) for n, word in counted) + nothing)
    return 0


def _count(number: int, word: str) -> str:
    plural = f"{word}es" if word.endswith("x") else f"{word}s"
    return f"{number} {word if number == 1 else plural}"


def plan_(args: argparse.Namespace) -> int:
    """What a new configuration would change against what the running agent has; where none can be asked, against the
    installed file. A line that begins with ! takes something away. Exit 0: nothing is withdrawn; 1: routes are
    withdrawn, or a file is not valid; 3: no agent can be asked, and the new one is the installed file itself."""
    path = args.new or args.config
    new = _load(path, args.output)
    if new is None:
        return 1
    try:
        old = _in_force(args, path)
    except Unreachable as error:
        print(f"anycast-agent: {error}; there is nothing to compare {path} with", file=sys.stderr)
        return EXIT_UNREACHABLE
    if old is None:
        return 1
    print(f"compared with {old.name}", file=sys.stderr)
    found = [*changes(old.loaded.config, new.config, old.announced), *_at_a_restart(old.loaded, new)]
    if args.output == "json":
        rows = [{"what": c.what, "name": c.name, "text": c.text, "withdraws": c.withdraws} for c in found]
        print(json.dumps({"against": old.name, "changes": rows}))
    else:
        for change in found:
            print(_line(change))
        if not found:
            print("nothing changes")
    return 1 if any(c.withdraws for c in found) else 0


@dataclass(frozen=True, slots=True)
class _Old:
    """What the new one is compared with."""

    name: str
    loaded: Loaded
    announced: tuple[RouteKey, ...] | None = None
    """The routes that are announced; None: no agent said so."""


def _in_force(args: argparse.Namespace, new: Path) -> _Old | None:
    """None where its problems were printed instead. Raises Unreachable where only the new one itself is there."""
    path = args.against
    if path is None:
        try:
            return _of_the_agent(args.socket)
        except Unreachable as error:
            path = DEFAULT
            if path.resolve() == new.resolve():
                raise
            print(f"anycast-agent: {error}", file=sys.stderr)
    loaded = _load(path, args.output)
    return None if loaded is None else _Old(str(path), loaded)


def _of_the_agent(path: Path) -> _Old:
    answer = ask(path, verb="configuration")
    try:
        loaded = load_texts({Path(file): text for file, text in answer["data"]["files"].items()})
        announced = tuple(RouteKey(r["neighbor"], r["prefix"]) for r in answer["data"]["announced"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ConfigError):
        raise Unreachable(f"the agent on {path} is of another version than this command") from None
    return _Old("the running agent", loaded, announced)


def _at_a_restart(old: Loaded, new: Loaded) -> Iterator[Change]:
    for name in (f.name for f in fields(old.process)):
        before, after = getattr(old.process, name), getattr(new.process, name)
        if before != after:
            yield Change("process", name, f"{before} → {after}, at the next restart")


def _line(change: Change) -> str:
    return f"{'!' if change.withdraws else ' '} {change.what} {change.name}: {change.text}"
