"""The ladder: each gate both ways, their order, and the words it speaks in."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_agent.core.health import CheckHealth, Health, Phase
from anycast_agent.core.model import (
    AddressMode,
    AddressState,
    Decision,
    Outcome,
    Reason,
    Require,
    Rung,
    Scope,
    Tier,
    Verdict,
)
from anycast_agent.core.policy import GATES, View, decide
from tests.support.world import V4, V6, check, service

NOW = 1000.0
UP = CheckHealth(Phase.UP, successes=3, outcome=Outcome.OK)
DOWN = CheckHealth(Phase.DOWN, failures=2, definite=2, outcome=Outcome.REFUSED, detail="connection refused")
UNKNOWN = CheckHealth(Phase.UNKNOWN, successes=1, outcome=Outcome.OK)
EXPIRED = CheckHealth(Phase.UNKNOWN, expired=True, outcome=Outcome.NOT_RUN, detail="no file descriptor")
CHECK = check(prefix=V4)

WELL = View(
    service=service(),
    prefix=V4,
    stopping=False,
    announced=True,
    mode=AddressMode.MANAGE,
    interface="lo",
    kernel_known=True,
    address=AddressState("lo", ours=True),
    address_error="",
    repairing=False,
    link_up=True,
    way_back=True,
    checks=((CHECK, UP),),
    health=Health(Verdict.UP),
    keep_until=NOW,
    hold_until=NOW,
    flaps=0.0,
)

DENIED: list[tuple[str, dict[str, Any], Rung, Reason]] = [
    ("disabled", {"service": service(enabled=False)}, Rung.NOT_WANTED, Reason.DISABLED),
    ("observed", {"service": service(observe_only=True)}, Rung.NOT_WANTED, Reason.OBSERVE_ONLY),
    ("stopping", {"stopping": True}, Rung.STOPPING, Reason.STOPPING),
    ("kernel unknown", {"kernel_known": False}, Rung.ADDRESS, Reason.ADDRESS_UNKNOWN),
    ("no address", {"address": None}, Rung.ADDRESS, Reason.ADDRESS_MISSING),
    ("tentative", {"address": AddressState("lo", True, usable=False)}, Rung.ADDRESS, Reason.ADDRESS_NOT_USABLE),
    ("link down", {"link_up": False}, Rung.ADDRESS, Reason.INTERFACE_DOWN),
    ("way back unknown", {"way_back": None}, Rung.WAY_BACK, Reason.WAY_BACK_UNKNOWN),
    ("no way back", {"way_back": False}, Rung.WAY_BACK, Reason.NO_WAY_BACK),
    (
        "nothing known",
        {"health": Health(Verdict.UNKNOWN), "checks": ((CHECK, UNKNOWN),)},
        Rung.NOTHING_KNOWN,
        Reason.NOTHING_KNOWN,
    ),
    ("down", {"health": Health(Verdict.DOWN), "checks": ((CHECK, DOWN),)}, Rung.HEALTH, Reason.HEALTH_DOWN),
    (
        "stale",
        {"health": Health(Verdict.UNKNOWN, stale=True), "checks": ((CHECK, EXPIRED),)},
        Rung.HEALTH,
        Reason.HEALTH_STALE,
    ),
    ("held down", {"hold_until": NOW + 5.0, "flaps": 2.0}, Rung.HOLD_DOWN, Reason.HOLD_DOWN),
]
"""Each way to be denied, in the order of the ladder."""

ADOPTED = {"health": Health(Verdict.UNKNOWN), "checks": ((CHECK, UNKNOWN),), "keep_until": NOW + 20.0}


def of(**changes: Any) -> Decision:
    return decide(replace(WELL, **changes), NOW)


def test_where_all_is_well_it_is_announced_in_full() -> None:
    """No gate has anything to say."""
    assert all(gate(WELL, NOW) is None for gate in GATES)
    assert of() == Decision(
        True,
        Rung.PREFERENCE,
        Reason.HEALTHY,
        "1 of 1 local checks up, 1 needed",
        "nothing: it is announced at its best",
        Tier.FULL,
    )


@pytest.mark.parametrize(("changes", "rung", "reason"), [d[1:] for d in DENIED], ids=[d[0] for d in DENIED])
def test_each_gate_denies_for_its_own_reason(changes: dict[str, Any], rung: Rung, reason: Reason) -> None:
    """And says why, by what it was seen, and what would change it."""
    decision = of(**changes)
    assert (decision.announce, decision.tier, decision.rung, decision.reason) == (False, None, rung, reason)
    assert decision.evidence
    assert decision.remedy


def test_the_gates_stand_in_the_order_of_their_numbers() -> None:
    """Every rung but the preference has its gate, and every reason to be denied its row above."""
    rungs = [d[2] for d in DENIED]
    assert [r.number for r in rungs] == sorted(r.number for r in rungs)
    assert {d[2] for d in DENIED} | {Rung.PREFERENCE} == set(Rung)
    allowed = {Reason.HEALTHY, Reason.SHARED_CHECK_DOWN, Reason.ADOPTED}
    assert {d[3] for d in DENIED} | allowed == set(Reason)


@pytest.mark.parametrize(
    ("higher", "lower"),
    [(a, b) for a, b in itertools.combinations(DENIED, 2) if a[2] is not b[2]],
    ids=lambda d: d[0].replace(" ", "-"),
)
def test_a_higher_gate_wins_over_a_lower_one(higher: Any, lower: Any) -> None:
    """Where both would deny, the higher one is what people read."""
    assert of(**{**lower[1], **higher[1]}).reason is higher[3]


@pytest.mark.parametrize("denied", [d for d in DENIED if d[2] not in (Rung.NOTHING_KNOWN, Rung.HEALTH)],
                         ids=lambda d: d[0].replace(" ", "-"))  # fmt: skip
def test_every_other_gate_denies_also_what_was_adopted(denied: Any) -> None:
    """What an earlier run left is allowed by gate 6 only as far as no gate before or after it denies."""
    assert of(**ADOPTED).tier is Tier.ADOPTED
    assert of(**{**ADOPTED, **denied[1]}).reason is denied[3]


def test_what_was_found_is_adopted_until_its_time_is_up() -> None:
    """One moment before, and at that moment; and never what was not announced."""
    decision = of(**ADOPTED)
    assert (decision.announce, decision.reason, decision.until) == (True, Reason.ADOPTED, NOW + 20.0)
    assert of(**{**ADOPTED, "keep_until": NOW}).reason is Reason.NOTHING_KNOWN
    assert of(**ADOPTED, announced=False).reason is Reason.NOTHING_KNOWN


def test_the_hold_down_ends_at_its_moment() -> None:
    """It says until when."""
    assert of(hold_until=NOW + 5.0, flaps=2.0).until == NOW + 5.0
    assert of(hold_until=NOW).announce


def test_an_address_that_is_being_put_back_keeps_what_is_announced_and_no_more() -> None:
    """Repair has its moment; what is not announced yet waits for the address."""
    assert of(address=None, repairing=True).announce
    assert of(address=None, repairing=True, announced=False).reason is Reason.ADDRESS_MISSING


@pytest.mark.parametrize(
    "changes", [{"kernel_known": False}, {"address": None}, {"link_up": False}, {"way_back": None}]
)
def test_unmanaged_addresses_are_not_looked_at(changes: dict[str, Any]) -> None:
    """Gates 3 and 4 say nothing then."""
    assert of(mode=AddressMode.UNMANAGED, **changes).announce


def test_a_shared_check_that_is_down_lowers_preference_only() -> None:
    """Degraded, by the check's own words."""
    backbone = check("backbone", scope=Scope.SHARED)
    decision = of(checks=((CHECK, UP), (backbone, DOWN)), health=Health(Verdict.UP, shared_down=True))
    assert (decision.announce, decision.tier, decision.reason) == (True, Tier.DEGRADED, Reason.SHARED_CHECK_DOWN)
    assert decision.evidence == "check backbone: refused, 2 in a row (connection refused)"
    assert decision.remedy == "the shared check succeeds again"


