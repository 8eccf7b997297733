"""``make bench``: how fast, and at what cost, as a raw BGP peer and the kernel's accounting see it.

Figures, never verdicts: they are of this machine and this moment. Root is needed, for a network namespace.
``--against-exabgp`` also runs ExaBGP's own ``healthcheck`` for the same fault, in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.adapters.speaker.harness import V4 as PREFIXES
from tests.adapters.speaker.harness import speaking
from tests.support.agent import V4, Agent, configuration, scene
from tests.support.netns import namespaces, run_inside

Row = dict[str, Any]
TICKS = os.sysconf("SC_CLK_TCK")


def figures(name: str, values: list[float], unit: str, target: str) -> Row:
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))]
    return {"figure": name, "unit": unit, "median": statistics.median(ordered), "p99": p99, "least": ordered[0],
            "most": ordered[-1], "runs": len(ordered), "target": target}  # fmt: skip


# --- decision to withdrawal ---------------------------------------------------------------------------------


async def withdrawal() -> list[Row]:
    """From the action that the engine gives to the UPDATE at the peer."""
    took = []
    with tempfile.TemporaryDirectory(prefix="aa-bench-") as folder:
        async with speaking(Path(folder)) as (agent, peer, _):
            for _ in range(200):
                await agent.put(PREFIXES[0])
                await peer.has(PREFIXES[0])
                await asyncio.sleep(random.uniform(0.01, 0.03))
                seen, began = len(peer.updates), time.monotonic()
                await agent.drop(PREFIXES[0])
                await peer.has()
                took.append(1000 * (peer.updates[seen].at - began))
    return [figures("decision to withdrawal at the peer", took, "ms", "median 4, p99 15")]


# --- start --------------------------------------------------------------------------------------------------


def _many(folder: Path, count: int, **check: Any) -> tuple[dict[str, Any], list[str]]:
    values = configuration(folder, agent={"dead_man": "5s"})
    web = values["services"]["web"]
    prefixes = [f"198.18.{n // 250}.{n % 250 + 1}/32" for n in range(count)]
    page = {**web["checks"]["page"], "interval": "1s", **check}
    page.pop("contains")
    values["services"] = {f"s{n}": {**web, "prefixes": [p], "checks": {"page": page}} for n, p in enumerate(prefixes)}
    return values, prefixes


async def start(folder: Path, namespace: str) -> list[Row]:
    """From exec of ``run`` to the first, and to the last, announcement."""
    rows = []
    for count, target, runs in ((1, "0.8", 5), (500, "3", 2)):
        took = []
        for _ in range(runs):
            values, prefixes = _many(folder, count, rise=1)
            async with scene(folder, namespace, values) as s:
                began = time.monotonic()
                s.agent.start()
                await s.peer.has(*prefixes, deadline=60)
                took.append(max(u.at for u in s.peer.updates) - began)
        rows.append(figures(f"exec to announcement, {count} services, the last", took, "s", target))
    return rows


# --- load ---------------------------------------------------------------------------------------------------


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _memory(pid: int) -> float:
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def _probes(agent: Agent) -> int:
    status = await agent.status()
    return sum(sum(c["probes"].values()) for s in status["services"].values() for c in s["checks"])


async def load(folder: Path, namespace: str, seconds: float = 15.0) -> list[Row]:
    """500 HTTP checks a second: processor time of agent, ExaBGP and pipe together, and the agent's memory."""
    values, prefixes = _many(folder, 500)
    async with scene(folder, namespace, values) as s:
        # The service is apart, so that its own cost is not on the agent's core alone.
        await s.service.close()
        server = subprocess.Popen([sys.executable, "-m", "tests.bench.service"])
        try:
            s.agent.start()
            await s.peer.has(*prefixes, deadline=60)
            await asyncio.sleep(3)
            assert s.agent.process is not None
            pids = [s.agent.process.pid, s.agent.exabgp(), s.agent.pipe()]
            cpu, probes, began = sum(map(_cpu, pids)), await _probes(s.agent), time.monotonic()
            await asyncio.sleep(seconds)
            cpu, probes = sum(map(_cpu, pids)) - cpu, await _probes(s.agent) - probes
            rate = probes / (time.monotonic() - began)
            memory = _memory(pids[0])
            s.agent.kill(signal.SIGTERM)
            await s.agent.ends()
            bare = await _bare(rate, seconds)
            return [
                figures("HTTP checks a second, sustained", [rate], "1/s", "500"),
                figures("processor time for 1,000 HTTP checks, all three", [1000 * cpu / probes], "s", "0.5"),
                figures("the same requests by aiohttp alone", [bare], "s", ""),
                figures("memory of the agent, 500 services", [memory], "MB", "80"),
            ]
        finally:
            server.kill()
            server.wait()


