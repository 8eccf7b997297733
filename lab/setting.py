"""Shared by the verbs: the lab that is meant, the options typed with it, and the start of a lab."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from anycast_agent.config.problems import did_you_mean
from lab.drills import scene as scenes
from lab.drills.scene import Scene
from lab.net import runtimes, topology
from lab.net.lab import Lab, LabError
from lab.net.node import variables
from lab.net.tables import Tables
from lab.net.topology import Topology

CONVERGES_WITHIN = 60.0


class UsageError(Exception):
    """The command line is wrong. The message says what to type instead."""


def name_of(args: argparse.Namespace) -> str:
    name = args.name or topology.load(args.topology).name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", name):
        raise UsageError(f"--name has letters, digits, '-' and '_', 32 at most, not {name!r}")
    return str(name)


def scene_of(top: Topology) -> Scene:
    return scenes.load(top.path.parent / "lab.yaml", top)


def variant_of(args: argparse.Namespace, scene: Scene) -> str:
    """The one asked for, or none. Raises UsageError."""
    if args.variant and args.variant not in scene.variants:
        raise UsageError(f"there is no variant {args.variant!r}{did_you_mean(args.variant, scene.variants)}")
    return str(args.variant)


def rootfs_of(args: argparse.Namespace, top: Topology) -> dict[str, str]:
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


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def started(args: argparse.Namespace, name: str, variant: str) -> Lab:
    """A lab of that name, up and converged. Nothing of it is left, also after an error or an interrupt."""
    top = topology.load(args.topology, variables(variant))
    scene = scene_of(top)
    begun = time.monotonic()

    def tell(text: str) -> None:
        say(f"{time.monotonic() - begun:5.1f} s  {text}")

    lab = runtimes.made(top, name, variant, rootfs_of(args, top), args.runtime)
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
