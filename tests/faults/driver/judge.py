"""Whether the wire, the kernel, the status and the metrics agree with the world."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.faults.driver.configs import DEAD_MAN, Expected
from tests.faults.driver.faults import get
from tests.faults.driver.stage import Router, Stage
from tests.faults.driver.truth import OWNERS, Deserved

DETECTED_WITHIN = 2.0
"""A probe that hangs for its timeout of 1 s, twice at the fast interval, and what it takes to say so. Seconds."""
SLACK = 3.0
"""On a machine that does other things too. Seconds."""
STALE_FOR = DETECTED_WITHIN + DEAD_MAN + 1.0 + SLACK
AGREES_FOR = 1.0
"""And not only as something passes by. Seconds."""
AGREES_WITHIN = 45.0
"""With the faults in force. Seconds."""
WELL_WITHIN = 90.0
"""Once they are lifted: ExaBGP tries a router again after a minute at the most. Seconds."""

OF_THE_MACHINE = {"speaker user"}
"""Warnings of where the tests run, and not of what happens: a Python in a directory that only root may enter."""

METRICS = ("anycast_session_up", "anycast_route_sent", "anycast_prefix_announce", "anycast_return_route_usable")
"""Those whose values are held against the world."""

Status = dict[str, Any]


@dataclass
class Judge:
    stage: Stage
    tally: Counter[str]
    failure: str = ""
    found: list[str] = field(default_factory=list)
    """What did not agree, when it was last looked at."""
    _looked_at: float = field(default_factory=time.monotonic)

    # --- during a story ---

    async def watch(self) -> None:
        """Until it is cancelled, or something is wrong: that is in ``failure``."""
        while not self.failure:
            now = time.monotonic()
            if now - self._looked_at > 0.5:  # we were not given the processor, and nor was the agent
                self.stage.truth.disturbed()
            self._looked_at = now
            self.failure = next(self._stale(now), "") or self._end_of_agent()
            await asyncio.sleep(0.05)

    def _stale(self, now: float) -> Iterator[str]:
        truth = self.stage.truth
        for name, router in self.stage.routers.items():
            for prefix in () if router.deaf else router.table:
                since = truth.undeserved_since.get((name, prefix))
                if since is None:
                    continue
                begins = max(since, truth.disturbed_at)
                allowed = STALE_FOR + (0.0 if self._reachable(router) else router.hold_time)
                if now > begins + allowed:
                    yield f"{prefix} is at {name} {now - since:.1f} s after it was not deserved any more"

    def _end_of_agent(self) -> str:
        process = self.stage.agent.process
        truth = self.stage.truth
        ended = truth.agent_runs and process is not None and process.poll() is not None
        may = truth.broken_file or truth.disk_full or truth.asked_to_end
        return f"the agent ended by itself: {process.poll()}" if ended and process and not may else ""

    async def observe(self) -> None:
        """Count which states are reached, as the surfaces and the routers show them."""
        while True:
            for state in {*self._wire_states(), *await self._shown_states()}:
                self.tally[state] += 1
            await asyncio.sleep(0.2)

    def _wire_states(self) -> Iterator[str]:
        deserved = [k for k in self.stage.truth.routes() if self.stage.truth.deserved(k) is Deserved.YES]
        there = {(name, p) for name, router in self.stage.routers.items() for p in router.table}
        yield "wire: nothing" if not there else "wire: all" if there == set(self.stage.truth.routes()) else "wire: part"
        if any(key not in there for key in deserved):
            yield "wire: something deserved is missing"
        if any(self.stage.truth.deserved(key) is Deserved.NO for key in there):
            yield "wire: something not deserved is there"

    async def _shown_states(self) -> set[str]:
        try:
            status = await asyncio.wait_for(self.stage.agent.status(), 1)
        except (OSError, ValueError, TimeoutError):
            return {"agent: does not answer"}
        prefixes = [p for s in status["services"].values() for p in s["prefixes"]]
        return {
            f"agent: {status['life']}",
            f"speaker: {status['speaker']['state']}",
            *(f"session: {n['session']}" for n in status["neighbors"]),
            *(f"prefix: {p['reason']}" for p in prefixes),
            *(f"sent: {r['sent']}" for p in prefixes for r in p["routes"]),
            *(["reload: refused"] if status["configuration"]["errors"] else []),
            *(["ready: no"] if not status["ready"] else []),
            *(["warned"] if status["warnings"] else []),
        }

    # --- when it has settled ---

    async def agrees(self, within: float, *, well: bool) -> float:
        """Wait until all surfaces agree with the world, and go on to; returns how long that took. AssertionError past
        the bound."""
        began, since = time.monotonic(), None
        while time.monotonic() < began + within:
            assert not self.failure, self.failure
            self.found = await self.differences(well=well)
            since = None if self.found else since or time.monotonic()
            if since is not None and time.monotonic() >= since + AGREES_FOR:
                return since - began
            await asyncio.sleep(0.1)
        raise AssertionError(f"after {within:g} s: " + "; ".join(self.found))

    async def differences(self, *, well: bool) -> list[str]:
        """``well``: no fault is left, and nothing may be missing."""
        found = [*self._of_wire(), *self._of_kernel(), *self._of_processes()]
        if not self.stage.truth.agent_runs:
            return found
        try:
            status = await asyncio.wait_for(self.stage.agent.status(), 5)
        except (OSError, ValueError, TimeoutError) as error:
            excused = self.stage.truth.hampered and not well
            return found if excused else [*found, f"the agent does not answer: {type(error).__name__} {error}"]
        found += self._of_status(status, well)
        if self.stage.truth.loopback:
            try:
                found += self._of_metrics(await get("/metrics"))
            except (OSError, TimeoutError, ValueError) as error:
                found.append(f"no metrics: {type(error).__name__} {error}")
        return found

    def _reachable(self, router: Router) -> bool:
        return router.answers and self.stage.truth.uplinks[router.name[:5]]

    def _of_wire(self) -> Iterator[str]:
        truth = self.stage.truth
        for name, router in self.stage.routers.items():
            if router.deaf:
                continue
            configured = name in truth.neighbors() and truth.agent_runs and not truth.hampered
            if configured and len(truth.variants) == 1 and self._reachable(router) and not router.established:
                yield f"no session with {name}"
            for prefix in OWNERS:
                there, deserved = prefix in router.table, truth.deserved((name, prefix))
                if there and deserved is Deserved.NO:
                    yield f"{name} has {prefix}, which it should not"
                if not there and deserved is Deserved.YES and self._reachable(router):
                    yield f"{name} lacks {prefix}"
            for prefix in router.table:
                expected = truth.routes().get((name, prefix), [])
                path = router.table[prefix]
                shown = Expected(path.next_hop, path.med, path.communities)
                if expected and shown not in expected:
                    yield f"{name} has {prefix} with {shown}, not {expected}"

    def _of_kernel(self) -> Iterator[str]:
        truth = self.stage.truth
        if not truth.agent_runs or truth.hampered or len(truth.variants) > 1 or not truth.loopback:
            return
        there = self.stage.addresses()
        wanted = sorted(truth.prefixes())
        if there != wanted:
            yield f"lo has {there}, not {wanted}"

    def _of_processes(self) -> Iterator[str]:
        pipes = self.stage.pipes()
        if len(pipes) > 1:
            yield f"{len(pipes)} pipes live: {pipes}"

    def _of_status(self, status: Status, well: bool) -> Iterator[str]:
        truth = self.stage.truth
        if well:
            if not status["ready"] or status["life"] != "running":
                yield f"not ready: {status['life']}, waits for {status['waits_for']}"
            warnings = {k: v for k, v in status["warnings"].items() if k not in OF_THE_MACHINE}
            if warnings:
                yield f"warnings: {warnings}"
            if status["configuration"]["errors"]:
                yield f"errors of the configuration: {status['configuration']['errors']}"
        for n in status["neighbors"]:
            router = self.stage.routers.get(n["name"])
            if router is not None and not router.deaf and (n["session"] == "up") is not router.established:
                yield f"status: session of {n['name']} is shown {n['session']}, established {router.established}"
        if len(truth.variants) == 1 and not truth.hampered:
            shown = {p["prefix"] for s in status["services"].values() for p in s["prefixes"]}
            if shown != truth.prefixes():
                yield f"status: prefixes {sorted(shown)}"
        for service in status["services"].values():
            for prefix in service["prefixes"]:
                yield from self._of_prefix(prefix)

    def _of_prefix(self, shown: Status) -> Iterator[str]:
        prefix, truth = shown["prefix"], self.stage.truth
        wanted = {truth.deserved(key) for key in truth.routes() if key[1] == prefix}
        if Deserved.MAYBE not in wanted and wanted and shown["announce"] is not (Deserved.YES in wanted):
            yield f"status: announce of {prefix} is {shown['announce']} ({shown['reason']})"
        if truth.loopback and not truth.hampered:
            well = truth.services[OWNERS[prefix]] == "well"
            if (shown["health"] == "up") is not well:
                yield f"status: health of {prefix} is {shown['health']}"
        for route in shown["routes"]:
            router = self.stage.routers.get(route["neighbor"])
            if router is None or router.deaf:
                continue
            if bool(route["sent"]) is not (prefix in router.table):
                yield f"status: {prefix} at {router.name} is shown sent {route['sent']}, there: {prefix in router.table}"

    def _of_metrics(self, page: bytes) -> Iterator[str]:
        """Each series against what it tells of."""
        text = page.partition(b"\r\n\r\n")[2].decode()
        lacking = [name for name in METRICS if f"\n{name}{{" not in text]
        if lacking:
            yield f"metrics: there is no {', '.join(lacking)}"
        truth = self.stage.truth
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = sample.labels
                truths: dict[str, bool | None] = {
                    "anycast_session_up": self._established(labels.get("neighbor", "")),
                    "anycast_route_sent": self._at(labels.get("neighbor", ""), labels.get("prefix", "")),
                    "anycast_prefix_announce": self._announced(labels.get("prefix", "")),
                    "anycast_return_route_usable": truth.has_return_route(labels.get("family", "ipv4")),
                }
                true = truths.get(sample.name)
                if true is not None and bool(sample.value == 1) is not true:
                    yield f"metrics: {sample.name}{labels} is {sample.value}"

    def _established(self, name: str) -> bool | None:
        router = self.stage.routers.get(name)
        return None if router is None or router.deaf else router.established

    def _at(self, name: str, prefix: str) -> bool | None:
        router = self.stage.routers.get(name)
        return None if router is None or router.deaf else prefix in router.table

    def _announced(self, prefix: str) -> bool | None:
        truth = self.stage.truth
        wanted = {truth.deserved(key) for key in truth.routes() if key[1] == prefix}
        return None if not wanted or Deserved.MAYBE in wanted else Deserved.YES in wanted
