"""A drill as it is written: traffic, faults in order, and expectations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from anycast_agent.config.problems import ConfigError, Problem, did_you_mean
from lab import documents
from lab.documents import Document, OneOf
from lab.drills.expect import (
    Back,
    Bound,
    Effect,
    Expect,
    Seconds,
    effect_problems,
    expected_problems,
    nobody,
    variant_problems,
)  # fmt: skip
from lab.drills.says import Says
from lab.drills.scene import Expected, Scene
from lab.net.topology import Topology


class Selection(Document):
    """Which nodes: by name, by site, by group; all of a given kind that fit."""

    nodes: tuple[str, ...] = ()
    site: str = ""
    group: str = ""

    @model_validator(mode="after")
    def _some(self) -> Selection:
        if not (self.nodes or self.site or self.group):
            raise ValueError("say which: nodes, site or group")
        if self.nodes and (self.site or self.group):
            raise ValueError("nodes by name, or all of a site and group: not both")
        return self

    def of(self, topology: Topology) -> list[str]:
        if self.nodes:
            return list(self.nodes)
        return [
            node.name
            for node in topology.nodes.values()
            if self.site in ("", node.labels.get("site")) and self.group in ("", node.group)
        ]


class PowerOff(Selection):
    links: Literal["up", "down"] = "up"
    """``up``: the neighbors' ports see nothing, as behind a switch."""


KEPT = {
    "agent": "anycast-agent", "speaker": "exabgp", "unbound": "unbound", "nginx": "nginx", "bird": "bird",
}  # fmt: skip
"""Programs that an edge's start-up keeps running → the names of their processes."""


def _kept(name: str) -> str:
    if name not in KEPT:
        raise ValueError(
            f"an edge does not keep {name!r} running{did_you_mean(name, KEPT)}; it keeps {', '.join(KEPT)}"
        )
    return name


class MaybeProcess(Selection):
    process: str = ""
    """None: the whole node."""


class Kill(Selection):
    process: str
    signal: Literal["KILL", "TERM", "HUP", "USR2"] = "KILL"


class Start(Selection):
    process: Annotated[str, AfterValidator(_kept)]


class Stop(Start):
    signal: Literal["KILL", "TERM"] = "TERM"


class LinkOnly(Document):
    links: tuple[tuple[str, str], ...] = Field(min_length=1)


class Lossy(LinkOnly):
    percent: int = Field(ge=1, le=100)
    family: Literal["", "IPv4", "IPv6"] = ""
    """Empty: everything that crosses the link, ARP included."""


class Run(Selection):
    command: tuple[str, ...] = Field(min_length=1)


class Act(OneOf):
    """One act on the lab. Exactly one key."""

    power_off: PowerOff | None = None
    power_on: Selection | None = None
    freeze: MaybeProcess | None = None
    thaw: MaybeProcess | None = None
    kill: Kill | None = None
    stop: Stop | None = None
    """End a program that an edge's start-up keeps running (agent, speaker, unbound, nginx, bird), until `start`."""
    start: Start | None = None
    cut: LinkOnly | None = None
    mend: LinkOnly | None = None
    lossy: Lossy | None = None
    clean: LinkOnly | None = None
    run: Run | None = None

    @property
    def verb(self) -> str:
        return self.key

    @property
    def what(self) -> Any:
        return getattr(self, self.verb)


class Step(OneOf):
    """One line of a drill. Exactly one key."""

    fault: Act | None = None
    recover: Act | None = None
    wait: Seconds | None = None
    tables: Annotated[Expected, Field(min_length=1)] | None = None
    """They have to be so within `patience`, and to stay so for a while. Tables that are not named may be anything."""
    says: Annotated[tuple[Says, ...], Field(min_length=1)] | None = None
    """Commands in nodes have to say so within `patience`, and to go on saying so for a while."""
    steady: Seconds | None = None
    """Time limit until tables and routers are again as they are without a fault, and stay so for a while."""


