"""The ladder: each row both ways, their order, and the words it speaks in."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_agent.core.health import CheckHealth, Health, Phase
from anycast_agent.core.ladder.case import (
    AddressFact,
    Case,
    CoverFact,
    HealthFact,
    ReturnRouteFact,
    RouteFact,
    WaitFact,
    WishFact,
)
from anycast_agent.core.ladder.rows import LADDER, LAST_RESORT, decide, decide_last_resort
from anycast_agent.core.model import (
    AddressMode,
    AddressState,
    CoverState,
    Decision,
    Reason,
    Require,
    Scope,
    Tier,
    Verdict,
)
from anycast_agent.core.outcome import not_run
from tests.support import ends
from tests.support.world import V4, V6, check

NOW = 1000.0
UP = CheckHealth(Phase.UP, successes=3, outcome=ends.OK)
DOWN = CheckHealth(Phase.DOWN, failures=2, definite=2, outcome=replace(ends.REFUSED, detail="connection refused"))
UNKNOWN = CheckHealth(Phase.UNKNOWN, successes=1, outcome=ends.OK)
EXPIRED = CheckHealth(Phase.UNKNOWN, expired=True, outcome=not_run("no file descriptor"))
CHECK = check(prefix=V4)
ON_LO = AddressState("lo", ours=True)

WELL = Case(
    prefix=V4,
    wish=WishFact("dns"),
    stopping=False,
    address=AddressFact(AddressMode.MANAGE, "lo", True, ON_LO),
    return_route=ReturnRouteFact(True, True),
    health=HealthFact(((CHECK, UP),), Health(Verdict.UP), Require()),
    route=RouteFact(announced=True),
    wait=WaitFact(NOW, NOW),
)


def with_health(checks: Any, health: Health) -> dict[str, Any]:
    return {"health": {"checks": checks, "health": health}}


DENIED: list[tuple[str, dict[str, Any], int, Reason]] = [
    ("disabled", {"wish": {"enabled": False}}, 1, Reason.DISABLED),
    ("observed", {"wish": {"observe_only": True}}, 1, Reason.OBSERVE_ONLY),
    ("stopping", {"stopping": True}, 2, Reason.STOPPING),
    ("kernel unknown", {"address": {"known": False}}, 3, Reason.ADDRESS_UNKNOWN),
    ("no address", {"address": {"state": None}}, 3, Reason.ADDRESS_MISSING),
    ("tentative", {"address": {"state": AddressState("lo", True, usable=False)}}, 3, Reason.ADDRESS_NOT_USABLE),
    ("link down", {"address": {"link_up": False}}, 3, Reason.INTERFACE_DOWN),
    ("return route unknown", {"return_route": {"usable": None}}, 4, Reason.RETURN_ROUTE_UNKNOWN),
    ("no return route", {"return_route": {"usable": False}}, 4, Reason.NO_RETURN_ROUTE),
    (
        "nothing known",
        with_health(((CHECK, UNKNOWN),), Health(Verdict.UNKNOWN)),
        7,
        Reason.NOTHING_KNOWN,
    ),
    ("down", with_health(((CHECK, DOWN),), Health(Verdict.DOWN)), 9, Reason.HEALTH_DOWN),
    (
        "stale",
        with_health(((CHECK, EXPIRED),), Health(Verdict.UNKNOWN, stale=True)),
        9,
        Reason.HEALTH_STALE,
    ),
    ("held down", {"wait": {"hold_until": NOW + 5.0, "flaps": 2.0}}, 11, Reason.HOLD_DOWN),
]
"""Each way to be denied, in the order of the ladder."""

BLACKHOLED = CoverFact("192.0.2.52/31", CoverState(blackholed=True, ours=True))
COVERED = {"cover": BLACKHOLED}
UNANNOUNCED = {"route": {"announced": False}}
SHARED = {row.rung.number for row in LAST_RESORT if row in LADDER}
"""The rungs that a last resort has, too."""
NOT_COVERED: list[tuple[str, dict[str, Any], int, Reason]] = [
    *(d for d in DENIED if d[2] in SHARED),
    ("kernel silent", {"cover": {"state": None}} | UNANNOUNCED, 13, Reason.BLACKHOLE_MISSING),
    (
        "no blackhole",
        {"cover": {"state": CoverState(blackholed=False, ours=False)}} | UNANNOUNCED,
        13,
        Reason.BLACKHOLE_MISSING,
    ),
    (
        "node's address",
        {"cover": {"state": CoverState(blackholed=True, ours=True, holds="192.0.2.52")}} | UNANNOUNCED,
        13,
        Reason.NODE_ADDRESS_INSIDE,
    ),
]
"""Each way for a last resort to be denied."""

ADOPTED = {**with_health(((CHECK, UNKNOWN),), Health(Verdict.UNKNOWN)), "wait": {"keep_until": NOW + 20.0}}
LAST = LADDER[-1].rung


def of(*changes: dict[str, Any], **more: Any) -> Decision:
    """The decision where all is well but for what is given, by fact and field; a later change wins."""
    return decide(case_of(*changes, **more), NOW)


def of_last_resort(*changes: dict[str, Any]) -> Decision:
    """What is decided of the last resort there."""
    return decide_last_resort(case_of(COVERED, *changes), NOW)


def case_of(*changes: dict[str, Any], **more: Any) -> Case:
    case = WELL
    for name, values in itertools.chain(*(c.items() for c in changes), more.items()):
        fact = replace(getattr(case, name), **values) if isinstance(values, dict) else values
        case = replace(case, **{name: fact})
    return case


def test_where_all_is_well_it_is_announced_in_full() -> None:
    """No row but the last has anything to say."""
    assert all(row.ask(WELL, NOW) is None for row in LADDER[:-1])
    assert of() == Decision(
        True,
        LAST,
        Reason.HEALTHY,
        "1 of 1 local checks up, 1 needed",
        "nothing: it may be announced at its best",
        Tier.FULL,
    )


@pytest.mark.parametrize(("changes", "rung", "reason"), [d[1:] for d in DENIED], ids=[d[0] for d in DENIED])
def test_each_row_denies_for_its_own_reason(changes: dict[str, Any], rung: int, reason: Reason) -> None:
    """And says why, by what it was seen, and what would change it."""
    decision = of(changes)
    assert (decision.announce, decision.tier, decision.rung.number, decision.reason) == (False, None, rung, reason)
    assert decision.evidence
    assert decision.remedy


def test_the_rows_stand_in_the_order_of_their_numbers() -> None:
    """Every row but the last denies in a case above, and every reason is one of a case above or an allowing one."""
    numbers = [row.rung.number for row in LADDER]
    assert numbers == sorted(set(numbers))
    assert [d[2] for d in DENIED] == sorted(d[2] for d in DENIED)
    assert {d[2] for d in DENIED} | {LAST.number} == set(numbers)
    allowed = {Reason.HEALTHY, Reason.SHARED_CHECK_DOWN, Reason.ADOPTED, Reason.LAST_RESORT}
    assert {d[3] for d in (*DENIED, *NOT_COVERED)} | allowed == set(Reason)


@pytest.mark.parametrize(
    ("higher", "lower"),
    [(a, b) for a, b in itertools.combinations(DENIED, 2) if a[2] != b[2]],
    ids=lambda d: d[0].replace(" ", "-"),
)
def test_a_higher_row_wins_over_a_lower_one(higher: Any, lower: Any) -> None:
    """Where both would deny, the higher one is what people read."""
    assert of(lower[1], higher[1]).reason is higher[3]


@pytest.mark.parametrize("denied", [d for d in DENIED if d[2] not in (7, 9)],
                         ids=lambda d: d[0].replace(" ", "-"))  # fmt: skip
def test_every_other_row_denies_also_what_was_adopted(denied: Any) -> None:
    """Row 7 allows what an earlier run left only as far as no row before or after it denies."""
    assert of(ADOPTED).tier is Tier.ADOPTED
    assert of(ADOPTED, denied[1]).reason is denied[3]


def test_what_was_found_is_adopted_until_its_time_is_up() -> None:
    """One moment before, and at that moment; and never what was not announced."""
    decision = of(ADOPTED)
    assert (decision.announce, decision.reason, decision.until) == (True, Reason.ADOPTED, NOW + 20.0)
    assert of(ADOPTED, wait={"keep_until": NOW}).reason is Reason.NOTHING_KNOWN
    assert of(ADOPTED, route={"announced": False}).reason is Reason.NOTHING_KNOWN


def test_the_hold_down_ends_at_its_moment() -> None:
    """It says until when."""
    assert of(wait={"hold_until": NOW + 5.0, "flaps": 2.0}).until == NOW + 5.0
    assert of(wait={"hold_until": NOW}).announce


def test_an_address_that_is_being_put_back_keeps_what_is_announced_and_no_more() -> None:
    """Repair has its moment; what is not announced yet waits for the address."""
    repairing = {"state": None, "repairing": True}
    assert of(address=repairing).announce
    assert of(address=repairing, route={"announced": False}).reason is Reason.ADDRESS_MISSING


@pytest.mark.parametrize(
    "changes",
    [
        {"address": {"known": False}},
        {"address": {"state": None}},
        {"address": {"link_up": False}},
        {"return_route": {"usable": None}},
    ],
)
def test_unmanaged_addresses_are_not_looked_at(changes: dict[str, Any]) -> None:
    """Rows 3 and 4 say nothing then."""
    unmanaged = {"address": {"mode": AddressMode.UNMANAGED}, "return_route": {"watched": False}}
    assert of(unmanaged, changes).announce


def test_a_shared_check_that_is_down_lowers_preference_only() -> None:
    """Degraded, by the check's own words."""
    backbone = check("backbone", scope=Scope.SHARED)
    decision = of(with_health(((CHECK, UP), (backbone, DOWN)), Health(Verdict.UP, shared_down=True)))
    assert (decision.announce, decision.tier, decision.reason) == (True, Tier.DEGRADED, Reason.SHARED_CHECK_DOWN)
    assert decision.evidence == "check backbone: refused, 2 in a row (connection refused)"
    assert decision.remedy == "the shared check succeeds again"


