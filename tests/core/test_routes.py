"""Routes: desired and acknowledged compared, and each way in which the speaker's answers can go astray."""

from __future__ import annotations

from dataclasses import replace

from anycast_agent.core import events as ev
from anycast_agent.core.actions import ConfirmRoutes, DropRoutes, PutRoutes
from anycast_agent.core.events import RouteFound
from anycast_agent.core.model import Attributes, Route, RouteKey, SessionState, Will
from anycast_agent.core.news import OwnAddress, ReplayBegan, ReplayEnded, SessionMoved, SpeakerGone, SpeakerSetUp
from anycast_agent.core.parts.route import MAX_RETRY, RETRY_FIRST, RouteState
from anycast_agent.core.parts.route_queue import MAX_OPEN, MAX_PREFIXES, RouteQueue
from anycast_agent.core.parts.route_table import SENT_WITHIN, RouteTable
from anycast_agent.core.parts.routes import RouteAction, Routes
from tests.support.parts import PartBench

KEY = RouteKey("leaf1", "192.0.2.53/32")
OWN = "198.51.100.9"
PLAIN, OTHER = Attributes(OWN), Attributes(OWN, med=50)


class Bench(PartBench):
    """Routes with a speaker that does as the test says."""

    def __init__(self, *found: RouteFound, own: str = OWN) -> None:
        """``own``: this node's address on both sessions; empty: not known yet."""
        super().__init__()
        self.barred: set[RouteKey] = set()
        self.down: set[str] = set()
        self.table = RouteTable(lambda neighbor: neighbor in self.down)
        self.queue = RouteQueue(self.timers, lambda key: key not in self.barred)
        self.routes = Routes(self.board, self.opened, self.table, self.queue, lambda: True)
        self.install(self.routes)
        self.post(OwnAddress("leaf1", own), OwnAddress("leaf2", own))
        self.replay(*found)

    def replay(self, *found: RouteFound) -> None:
        self.post(ReplayBegan(), *found, ReplayEnded())
        self.board.touch_all()

    def state(self, key: RouteKey = KEY) -> RouteState:
        return self.table.states[key]

    def want(
        self, key: RouteKey, attributes: Attributes | None, keep: bool = False, will: Will = Will.WITHDRAW
    ) -> None:
        self.routes.desire(key, Route(key, attributes, will) if attributes else None, keep, self.now)

    def turn(self) -> list[RouteAction]:
        return [a for a in self.plan() if isinstance(a, PutRoutes | DropRoutes | ConfirmRoutes)]

    def end(self, action: RouteAction, error: str | None = None) -> None:
        assert action in self.opened.open()
        self.post(ev.RoutesDone(action.id, error))

    def sent(self, key: RouteKey, announced: bool) -> None:
        prefixes = (key.prefix,)
        self.post(ev.RoutesSent(key.neighbor, prefixes if announced else (), () if announced else prefixes))

    def announce(self, *keys: RouteKey) -> None:
        for key in keys:
            self.want(key, PLAIN)
        while actions := self.turn():
            for action in actions:
                self.end(action)
        for key in keys:
            self.sent(key, True)

    def announce_as(self, key: RouteKey, attributes: Attributes) -> None:
        self.want(key, attributes)
        self.end(self.one())
        self.sent(key, True)

    def one(self) -> RouteAction:
        (action,) = self.turn()
        return action

    def withdrawn_at(self, down: bool = False) -> float | None:
        self.down = {KEY.neighbor} if down else set()
        return self.table.withdrawn_at(KEY.prefix, self.now)


def found(key: RouteKey = KEY, attributes: Attributes | None = PLAIN, confirmed: bool = False) -> RouteFound:
    return RouteFound(key, attributes, Will.WITHDRAW, sent=True, confirmed=confirmed)


def keys(count: int, neighbor: str = "leaf1") -> list[RouteKey]:
    return [RouteKey(neighbor, f"192.0.2.{n}/32" if n < 256 else f"203.0.113.{n - 256}/32") for n in range(count)]