async def _bare(rate: float, seconds: float) -> float:
    words = [sys.executable, "-m", "tests.bench.bare", str(rate), str(seconds)]
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    return float(out)


# --- a failing service --------------------------------------------------------------------------------------


async def failing(folder: Path, namespace: str, runs: int = 12) -> list[Row]:
    """HTTP 500 at an interval of one second, fall 2: from the service's change to the withdrawal at the peer.

    Of each route by itself, and of the service as a whole: its two families have probes of their own, at their own times.
    """
    took, whole = [], []
    values = configuration(folder, check={"interval": "1s", "rise": 1, "fall": 2})
    async with scene(folder, namespace, values) as s:
        s.agent.start()
        await s.announced()
        for _ in range(runs):
            await asyncio.sleep(random.uniform(1.0, 2.0))
            await s.service.become("failing")
            seen, began = len(s.peer.updates), time.monotonic()
            whole.append(await s.withdrawn() - began)
            took += [update.at - began for update in s.peer.updates[seen:] for _ in update.withdrawn]
            await s.service.become("well")
            await s.announced(60)
    return [
        figures("HTTP 500 to withdrawal, interval 1 s, fall 2", took, "s", "median 0.7"),
        figures("the same, until the later of both families", whole, "s", ""),
    ]


async def healthcheck(folder: Path, namespace: str, runs: int = 6) -> list[Row]:
    """The same with ExaBGP's own ``healthcheck``, at its fastest for the same interval."""
    took = []
    check = folder / "check.py"
    check.write_text("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:8080/', timeout=1)\n")
    command = f"{sys.executable} {check}"
    async with scene(folder, namespace) as s:
        conf = folder / "healthcheck.conf"
        words = f"{sys.executable} -m exabgp healthcheck --cmd '{command}' --interval 1 --fast-interval 0.1 --fall 2 --rise 1"
        helper = folder / "healthcheck.sh"
        helper.write_text(f"#!/bin/sh\nexec {words} --withdraw-on-down --no-ip-setup --ip {V4} --no-syslog\n")
        helper.chmod(0o755)
        conf.write_text(
            f"process check {{ run {helper}; encoder text; }}\n"
            "neighbor 127.0.0.2 { router-id 198.51.100.1; local-address 127.0.0.1; local-as 65101; peer-as 65011;\n"
            "  hold-time 9; api { processes [ check ]; } }\n"
        )
        env = {**os.environ, "exabgp_daemon_user": "root", "exabgp_log_level": "ERROR", "exabgp_api_cli": "false"}
        speaker = subprocess.Popen([sys.executable, "-m", "exabgp", str(conf)], env=env, start_new_session=True)
        try:
            await s.peer.has(V4, deadline=30)
            for _ in range(runs):
                await asyncio.sleep(random.uniform(1.0, 2.0))
                await s.service.become("failing")
                began = time.monotonic()
                took.append(await s.peer.has(deadline=30) - began)
                await s.service.become("well")
                await s.peer.has(V4, deadline=30)
        finally:
            speaker.terminate()  # it ends its helper, which has a session of its own
            speaker.wait()
    return [figures("the same, ExaBGP's own healthcheck", took, "s", "")]


# --- the table ----------------------------------------------------------------------------------------------


def show(rows: list[Row]) -> None:
    print(f"\n{'figure':55} {'median':>9} {'p99':>9} {'most':>9}  {'unit':4} {'runs':>5}  target")
    for r in rows:
        print(
            f"{r['figure']:55} {r['median']:9.3f} {r['p99']:9.3f} {r['most']:9.3f}  {r['unit']:4} {r['runs']:5}  {r['target']}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--against-exabgp", action="store_true", help="also ExaBGP's own healthcheck")
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"))
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("bench: needs root, for a network namespace: sudo make bench", file=sys.stderr)
        return 1
    parts: list[Callable[[Path, str], Coroutine[Any, Any, list[Row]]]] = [start, load, failing]
    if args.against_exabgp:
        parts.append(healthcheck)
    rows: list[Row] = []
    with namespaces("node") as (namespace,):
        rows += run_inside(namespace, withdrawal, 120)
        show(rows)
        for part in parts:
            with tempfile.TemporaryDirectory(prefix="aa-bench-") as folder:
                path = Path(folder)
                print(f"measuring: {(part.__doc__ or '').strip().splitlines()[0]}", file=sys.stderr, flush=True)
                rows += run_inside(namespace, lambda p=part, f=path: p(f, namespace), 300)  # type: ignore[misc]
        print("\nall of it:")
    show(rows)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps({"cpus": os.cpu_count(), "figures": rows}, indent=2) + "\n")
    print(f"\nwritten to {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
