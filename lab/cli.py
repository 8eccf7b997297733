"""``anycast-lab``: the lab's verbs.

Exit codes, of every verb: 0 done, and as expected; 1 failed, or not as expected; 2 wrong usage, or a file that is not
valid; 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from anycast_agent import __version__
from anycast_agent.checks.durations import written_duration
from anycast_agent.config.problems import ConfigError, did_you_mean
from lab.drill_verb import drill
from lab.drills import acts
from lab.drills import drill as drills
from lab.drills import exercise as exercises
from lab.drills import scene as scenes
from lab.drills.conduct import Conductor
from lab.drills.live import alongside
from lab.drills.scene import Scene
from lab.net import runtimes, topology
from lab.net.lab import HOST, NEEDED, Lab, LabError, alone, check_host
from lab.net.node import Node, NodeError
from lab.net.tables import Tables
from lab.setting import UsageError, name_of, rootfs_of, say, scene_of, started, variant_of

HOME = Path(__file__).resolve().parent.parent / "containerlab"


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    # An interrupted run cleans up like one that failed, also one that a script has put into the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupted)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # the terminal has gone; nohup ignores that
        signal.signal(signal.SIGHUP, _interrupted)
    try:
        func: Callable[[argparse.Namespace], int] = args.func
        return func(args)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except UsageError as error:
        print(f"anycast-lab: {error}", file=sys.stderr)
        return 2
    except (LabError, NodeError, LookupError, TimeoutError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            return 1  # the reader of our output has gone
        print(f"anycast-lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("anycast-lab: interrupted", file=sys.stderr)
        return 130


def _interrupted(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)  # asyncio knows how to end for this one


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="anycast-lab",
        description="Two datacenters with real routers, in network namespaces or under containerlab; and drills that "
        "prove the failover.",
        epilog="Exit codes: 0 done, and as expected; 1 failed, or not as expected; 2 wrong usage; 130 interrupted.",
    )
    top.add_argument("--version", action="version", version=f"anycast-agent {__version__}")
    top.add_argument(
        "--name",
        default=os.environ.get("ANYCAST_LAB_NAME", ""),
        help="of the lab; by default ANYCAST_LAB_NAME, or the topology's. Labs of two names run side by side",
    )
    top.add_argument(
        "--topology", type=Path, default=HOME / "anycast.clab.yml", metavar="FILE", help="containerlab's file format"
    )
    top.add_argument(
        "--runtime", choices=runtimes.NAMES, default=os.environ.get("ANYCAST_LAB_RUNTIME", ""),
        help="namespaces, or docker: what containerlab has deployed; by default, the one that runs this lab",
    )  # fmt: skip
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, func: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        parser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        parser.set_defaults(func=func)
        return parser

    def starts(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--variant", default="", help="bfd (default), or hold: only the hold time notices")
        parser.add_argument(
            "--rootfs", action="append", default=[], metavar="GROUP=DIR",
            help="a root file system for the nodes of a group, such as another release's routers",
        )  # fmt: skip

    starts(verb("up", _up, "start the lab, and wait until every table is as it should be"))
    status = verb("status", _status, "what runs, and what its tables say")
    status.add_argument("--output", choices=("text", "json"), default="text")
    execute = verb("exec", _exec, "run a command in a node")
    execute.add_argument("node", metavar="NODE")
    execute.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    verb("shell", _shell, "a shell in a node").add_argument("node", metavar="NODE")
    one = verb("drill", drill, "run drills, judge them, and write a report")
    one.add_argument("drills", nargs="*", metavar="NAME", help="in the topology's drills/; or the path of a file")
    one.add_argument("--all", action="store_true", help="all of them, in every variant")
    one.add_argument("--ci", action="store_true", help="the set that the tests run")
    one.add_argument("--list", action="store_true", help="which there are")
    one.add_argument("--live", action="store_true", help="a table of who answers, as it happens")
    one.add_argument("--report", type=Path, default=Path("build/lab"), metavar="DIR")
    one.add_argument(
        "--slack", type=float, default=1.0, metavar="N", help="widen the bounds on tables, on a busy machine"
    )
    one.add_argument("--keep", type=Path, metavar="DIR", help="report into a dated folder there, with a page over all")
    one.add_argument("--junit", type=Path, metavar="FILE", help="the verdicts as JUnit's XML, too")
    one.add_argument("--output", choices=("text", "json"), default="text")
    starts(one)
    one = verb("do", _do, "do one thing to the lab that is up, as a drill's steps do it")
    one.add_argument("act", metavar="ACT", help="such as 'power_off: {site: ams}' or 'cut: {links: [[leaf1, edge1]]}'")
    check = verb("check", _check, "say whether an exercise of containerlab/README.md has worked")
    check.add_argument("exercise", nargs="?", metavar="EXERCISE")
    check.add_argument("--list", action="store_true", help="which there are")
    check.add_argument("--within", type=float, metavar="SECONDS", help="so long the tables may take; 0: look once")
    check.add_argument("--output", choices=("text", "json"), default="text")
    traffic = verb("traffic", _traffic, "ask as the clients do, and show who answers")
    traffic.add_argument("--seconds", type=float, default=0.0, help="0: until interrupted; ten minutes at the most")
    graph = verb("graph", _graph, "draw the topology (SVG on standard output)")
    graph.add_argument("--out", type=Path, metavar="FILE")
    verb("down", _down, "take the lab down: nothing is left of it")
    return top


# --- verbs ---


def _up(args: argparse.Namespace) -> int:
    check_host(HOST if args.rootfs or args.runtime == "docker" else NEEDED)
    name = name_of(args)
    top = topology.load(args.topology)
    scene = scene_of(top)
    variant, _ = variant_of(args, scene) or scene.variants[0], rootfs_of(args, top)
    with alone(name):
        started(args, name, variant)
    say(
        "try: anycast-lab traffic; anycast-lab drill --list; anycast-lab exec ams-leaf1 vtysh -c 'show ip bgp'; "
        "anycast-lab down"
    )
    return 0


def _down(args: argparse.Namespace) -> int:
    check_host(HOST)
    name = name_of(args)
    with alone(name):
        if not runtimes.take_down(name, args.runtime):
            say(f"no lab named {name} was up")
    return 0


def _status(args: argparse.Namespace) -> int:
    check_host(HOST)
    lab = runtimes.running(name_of(args), args.runtime)
    scene = scene_of(lab.topology)
    tables = asyncio.run(_tables(lab, scene))
    wrong = scene.differences(scene.steady, tables)
    health = {name: _health(node) for name, node in lab.nodes.items()}
    if args.output == "json":
        nodes = {
            name: {
                "on": bool(node.init),
                "processes": len(node.processes()),
                "health": health[name],
                "table": tables.get(name, {}),
            }
            for name, node in lab.nodes.items()
        }
        print(
            json.dumps(
                {"lab": lab.name, "runtime": lab.runtime, "variant": lab.variant, "nodes": nodes, "not_steady": wrong},
                indent=2,
            )
        )
    else:
        print(f"{lab.name}, {lab.variant}, {lab.runtime}: {'steady' if not wrong else 'not steady'}\n")
        width = max(map(len, lab.nodes))
        for name, node in lab.nodes.items():
            said = health[name] if health[name] in ("", "healthy") else "UNHEALTHY"
            print(f"{name:{width}}  {'on' if node.init else 'OFF':3}  {said:9}  {_brief(scene, tables.get(name, {}))}")
        for line in [*wrong, *(f"{name}: {text}" for name, text in health.items() if text not in ("", "healthy"))]:
            print(line)
    return 0 if not wrong else 1


def _health(node: Node) -> str:
    return node.health() if node.init and not node.group.frozen else ""


async def _tables(lab: Lab, scene: Scene) -> dict[str, Any]:
    tables = Tables(lab.topology, lab.nodes, scene.concerns)
    tables.open(name for name, node in lab.nodes.items() if node.init)
    try:
        return dict(tables.now())
    finally:
        tables.close()


def _brief(scene: Scene, table: dict[str, Any]) -> str:
    """The next nodes of each set of prefixes; of one family alone only where the families differ."""
    ways = {name: {table.get(prefix) for prefix in prefixes} for name, prefixes in scene.prefixes.items()}
    parts = []
    for name, prefixes in scene.prefixes.items():
        told = any(set(prefixes) < set(more) and len(ways[other]) == 1 for other, more in scene.prefixes.items())
        if ways[name] != {None} and not told:
            parts.append(f"{name} → {' | '.join(scenes.say(way) for way in sorted(ways[name], key=str))}")
    return "; ".join(parts)


def _exec(args: argparse.Namespace) -> int:
    check_host(HOST)
    words = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not words:
        raise UsageError("which command? anycast-lab exec NODE COMMAND…")
    node = _node(args)
    process = node.popen(words) if _has(node, words[0]) else _host_tool(node, words)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: _pass_on(number, process.pid))
    try:
        status = process.wait()
    except KeyboardInterrupt:
        status = process.wait()
    return status if status >= 0 else 128 - status  # as a shell tells a signal


def _has(node: Node, program: str) -> bool:
    folders = node.environment().get("PATH", "/usr/bin:/bin").split(":")
    return "/" in program or any(os.path.lexists(node.path(f"{folder}/{program}")) for folder in folders)


def _host_tool(node: Node, words: list[str]) -> subprocess.Popen[Any]:
    """A router's image has no tcpdump, and who looks for a fault needs one: the host's runs in the node's network."""
    found = shutil.which(words[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        raise LabError(
            f"neither {node.name} nor this host has {words[0]!r}; scripts/needs lab installs the usual tools"
        )
    say(f"{node.name} has no {words[0]}: the host's runs in its network, with the host's files")
    return subprocess.Popen(node.tool([found, *words[1:]]), preexec_fn=node.join)


def _pass_on(number: int, nsenter: int) -> None:
    """Signal the command itself: nsenter would end and leave it behind. A terminal's Ctrl-C reaches it without us."""
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended by itself
        children = Path(f"/proc/{nsenter}/task/{nsenter}/children").read_text()
        for pid in children.split() or [str(nsenter)]:
            os.kill(int(pid), number)


def _node(args: argparse.Namespace) -> Node:
    lab = runtimes.running(name_of(args), args.runtime)
    try:
        lab.topology.node(args.node)
    except LookupError as error:
        raise UsageError(str(error)) from None
    return lab.nodes[args.node]


def _shell(args: argparse.Namespace) -> int:
    check_host(HOST)
    node = _node(args)
    environment = {**node.environment(), "TERM": os.environ.get("TERM", "dumb"), "PS1": f"{node.name}# "}
    words = node.command(["bash", "--norc"])
    node.join()
    os.execvpe(words[0], words, environment)  # noqa: S606 -- the terminal is the shell's from here on


def _graph(args: argparse.Namespace) -> int:
    from lab.report.graph import svg

    text = svg(topology.load(args.topology))
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)
    return 0


# --- by hand ---


def _do(args: argparse.Namespace) -> int:
    act = drills.act(args.act, topology.load(args.topology))
    check_host(HOST)
    name = name_of(args)
    with alone(name):
        print(acts.do(runtimes.running(name, args.runtime), act))
    return 0


def _check(args: argparse.Namespace) -> int:
    top = topology.load(args.topology)
    scene = scene_of(top)
    known = exercises.load_all(top.path.parent / "exercises", top, scene)
    if args.list or not args.exercise:
        width = max((len(name) for name in known), default=0)
        for name, exercise in known.items():
            print(f"{name:{width}}  {exercise.title}")
        return 0 if args.list else 2
    if args.exercise not in known:
        raise UsageError(f"there is no exercise {args.exercise!r}{did_you_mean(args.exercise, known)}")
    check_host(HOST)
    lab = runtimes.running(name_of(args), args.runtime)
    exercise = known[args.exercise]
    if args.within is not None:
        exercise = exercise.model_copy(update={"within": args.within})
    found = asyncio.run(exercises.check(lab, scene, exercise))
    if args.output == "json":
        print(json.dumps([{"text": e.text, "met": e.met, "found": e.found} for e in found], indent=2))
    else:
        for e in found:
            print(f"{'ok    ' if e.met else 'NOT OK'}  {e.text}: {e.found}")
    return 0 if all(e.met for e in found) else 1


# --- live ---


def _traffic(args: argparse.Namespace) -> int:
    check_host(HOST)
    lab = runtimes.running(name_of(args), args.runtime)
    scene = scene_of(lab.topology)
    seconds = min(args.seconds or 600.0, 600.0)
    steps = [{"wait": written_duration(seconds)}]
    drill = drills.Drill.model_validate({"title": "traffic", "before": 0, "after": 0, "patience": 0, "steps": steps})
    conductor = Conductor(lab, scene, "traffic", drill, lambda *_: None, steady_first=False)
    try:
        story = asyncio.run(alongside(conductor, scene))
    except KeyboardInterrupt:
        return 0
    return 1 if story.problem or any(r.who is None for r in story.requests) else 0
