"""``validate``, ``schema``, ``plan``: what can be said of a configuration without an agent."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from anycast_agent.config import ConfigError, Loaded, load
from anycast_agent.config.diff import Change, changes
from anycast_agent.config.schema import schema

DEFAULT = Path("/etc/anycast-agent/agent.yaml")


def add_verbs(subparsers: Any) -> None:
    validate = subparsers.add_parser(
        "validate", help="say what is wrong with a configuration", description=validate_.__doc__
    )
    _common(validate)
    validate.set_defaults(func=validate_)
    schema_verb = subparsers.add_parser("schema", help="print the JSON Schema of the configuration")
    schema_verb.add_argument("--output", choices=("json",), default="json")
    schema_verb.set_defaults(func=lambda _: print(json.dumps(schema(), indent=2)) or 0)
    plan = subparsers.add_parser("plan", help="say what a new configuration would change", description=plan_.__doc__)
    _common(plan)
    plan.add_argument("--against", type=Path, default=DEFAULT, metavar="OLD", help=f"the one in force ({DEFAULT})")
    plan.set_defaults(func=plan_)


def _common(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--config", type=Path, default=DEFAULT, metavar="PATH", help=str(DEFAULT))
    verb.add_argument("--output", choices=("text", "json"), default="text")


def _load(path: Path, output: str) -> Loaded | None:
    """The configuration; None where its problems were printed instead."""
    try:
        return load(path)
    except ConfigError as error:
        if output == "json":
            found = [{"file": p.file, "line": p.line, "column": p.column, "message": p.message} for p in error.problems]
            print(json.dumps({"valid": False, "problems": found}))
        else:
            for problem in error.problems:
                print(problem, file=sys.stderr)
        return None


def validate_(args: argparse.Namespace) -> int:
    """Exit 0: valid; 1: not, and every problem is named with its file, line and column."""
    loaded = _load(args.config, args.output)
    if loaded is None:
        return 1
    prefixes = sum(len(s.prefixes) for s in loaded.config.services.values())
    if args.output == "json":
        print(json.dumps({"valid": True, "services": len(loaded.config.services), "prefixes": prefixes}))
    else:
        print(f"valid: {len(loaded.config.services)} services, {prefixes} prefixes, "
              f"{len(loaded.config.neighbors)} neighbors, {len(loaded.files)} files")  # fmt: skip
    return 0


def plan_(args: argparse.Namespace) -> int:
    """What --config would change against --against. Exit 0: nothing is withdrawn; 1: routes are withdrawn, or a file
    is not valid."""
    new = _load(args.config, args.output)
    old = _load(args.against, args.output) if new is not None else None  # one document on stdout, not two
    if new is None or old is None:
        return 1
    found = changes(old.config, new.config)
    if args.output == "json":
        print(json.dumps([{"what": c.what, "name": c.name, "text": c.text, "withdraws": c.withdraws} for c in found]))
    else:
        for change in found:
            print(_line(change))
        if not found:
            print("nothing changes")
    return 1 if any(c.withdraws for c in found) else 0


def _line(change: Change) -> str:
    return f"{'!' if change.withdraws else ' '} {change.what} {change.name}: {change.text}"
