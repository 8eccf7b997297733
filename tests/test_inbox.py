"""The inbox: bounded, and nothing that matters is ever dropped."""

from __future__ import annotations

import asyncio

from anycast_agent.core import events as ev
from anycast_agent.core.model import AddressState
from anycast_agent.inbox import Inbox
from tests.support import ends


def test_past_the_capacity_observations_go_and_their_source_is_asked() -> None:
    """A flood of paths is cut off; ends of actions, connections and people's wishes are not; Lost follows."""
    inbox = Inbox(capacity=10)
    for n in range(1000):
        inbox.post(ev.PathSeen("leaf", "192.0.2.1/32", str(n)))
    kept = [ev.ProbeFinished(1, ends.OK), ev.SpeakerSynced(), ev.StopAsked("x"), ev.SpeakerLost("y")]
    for event in kept:
        inbox.post(event)
    taken = inbox.take()
    assert [e for e in taken if not isinstance(e, ev.PathSeen | ev.Lost)] == kept
    assert len(taken) == 10 + len(kept) + 1
    assert isinstance(taken[-1], ev.Lost)
    assert taken[-1].source is ev.Source.SPEAKER
    assert inbox.lost_total == 990


def test_every_kind_of_event_is_bounded() -> None:
    """Whatever comes too often: no more than twice the capacity waits, and both sources are asked in full."""
    for event in (ev.ProbeFinished(1, ends.OK), ev.StopAsked("x"), ev.ConfigRejected(("y",)), ev.SpeakerLost("z")):
        inbox = Inbox(capacity=10)
        for _ in range(1000):
            inbox.post(event)
        taken = inbox.take()
        assert taken[:20] == [event] * 20
        assert {e.source for e in taken[20:] if isinstance(e, ev.Lost)} == set(ev.Source)
        assert inbox.lost_total == 980


def test_what_coalesces_is_bounded_by_its_names_too() -> None:
    """A flood of names that nobody knows."""
    inbox = Inbox(capacity=10)
    for n in range(1000):
        inbox.post(ev.Warned(f"s{n}", "x"))
        inbox.post(ev.LinkSeen(f"eth{n}", True))
    taken = inbox.take()
    assert len([e for e in taken if not isinstance(e, ev.Lost)]) == 20
    inbox.post(ev.Warned("s1", "again"))
    assert inbox.take() == [ev.Warned("s1", "again")]


def test_observations_of_the_same_thing_coalesce() -> None:
    """The last word on an address counts, in the place of the first."""
    inbox = Inbox()
    inbox.post(ev.AddressSeen("192.0.2.1", None))
    inbox.post(ev.SpeakerSynced())
    state = AddressState("lo", ours=True)
    inbox.post(ev.AddressSeen("192.0.2.1", state))
    assert inbox.take() == [ev.AddressSeen("192.0.2.1", state), ev.SpeakerSynced()]


async def test_waiting_ends_with_an_event_or_the_deadline() -> None:
    """Whichever comes first."""
    inbox, loop = Inbox(), asyncio.get_running_loop()
    began = loop.time()
    await inbox.wait(began + 0.05)
    assert loop.time() >= began + 0.05
    loop.call_later(0.01, inbox.post, ev.SpeakerSynced())
    await asyncio.wait_for(inbox.wait(None), 5)
    assert inbox.take() == [ev.SpeakerSynced()]