# --- what wanted and observed call for ---


def test_what_is_wanted_and_absent_is_put_and_what_is_not_wanted_is_dropped() -> None:
    """And once it is so, nothing is left to do."""
    bench = Bench()
    bench.want(KEY, PLAIN)
    put = bench.one()
    assert isinstance(put, PutRoutes)
    assert bench.turn() == [], "nothing acts on a route with an open action"
    bench.end(put)
    assert bench.turn() == []
    bench.want(KEY, None)
    drop = bench.one()
    assert drop == DropRoutes(drop.id, (KEY,))
    bench.end(drop)
    assert bench.turn() == []


def test_what_is_found_as_wanted_is_confirmed_and_what_differs_is_put() -> None:
    """Other attributes, another will, or a line that nobody here could have written."""
    for event, will, kind in (
        (found(), Will.WITHDRAW, ConfirmRoutes),
        (found(confirmed=True), Will.WITHDRAW, None),
        (found(attributes=OTHER), Will.WITHDRAW, PutRoutes),
        (found(attributes=None), Will.WITHDRAW, PutRoutes),
        (found(), Will.KEEP, PutRoutes),
    ):
        bench = Bench(event)
        bench.want(KEY, PLAIN, will=will)
        assert [type(a) for a in bench.turn()] == ([kind] if kind else [])


def test_what_is_kept_is_left_as_it_is_found() -> None:
    """Byte for byte, whatever the configuration says by now; and nothing is put that was not there."""
    bench = Bench(found(attributes=OTHER))
    absent = replace(KEY, neighbor="leaf2")
    bench.want(KEY, PLAIN, keep=True)
    bench.want(absent, PLAIN, keep=True)
    assert bench.turn() == []
    bench.want(KEY, PLAIN)
    bench.want(absent, PLAIN)
    assert {type(a) for a in bench.turn()} == {PutRoutes}


def test_what_is_found_and_nobody_wants_is_dropped() -> None:
    """Also what is strange."""
    for attributes in (PLAIN, None):
        assert isinstance(Bench(found(attributes=attributes)).one(), DropRoutes)


def test_withdrawals_go_first_and_together() -> None:
    """A drop is never behind a put, and one action takes many."""
    bench = Bench(*[found(key) for key in keys(20)])
    for key in keys(40)[20:]:
        bench.want(key, PLAIN)
    actions = bench.turn()
    assert [type(a) for a in actions] == [DropRoutes, PutRoutes]
    assert isinstance(actions[0], DropRoutes)
    assert len(actions[0].keys) == 20


def test_a_put_is_of_one_family_one_neighbor_and_one_set_of_attributes() -> None:
    """What differs goes in an action of its own; what cannot go yet goes as soon as one has ended."""
    bench = Bench()
    six = replace(KEY, prefix="2001:db8::53/128")
    two = replace(KEY, neighbor="leaf2")
    med = replace(KEY, prefix="192.0.2.54/32")
    wished = {KEY: PLAIN, six: PLAIN, two: PLAIN, med: OTHER}
    for key, attributes in wished.items():
        bench.want(key, attributes)
    put: dict[RouteKey, Attributes] = {}
    while actions := bench.turn():
        for action in actions:
            assert isinstance(action, PutRoutes)
            assert len(action.prefixes) == 1
            put[RouteKey(action.neighbor, action.prefixes[0])] = action.attributes
            bench.end(action)
    assert put == wished


def test_a_burst_goes_in_bounded_batches() -> None:
    """However many routes change at once: few open actions, of a bounded size, until all are done."""
    bench, many = Bench(), keys(500)
    for key in many:
        bench.want(key, PLAIN)
    waiting, done = list(bench.turn()), 0
    while waiting:
        assert len(waiting) <= MAX_OPEN
        action = waiting.pop(0)
        assert isinstance(action, PutRoutes)
        assert len(action.prefixes) <= MAX_PREFIXES
        done += len(action.prefixes)
        bench.end(action)
        waiting += bench.turn()
    assert done == 500