EXAMPLES: list[tuple[dict[str, Any], str, str]] = [
    ({"service": service(enabled=False)}, "service dns has enabled: false", "set enabled: true and reload"),
    ({"stopping": True}, "the agent was asked to stop", "start the agent"),
    (
        {"address": None, "address_error": "permission denied"},
        "192.0.2.53 is not on the node: permission denied",
        "the agent adds 192.0.2.53 to lo and tries again by itself",
    ),
    (
        {"address": None, "mode": AddressMode.VERIFY},
        "192.0.2.53 is not on the node",
        "ip address add 192.0.2.53/32 dev lo",
    ),
    ({"link_up": False}, "interface lo is down", "ip link set lo up"),
    ({"way_back": False}, "no usable IPv4 route back", "give the node a usable IPv4 route, or set node.way_back"),
    (
        {"way_back": False, "prefix": V6},
        "no usable IPv6 route back",
        "give the node a usable IPv6 route, or set node.way_back",
    ),
    (
        {"health": Health(Verdict.UNKNOWN), "checks": ((CHECK, UNKNOWN),)},
        "no verdict yet: answers 1 of 3 successes",
        "the first verdict",
    ),
    (
        {"health": Health(Verdict.DOWN), "checks": ((CHECK, DOWN),)},
        "check answers: refused, 2 in a row (connection refused)",
        "the service answers its checks again: 1 of 1 local checks up",
    ),
    (
        {"health": Health(Verdict.UNKNOWN, stale=True), "checks": ((CHECK, EXPIRED),)},
        "no conclusive probe lately of answers (no file descriptor)",
        "probes that can be made again: 1 of 1 local checks up",
    ),
    (
        {"hold_until": NOW + 5.0, "flaps": 2.0},
        "recovered, after 2.0 falls not yet forgotten",
        "staying healthy until then",
    ),
]


