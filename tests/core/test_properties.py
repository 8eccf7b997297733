"""Properties over random stories: faults in any order, the agent cut off between any two of its actions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_agent.core import actions as act
from anycast_agent.core.health import Phase
from anycast_agent.core.model import Reason
from tests.conftest import examples
from tests.support.faults import Fault, Faults, Watch, config_of, configs, wanted
from tests.support.world import World

KINDS = sorted(Faults(World()).kinds)
FAULT = st.tuples(st.sampled_from(KINDS), st.integers(0, 11), st.integers(0, 11))
PAUSE = st.sampled_from((0.0, 0.001, 0.0025, 0.05, 0.3, 1.1, 2.6, 7.0))
STORY = st.lists(st.tuples(FAULT, PAUSE), max_size=25)

HEALED_WITHIN = 150.0
"""The longest hold-down, and the longest wait before something that failed is tried again. Seconds."""


def all_well(world: World) -> bool:
    assert world.engine is not None
    enabled = {s.name for s in config_of(world).services.values() if s.enabled}
    states = [s for s in world.engine.parts.prefixes.states.values() if s.service in enabled]
    return all(c.health.phase is Phase.UP for c in world.engine.parts.probing.states.values()) and all(
        s.decision.reason is Reason.HEALTHY for s in states
    )


def tell(story: list[tuple[Fault, float]], owns_speaker: bool = True) -> tuple[World, Faults, Watch]:
    world = World(owns_speaker=owns_speaker)
    faults, watch = Faults(world), Watch(world)
    world.start(configs()[0])
    world.run(3.0)
    for fault, pause in story:
        faults.do(fault)
        watch.between()
        while pause > 0.0:
            step = min(pause, 0.5)
            world.run(step)
            watch.between()
            pause -= step
    return world, faults, watch


@pytest.mark.timeout(600)  # nothing but computing: on a busy machine it takes its time
@settings(max_examples=examples(80))
@given(STORY, st.booleans())
def test_the_promises_hold_in_every_story_and_the_wire_is_right_again_at_its_end(
    story: list[tuple[Fault, float]], owns_speaker: bool
) -> None:
    """At each turn: no route undeserved, none put without verdict and address, no surface wrong; at last: as wanted."""
    world, faults, watch = tell(story, owns_speaker)
    faults.heal()
    watch.bad_since.clear()
    world.until(lambda w: w.router == wanted(config_of(w)) and all_well(w), HEALED_WITHIN, 0.5)
    world.run(31.0)  # what failed before may still be waiting to be tried again
    watch.between()
    before = len(world.actions)
    world.run(5.0)
    late = [a for _, a in world.actions[before:] if not isinstance(a, act.RunProbe | act.Heartbeat)]
    assert not late, "where the world is as wanted, only looking goes on"
    assert set(world.addresses) == {p.partition("/")[0] for s in config_of(world).services.values() for p in s.prefixes}
    assert set(world.blackholes) == config_of(world).covers