EXAMPLES: list[tuple[dict[str, Any], str, str]] = [
    ({"wish": {"enabled": False}}, "service dns has enabled: false", "set enabled: true and reload"),
    ({"stopping": True}, "the agent was asked to stop", "start the agent"),
    (
        {"address": {"state": None, "error": "permission denied"}},
        "192.0.2.53 is not on the node: permission denied",
        "the agent adds 192.0.2.53 to lo and tries again by itself",
    ),
    (
        {"address": {"state": None, "mode": AddressMode.VERIFY}},
        "192.0.2.53 is not on the node",
        "ip address add 192.0.2.53/32 dev lo",
    ),
    ({"address": {"link_up": False}}, "interface lo is down", "ip link set lo up"),
    (
        {"return_route": {"usable": False, "evidence": "there is no route to 203.0.113.7"}},
        "no usable return route: there is no route to 203.0.113.7, from 192.0.2.53",
        "give the node a route for replies from 192.0.2.53 (ip route get shows what it has), or set node.return_route",
    ),
    (
        with_health(((CHECK, UNKNOWN),), Health(Verdict.UNKNOWN)),
        "no verdict yet: answers 1 of 3 successes",
        "the first verdict",
    ),
    (
        with_health(((CHECK, DOWN),), Health(Verdict.DOWN)),
        "check answers: refused, 2 in a row (connection refused)",
        "the service answers its checks again: 1 of 1 local checks up",
    ),
    (
        with_health(((CHECK, EXPIRED),), Health(Verdict.UNKNOWN, stale=True)),
        "no conclusive probe lately of answers (no file descriptor)",
        "probes that can be made again: 1 of 1 local checks up",
    ),
    (
        {"wait": {"hold_until": NOW + 5.0, "flaps": 2.0}},
        "recovered, after 2.0 falls not yet forgotten",
        "staying healthy until then",
    ),
]