def test_a_change_of_mind_while_an_action_is_open_is_made_good_after_it() -> None:
    """Put, then not wanted any more: the put ends, and the drop follows."""
    bench = Bench()
    bench.want(KEY, PLAIN)
    put = bench.one()
    bench.want(KEY, None)
    assert bench.turn() == []
    bench.end(put)
    assert isinstance(bench.one(), DropRoutes)


def test_a_change_of_mind_while_it_waits_for_a_free_action_costs_nothing() -> None:
    """What is not wanted any more is not put first."""
    bench, many = Bench(), keys(MAX_OPEN * MAX_PREFIXES + 1)
    for key in many:
        bench.want(key, PLAIN)
    actions = bench.turn()
    bench.want(many[-1], None)
    for action in actions:
        bench.end(action)
    assert bench.turn() == []


def test_a_put_waits_until_exabgp_can_take_it() -> None:
    """A neighbor or prefix that it does not have yet; a withdrawal does not wait for that."""
    bench = Bench(found())
    other = keys(1)[0]
    bench.barred = {KEY, other}
    bench.want(other, PLAIN)
    assert [type(a) for a in bench.turn()] == [DropRoutes]
    bench.barred = set()
    assert bench.turn() == []
    bench.board.touch_all()
    assert isinstance(bench.one(), PutRoutes)


# --- errors ---


def failed_put() -> Bench:
    bench = Bench()
    bench.want(KEY, PLAIN)
    bench.end(bench.one(), "ExaBGP said error")
    return bench


def test_after_an_error_only_a_replay_says_what_is_there() -> None:
    """Nothing more is done about the route until then."""
    bench = failed_put()
    bench.now += 100.0
    assert bench.turn() == []
    assert not bench.state().known
    bench.replay()
    assert isinstance(bench.one(), PutRoutes)


def test_a_put_that_goes_on_failing_is_tried_ever_later() -> None:
    """0.5, 1, 2, 4 … 30 seconds: no storm, and no end of trying either."""
    bench, waits = failed_put(), []
    for _ in range(9):
        bench.replay()
        assert bench.turn() == []
        deadline = bench.timers.deadline()
        assert deadline is not None
        waits.append(deadline - bench.now)
        bench.now = deadline
        bench.end(bench.one(), "ExaBGP said error")
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, MAX_RETRY, MAX_RETRY, MAX_RETRY]


def test_a_withdrawal_does_not_wait_for_what_failed_before_it() -> None:
    """The put has failed often and may yet have come through: the drop goes at once, and again after half a second."""
    bench = failed_put()
    for _ in range(6):
        bench.replay(found())
        bench.want(KEY, OTHER if bench.state().desired == Route(KEY, PLAIN) else PLAIN)
        bench.now += 60.0
        for action in bench.turn():
            bench.end(action, "ExaBGP said error")
    bench.replay(found())
    bench.want(KEY, None)
    bench.end(bench.one(), "ExaBGP said error")
    bench.replay(found())
    assert bench.turn() == []
    bench.now += RETRY_FIRST
    assert isinstance(bench.one(), DropRoutes)


def test_one_bad_prefix_does_not_keep_the_others_of_its_batch_off_the_wire() -> None:
    """What has failed together is tried again one by one."""
    bench, many = Bench(), keys(10)
    for key in many:
        bench.want(key, PLAIN)
    bench.end(bench.one(), "ExaBGP said error")
    bench.replay()
    announced: set[str] = set()
    for _ in range(200):
        bench.now += 0.05
        for action in bench.turn():
            assert isinstance(action, PutRoutes)
            bad = many[3].prefix in action.prefixes
            announced |= set() if bad else set(action.prefixes)
            bench.end(action, "ExaBGP said error" if bad else None)
            if bad:
                held = [k for k, s in bench.table.states.items() if s.there]
                bench.replay(*[found(k, confirmed=True) for k in held])
    assert announced == {k.prefix for k in many} - {many[3].prefix}


