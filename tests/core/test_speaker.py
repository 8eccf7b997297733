"""The link to the speaker: heartbeats, silence, and replays."""

from __future__ import annotations

from anycast_agent.core import events as ev
from anycast_agent.core.actions import Action, Heartbeat, Resync
from anycast_agent.core.life import Link
from anycast_agent.core.model import RouteKey, Will
from anycast_agent.core.news import ConfigApplied, ReplayBegan, ReplayEnded, ReplayNeeded, SpeakerCame, SpeakerGone
from anycast_agent.core.parts.speaker import REPLAY_WITHIN, HeartbeatDue, ReplayDue, SilenceEnds, Speaker
from tests.support.parts import PartBench
from tests.support.world import LEAF1, V4, config

FOUND = ev.RouteFound(RouteKey(LEAF1, V4), None, Will.WITHDRAW, True, True)


class Bench(PartBench):
    def __init__(self, dead_man: float = 5.0) -> None:
        super().__init__(ReplayBegan, ReplayEnded, SpeakerCame, SpeakerGone)
        self.handing_over = False
        self.speaker = Speaker(self.board, self.timers, lambda: self.handing_over, self.now)
        self.install(self.speaker)
        self.post(ConfigApplied(config(dead_man=dead_man), None))

    def connect(self, *, synced: bool = True) -> None:
        self.post(ev.SpeakerConnected("pipe 1"), *[ev.SpeakerSynced()] * synced)
        self.news.clear()

    def actions(self, kind: type[Action]) -> list[Action]:
        return [a for a in self.plan() if isinstance(a, kind)]


def test_heartbeats_come_five_times_within_the_dead_mans_time_and_each_second_at_least() -> None:
    """So that one that is lost or late does not matter."""
    for dead_man, interval in ((1.0, 0.2), (5.0, 1.0), (30.0, 1.0)):
        bench = Bench(dead_man)
        bench.connect()
        assert bench.actions(Heartbeat) == [Heartbeat()]
        assert bench.timers.get(HeartbeatDue()) == bench.now + interval


def test_an_agent_that_hands_over_sends_no_heartbeat() -> None:
    """It would shorten the wait for the next agent."""
    bench = Bench()
    bench.connect()
    bench.handing_over = True
    assert bench.actions(Heartbeat) == []


def test_silence_counts_from_the_last_answer_with_exabgp_behind_it() -> None:
    """An answer of the pipe alone, while ExaBGP is silent, does not put it off."""
    bench = Bench()
    bench.connect()
    ends = bench.timers.get(SilenceEnds())
    assert ends == bench.now + 5.0
    bench.now += 1.0
    bench.post(ev.SpeakerAnswered(0.1))
    assert bench.timers.get(SilenceEnds()) == bench.now + 5.0
    bench.now += 1.0
    bench.post(ev.SpeakerAnswered(5.0))
    assert bench.timers.get(SilenceEnds()) == bench.now + 4.0
    assert bench.speaker.why == "ExaBGP has not answered the pipe for 5.0 s"
    bench.post(ev.SpeakerAnswered(0.1))
    assert bench.speaker.why == ""


def test_a_silent_speaker_is_wedged_and_one_that_answers_again_is_asked_in_full() -> None:
    """What it did meanwhile is not known."""
    bench = Bench()
    bench.connect()
    bench.now += 5.0
    bench.plan()
    assert bench.speaker.state is Link.WEDGED
    assert bench.speaker.why == "no answer for 5 s"
    bench.post(ev.SpeakerAnswered(0.0))
    assert bench.actions(Resync) == [Resync(ev.Source.SPEAKER, "it answers again")]
    bench.post(ev.SpeakerSynced())
    assert bench.speaker.state is Link.SYNCED


def test_what_is_not_connected_has_no_heartbeat_and_no_silence() -> None:
    """Nor does a late answer of the old connection count."""
    bench = Bench()
    bench.connect()
    bench.post(ev.SpeakerLost("broke"))
    assert bench.news == [SpeakerGone("broke")]
    bench.post(ev.SpeakerAnswered(0.0))
    assert bench.speaker.answered_at == bench.now, "that of the connection that was"
    assert bench.speaker.state is Link.ABSENT
    assert [bench.timers.get(k) for k in (HeartbeatDue(), SilenceEnds(), ReplayDue())] == [None] * 3


def test_a_new_connection_replaces_the_old_one() -> None:
    """The other parts hear of the end of the old one before they hear of the new one."""
    bench = Bench()
    bench.connect()
    bench.post(ev.SpeakerConnected("pipe 2"))
    assert bench.news == [SpeakerGone("replaced by a new connection"), ReplayBegan(), SpeakerCame()]
    assert (bench.speaker.state, bench.speaker.pipe) == (Link.SYNCING, "pipe 2")