@pytest.mark.parametrize(("changes", "evidence", "remedy"), EXAMPLES)
def test_people_read_what_it_was_seen_by_and_what_would_change_it(
    changes: dict[str, Any], evidence: str, remedy: str
) -> None:
    """Word for word."""
    decision = of(changes)
    assert (decision.evidence, decision.remedy) == (evidence, remedy)


def test_a_recovering_check_says_how_far_it_has_come() -> None:
    """Down, with one good probe of the three it takes."""
    recovering = CheckHealth(Phase.RECOVERING, successes=1, outcome=ends.OK)
    decision = of(with_health(((CHECK, recovering),), Health(Verdict.DOWN)))
    assert decision.evidence == "check answers: ok, 1 of 3 good"


# --- the last resort ---


@pytest.mark.parametrize(("changes", "rung", "reason"), [d[1:] for d in NOT_COVERED], ids=[d[0] for d in NOT_COVERED])
def test_a_last_resort_is_denied_only_where_the_node_cannot_serve_or_a_person_says_so(
    changes: dict[str, Any], rung: int, reason: Reason
) -> None:
    """The same four rows as for the prefix itself, and its own."""
    decision = of_last_resort(changes)
    assert (decision.announce, decision.tier, decision.rung.number, decision.reason) == (False, None, rung, reason)
    assert decision.evidence
    assert decision.remedy