def test_an_error_is_no_longer_shown_once_the_route_is_as_wanted() -> None:
    """The replay shows that the put had come through after all."""
    bench = failed_put()
    bench.replay(found(confirmed=True))
    assert bench.turn() == []
    assert bench.state().error == ""


# --- what comes in between ---


def test_a_drop_by_the_pipe_while_an_action_is_open_is_not_forgotten() -> None:
    """The adoption clock and our confirmation cross: only a replay can say which was first."""
    bench = Bench(found())
    bench.want(KEY, PLAIN)
    confirm = bench.one()
    assert isinstance(confirm, ConfirmRoutes)
    bench.post(ev.RoutesDropped((KEY,), "not confirmed"))
    bench.end(confirm)
    assert not bench.state().known
    bench.replay()
    assert isinstance(bench.one(), PutRoutes)


def test_an_action_that_outlives_the_connection_is_not_believed() -> None:
    """It was begun, the speaker was lost and came back with its replay, and only then it ends."""
    bench = Bench()
    bench.want(KEY, PLAIN)
    put = bench.one()
    bench.post(SpeakerGone("broke"))
    bench.replay()
    bench.end(put)
    assert not bench.state().known
    bench.replay()
    assert isinstance(bench.one(), PutRoutes)


def test_a_replay_is_believed_of_a_route_that_is_only_confirmed() -> None:
    """A confirmation puts nothing and drops nothing: what the replay says is there is there."""
    bench = Bench(found())
    bench.want(KEY, PLAIN)
    confirm = bench.one()
    assert isinstance(confirm, ConfirmRoutes)
    bench.replay()
    assert not bench.state().there
    bench.end(confirm)
    assert isinstance(bench.one(), PutRoutes)


def test_an_action_that_begins_by_the_clock_is_shown() -> None:
    """A put that failed is tried again: nothing else about its prefix has changed, and it is pending again."""
    bench, service_of = Bench(), {KEY.prefix: "dns"}
    bench.want(KEY, PLAIN)
    bench.end(bench.one(), "busy")
    bench.replay()
    assert bench.turn() == []
    bench.board.take_shown(service_of)
    bench.now += RETRY_FIRST
    assert bench.board.take_shown(service_of) == set()
    bench.one()
    assert bench.board.take_shown(service_of) == {"dns"}


def test_with_the_speaker_goes_what_is_known_to_be_sent() -> None:
    """Its sessions may have gone with it; and of what was never sent, nothing was."""
    bench, other = Bench(), RouteKey("leaf2", KEY.prefix)
    bench.announce(KEY)
    bench.announce(other)
    bench.want(other, None)
    bench.end(bench.one())
    bench.sent(other, False)
    bench.post(SpeakerGone("broke"))
    assert [bench.state(key).carried() for key in (KEY, other)] == [None, False]


def test_a_put_that_ends_after_a_replay_that_was_asked_for_is_believed() -> None:
    """The connection stood all the time: the answer is the later word."""
    bench = Bench()
    bench.want(KEY, PLAIN)
    put = bench.one()
    bench.replay()
    bench.end(put)
    assert bench.state().attributes == PLAIN
    assert bench.turn() == []


def test_a_route_that_the_pipe_dropped_is_put_again_where_it_is_wanted() -> None:
    """The dead-man's switch fired while the agent was stopped, and now it goes on."""
    bench = Bench()
    bench.announce(KEY)
    bench.post(ev.RoutesDropped((KEY,), "no heartbeat"))
    assert isinstance(bench.one(), PutRoutes)


