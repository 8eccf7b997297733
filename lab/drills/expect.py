"""The questions of a drill: did the fault hurt anyone, what may it cost, and what may the recovery cost?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from anycast_agent.checks.durations import duration
from anycast_agent.config.problems import did_you_mean
from lab.documents import Document, OneOf
from lab.drills.scene import Scene
from lab.net.topology import Topology

Seconds = Annotated[float, BeforeValidator(duration)]
Share = Annotated[float, Field(ge=0, le=2)]
"""A link carries routing sessions, too: its share may be a little more than 1."""


def _in_order(shares: tuple[float, float]) -> tuple[float, float]:
    if shares[0] >= shares[1]:
        raise ValueError("the lower share first, then the higher one")
    return shares


def _by_variant(value: Any) -> Any:
    return value if isinstance(value, dict) else {"": value}


Bound = Annotated[dict[str, Seconds], Field(min_length=1), BeforeValidator(_by_variant)]
"""A duration for all variants, or one for each."""


def bound(value: Bound, variant: str) -> float | None:
    return value.get(variant, value.get(""))


class Who(Document):
    client: str = ""
    protocol: Literal["", "dns", "http"] = ""
    family: Literal["", "IPv4", "IPv6"] = ""


# --- effects: the fault was real ---

Range = Annotated[tuple[Share, Share], AfterValidator(_in_order)]


class Carried(Who):
    """The victim's share of each flow's requests before the fault: of the answers, or of a link's packets."""

    by: tuple[str, ...] = ()
    link: tuple[str, str] | None = None
    share: Range

    @model_validator(mode="after")
    def _one_of_both(self) -> Carried:
        if bool(self.by) == (self.link is not None):
            raise ValueError("say who carried it: nodes that answer (by), or a link")
        if self.link is not None and not (self.client and not self.protocol and not self.family):
            raise ValueError("a link's share is of all packets of one client: name the client, and no more")
        return self


class Lost(Who):
    """The fault has to cost so many requests at the least."""

    at_least: int = Field(ge=1)


class Replaced(Document):
    """The process runs at the end, and has none of the process ids that it had before the fault."""

    nodes: tuple[str, ...] = Field(min_length=1)
    process: str


class Changed(Document):
    """Each of these tables changes on account of the fault, for each of the prefixes."""

    nodes: tuple[str, ...] = Field(min_length=1)
    prefixes: tuple[str, ...] = Field(min_length=1)
    times: int = Field(1, ge=1)


class Effect(OneOf):
    """Evidence that the fault was one. Exactly one key."""

    carried: Carried | None = None
    lost: Lost | None = None
    replaced: Replaced | None = None
    changed: Changed | None = None


# --- expectations ---


class Loss(Who):
    within: Bound
    """The longest time of loss of any flow; it has to end before the drill does."""
    times: int = Field(1, ge=1)
    """A flow may have so many of them at the most. What is lost within one ``within`` is one of them."""
    total: Bound | None = None
    """A flow's times of loss may add up to this; by default to no more than one may last."""
    share: float | None = Field(None, gt=0, le=1)
    """The largest share of the requests in such a time that may be lost."""


class AnsweredBy(Who):
    only: tuple[str, ...] = Field(min_length=1)
    """Each of these answers, and nobody else."""
    after: Seconds = 0.3
    """Judged from this time after the last fault and after the expected tables, until the next recovery."""


class Withdrawn(Document):
    """Time limit until a table has lost a next hop of every prefix. The last prefix of both families counts."""

    within: Bound
    prefixes: tuple[str, ...] = ()
    """Names of sets of prefixes; empty: every host route."""


def _in_words(value: Any) -> Any:
    short = isinstance(value, dict) and not set(value) & set(Withdrawn.model_fields)
    return {"within": value} if short or isinstance(value, str | int | float) else value


class Expect(OneOf):
    """One expectation. Exactly one key."""

    no_loss: Who | None = None
    loss: Loss | None = None
    answered_by: AnsweredBy | None = None
    detected: Bound | None = None
    """An agent or a router has said so by then, of each family."""
    withdrawn: Annotated[Withdrawn, BeforeValidator(_in_words)] | None = None
    table: Bound | None = None
    flaps: int | None = Field(None, ge=0)
    """No more changes of a table and back than this."""


class Back(OneOf):
    """One expectation of the recovery, until the next fault or the end. Exactly one key."""

    no_loss: Who | None = None
    loss: Loss | None = None


# --- names that nobody bears ---


def expected_problems(one: Expect | Back, topology: Topology, scene: Scene, clients: Collection[str]) -> Iterator[str]:
    if one.loss is not None:
        yield from variant_problems(one.loss.within, scene)
        yield from variant_problems(one.loss.total or {}, scene)
    if isinstance(one, Expect):
        for limits in (one.detected, one.table, one.withdrawn and one.withdrawn.within):
            yield from variant_problems(limits or {}, scene)
        yield from _prefixes(one.withdrawn.prefixes if one.withdrawn else (), scene)
    for who in (one.no_loss, one.loss, one.answered_by if isinstance(one, Expect) else None):
        yield from _client(who, clients)
    if isinstance(one, Expect) and one.answered_by is not None:
        yield from nobody(one.answered_by.only, topology)


def effect_problems(effect: Effect, topology: Topology, scene: Scene, clients: Collection[str]) -> Iterator[str]:
    yield from _client(effect.carried or effect.lost, clients)
    if effect.carried is not None:
        yield from nobody(effect.carried.by, topology)
        if effect.carried.link and not topology.between(*effect.carried.link):
            yield f"there is no link between {effect.carried.link[0]!r} and {effect.carried.link[1]!r}"
    if effect.replaced is not None:
        yield from nobody(effect.replaced.nodes, topology)
    if effect.changed is not None:
        yield from nobody(effect.changed.nodes, topology)
        yield from _prefixes(effect.changed.prefixes, scene)


def _client(who: Who | None, clients: Collection[str]) -> Iterator[str]:
    if who is not None and who.client and who.client not in clients:
        yield f"there is no client {who.client!r}{did_you_mean(who.client, clients)}"


def nobody(names: Iterable[str], topology: Topology) -> Iterator[str]:
    for name in names:
        if name not in topology.nodes:
            yield f"there is no node {name!r}{did_you_mean(name, topology.nodes)}"


def _prefixes(names: Iterable[str], scene: Scene) -> Iterator[str]:
    for name in names:
        if name not in scene.prefixes:
            yield f"there are no prefixes {name!r}{did_you_mean(name, scene.prefixes)}"


def variant_problems(limits: Bound, scene: Scene) -> Iterator[str]:
    """A bound for a variant that does not exist would bound nothing."""
    for variant in limits:
        if variant and variant not in scene.variants:
            yield f"there is no variant {variant!r}{did_you_mean(variant, scene.variants)}"