@pytest.mark.parametrize("denied", [d for d in DENIED if d[2] not in SHARED], ids=lambda d: d[0].replace(" ", "-"))
@pytest.mark.parametrize("announced", [True, False])
def test_nothing_that_checks_say_denies_a_last_resort(denied: Any, announced: bool) -> None:
    """Down, stale, unknown, held down: announced anew, and kept."""
    decision = of_last_resort(denied[1], {"route": {"announced": announced}})
    assert (decision.announce, decision.tier, decision.reason) == (True, Tier.LAST_RESORT, Reason.LAST_RESORT)


@pytest.mark.parametrize("denied", [d for d in NOT_COVERED if d[2] == 13], ids=lambda d: d[0].replace(" ", "-"))
def test_what_is_out_stays_where_only_the_rest_of_the_cover_is_wrong(denied: Any) -> None:
    """Loops of what nobody uses harm less than a service that is off the air; the reason is shown all the same."""
    decision = of_last_resort(denied[1], {"route": {"announced": True}})
    assert (decision.announce, decision.tier, decision.reason) == (True, Tier.LAST_RESORT, denied[3])


def test_the_prefix_itself_is_never_asked_about_a_cover() -> None:
    """The row of the last resort stands in its own ladder, and has nothing to say without a cover."""
    assert LAST_RESORT[-1] not in LADDER
    assert LAST_RESORT[-1].ask(WELL, NOW) is None
    assert [row for row in LADDER if row in LAST_RESORT] == list(LAST_RESORT[:-1])


@pytest.mark.parametrize(
    ("changes", "evidence", "remedy"),
    [
        (
            {},
            "192.0.2.53 is on the node; checks have no say in a last resort",
            "nothing: it stays announced for an emergency",
        ),
        (
            {"cover": {"state": None, "error": "not permitted"}} | UNANNOUNCED,
            "the rest of 192.0.2.52/31 is not discarded on this node, so packets to it would loop: not permitted",
            "the agent adds a blackhole route for 192.0.2.52/31 and tries again by itself",
        ),
        (
            {"cover": {"state": None, "managed": False}} | UNANNOUNCED,
            "the rest of 192.0.2.52/31 is not discarded on this node, so packets to it would loop",
            "ip route add blackhole 192.0.2.52/31",
        ),
        (
            {"cover": CoverFact("2001:db8:53::52/127", None, managed=False)} | UNANNOUNCED,
            "the rest of 2001:db8:53::52/127 is not discarded on this node, so packets to it would loop",
            "ip -6 route add blackhole 2001:db8:53::52/127",
        ),
        (
            {"cover": {"state": CoverState(True, True, "192.0.2.52")}} | UNANNOUNCED,
            "192.0.2.52, an address of this node, is inside 192.0.2.52/31",
            "take 192.0.2.52 off the node, or give the service a last resort without it",
        ),
    ],
)
def test_people_read_what_a_last_resort_lacks(changes: dict[str, Any], evidence: str, remedy: str) -> None:
    """Word for word."""
    decision = of_last_resort(changes)
    assert (decision.evidence, decision.remedy) == (evidence, remedy)