def test_a_neighbor_that_exabgp_has_anew_gets_its_routes_again() -> None:
    """They may have been forgotten with the old one; the routes of other neighbors are left alone."""
    bench = Bench()
    other = replace(KEY, neighbor="leaf2")
    bench.announce(KEY, other)
    bench.post(SpeakerSetUp(None, frozenset({"leaf1"})))
    bench.board.touch_all()
    put = bench.one()
    assert isinstance(put, PutRoutes)
    assert put.neighbor == "leaf1"
    bench.end(put)
    assert bench.turn() == []


# --- sent, and withdrawn ---


def test_taken_is_not_sent() -> None:
    """``done`` says nothing of the wire; the UPDATE's report does, and a session that goes down undoes it."""
    bench = Bench()
    bench.want(KEY, PLAIN)
    bench.end(bench.one())
    state = bench.state()
    assert (state.attributes, state.carried()) == (PLAIN, None)
    bench.sent(KEY, True)
    assert state.carried() is True
    bench.post(SessionMoved("leaf1", SessionState.DOWN))
    assert (state.attributes, state.carried()) == (PLAIN, False)


def test_what_was_sent_says_nothing_of_other_attributes() -> None:
    """While they are on the way, it is not known what the router has."""
    bench = Bench()
    bench.announce(KEY)
    bench.want(KEY, OTHER)
    bench.one()
    assert bench.state().carried() is None


def test_a_replay_without_a_route_does_not_say_that_its_withdrawal_was_sent() -> None:
    """It is gone from the ledger; of the wire, that says nothing."""
    bench = Bench()
    bench.announce(KEY)
    bench.want(KEY, None)
    bench.end(bench.one())
    bench.replay()
    assert bench.state().carried() is None


def test_a_prefix_is_withdrawn_when_the_update_is_sent_or_the_session_down_or_the_report_overdue() -> None:
    """Until then, a router may have it."""
    bench = Bench()
    bench.announce(KEY)
    assert bench.withdrawn_at() is None
    bench.want(KEY, None)
    drop = bench.one()
    assert bench.withdrawn_at() is None
    bench.end(drop)
    assert bench.withdrawn_at() is None
    assert bench.withdrawn_at(down=True) == bench.now
    dropped_at = bench.now
    bench.now += 0.25
    bench.sent(KEY, False)
    assert bench.withdrawn_at() == dropped_at + 0.25
    bench.sent(KEY, True)
    bench.now = dropped_at + SENT_WITHIN
    assert bench.withdrawn_at() == dropped_at


def test_nothing_is_known_to_be_withdrawn_before_the_speaker_was_heard() -> None:
    """An earlier run may have left routes that nobody here has heard of."""
    assert RouteTable(lambda neighbor: True).withdrawn_at(KEY.prefix, 100.0) is None


def test_what_is_over_is_forgotten_and_what_is_not_is_kept() -> None:
    """Reloads do not pile up routes; one that is wanted, there, sent or on its way stays."""
    bench, (a, b, c, d, e) = Bench(), keys(5)
    bench.announce(a, b, c, d)
    bench.want(b, None)
    bench.end(bench.one())  # taken back, and not yet sent
    bench.want(c, None)
    bench.end(bench.one())
    bench.sent(c, False)
    bench.want(d, None)
    bench.one()
    bench.want(e, None)
    bench.routes.forget(lambda key: True)
    assert set(bench.table.states) == {a, b, d}
    bench.sent(b, False)
    bench.routes.forget(lambda key: key != b)
    assert b in bench.table.states
    bench.routes.forget(lambda key: True)
    assert bench.table.of_prefix(b.prefix) == []


# --- next hop self ---

SELF_ROUTE = Attributes(med=50)
RESOLVED = replace(SELF_ROUTE, next_hop=OWN)


def test_self_is_put_as_the_sessions_own_address() -> None:
    """ExaBGP is never left to resolve ``self``, which it cannot do after a reload."""
    bench = Bench()
    bench.post(OwnAddress("leaf1", OWN))
    bench.want(KEY, SELF_ROUTE)
    put = bench.one()
    assert isinstance(put, PutRoutes)
    assert put.attributes == RESOLVED
    bench.end(put)
    assert bench.turn() == []


