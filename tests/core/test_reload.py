"""What a new configuration would withdraw, and when that is too much."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from anycast_agent.core.model import RouteKey
from anycast_agent.core.reload import refusal, withdrawn_by
from tests.support.world import LEAF1, LEAF2, V4, V6, config, service

ALL = [RouteKey(n, p) for n in (LEAF1, LEAF2) for p in (V4, V6)]


def test_what_is_no_longer_configured_would_be_withdrawn() -> None:
    """By prefix, by neighbor, by being disabled or only observed; and nothing that stays."""
    assert withdrawn_by(config(), ALL) == []
    assert withdrawn_by(config(service("dns", (V4,))), ALL) == [RouteKey(LEAF1, V6), RouteKey(LEAF2, V6)]
    assert withdrawn_by(config(service(neighbors=(LEAF1,))), ALL) == [RouteKey(LEAF2, V4), RouteKey(LEAF2, V6)]
    assert withdrawn_by(config(service(enabled=False)), ALL) == sorted(ALL)
    assert withdrawn_by(config(service(observe_only=True)), ALL) == sorted(ALL)


def test_a_prefix_that_moves_to_another_service_is_not_withdrawn() -> None:
    """Nor is one whose service is renamed."""
    assert withdrawn_by(config(service("a", (V6,)), service("b", (V4,))), ALL) == []


def test_nothing_announced_is_nothing_to_lose() -> None:
    """Any configuration may come then."""
    assert refusal(replace(config(), services={}), []) == ()


@given(st.sets(st.sampled_from(ALL)), st.sets(st.sampled_from(ALL)))
def test_more_than_half_is_refused_and_half_is_not(announced: set[RouteKey], kept: set[RouteKey]) -> None:
    """Counted in routes that are announced; the refusal lists each of them that would go."""
    tiers = {tier: {k: a for k, a in routes.items() if k in kept} for tier, routes in service().attributes.items()}
    lost = announced - kept
    said = refusal(config(replace(service(), attributes=tiers)), announced)
    assert bool(said) is (2 * len(lost) > len(announced))
    if said:
        assert said[0].startswith(f"it would withdraw {len(lost)} of {len(announced)} announced routes")
        assert said[1:] == tuple(f"withdraws {k.prefix} from {k.neighbor}" for k in sorted(lost))
