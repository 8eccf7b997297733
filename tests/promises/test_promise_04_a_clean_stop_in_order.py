"""Promise 4.

A clean stop sends the withdrawals, lingers while the service still answers, removes the addresses, then ends a speaker
of its own. In that order.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import AddressMode, AddressState, SessionState
from tests.conftest import examples
from tests.support.agent import V4 as REAL_V4
from tests.support.agent import Scene, addresses_of, is_alive, play
from tests.support.netns import needs_root
from tests.support.world import LEAF1, V4, V6, World, config, service

# --- 1. the core, in virtual time -----------------------------------------------------------------------------


def announced(linger: float = 1.0, **changes: object) -> World:
    world = World()
    world.start(config(service("dns", linger=linger), **changes))
    world.until(lambda w: len(w.router) == 4, 5)
    return world


def stopped(world: World, within: float = 25.0) -> float:
    began = world.now
    world.post(ev.StopAsked("SIGTERM"))
    world.until(lambda w: w.exit is not None, within)
    return world.now - began


@settings(max_examples=examples(40))
@given(st.floats(0.0, 4.0), st.sampled_from((0.0, 0.5, 3.0)))
def test_the_order_of_a_stop(when: float, linger: float) -> None:
    """Withdrawal at every router, then the linger, then the address, then the exit, whenever it is asked for."""
    world = World()
    world.start(config(service("dns", linger=linger)))
    world.run(when)
    asked = world.now
    began = len(world.actions)
    stopped(world)
    assert world.exit == act.Exit(0, "stopped; nothing is left")
    gone = [at for at, what, _ in world.updates if what == "withdraw"]
    removed = [at for at, a in world.actions[began:] if isinstance(a, act.RemoveAddresses)]
    assert not world.router
    assert not world.addresses
    assert not [a for at, a in world.actions[began:] if isinstance(a, act.PutRoutes | act.AddAddresses)]
    assert gone == sorted(gone)
    if gone:
        assert max(gone) - asked < 0.1, "the withdrawals wait for nothing"
        assert min(removed) >= max(gone) + linger - 0.001
    assert isinstance(world.actions[-1][1], act.Exit)


def test_the_service_still_answers_while_it_lingers() -> None:
    """Its address is there for as long as packets may still come."""
    world = announced(linger=5.0)
    world.post(ev.StopAsked("SIGTERM"))
    world.run(4.9)
    assert world.address_there(V4)
    assert world.address_there(V6)
    assert not world.router


def test_addresses_of_others_stay() -> None:
    """Only what is ours is removed; with verify and unmanaged, nothing is ours."""
    for mode in (AddressMode.VERIFY, AddressMode.UNMANAGED):
        world = World(addresses={a: AddressState("lo", ours=False) for a in ("192.0.2.53", "2001:db8:53::53")})
        world.start(config(address_mode=mode))
        world.until(lambda w: len(w.router) == 4, 5)
        assert stopped(world) < 2.0
        assert len(world.addresses) == 2
        assert world.exit is not None
        assert world.exit.code == 0


def test_a_session_that_is_down_is_not_waited_for() -> None:
    """It carries nothing: there is nobody to send a withdrawal to."""
    world = announced()
    world.set_session(LEAF1, up=False)
    world.run(1.0)
    assert stopped(world) < 1.5
    assert not world.addresses


def test_a_session_of_which_nothing_is_known_is_waited_for() -> None:
    """It may be up: the report of its UPDATE gets its time."""
    world = announced(linger=0.0)
    world.post(ev.SessionChanged(LEAF1, SessionState.UNKNOWN, ""))
    world.silent.add("sent")
    assert 1.0 <= stopped(world) < 1.5


def test_a_stop_without_a_speaker_waits_for_the_dead_mans_switch() -> None:
    """The pipe is away with our routes: it withdraws them by itself, and only then do the addresses go."""
    world = announced()
    world.lose_pipe()
    world.post(ev.StopAsked("SIGTERM"))
    world.until(lambda w: not w.router, 6.0)
    assert world.address_there(V4)
    world.until(lambda w: w.exit is not None, 3.0)
    assert not world.addresses


@pytest.mark.parametrize("pause", [0.0, 0.0005, 0.0015, 0.0025, 0.004])
def test_a_stop_while_it_still_starts(pause: float) -> None:
    """An earlier run left routes and addresses, and this one is stopped before it has even heard of them."""
    world = announced()
    world.kill()
    world.start(config())
    world.run(pause)
    stopped(world, 10.0)
    assert not world.router
    assert not world.addresses
    assert world.exit is not None
    assert world.exit.code == 0


def test_a_stop_is_bounded_and_says_what_is_left() -> None:
    """ExaBGP answers nothing any more: below the unit's time-out it ends all the same, with a code and a list."""
    world = World(owns_speaker=False)
    world.start(config(stop_within=20.0))
    world.until(lambda w: len(w.router) == 4, 5)
    world.pipe_frozen = True
    assert 19.9 <= stopped(world) <= 20.1
    assert world.exit is not None
    assert world.exit.code == 1
    assert f"route {V4} at {LEAF1}" in world.exit.why
    assert "address 192.0.2.53" in world.exit.why


def test_a_stop_with_an_unknown_kernel_does_not_say_that_nothing_is_left() -> None:
    """It waits for the report while there is time, and then says that it never came."""
    world = World(silent={"kernel"})
    world.start(config(stop_within=5.0))
    world.run(1.0)
    stopped(world)
    assert world.exit is not None
    assert world.exit.code == 1
    assert "what the kernel has is not known" in world.exit.why


def test_who_waits_for_a_reload_is_told() -> None:
    """The stop came first."""
    world = announced()
    world.silent.add("configured")
    world.offer(config(service("dns"), service("www", ("192.0.2.80/32",))), request=7)
    world.post(ev.StopAsked("SIGTERM"))
    replies = [a for _, a in world.actions if isinstance(a, act.Reply)]
    assert [(r.request, r.ok) for r in replies] == [(7, False)]


# --- 2. the real parts: a process, ExaBGP, netlink, a router --------------------------------------------------


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_agent_stopped_withdraws_first_and_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM: UPDATE, linger while the service answers, addresses off, exit 0, ExaBGP last."""

    async def story(s: Scene) -> None:
        await s.announced()
        speaker = s.agent.exabgp()
        s.agent.kill(signal.SIGTERM)
        gone = await s.withdrawn()
        assert s.peer.established
        assert await s.agent.ends() == 0
        assert time.monotonic() - gone >= 0.2
        assert not is_alive(speaker)
        assert REAL_V4.partition("/")[0] not in addresses_of(s)

    play(tmp_path, story)