HEALTHS = st.sampled_from((UP, DOWN, UNKNOWN, EXPIRED))
CHECKS = st.lists(st.tuples(st.sampled_from((CHECK, check("b", scope=Scope.SHARED))), HEALTHS), max_size=3)
INSTANTS = st.floats(990.0, 1010.0)
CASES = st.builds(
    Case,
    prefix=st.sampled_from((V4, V6)),
    wish=st.builds(WishFact, st.just("dns"), st.booleans(), st.booleans()),
    stopping=st.booleans(),
    address=st.builds(
        AddressFact,
        mode=st.sampled_from(AddressMode),
        interface=st.just("lo"),
        known=st.booleans(),
        state=st.none() | st.builds(AddressState, st.just("lo"), st.booleans(), st.booleans()),
        error=st.sampled_from(("", "no such device")),
        repairing=st.booleans(),
        link_up=st.booleans(),
    ),
    return_route=st.builds(ReturnRouteFact, st.booleans(), st.none() | st.booleans(), st.just("there is none")),
    health=st.builds(
        HealthFact,
        CHECKS.map(tuple),
        st.builds(Health, st.sampled_from(Verdict), st.booleans(), st.booleans()),
        st.sampled_from((Require(), Require(1))),
    ),
    route=st.builds(RouteFact, st.booleans()),
    wait=st.builds(WaitFact, INSTANTS, INSTANTS, st.floats(0.0, 5.0)),
    cover=st.none()
    | st.builds(
        CoverFact,
        st.just("192.0.2.52/31"),
        st.none() | st.builds(CoverState, st.booleans(), st.booleans(), st.none() | st.just("192.0.2.52")),
        st.booleans(),
    ),
)


@given(CASES)
def test_there_is_always_a_decision_and_always_a_reason(case: Case) -> None:
    """Total; and what it promises of itself: a tier just where it announces, an instant only in the future."""
    decision = decide(case, NOW)
    assert (decision.tier is not None) is decision.announce
    assert decision.until is None or decision.until > NOW
    assert decision.remedy
    assert "\n" not in decision.evidence + decision.remedy


@given(CASES)
def test_nothing_is_announced_that_the_first_promise_forbids(case: Case) -> None:
    """Whatever else holds: the address (or its repair), and a verdict of up, or an adoption within its time."""
    decision = decide(case, NOW)
    if not decision.announce:
        return
    address = case.address
    assert case.wish.enabled
    assert not case.wish.observe_only
    assert not case.stopping
    assert case.return_route.usable or not case.return_route.watched
    if address.mode is not AddressMode.UNMANAGED:
        assert address.known
        assert (address.state is not None and address.state.usable and address.link_up) or (
            address.state is None and address.repairing and case.route.announced
        )
    if decision.tier is Tier.ADOPTED:
        assert case.route.announced
        assert case.wait.keep_until > NOW
        assert case.health.health.verdict is Verdict.UNKNOWN
    else:
        assert case.health.health.verdict is Verdict.UP


@given(CASES.filter(lambda case: case.cover is not None), CASES)
def test_a_last_resort_does_not_depend_on_checks_and_time(case: Case, other: Case) -> None:
    """The same answer whatever the checks of another case say, and whatever its waits are; and always one."""
    decision = decide_last_resort(case, NOW)
    assert decision == decide_last_resort(replace(case, health=other.health, wait=other.wait), NOW)
    assert (decision.tier is Tier.LAST_RESORT) is decision.announce
    assert decision.until is None
    assert decision.remedy