@pytest.mark.parametrize(("changes", "evidence", "remedy"), EXAMPLES)
def test_people_read_what_it_was_seen_by_and_what_would_change_it(
    changes: dict[str, Any], evidence: str, remedy: str
) -> None:
    """Word for word."""
    decision = of(**changes)
    assert (decision.evidence, decision.remedy) == (evidence, remedy)


def test_a_recovering_check_says_how_far_it_has_come() -> None:
    """Down, with one good probe of the three it takes."""
    recovering = CheckHealth(Phase.RECOVERING, successes=1, outcome=Outcome.OK)
    decision = of(health=Health(Verdict.DOWN), checks=((CHECK, recovering),))
    assert decision.evidence == "check answers: ok, 1 of 3 good"


HEALTHS = st.sampled_from((UP, DOWN, UNKNOWN, EXPIRED))
VIEWS = st.builds(
    View,
    service=st.builds(
        service, enabled=st.booleans(), observe_only=st.booleans(), require=st.sampled_from((Require(), Require(1)))
    ),
    prefix=st.sampled_from((V4, V6)),
    stopping=st.booleans(),
    announced=st.booleans(),
    mode=st.sampled_from(AddressMode),
    interface=st.just("lo"),
    kernel_known=st.booleans(),
    address=st.none() | st.builds(AddressState, st.just("lo"), st.booleans(), st.booleans()),
    address_error=st.sampled_from(("", "no such device")),
    repairing=st.booleans(),
    link_up=st.booleans(),
    way_back=st.none() | st.booleans(),
    checks=st.lists(st.tuples(st.sampled_from((CHECK, check("b", scope=Scope.SHARED))), HEALTHS), max_size=3).map(
        tuple
    ),
    health=st.builds(Health, st.sampled_from(Verdict), st.booleans(), st.booleans()),
    keep_until=st.floats(990.0, 1010.0),
    hold_until=st.floats(990.0, 1010.0),
    flaps=st.floats(0.0, 5.0),
)


@given(VIEWS)
def test_there_is_always_a_decision_and_always_a_reason(view: View) -> None:
    """Total; and what it promises of itself: a tier just where it announces, an instant only in the future."""
    decision = decide(view, NOW)
    assert (decision.tier is not None) is decision.announce
    assert decision.until is None or decision.until > NOW
    assert decision.remedy
    assert "\n" not in decision.evidence + decision.remedy


@given(VIEWS)
def test_nothing_is_announced_that_the_first_promise_forbids(view: View) -> None:
    """Whatever else holds: the address (or its repair), and a verdict of up, or an adoption within its time."""
    decision = decide(view, NOW)
    if not decision.announce:
        return
    assert view.service.enabled
    assert not view.service.observe_only
    assert not view.stopping
    if view.mode is not AddressMode.UNMANAGED:
        assert view.kernel_known
        assert view.way_back
        assert (view.address is not None and view.address.usable and view.link_up) or (
            view.address is None and view.repairing and view.announced
        )
    if decision.tier is Tier.ADOPTED:
        assert view.announced
        assert view.keep_until > NOW
        assert view.health.verdict is Verdict.UNKNOWN
    else:
        assert view.health.verdict is Verdict.UP
