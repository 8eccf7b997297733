"""``anycast-lab``: the lab's verbs.

Exit codes, of every verb: 0 done, and as expected; 1 failed, or not as expected; 2 wrong usage, or a file that is not
valid; 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anycast_agent import __version__
from anycast_agent.config.problems import ConfigError, did_you_mean
from lab import acts, topology
from lab import drill as drills
from lab import exercise as exercises
from lab import scene as scenes
from lab.conduct import Conductor, Teller
from lab.judge import judge
from lab.lab import Lab, LabError, alone, check_host, take_down
from lab.node import Node, NodeError, variables
from lab.result import Result
from lab.scene import Scene
from lab.tables import Tables
from lab.topology import Topology

HOME = Path(__file__).resolve().parent.parent / "containerlab"
CONVERGES_WITHIN = 30.0


class UsageError(Exception):
    """What was typed cannot be meant: what to type instead."""


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    # An interrupted run cleans up like one that failed, also one that a script has put into the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupted)
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
            return 1  # who read our output has gone
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
        description="Two datacenters with real routers, in network namespaces; and drills that prove the failover.",
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
    drill = verb("drill", _drill, "run drills, judge them, and write a report")
    drill.add_argument("drills", nargs="*", metavar="NAME", help="in the topology's drills/; or the path of a file")
    drill.add_argument("--all", action="store_true", help="all of them, in every variant")
    drill.add_argument("--ci", action="store_true", help="the set that the tests run")
    drill.add_argument("--list", action="store_true", help="which there are")
    drill.add_argument("--live", action="store_true", help="a table of who answers, as it happens")
    drill.add_argument("--report", type=Path, default=Path("build/lab"), metavar="DIR")
    drill.add_argument(
        "--slack", type=float, default=1.0, metavar="N", help="widen every bound on time, on a busy machine"
    )
    drill.add_argument("--output", choices=("text", "json"), default="text")
    starts(drill)
    one = verb("do", _do, "do one thing to the lab that is up, as a drill's steps do it")
    one.add_argument("act", metavar="ACT", help="such as 'power_off: {site: ams}' or 'cut: {links: [[leaf1, edge1]]}'")
    check = verb("check", _check, "say whether an exercise of containerlab/README.md has worked")
    check.add_argument("exercise", nargs="?", metavar="EXERCISE")
    check.add_argument("--list", action="store_true", help="which there are")
    check.add_argument("--within", type=float, metavar="SECONDS", help="so long the tables may take; 0: look once")
    check.add_argument("--output", choices=("text", "json"), default="text")
    traffic = verb("traffic", _traffic, "ask as the clients do, and show who answers")
    traffic.add_argument("--seconds", type=float, default=0.0, help="0: until interrupted")
    graph = verb("graph", _graph, "draw the topology (SVG on standard output)")
    graph.add_argument("--out", type=Path, metavar="FILE")
    verb("down", _down, "take the lab down: nothing is left of it")
    return top


# --- what the verbs share ---


def _name(args: argparse.Namespace) -> str:
    name = args.name or topology.load(args.topology).name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", name):
        raise UsageError(f"--name has letters, digits, '-' and '_', 32 at most, not {name!r}")
    return str(name)


def _scene(top: Topology) -> Scene:
    return scenes.load(top.path.parent / "lab.yaml", top)


def _variant(args: argparse.Namespace, scene: Scene) -> str:
    """The one asked for, or none. Raises UsageError."""
    if args.variant and args.variant not in scene.variants:
        raise UsageError(f"there is no variant {args.variant!r}{did_you_mean(args.variant, scene.variants)}")
    return str(args.variant)


def _rootfs(args: argparse.Namespace, top: Topology) -> dict[str, str]:
    groups = {node.group for node in top.nodes.values() if node.group}
    found = {}
    for text in args.rootfs:
        group, _, folder = text.partition("=")
        if not folder or not Path(folder, "usr").is_dir():
            raise UsageError(f"--rootfs reads GROUP=DIR, and DIR holds a root file system, not {text!r}")
        if group not in groups:
            raise UsageError(f"--rootfs: there is no group {group!r}{did_you_mean(group, groups)}")
        found[group] = str(Path(folder).resolve())
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _started(args: argparse.Namespace, name: str, variant: str) -> Lab:
    """A lab of that name, up and converged; whatever goes wrong or interrupts, nothing is left of it."""
    top = topology.load(args.topology, variables(variant))
    scene = _scene(top)
    begun = time.monotonic()

    def tell(text: str) -> None:
        _say(f"{time.monotonic() - begun:5.1f} s  {text}")

    lab = Lab(top, name, variant, _rootfs(args, top))
    lab.up(tell)
    try:
        asyncio.run(_converge(lab, scene, tell))
    except BaseException:
        lab.down()
        raise
    tell(f"{name} is up ({variant})")
    return lab


async def _converge(lab: Lab, scene: Scene, tell: Callable[[str], None]) -> None:
    tables = Tables(lab.topology, lab.nodes, scene.concerns)
    tables.open(lab.nodes)
    try:
        deadline, told = time.monotonic() + CONVERGES_WITHIN, 0.0
        while wrong := scene.differences(scene.steady, tables.now()):
            if time.monotonic() > deadline:
                raise LabError(f"not converged after {CONVERGES_WITHIN:g} s: {'; '.join(wrong[:5])}")
            if time.monotonic() - told > 1:
                told = time.monotonic()
                tell(f"routes still to come: {len(wrong)}")
            await asyncio.sleep(0.05)
    finally:
        tables.close()


# --- verbs ---


def _up(args: argparse.Namespace) -> int:
    check_host()
    name = _name(args)
    top = topology.load(args.topology)
    scene = _scene(top)
    variant, _ = _variant(args, scene) or scene.variants[0], _rootfs(args, top)
    with alone(name):
        _started(args, name, variant)
    _say(
        "try: anycast-lab traffic; anycast-lab drill --list; anycast-lab exec ams-leaf1 vtysh -c 'show ip bgp'; "
        "anycast-lab down"
    )
    return 0


def _down(args: argparse.Namespace) -> int:
    check_host()
    name = _name(args)
    with alone(name):
        if not take_down(name):
            _say(f"no lab named {name} was up")
    return 0


def _status(args: argparse.Namespace) -> int:
    check_host()
    lab = Lab.running(_name(args))
    scene = _scene(lab.topology)
    tables = asyncio.run(_tables(lab, scene))
    wrong = scene.differences(scene.steady, tables)
    if args.output == "json":
        nodes = {
            name: {
                "on": bool(node.init),
                "processes": len(lab.group.below(name).processes()),
                "table": tables.get(name, {}),
            }
            for name, node in lab.nodes.items()
        }
        print(json.dumps({"lab": lab.name, "variant": lab.variant, "nodes": nodes, "not_steady": wrong}, indent=2))
    else:
        print(f"{lab.name}, {lab.variant}: {'steady' if not wrong else 'not steady'}\n")
        width = max(map(len, lab.nodes))
        for name, node in lab.nodes.items():
            print(f"{name:{width}}  {'on' if node.init else 'OFF':3}  {_brief(scene, tables.get(name, {}))}")
        for line in wrong:
            print(line)
    return 0 if not wrong else 1


async def _tables(lab: Lab, scene: Scene) -> dict[str, Any]:
    tables = Tables(lab.topology, lab.nodes, scene.concerns)
    tables.open(name for name, node in lab.nodes.items() if node.init)
    try:
        return dict(tables.now())
    finally:
        tables.close()


def _brief(scene: Scene, table: dict[str, Any]) -> str:
    parts = []
    for name, prefixes in scene.prefixes.items():
        ways = {table.get(prefix) for prefix in prefixes}
        if ways != {None}:
            parts.append(f"{name} → {' | '.join(scenes.say(way) for way in sorted(ways, key=str))}")
    return "; ".join(parts)


def _exec(args: argparse.Namespace) -> int:
    check_host()
    words = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not words:
        raise UsageError("which command? anycast-lab exec NODE COMMAND…")
    process = _node(args).popen(words)
    try:
        return int(process.wait())
    except KeyboardInterrupt:
        return int(process.wait())


def _node(args: argparse.Namespace) -> Node:
    lab = Lab.running(_name(args))
    try:
        lab.topology.node(args.node)
    except LookupError as error:
        raise UsageError(str(error)) from None
    return lab.nodes[args.node]


def _shell(args: argparse.Namespace) -> int:
    check_host()
    node = _node(args)
    environment = {**node.environment(), "TERM": os.environ.get("TERM", "dumb"), "PS1": f"{node.name}# "}
    words = node.command(["bash", "--norc"])
    node.join()
    os.execvpe(words[0], words, environment)  # noqa: S606 -- the terminal is the shell's from here on


def _graph(args: argparse.Namespace) -> int:
    from lab.graph import svg

    text = svg(topology.load(args.topology))
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text)
    return 0


# --- drills ---


def _drill(args: argparse.Namespace) -> int:
    top = topology.load(args.topology)
    scene = _scene(top)
    known = _known(top, scene)
    if args.list:
        width = max((len(name) for name in known), default=0)
        for name, drill in known.items():
            ci = f"  [ci: {', '.join(drill.ci)}]" if drill.ci else ""
            print(f"{name:{width}}  {drill.title}{ci}")
        return 0
    chosen = _chosen(args, known, top, scene)
    variants = [v for v in [_variant(args, scene)] if v] or scene.variants
    _rootfs(args, top)
    check_host()
    results: list[Result] = []
    name = _name(args)
    with alone(name):
        for variant in variants:
            wanted = {n: d for n, d in chosen.items() if _wanted(args, d, variant, scene)}
            if wanted:
                results += _run_all(args, name, variant, wanted, scene)
    return _report(args, top, results)


def _known(top: Topology, scene: Scene) -> dict[str, drills.Drill]:
    folder = top.path.parent / "drills"
    return {path.stem: drills.load(path, top, scene) for path in sorted(folder.glob("*.yaml"))}


def _chosen(
    args: argparse.Namespace, known: dict[str, drills.Drill], top: Topology, scene: Scene
) -> dict[str, drills.Drill]:
    if args.all or args.ci:
        return {name: drill for name, drill in known.items() if args.all or drill.ci}
    found = {}
    for name in args.drills:
        if name.endswith((".yaml", ".yml")):
            found[Path(name).stem] = drills.load(Path(name), top, scene)
        elif name in known:
            found[name] = known[name]
        else:
            raise UsageError(f"there is no drill {name!r}{did_you_mean(name, known)}; anycast-lab drill --list")
    if not found:
        raise UsageError("which drill? anycast-lab drill --list, or --all")
    return found


def _wanted(args: argparse.Namespace, drill: drills.Drill, variant: str, scene: Scene) -> bool:
    if drill.variants and variant not in drill.variants:
        return False
    if args.ci and variant not in drill.ci:
        return False
    # Named alone, a drill runs once: in the variant asked for, or the first that it is for.
    every = args.all or args.ci or args.variant
    return bool(every) or variant == (drill.variants or scene.variants)[0]


def _run_all(
    args: argparse.Namespace, name: str, variant: str, wanted: dict[str, drills.Drill], scene: Scene
) -> list[Result]:
    """In the lab that is up, where one of this variant is; else in one of its own, which goes again."""
    results = []
    with _lab_for(args, name, variant) as lab_of:
        for drill_name, drill in wanted.items():
            _say(f"\n{drill_name}: {drill.title} ({variant})")
            conductor = Conductor(lab_of(), scene, drill_name, drill, _teller(args))
            story = asyncio.run(_with_table(conductor, scene) if args.live else conductor.run())
            result = judge(story, drill, args.slack)
            results.append(result)
            _say_result(result)
            if not result.passed:
                lab_of(fresh=True)  # what it left must not be the next one's fault
    return results


@contextmanager
def _lab_for(args: argparse.Namespace, name: str, variant: str) -> Iterator[Callable[..., Lab]]:
    try:
        mine, lab = False, Lab.running(name)
        if lab.variant != variant:
            raise LabError(
                f"{name} is up as {lab.variant}, and this runs as {variant}: --variant {lab.variant}, or down first"
            )
    except LabError as error:
        if "is up as" in str(error):
            raise
        mine, lab = True, _started(args, name, variant)

    def current(fresh: bool = False) -> Lab:
        nonlocal lab
        if fresh and mine:
            lab.down()
            lab = _started(args, name, variant)
        return lab

    try:
        yield current
    except KeyboardInterrupt:
        if not mine:
            _say(f"{name} is as the drill left it: anycast-lab status")
        raise
    finally:
        if mine:
            lab.down()


def _teller(args: argparse.Namespace) -> Teller:
    def tell(at: float, text: str) -> None:
        if not args.live:
            _say(f"{at:+9.3f}  {text}")

    return tell


def _say_result(result: Result) -> None:
    for expectation in result.expectations:
        _say(f"  {'ok    ' if expectation.met else 'NOT OK'}  {expectation.text}: {expectation.found}")
    if result.problem:
        _say(f"  NOT OK  {result.problem}")
    _say(f"{result.drill}: {'passed' if result.passed else 'FAILED'}")


def _report(args: argparse.Namespace, top: Topology, results: list[Result]) -> int:
    from lab.graph import svg
    from lab.report import write

    path = write(results, args.report, svg(top), _about())
    if args.output == "json":
        print(json.dumps([result.to_json() for result in results]))
    else:
        print(path)
    failed = [result.drill for result in results if not result.passed]
    _say(f"{len(results) - len(failed)} of {len(results)} passed" + (f"; not: {', '.join(failed)}" if failed else ""))
    return 1 if failed or not results else 0


def _about() -> dict[str, str]:
    import subprocess

    said = subprocess.run(["/usr/lib/frr/bgpd", "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    return {
        "anycast-agent": __version__,
        "kernel": os.uname().release,
        "FRR": said.removeprefix("bgpd version ").strip(),
        "cores": str(os.cpu_count()),
    }


# --- by hand ---


def _do(args: argparse.Namespace) -> int:
    act = drills.act(args.act, topology.load(args.topology))
    check_host()
    name = _name(args)
    with alone(name):
        print(acts.do(Lab.running(name), act))
    return 0


def _check(args: argparse.Namespace) -> int:
    top = topology.load(args.topology)
    scene = _scene(top)
    known = exercises.load_all(top.path.parent / "exercises", top, scene)
    if args.list or not args.exercise:
        width = max((len(name) for name in known), default=0)
        for name, exercise in known.items():
            print(f"{name:{width}}  {exercise.title}")
        return 0 if args.list else 2
    if args.exercise not in known:
        raise UsageError(f"there is no exercise {args.exercise!r}{did_you_mean(args.exercise, known)}")
    check_host()
    lab = Lab.running(_name(args))
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
    check_host()
    lab = Lab.running(_name(args))
    scene = _scene(lab.topology)
    seconds = min(args.seconds or 600.0, 600.0)
    drill = drills.Drill(title="traffic", before=0, after=0, patience=0, steps=(drills.Step(wait=seconds),))
    conductor = Conductor(lab, scene.model_copy(update={"steady": {}}), "traffic", drill, lambda *_: None)
    try:
        story = asyncio.run(_with_table(conductor, scene))
    except KeyboardInterrupt:
        return 0
    return 1 if story.problem or any(r.who is None for r in story.requests) else 0


async def _with_table(conductor: Conductor, scene: Scene) -> Any:
    from lab.live import show

    watcher = asyncio.create_task(show(conductor.story, scene))
    try:
        return await conductor.run()
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


if __name__ == "__main__":
    sys.exit(main())
