"""``anycast-lab drill``: choose drills and a lab, run them, and print the results."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from anycast_agent import __version__
from anycast_agent.config.problems import did_you_mean
from lab.drills import drill as drills
from lab.drills.conduct import Conductor, Teller
from lab.drills.judge import judge
from lab.drills.live import alongside
from lab.drills.result import Result
from lab.drills.scene import Scene
from lab.net import runtimes, topology
from lab.net.lab import HOST, NEEDED, Lab, LabError, alone, check_host
from lab.net.topology import Topology
from lab.setting import UsageError, name_of, rootfs_of, say, scene_of, started, variant_of


def drill(args: argparse.Namespace) -> int:
    top = topology.load(args.topology)
    scene = scene_of(top)
    known = _known(top, scene)
    if args.list:
        width = max((len(name) for name in known), default=0)
        for name, drill in known.items():
            ci = f"  [ci: {', '.join(drill.ci)}]" if drill.ci else ""
            print(f"{name:{width}}  {drill.title}{ci}")
        return 0
    chosen = _chosen(args, known, top, scene)
    variants = [v for v in [variant_of(args, scene)] if v] or scene.variants
    rootfs_of(args, top)
    check_host(HOST if args.rootfs or args.runtime == "docker" else NEEDED)
    results: list[Result] = []
    versions: dict[str, str] = {}
    if args.keep:
        args.report = args.keep / f"{datetime.now():%Y-%m-%dT%H%M%S}"
    name = name_of(args)
    args.report.mkdir(parents=True, exist_ok=True)  # that it cannot be written is known now, and not after all drills
    try:
        with alone(name):
            for variant in variants:
                wanted = {n: d for n, d in chosen.items() if _wanted(args, d, variant, scene)}
                if wanted:
                    _run_all(args, name, variant, wanted, scene, results, versions)
    except BaseException:
        if results:  # the results of a long run are kept
            say(f"the drills that ended are in {_written(args, top, results, versions)}")
        raise
    return _report(args, top, results, versions)


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
    args: argparse.Namespace,
    name: str,
    variant: str,
    wanted: dict[str, drills.Drill],
    scene: Scene,
    results: list[Result],
    versions: dict[str, str],
) -> None:
    """Run drills in the lab of this variant that is up, or else in one of their own, which is taken down afterwards."""
    with _lab_for(args, name, variant) as lab_of:
        versions |= {"runs in": lab_of().runtime, **_versions(lab_of())}
        last = list(wanted)[-1]
        for drill_name, drill in wanted.items():
            say(f"\n{drill_name}: {drill.title} ({variant})")
            conductor = Conductor(lab_of(), scene, drill_name, drill, _teller(args))
            story = asyncio.run(alongside(conductor, scene) if args.live else conductor.run())
            result = judge(story, drill, args.slack)
            results.append(result)
            _say_result(result)
            if not result.passed and drill_name != last:
                lab_of(fresh=True)  # the next drill starts in a clean lab


@contextmanager
def _lab_for(args: argparse.Namespace, name: str, variant: str) -> Iterator[Callable[..., Lab]]:
    mine = not runtimes.of(name, args.runtime)
    lab = started(args, name, variant) if mine else runtimes.running(name, args.runtime)
    if lab.variant != variant:
        raise LabError(
            f"{name} is up as {lab.variant}, and this runs as {variant}: --variant {lab.variant}, or down first"
        )
    if args.rootfs and not mine:
        raise LabError(f"{name} is up, and has the root file systems that it was started with: down first")

    def current(fresh: bool = False) -> Lab:
        nonlocal lab
        if fresh and mine:
            lab.down()
            lab = started(args, name, variant)
        return lab

    try:
        yield current
    except KeyboardInterrupt:
        if not mine:
            say(f"{name} is as the drill left it: anycast-lab status")
        raise
    finally:
        if mine:
            lab.down()


def _teller(args: argparse.Namespace) -> Teller:
    def tell(at: float, text: str) -> None:
        if not args.live:
            say(f"{at:+9.3f}  {text}")

    return tell


def _say_result(result: Result) -> None:
    for expectation in result.expectations:
        say(f"  {'ok    ' if expectation.met else 'NOT OK'}  {expectation.text}: {expectation.found}")
    if result.problem:
        say(f"  NOT OK  {result.problem}")
    load = result.load
    if load is not None:
        say(f"  the machine was {load.busy:.0%} busy, and held the runner up for {load.late_worst:.3f} s at the worst")
    if result.noticed:
        say(f"  {result.noticed}")
    said = {"failed": "FAILED", "overloaded": "overloaded: the machine was too busy to judge times by"}
    say(f"{result.drill}: {said.get(result.verdict, result.verdict)}")


def _written(args: argparse.Namespace, top: Topology, results: list[Result], versions: dict[str, str]) -> Path:
    from lab.report import junit, trend
    from lab.report.graph import svg
    from lab.report.page import write

    about = _about(versions)
    if args.slack != 1:
        about["slack"] = f"{args.slack:g}: bounds on tables are so much wider"
    path = write(results, args.report, svg(top), about)
    if args.keep:
        trend.write(args.keep)
    if args.junit:
        junit.write(results, args.junit)
    return path


def _report(args: argparse.Namespace, top: Topology, results: list[Result], versions: dict[str, str]) -> int:
    path = _written(args, top, results, versions)
    if args.output == "json":
        print(json.dumps([result.to_json() for result in results]))
    else:
        print(path)
    failed = [f"{r.drill} ({r.verdict})" for r in results if not r.passed]
    say(f"{len(results) - len(failed)} of {len(results)} passed" + (f"; not: {', '.join(failed)}" if failed else ""))
    if not results:
        say("none of these drills is for that variant: anycast-lab drill --list")
    return 1 if failed or not results else 0


def _about(versions: Mapping[str, str]) -> dict[str, str]:
    return {
        "anycast-agent": __version__,
        "ExaBGP": version("exabgp"),
        **versions,
        "kernel": os.uname().release,
        "cores": str(os.cpu_count()),
        "started by": f"{os.environ.get('SUDO_USER') or getpass.getuser()} on {os.uname().nodename}",
    }


PROGRAMS = {
    "FRR": ("/usr/lib/frr/bgpd", "--version"), "BIRD": ("/usr/sbin/bird", "--version"),
    "unbound": ("/usr/sbin/unbound", "-V"), "nginx": ("/usr/sbin/nginx", "-v"),
}  # fmt: skip
"""The commands that ask the nodes' programs for their versions."""


def _versions(lab: Lab) -> dict[str, str]:
    """The versions of the nodes' programs, asked of one node of each group."""
    found: dict[str, str] = {}
    firsts = {node.spec.group: node for node in reversed(list(lab.nodes.values())) if node.init}
    for name, command in PROGRAMS.items():
        for node in firsts.values():
            if name not in found and node.path(command[0]).exists():
                node.run(command, check=False)
                if match := re.search(r"\d+(\.\d+)+\S*", node.ran[-1].output):
                    found[name] = match[0]
    return found