def test_one_replay_is_under_way_at_a_time_and_another_follows_where_it_was_asked_for() -> None:
    """What was lost while it ran makes it worth nothing."""
    bench = Bench()
    bench.connect(synced=False)
    assert bench.speaker.replaying
    assert bench.timers.get(ReplayDue()) == bench.now + REPLAY_WITHIN
    bench.post(ev.SpeakerSynced())
    assert bench.news == [ReplayEnded()]
    bench.post(ev.Lost(ev.Source.SPEAKER, "the inbox was full"))
    assert bench.actions(Resync) == [Resync(ev.Source.SPEAKER, "the inbox was full")]
    bench.post(ReplayNeeded("an error"))
    assert bench.actions(Resync) == [], "one is under way"
    bench.post(ev.SpeakerSynced())
    assert bench.news == [ReplayEnded(), ReplayBegan(), ReplayBegan()], "it is not to be believed"
    assert len(bench.actions(Resync)) == 1
    bench.post(ev.SpeakerSynced())
    assert bench.news[-1] == ReplayEnded()


def test_a_replay_that_does_not_end_is_asked_for_again() -> None:
    """Until one does."""
    bench = Bench()
    bench.connect(synced=False)
    for _ in range(3):
        bench.now += REPLAY_WITHIN
        bench.post(ev.SpeakerAnswered(0.0))
        assert len(bench.actions(Resync)) == 1
    assert bench.speaker.state is Link.SYNCING


def test_a_replay_that_was_given_up_halfway_does_not_end_the_next_one() -> None:
    """Its end comes late, and without what it had named before: a route that it named would be taken for withdrawn."""
    bench = Bench(dead_man=15.0)
    bench.connect(synced=False)
    bench.post(FOUND)
    bench.now += REPLAY_WITHIN
    assert len(bench.actions(Resync)) == 1
    bench.news.clear()
    bench.post(ev.SpeakerSynced())
    assert bench.news == [ReplayBegan()], "that was the end of the first one"
    assert len(bench.actions(Resync)) == 1
    bench.post(FOUND, ev.SpeakerSynced())
    assert bench.news[-1] == ReplayEnded()
    assert bench.speaker.state is Link.SYNCED


def test_a_replay_that_goes_on_is_not_given_up() -> None:
    """Many routes take their time; one that came after its end says nothing of another."""
    bench = Bench(dead_man=60.0)
    bench.connect(synced=False)
    for _ in range(5):
        bench.now += 0.9 * REPLAY_WITHIN
        bench.post(FOUND)
        assert bench.actions(Resync) == []
    bench.post(ev.SpeakerSynced())
    assert bench.speaker.state is Link.SYNCED
    bench.post(FOUND)
    assert bench.timers.get(ReplayDue()) is None


def test_a_replay_that_is_late_as_a_whole_is_believed() -> None:
    """It named nothing before it was given up: what is named since then is all of it."""
    bench = Bench(dead_man=15.0)
    bench.connect(synced=False)
    bench.now += REPLAY_WITHIN
    bench.plan()
    bench.post(FOUND, ev.SpeakerSynced())
    assert bench.news[-1] == ReplayEnded()


def test_a_wedged_speaker_is_not_asked_and_asked_in_full_once_it_answers() -> None:
    """A pipe that is frozen for an hour would answer each question with all of its routes when it thaws."""
    bench = Bench()
    bench.connect()
    bench.now += 5.0
    bench.plan()
    assert bench.speaker.state is Link.WEDGED
    for _ in range(100):
        bench.post(ReplayNeeded("an action did not end"), ev.Lost(ev.Source.SPEAKER, "x"))
        assert bench.actions(Resync) == []
        bench.now += REPLAY_WITHIN
    bench.post(ev.SpeakerAnswered(0.0))
    assert len(bench.actions(Resync)) == 1


def test_nobody_is_asked_where_nobody_is_there() -> None:
    """A replay follows by itself once there is a connection."""
    bench = Bench()
    bench.post(ReplayNeeded("an error"), ev.Lost(ev.Source.SPEAKER, "x"))
    assert bench.actions(Resync) == []


def test_the_failure_of_an_adapter_ends_the_link_only_where_it_is_the_speakers() -> None:
    """And says why."""
    bench = Bench()
    bench.connect()
    bench.post(ev.AdapterFailed(ev.Source.KERNEL, "broke"))
    assert bench.speaker.state is Link.SYNCED
    bench.post(ev.AdapterFailed(ev.Source.SPEAKER, "broke"))
    assert (bench.speaker.state, bench.speaker.why) == (Link.ABSENT, "broke")


def test_after_a_time_in_which_this_process_did_not_run_silence_counts_anew() -> None:
    """The last answers may lie unread."""
    bench = Bench()
    bench.connect()
    bench.now += 60.0
    bench.speaker.excuse(bench.now)
    assert bench.timers.get(SilenceEnds()) == bench.now + 5.0


def test_a_first_connection_replaces_nothing() -> None:
    """Nobody hears of the end of one that never was."""
    bench = Bench()
    bench.post(ev.SpeakerConnected("pipe 1"))
    assert bench.news == [ReplayBegan(), SpeakerCame()]


def test_since_is_when_the_state_was_entered() -> None:
    """A stop goes by it: so long after the end of the link the dead man has fired. A second end is none."""
    bench = Bench()
    bench.connect()
    bench.post(ev.SpeakerLost("broke"))
    lost = bench.now
    bench.now += 3.0
    bench.post(ev.SpeakerLost("broke again"))
    assert bench.speaker.since == lost
