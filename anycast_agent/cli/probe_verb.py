"""``probe``: run a service's checks once, here and now."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from anycast_agent import users
from anycast_agent.checks.prober import Prober
from anycast_agent.config import ConfigError, load
from anycast_agent.config.problems import did_you_mean
from anycast_agent.core.actions import CheckKey, RunProbe
from anycast_agent.core.events import ProbeFinished
from anycast_agent.core.model import Check, Scope
from anycast_agent.core.outcome import Evidence


def add_verbs(subparsers: Any) -> None:
    verb = subparsers.add_parser("probe", description=probe.__doc__)
    verb.add_argument("service", help="its name in the configuration")
    verb.add_argument("check", nargs="?", help="only this one")
    verb.add_argument("--config", type=Path, default=Path("/etc/anycast-agent/agent.yaml"), metavar="PATH",
                      help="/etc/anycast-agent/agent.yaml")  # fmt: skip
    verb.add_argument("--output", choices=("text", "json"), default="text")
    verb.set_defaults(func=probe)


def probe(args: argparse.Namespace) -> int:
    """From here, once, and with what came of it; no agent is asked, and nothing is announced. A check without a target
    of its own needs the service's address on this node. Root becomes the user who owns `agent.state_dir`, and so the
    checks have the agent's rights; its unit's view of the file system they have not. Exit 0: every local check is ok;
    1: one is not, or there is no such service or check."""
    try:
        loaded = load(args.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    config = loaded.config
    service = config.services.get(args.service)
    if service is None:
        print(f"no service {args.service!r}{did_you_mean(args.service, config.services)}", file=sys.stderr)
        return 1
    checks = [c for c in service.checks if args.check in (None, c.name)]
    if not checks:
        print(f"no check {args.check!r}{did_you_mean(args.check, {c.name for c in service.checks})}", file=sys.stderr)
        return 1
    try:
        _take_the_agents_rights(loaded.process.state_dir)
    except OSError as error:
        print(f"the agent's user, who owns {loaded.process.state_dir}, cannot be taken on: {error}", file=sys.stderr)
        return 1
    ends = asyncio.run(_run(service.name, checks))
    _show(args.output, checks, ends)
    local = [e for c, e in zip(checks, ends, strict=True) if c.scope is Scope.LOCAL]
    return 0 if all(e.outcome.evidence is Evidence.SUCCESS for e in local) else 1


def _take_the_agents_rights(state_dir: Path) -> None:
    """With root's, a check may pass that fails in the agent, which cannot read its certificate or run its program."""
    if os.geteuid() != 0:
        return
    try:
        agent = users.owner(state_dir)
    except FileNotFoundError:
        print(f"the checks run as root: whom the agent runs as is not known without {state_dir}", file=sys.stderr)
        return
    if agent.uid != 0:
        users.become(agent)


async def _run(service: str, checks: list[Check]) -> list[ProbeFinished]:
    ends: dict[int, asyncio.Future[ProbeFinished]] = {
        i: asyncio.get_running_loop().create_future() for i in range(len(checks))
    }

    def post(event: Any) -> None:
        ends[event.action].set_result(event)

    prober = Prober(post, exec_slots=len(checks))
    try:
        for i, check in enumerate(checks):
            prober.execute(RunProbe(i, CheckKey(service, check.name, check.prefix), check))
        return await asyncio.gather(*ends.values())
    finally:
        await prober.close()


def _show(output: str, checks: list[Check], ends: list[ProbeFinished]) -> None:
    rows = [
        {"check": c.name, "asks": c.prefix.partition("/")[0] or "its own target", "outcome": e.outcome.code,
         "duration": round(e.duration, 6), "detail": e.outcome.detail}
        for c, e in zip(checks, ends, strict=True)
    ]  # fmt: skip
    if output == "json":
        print(json.dumps(rows))
        return
    for row in rows:
        took = f"{float(str(row['duration'])) * 1000:.1f} ms"
        print(f"{row['check']:20} {row['asks']:28} {row['outcome']:12} {took:>10}  {row['detail']}".rstrip())