def test_a_route_waits_for_the_sessions_own_address_and_that_is_no_error() -> None:
    """The uplink is not there yet: nothing is asked of ExaBGP, nothing has failed, and it is put once it can be."""
    bench = Bench(own="")
    bench.want(KEY, SELF_ROUTE)
    assert bench.turn() == []
    assert (bench.state().error, bench.opened.overdue_total) == ("", 0)
    bench.post(OwnAddress("leaf1", OWN))
    assert isinstance(bench.one(), PutRoutes)


def test_another_own_address_is_another_next_hop() -> None:
    """The node was given another address on the uplink: the route is put again with that."""
    bench = Bench()
    bench.post(OwnAddress("leaf1", OWN))
    bench.announce_as(KEY, SELF_ROUTE)
    bench.post(OwnAddress("leaf1", "198.51.100.77"))
    put = bench.one()
    assert isinstance(put, PutRoutes)
    assert put.attributes.next_hop == "198.51.100.77"


def test_a_route_that_is_there_stays_while_the_own_address_is_not_known() -> None:
    """An agent that starts while the uplink is down finds its route with an address: it confirms it."""
    bench = Bench(found(attributes=RESOLVED), own="")
    bench.want(KEY, SELF_ROUTE)
    assert isinstance(bench.one(), ConfirmRoutes)
    changed = Bench(found(attributes=RESOLVED, confirmed=True), own="")
    changed.want(KEY, Attributes(med=51))
    assert changed.turn() == []  # other attributes wait; what is there stays


def test_self_that_an_earlier_agent_left_to_exabgp_is_the_same_route() -> None:
    """An upgrade changes nothing on the wire: ``self`` in the ledger and its address are one."""
    bench = Bench(found(attributes=SELF_ROUTE, confirmed=True), own="")
    bench.want(KEY, SELF_ROUTE)
    bench.post(OwnAddress("leaf1", OWN))
    assert bench.turn() == []


def test_where_an_older_pipe_does_not_say_self_is_left_to_exabgp() -> None:
    """A new agent on a speaker that was not restarted yet."""
    bench = Bench(own="")
    bench.post(OwnAddress("leaf1", None))
    bench.want(KEY, SELF_ROUTE)
    put = bench.one()
    assert isinstance(put, PutRoutes)
    assert put.attributes == SELF_ROUTE


def test_a_withdrawal_waits_for_no_address() -> None:
    """Whatever is not known of the session, what is not wanted is taken back."""
    bench = Bench(found(attributes=SELF_ROUTE), own="")
    bench.want(KEY, None)
    assert isinstance(bench.one(), DropRoutes)


def test_a_session_that_comes_up_ends_the_backoff_of_its_routes() -> None:
    """What failed while it was down is tried at once, and only there."""
    other = RouteKey("leaf2", KEY.prefix)
    bench = Bench()
    bench.want(KEY, PLAIN)
    bench.want(other, PLAIN)
    for _ in range(8):
        for put in bench.turn():
            bench.end(put, "ExaBGP said error")
        bench.replay()
        bench.now += MAX_RETRY
    for put in bench.turn():
        bench.end(put, "ExaBGP said error")
    bench.replay()
    assert bench.turn() == []
    bench.post(SessionMoved("leaf1", SessionState.UP))
    put = bench.one()
    assert isinstance(put, PutRoutes)
    assert put.neighbor == "leaf1"


def test_a_withdrawal_that_is_refused_is_remembered_until_it_is_taken() -> None:
    """Readiness goes by it: a router may have a stale route."""
    bench = Bench()
    bench.announce(KEY)
    bench.want(KEY, None)
    bench.end(bench.one(), "ExaBGP said error")
    bench.replay(found())
    assert list(bench.routes.refused) == [KEY]
    bench.now += RETRY_FIRST
    bench.end(bench.one(), "ExaBGP said error")
    bench.replay()  # it has gone after all
    assert bench.routes.refused == {}
