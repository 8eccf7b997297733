"""One route to one neighbor: what is desired, what was observed, and the next step from the one to the other.

Invariants
- ``acknowledged`` is Known only after a replay or the successful end of an action, and Unknown after any error.
- A route has at most one action under way. An event meanwhile that contradicts it makes the route unknown.
- ``sent`` is Known(True) only by ExaBGP's own report of the UPDATE, on the session that is up now.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from anycast_agent.core.backoff import Backoff
from anycast_agent.core.model import SELF, Attributes, Route, RouteKey, Will
from anycast_agent.core.observed import Known, Observed, Unknown, doubt, last

RETRY_FIRST, MAX_RETRY = 0.5, 30.0
"""The first back-off after an error; it doubles each time. A withdrawal or a confirmation never waits longer than the
first, because the pipe's clock runs. Seconds."""


class Step(StrEnum):
    """The next step of one route."""

    NONE = "none"
    PUT = "put"
    DROP = "drop"
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class Held:
    """The speaker's state of a route."""

    attributes: Attributes | None
    """None: attributes that we could not have written."""
    will: Will = Will.WITHDRAW
    confirmed: bool = True
    """This agent put or confirmed it, and not an earlier one."""


Acknowledged = Observed[Held | None]
"""The speaker's state; None: it has no such route."""


@dataclass(slots=True)
class UnderWay:
    """The action that a route is part of."""

    action: int
    step: Step
    contradicted: bool = False
    """An event may contradict the action's end: only a replay can tell the state."""


@dataclass(slots=True)
class RouteState:
    key: RouteKey
    acknowledged: Acknowledged
    sent: Observed[bool]
    """True if the session carries the route as it was last put."""
    desired: Route | None = None
    desired_since: float = 0.0
    keep: bool = False
    """Desired exactly as it was found, until there is a verdict."""
    own_address: str | None = ""
    """The address behind next hop ``self`` at the neighbor; empty: unknown yet; None: left to ExaBGP."""
    renew: bool = False
    """ExaBGP has the neighbor anew, and may have forgotten its routes."""
    under_way: UnderWay | None = None
    withdrawal_sent_at: float | None = None
    """When the UPDATE that withdraws it was reported; None where nothing was there to withdraw, or is again."""
    error: str = ""
    told: str = ""
    """The error that was last told: one that stays is told once."""
    backoff: Backoff = field(default_factory=lambda: Backoff(RETRY_FIRST, MAX_RETRY))

    @property
    def known(self) -> bool:
        return isinstance(self.acknowledged, Known)

    @property
    def held(self) -> Held | None:
        """The speaker's state, as known now or last."""
        return last(self.acknowledged)

    @property
    def there(self) -> bool:
        return self.held is not None

    @property
    def attributes(self) -> Attributes | None:
        """The attributes in the speaker; None also for attributes that we could not have written."""
        held = self.held
        return held.attributes if held else None

    @property
    def aim(self) -> Attributes | None:
        """The desired attributes with the address behind ``self``; None: not desired, or that address is unknown
        yet."""
        if self.desired is None:
            return None
        desired = self.desired.attributes
        if desired.next_hop != SELF or self.own_address is None:
            return desired
        if self.own_address:
            return replace(desired, next_hop=self.own_address)
        # The route was put with an address that was known then: it stays.
        there = self.attributes
        return there if there is not None and replace(there, next_hop=SELF) == desired else None

    @property
    def waits_for(self) -> str:
        """The missing precondition of a put, which is not an error; empty if none is missing."""
        waits = self.desired is not None and self.aim is None
        return "this node's address on the session: there is no way to the neighbor yet" if waits else ""

    def step(self) -> Step:
        """The step from observed to desired, preconditions aside."""
        if not self.known or self.keep:
            return Step.NONE
        held = self.held
        if self.desired is None:
            return Step.NONE if held is None else Step.DROP
        if held is None or held.attributes != self.aim or held.will is not self.desired.will or self.renew:
            return Step.PUT
        return Step.NONE if held.confirmed else Step.CONFIRM

    def retry_at(self, step: Step) -> float:
        """From when on it may be tried again, in monotonic seconds."""
        return self.backoff.until() if step is Step.PUT else self.backoff.until(RETRY_FIRST)

    @property
    def sent_at(self) -> float:
        """When it was last heard whether the session carries the route, or when that became unknown."""
        return self.sent.at if isinstance(self.sent, Known) else self.sent.since

    def carried(self) -> bool | None:
        """True if the session carries the route as it was last put; None: unknown."""
        return self.sent.value if isinstance(self.sent, Known) else None

    def is_over(self) -> bool:
        """Neither desired nor anywhere on the way, and known to be so."""
        on_the_way = self.there or self.under_way is not None or self.carried() is True
        return self.desired is None and self.known and not on_the_way

    def take(self, held: Held | None, now: float) -> None:
        """The speaker holds this. The instant stays where only the will or who stands behind it has changed."""
        before = self.acknowledged
        same = isinstance(before, Known) and _attributes(before.value) == _attributes(held)
        self.acknowledged = Known(held, before.at if same else now)

    def doubt(self, now: float) -> None:
        """The speaker's state is no longer known."""
        self.acknowledged = doubt(self.acknowledged, now)

    def reported(self, carried: bool, now: float) -> None:
        """ExaBGP reported the UPDATE that announces or withdraws it."""
        self.sent = Known(carried, now)
        self.withdrawal_sent_at = None if carried else now

    def infer(self, carried: bool | None, now: float) -> None:
        """Something else says whether the session carries the route; None: that it is not known any more."""
        if self.carried() is not carried:
            self.sent = Unknown(now, last(self.sent)) if carried is None else Known(carried, now)

    def unheard(self, now: float) -> None:
        """The session is no longer heard of. A route that it did not carry it does not carry now: only we would put
        it."""
        if self.there or self.under_way is not None or self.carried() is True:
            self.infer(None, now)

    def take_own_address(self, address: str | None) -> None:
        """The address behind next hop ``self``. Observed and desired attributes are then compared in the same form."""
        self.own_address = address
        held = self.held
        if held is not None and held.attributes is not None:
            value = replace(held, attributes=with_address(held.attributes, address))
            self.acknowledged = (
                replace(self.acknowledged, value=value)
                if isinstance(self.acknowledged, Known)
                else replace(self.acknowledged, last=value)
            )

    def acknowledge(self, held: Held, now: float) -> None:
        """ExaBGP has acknowledged a put."""
        self.acknowledged = Known(held, now)

    def drop(self, now: float) -> None:
        """ExaBGP has acknowledged a withdrawal."""
        self.acknowledged = Known(None, now)

    def confirm(self) -> None:
        """This agent confirms the route that was found."""
        if isinstance(self.acknowledged, Known) and self.acknowledged.value is not None:
            self.acknowledged = Known(replace(self.acknowledged.value, confirmed=True), self.acknowledged.at)

    def clear_error(self) -> None:
        self.error = self.told = ""
        self.backoff.reset()

    def forget_failures(self) -> None:
        """End the back-off."""
        self.backoff.reset()


def _attributes(held: Held | None) -> tuple[bool, Attributes | None]:
    return held is not None, held.attributes if held else None


def with_address(found: Attributes | None, own_address: str | None) -> Attributes | None:
    """The observed attributes in the form of ``aim``: an earlier agent may have left ``self`` to ExaBGP."""
    if found is None or found.next_hop != SELF or not own_address:
        return found
    return replace(found, next_hop=own_address)
