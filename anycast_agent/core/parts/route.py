"""One route to one neighbor: what is desired, what was observed, and the next step from the one to the other.

Invariants
- ``acknowledged`` is Known only after a replay or the successful end of an action, and Unknown after any error.
- A route has at most one action under way. What is heard meanwhile and contradicts it makes the route unknown.
- ``sent`` is Known(True) only by ExaBGP's own report of the UPDATE, on the session that is up now.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from anycast_agent.core.backoff import Backoff
from anycast_agent.core.model import SELF, Attributes, Route, RouteKey, Will
from anycast_agent.core.observed import Known, Observed, Unknown, doubt, last

RETRY_FIRST, RETRY_MOST = 0.5, 30.0
"""After an error a route is tried again after so long, then twice as long each time. A withdrawal never waits longer
than the first, nor does a confirmation: the pipe's clock runs. Seconds."""


class Step(StrEnum):
    """What to do about one route."""

    NONE = "none"
    PUT = "put"
    DROP = "drop"
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class Held:
    """What the speaker holds of a route."""

    attributes: Attributes | None
    """None: something that we could not have written."""
    will: Will = Will.WITHDRAW
    confirmed: bool = True
    """This agent put or confirmed it, and not an earlier one."""


Acknowledged = Observed[Held | None]
"""What the speaker holds; None: nothing."""


@dataclass(slots=True)
class UnderWay:
    """The action that a route is part of."""

    action: int
    step: Step
    contradicted: bool = False
    """Something was heard that the action's end may contradict: only a replay can say what is there."""


@dataclass(slots=True)
class RouteState:
    key: RouteKey
    acknowledged: Acknowledged
    sent: Observed[bool]
    """Whether the session carries the route as it was last put."""
    desired: Route | None = None
    desired_since: float = 0.0
    keep: bool = False
    """Desired exactly as it was found, until there is a verdict."""
    own_address: str | None = ""
    """What next hop ``self`` stands for at the neighbor; empty: not known yet; None: left to ExaBGP."""
    renew: bool = False
    """ExaBGP has the neighbor anew, and may have forgotten what it had been told for it."""
    under_way: UnderWay | None = None
    withdrawal_sent_at: float | None = None
    """When the UPDATE that withdraws it was reported; None where nothing was there to withdraw, or is again."""
    error: str = ""
    told: str = ""
    """The error that was last told: one that stays is told once."""
    backoff: Backoff = field(default_factory=lambda: Backoff(RETRY_FIRST, RETRY_MOST))

    @property
    def known(self) -> bool:
        return isinstance(self.acknowledged, Known)

    @property
    def held(self) -> Held | None:
        """What the speaker holds, as far as it is known or was known last."""
        return last(self.acknowledged)

    @property
    def there(self) -> bool:
        return self.held is not None

    @property
    def attributes(self) -> Attributes | None:
        """The attributes that the speaker holds; None also for what we could not have written."""
        held = self.held
        return held.attributes if held else None

    @property
    def aim(self) -> Attributes | None:
        """What is desired, with the address that ``self`` stands for; None: nothing is, or that is not known yet."""
        if self.desired is None:
            return None
        desired = self.desired.attributes
        if desired.next_hop != SELF or self.own_address is None:
            return desired
        if self.own_address:
            return replace(desired, next_hop=self.own_address)
        # What is there was put with an address that was known then: it stays.
        there = self.attributes
        return there if there is not None and replace(there, next_hop=SELF) == desired else None

    @property
    def waits_for(self) -> str:
        """What it cannot be put without, and is no error; empty where it waits for nothing."""
        waits = self.desired is not None and self.aim is None
        return "this node's address on the session: there is no way to the neighbor yet" if waits else ""

    def step(self) -> Step:
        """What desired and observed call for, preconditions aside."""
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
        """Whether the session carries the route as it was last put; None: not known."""
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
        """What the speaker holds is not known any more."""
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
        """The session is not heard of any more. What it did not carry it does not carry now: only we would put it."""
        if self.there or self.under_way is not None or self.carried() is True:
            self.infer(None, now)

    def take_own_address(self, address: str | None) -> None:
        """What next hop ``self`` stands for. What is there is then said in the same way as what is desired."""
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
        """This agent stands behind what was found."""
        if isinstance(self.acknowledged, Known) and self.acknowledged.value is not None:
            self.acknowledged = Known(replace(self.acknowledged.value, confirmed=True), self.acknowledged.at)

    def clear_error(self) -> None:
        self.error = self.told = ""
        self.backoff.reset()

    def forget_failures(self) -> None:
        """What failed need not wait any longer."""
        self.backoff.reset()


def _attributes(held: Held | None) -> tuple[bool, Attributes | None]:
    return held is not None, held.attributes if held else None


def with_address(found: Attributes | None, own_address: str | None) -> Attributes | None:
    """What is there, as ``aim`` says it: an earlier agent may have left ``self`` to ExaBGP."""
    if found is None or found.next_hop != SELF or not own_address:
        return found
    return replace(found, next_hop=own_address)