class Traffic(Document):
    """Requests a second, of each client and family."""

    dns: float = Field(200, ge=0, le=1000)
    http: float = Field(20, ge=0, le=200)
    timeout: Seconds = Field(1.0, gt=0, le=10)

    def rate(self, protocol: str) -> float:
        return self.http if protocol == "http" else self.dns


class Objective(Document):
    restore: Bound
    """The promise of the service: no flow loses anything later than this after the fault."""


class Drill(Document):
    title: str = Field(max_length=100)
    about: str = ""
    variants: tuple[str, ...] = ()
    """Empty: all."""
    ci: tuple[str, ...] = ()
    """The variants in which every run of the tests makes it."""
    traffic: Traffic = Traffic()
    consumers: tuple[str, ...] = ()
    """Nodes that ask as the clients do, beside them."""
    before: Seconds = 1.5
    after: Seconds = 1.0
    patience: Seconds = 15.0
    steps: tuple[Step, ...] = Field(min_length=1)
    effect: tuple[Effect, ...] = ()
    expect: tuple[Expect, ...] = ()
    """Judged from a fault until the next recovery, or the end."""
    back: tuple[Back, ...] = ()
    objective: Objective | None = None


def load(path: Path, topology: Topology, scene: Scene) -> Drill:
    """Raises ConfigError with all that is wrong."""
    drill, places = documents.load(path, Drill)
    problems = [
        Problem(*documents.place(places, where, str(path)), text) for where, text in _problems(drill, topology, scene)
    ]
    if problems:
        raise ConfigError(problems)
    return drill


def act(text: str, topology: Topology) -> Act:
    """Read one act, written as in a step of a drill. Raises ConfigError."""
    name = "ACT"
    found, places = documents.parsed(text, name, Act)
    problems = list(_unknown(found.what, topology))
    if problems:
        raise ConfigError(Problem(*documents.place(places, (), name), text) for text in problems)
    return found


def _problems(drill: Drill, topology: Topology, scene: Scene) -> Iterator[tuple[tuple[str | int, ...], str]]:
    yield from (((), text) for text in _incomplete(drill))
    for text in nobody(drill.consumers, topology):
        yield ("consumers",), text
    asking = (*scene.clients, *drill.consumers)
    for key, variants in (("variants", drill.variants), ("ci", drill.ci)):
        for text in variant_problems(dict.fromkeys(variants, 0.0), scene):
            yield (key,), text
    for number, step in enumerate(drill.steps):
        where = ("steps", number)
        for text in scene.problems(step.tables or {}, topology):
            yield where, text
        for says in step.says or ():
            yield from ((where, text) for text in nobody((says.node,), topology))
        act = step.fault or step.recover
        if act is not None:
            for text in _unknown(act.what, topology):
                yield where, text
    questions: dict[str, Sequence[Expect | Back]] = {"expect": drill.expect, "back": drill.back}
    for place, asked in questions.items():
        for number, one in enumerate(asked):
            for text in expected_problems(one, topology, scene, asking):
                yield (place, number), text
    for number, effect in enumerate(drill.effect):
        for text in effect_problems(effect, topology, scene, asking):
            yield ("effect", number), text
    if drill.objective is not None:
        for text in variant_problems(drill.objective.restore, scene):
            yield ("objective",), text


def _incomplete(drill: Drill) -> Iterator[str]:
    """A drill of which a part is not judged would pass for want of a question."""
    faults, recoveries = any(s.fault for s in drill.steps), any(s.recover for s in drill.steps)
    if faults and not (drill.effect and drill.expect and drill.objective):
        yield "a drill with a fault has an effect, an expect and an objective"
    if recoveries and not drill.back:
        yield "a drill with a recovery says in back what the way back may cost"


def _unknown(what: Any, topology: Topology) -> Iterator[str]:
    if isinstance(what, Selection):
        yield from nobody(what.nodes, topology)
        if not what.nodes and not what.of(topology):
            yield "no node fits"
    elif isinstance(what, LinkOnly):
        for one, other in what.links:
            if not topology.between(one, other):
                yield f"there is no link between {one!r} and {other!r}"
