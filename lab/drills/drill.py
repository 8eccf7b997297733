"""A drill, as a person writes it: traffic, faults in order, and what is expected of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from anycast_agent.config.problems import ConfigError, Problem, did_you_mean
from anycast_agent.config.types import duration
from lab import documents
from lab.documents import Document, OneOf
from lab.drills.scene import Expected, Scene
from lab.net.topology import Topology

Seconds = Annotated[float, BeforeValidator(duration)]


def _by_variant(value: Any) -> Any:
    return value if isinstance(value, dict) else {"": value}


Bound = Annotated[dict[str, Seconds], Field(min_length=1), BeforeValidator(_by_variant)]
"""One duration, or one for each variant."""


def bound(value: Bound, variant: str) -> float | None:
    return value.get(variant, value.get(""))


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
    """Up: a switch is between, and no neighbor's port sees anything."""


KEPT = {
    "agent": "anycast-agent", "speaker": "exabgp", "unbound": "unbound", "nginx": "nginx", "bird": "bird",
}  # fmt: skip
"""What an edge's start-up keeps running → what its process is called."""


def _kept(name: str) -> str:
    if name not in KEPT:
        raise ValueError(
            f"an edge does not keep {name!r} running{did_you_mean(name, KEPT)}; it keeps {', '.join(KEPT)}"
        )
    return name


class MaybeProcess(Selection):
    process: str = ""
    """None: the node as a whole."""


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


class Run(Selection):
    command: tuple[str, ...] = Field(min_length=1)


class Act(OneOf):
    """One thing that is done to the lab. Exactly one key."""

    power_off: PowerOff | None = None
    power_on: Selection | None = None
    freeze: MaybeProcess | None = None
    thaw: MaybeProcess | None = None
    kill: Kill | None = None
    stop: Stop | None = None
    """End what an edge's start-up keeps running (agent, speaker, unbound, nginx, bird), until `start`."""
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
    """They have to be so, within `patience`; what is not named may be anything."""
    steady: Seconds | None = None
    """All tables have to be as they are while nothing is wrong, within so long."""


class Who(Document):
    client: str = ""
    protocol: Literal["", "dns", "http"] = ""
    family: Literal["", "IPv4", "IPv6"] = ""


class Loss(Who):
    within: Bound
    """The longest stretch in which requests were lost; it has to end before the drill does."""
    share: float | None = Field(None, gt=0, le=1)
    """So much of what was sent in such a stretch may be lost at the most."""


class AnsweredBy(Who):
    only: tuple[str, ...] = Field(min_length=1)
    after: Seconds = 0.3
    """From so long after the last fault, and after the tables are as expected of it, until something recovers."""


class Expect(OneOf):
    """One thing that is expected. Exactly one key."""

    no_loss: Who | None = None
    loss: Loss | None = None
    answered_by: AnsweredBy | None = None
    detected: Bound | None = None
    withdrawn: Bound | None = None
    table: Bound | None = None
    flaps: int | None = Field(None, ge=0)
    """No more changes of a table and back than this."""


class Traffic(Document):
    """Requests a second, of each client and family."""

    dns: float = Field(200, ge=0, le=1000)
    http: float = Field(20, ge=0, le=200)
    timeout: Seconds = Field(1.0, gt=0, le=10)


class Objective(Document):
    restore: Bound
    """What the service promises: nothing is lost any more, so long after the fault."""


class Drill(Document):
    title: str = Field(max_length=100)
    about: str = ""
    variants: tuple[str, ...] = ()
    """Empty: all."""
    ci: tuple[str, ...] = ()
    """The variants in which every run of the tests makes it."""
    traffic: Traffic = Traffic()
    before: Seconds = 1.5
    after: Seconds = 1.0
    patience: Seconds = 15.0
    steps: tuple[Step, ...] = Field(min_length=1)
    expect: tuple[Expect, ...] = ()
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
    """One thing to do, as a step of a drill says it. Raises ConfigError."""
    name = "ACT"
    found, places = documents.parsed(text, name, Act)
    problems = list(_unknown(found.what, topology))
    if problems:
        raise ConfigError(Problem(*documents.place(places, (), name), text) for text in problems)
    return found


def _problems(drill: Drill, topology: Topology, scene: Scene) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for key, variants in (("variants", drill.variants), ("ci", drill.ci)):
        for text in _variants(dict.fromkeys(variants, 0.0), scene):
            yield (key,), text
    for number, step in enumerate(drill.steps):
        where = ("steps", number)
        for text in scene.problems(step.tables or {}, topology):
            yield where, text
        act = step.fault or step.recover
        if act is not None:
            for text in _unknown(act.what, topology):
                yield where, text
    if drill.objective is not None:
        for text in _variants(drill.objective.restore, scene):
            yield ("objective",), text
    for number, expect in enumerate(drill.expect):
        bounds = (expect.loss and expect.loss.within, expect.detected, expect.withdrawn, expect.table)
        for text in (text for limits in bounds for text in _variants(limits or {}, scene)):
            yield ("expect", number), text
        for who in (expect.no_loss, expect.loss, expect.answered_by):
            if who is not None and who.client and who.client not in scene.clients:
                yield ("expect", number), f"there is no client {who.client!r}{did_you_mean(who.client, scene.clients)}"
        for name in expect.answered_by.only if expect.answered_by else ():
            if name not in topology.nodes:
                yield ("expect", number), f"there is no node {name!r}{did_you_mean(name, topology.nodes)}"


def _variants(limits: Bound, scene: Scene) -> Iterator[str]:
    """Of a variant that nobody runs, a bound would hold for nobody."""
    for variant in limits:
        if variant and variant not in scene.variants:
            yield f"there is no variant {variant!r}{did_you_mean(variant, scene.variants)}"


def _unknown(what: Any, topology: Topology) -> Iterator[str]:
    if isinstance(what, Selection):
        for name in what.nodes:
            if name not in topology.nodes:
                yield f"there is no node {name!r}{did_you_mean(name, topology.nodes)}"
        if not what.nodes and not what.of(topology):
            yield "no node fits"
    elif isinstance(what, LinkOnly):
        for one, other in what.links:
            if not topology.between(one, other):
                yield f"there is no link between {one!r} and {other!r}"
