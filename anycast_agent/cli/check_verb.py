"""``check``: one probe of any type of check, without a configuration."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import sys
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from anycast_agent.checks import table
from anycast_agent.checks.durations import duration
from anycast_agent.checks.fields import forms
from anycast_agent.checks.kind import Kind, Params
from anycast_agent.checks.prober import Prober
from anycast_agent.config.problems import did_you_mean
from anycast_agent.config.report import details, said
from anycast_agent.core.actions import CheckKey, RunProbe
from anycast_agent.core.events import ProbeFinished
from anycast_agent.core.model import Check, Prefix, prefix_of
from anycast_agent.core.outcome import Evidence


def add_verbs(subparsers: Any) -> None:
    verb = subparsers.add_parser("check", description=check.__doc__)
    verb.add_argument("type", help="as in a configuration: tcp, http, …")
    verb.add_argument("parameters", nargs="*", metavar="KEY=VALUE", help="its keys, with values as in YAML")
    verb.add_argument("--address", type=_address, help="one of this node, where no key names another target")
    verb.add_argument("--timeout", type=_duration, default=5.0, metavar="TIME", help="5s")
    verb.add_argument("--output", choices=("text", "json"), default="text")
    verb.set_defaults(func=check)


def check(args: argparse.Namespace) -> int:
    """From here, once, without a configuration: `check tls server_name=www.example.org target=192.0.2.80`. Exit 0: all
    that is asked for is so; 1: it is not, or the probe could not be made; 2: the type or a key is wrong."""
    try:
        kind = table.find(args.type)
        params = _parameters(kind, args.parameters)
        prefix = _prefix(kind, params, args.address)
    except (table.UnknownKindError, table.BrokenKindError, ValueError) as error:
        why = f"no type {args.type!r}{did_you_mean(args.type, table.names())}; there are {', '.join(table.names())}"
        print(why if isinstance(error, table.UnknownKindError) else error, file=sys.stderr)
        return 2
    end = asyncio.run(_run(Check("check", kind.name, params, args.timeout, args.timeout, args.timeout, prefix=prefix)))
    print(_shown(end, args.output))
    return 0 if end.outcome.evidence is Evidence.SUCCESS else 1


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _duration(text: str) -> float:
    return duration(text)


def _parameters(kind: Kind[Any], written: list[str]) -> Params:
    """Raises ValueError with a line for each problem."""
    values: dict[str, Any] = {}
    for word in written:
        key, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r}: write KEY=VALUE")
        try:
            values[key] = YAML(typ="safe").load(text)
        except YAMLError as error:
            raise ValueError(f"{key}: not a value of YAML: {text}") from error
    model: type[Params] = kind.params
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError("\n".join(said(d, values, forms(model))[1] for d in details(error))) from error


def _prefix(kind: Kind[Any], params: Params, address: str | None) -> Prefix:
    """Raises ValueError where it is not said where to ask, or said twice."""
    own = bool(kind.own_target(params))
    if own and address is not None:
        raise ValueError("the keys name a target already: leave --address out")
    if not own and address is None:
        raise ValueError("where to ask? --address is one of this node; a key (target, url, server) names another")
    return prefix_of(address) if address is not None else ""


async def _run(configured: Check) -> ProbeFinished:
    end: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    prober = Prober(end.set_result)
    try:
        prober.execute(RunProbe(0, CheckKey("check", configured.name, configured.prefix), configured))
        found: ProbeFinished = await end
        return found
    finally:
        await prober.close()


def _shown(end: ProbeFinished, output: str) -> str:
    outcome, numbers = end.outcome, end.outcome.numbers
    if output == "json":
        return json.dumps({
            "outcome": outcome.code, "evidence": outcome.evidence, "duration": round(end.duration, 6),
            "detail": outcome.detail,
            "numbers": [{"name": n.measure.name, "value": n.value, "unit": n.measure.unit} for n in numbers],
        })  # fmt: skip
    lines = [f"{outcome.code} ({outcome.evidence}), {end.duration * 1000:.1f} ms  {outcome.detail}".rstrip()]
    lines += [f"  {n.measure.name} {n.value:g} {n.measure.unit}".rstrip() for n in numbers]
    return "\n".join(lines)
