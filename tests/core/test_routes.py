"""Routes: wanted and observed compared, and each way in which the speaker's answers can go astray."""

from __future__ import annotations

from dataclasses import replace

from anycast_agent.core.actions import ConfirmRoutes, DropRoutes, PutRoutes
from anycast_agent.core.events import RouteFound
from anycast_agent.core.model import Attributes, Route, RouteKey, Will
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.routes import MOST_OPEN, MOST_PREFIXES, RETRY_FIRST, RETRY_MOST, SENT_WITHIN, Routes
from anycast_agent.core.timers import Timers

RouteAction = PutRoutes | DropRoutes | ConfirmRoutes

KEY = RouteKey("leaf1", "192.0.2.53/32")
OWN = "198.51.100.9"
PLAIN, OTHER = Attributes(OWN), Attributes(OWN, med=50)


class Bench:
    """Routes with a speaker that does as the test says."""

    def __init__(self, *found: RouteFound) -> None:
        self.timers = Timers()
        self.opened = OpenActions(self.timers)
        self.routes = Routes(self.timers, self.opened)
        self.now = 100.0
        self.barred: set[RouteKey] = set()
        self.replay(*found)

    def replay(self, *found: RouteFound) -> None:
        self.routes.replay_begins()
        for event in found:
            self.routes.found(event)
        self.routes.replay_ends(self.now)

    def want(
        self, key: RouteKey, attributes: Attributes | None, keep: bool = False, will: Will = Will.WITHDRAW
    ) -> None:
        self.routes.want(key, Route(key, attributes, will) if attributes else None, keep, self.now)

    def plan(self) -> list[RouteAction]:
        for timer in list(self.timers.due(self.now)):
            self.routes.look_at(timer.key)  # type: ignore[attr-defined]
        return self.routes.plan(self.now, lambda key: key not in self.barred)

    def end(self, action: RouteAction, error: str | None = None) -> None:
        assert self.opened.get(action.id) is action
        self.opened.end(action.id)
        self.routes.done(action, error, self.now)

    def announce(self, *keys: RouteKey) -> None:
        for key in keys:
            self.want(key, PLAIN)
        while actions := self.plan():
            for action in actions:
                self.end(action)
        for key in keys:
            self.routes.sent(key, True, self.now)

    def announce_as(self, key: RouteKey, attributes: Attributes) -> None:
        self.want(key, attributes)
        self.end(self.one())
        self.routes.sent(key, True, self.now)

    def one(self) -> RouteAction:
        (action,) = self.plan()
        return action

    def withdrawn_at(self, down: bool = False) -> float | None:
        return self.routes.withdrawn_at(KEY.prefix, lambda _: down, self.now)


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
    assert bench.plan() == [], "nothing acts on a route with an open action"
    bench.end(put)
    assert bench.plan() == []
    bench.want(KEY, None)
    drop = bench.one()
    assert drop == DropRoutes(drop.id, (KEY,))
    bench.end(drop)
    assert bench.plan() == []


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
        assert [type(a) for a in bench.plan()] == ([kind] if kind else [])


def test_what_is_kept_is_left_as_it_is_found() -> None:
    """Byte for byte, whatever the configuration says by now; and nothing is put that was not there."""
    bench = Bench(found(attributes=OTHER))
    absent = replace(KEY, neighbor="leaf2")
    bench.want(KEY, PLAIN, keep=True)
    bench.want(absent, PLAIN, keep=True)
    assert bench.plan() == []
    bench.want(KEY, PLAIN)
    bench.want(absent, PLAIN)
    assert {type(a) for a in bench.plan()} == {PutRoutes}


def test_what_is_found_and_nobody_wants_is_dropped() -> None:
    """Also what is strange."""
    for attributes in (PLAIN, None):
        assert isinstance(Bench(found(attributes=attributes)).one(), DropRoutes)


def test_withdrawals_go_first_and_together() -> None:
    """A drop is never behind a put, and one action takes many."""
    bench = Bench(*[found(key) for key in keys(20)])
    for key in keys(40)[20:]:
        bench.want(key, PLAIN)
    actions = bench.plan()
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
    while actions := bench.plan():
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
    waiting, done = list(bench.plan()), 0
    while waiting:
        assert len(waiting) <= MOST_OPEN
        action = waiting.pop(0)
        assert isinstance(action, PutRoutes)
        assert len(action.prefixes) <= MOST_PREFIXES
        done += len(action.prefixes)
        bench.end(action)
        waiting += bench.plan()
    assert done == 500


def test_a_change_of_mind_while_an_action_is_open_is_made_good_after_it() -> None:
    """Put, then not wanted any more: the put ends, and the drop follows."""
    bench = Bench()
    bench.want(KEY, PLAIN)
    put = bench.one()
    bench.want(KEY, None)
    assert bench.plan() == []
    bench.end(put)
    assert isinstance(bench.one(), DropRoutes)


def test_a_change_of_mind_while_it_waits_for_a_free_action_costs_nothing() -> None:
    """What is not wanted any more is not put first."""
    bench, many = Bench(), keys(MOST_OPEN * MOST_PREFIXES + 1)
    for key in many:
        bench.want(key, PLAIN)
    actions = bench.plan()
    bench.want(many[-1], None)
    for action in actions:
        bench.end(action)
    assert bench.plan() == []


def test_a_put_waits_until_exabgp_can_take_it() -> None:
    """A neighbor or prefix that it does not have yet; a withdrawal does not wait for that."""
    bench = Bench(found())
    other = keys(1)[0]
    bench.barred = {KEY, other}
    bench.want(other, PLAIN)
    assert [type(a) for a in bench.plan()] == [DropRoutes]
    bench.barred = set()
    assert bench.plan() == []
    bench.routes.look_at_barred()
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
    assert bench.plan() == []
    assert not bench.routes.states[KEY].known
    bench.replay()
    assert isinstance(bench.one(), PutRoutes)


def test_a_put_that_goes_on_failing_is_tried_ever_later() -> None:
    """0.5, 1, 2, 4 … 30 seconds: no storm, and no end of trying either."""
    bench, waits = failed_put(), []
    for _ in range(9):
        bench.replay()
        assert bench.plan() == []
        deadline = bench.timers.deadline()
        assert deadline is not None
        waits.append(deadline - bench.now)
        bench.now = deadline
        bench.end(bench.one(), "ExaBGP said error")
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, RETRY_MOST, RETRY_MOST, RETRY_MOST]


def test_a_withdrawal_does_not_wait_for_what_failed_before_it() -> None:
    """The put has failed often and may yet have come through: the drop goes at once, and again after half a second."""
    bench = failed_put()
    for _ in range(6):
        bench.replay(found())
        bench.want(KEY, OTHER if bench.routes.states[KEY].wanted == Route(KEY, PLAIN) else PLAIN)
        bench.now += 60.0
        for action in bench.plan():
            bench.end(action, "ExaBGP said error")
    bench.replay(found())
    bench.want(KEY, None)
    bench.end(bench.one(), "ExaBGP said error")
    bench.replay(found())
    assert bench.plan() == []
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
        for action in bench.plan():
            assert isinstance(action, PutRoutes)
            bad = many[3].prefix in action.prefixes
            announced |= set() if bad else set(action.prefixes)
            bench.end(action, "ExaBGP said error" if bad else None)
            if bad:
                held = [k for k, s in bench.routes.states.items() if s.there]
                bench.replay(*[found(k, confirmed=True) for k in held])
    assert announced == {k.prefix for k in many} - {many[3].prefix}


def test_an_error_is_no_longer_shown_once_the_route_is_as_wanted() -> None:
    """The replay shows that the put had come through after all."""
    bench = failed_put()
    bench.replay(found(confirmed=True))
    assert bench.plan() == []
    assert bench.routes.states[KEY].error == ""


# --- what comes in between ---


def test_a_drop_by_the_pipe_while_an_action_is_open_is_not_forgotten() -> None:
    """The adoption clock and our confirmation cross: only a replay can say which was first."""
    bench = Bench(found())
    bench.want(KEY, PLAIN)
    confirm = bench.one()
    assert isinstance(confirm, ConfirmRoutes)
    assert bench.routes.dropped([KEY], bench.now) == {KEY.prefix}
    bench.end(confirm)
    assert not bench.routes.states[KEY].known
    bench.replay()
    assert isinstance(bench.one(), PutRoutes)


def test_an_action_that_outlives_the_connection_is_not_believed() -> None:
    """It was begun, the speaker was lost and came back with its replay, and only then it ends."""
    bench = Bench()
    bench.want(KEY, PLAIN)
    put = bench.one()
    bench.routes.lost(bench.now)
    bench.replay()
    bench.end(put)
    assert not bench.routes.states[KEY].known
    bench.replay()
    assert isinstance(bench.one(), PutRoutes)


def test_a_put_that_ends_after_a_replay_that_was_asked_for_is_believed() -> None:
    """The connection stood all the time: the answer is the later word."""
    bench = Bench()
    bench.want(KEY, PLAIN)
    put = bench.one()
    bench.replay()
    bench.end(put)
    assert bench.routes.states[KEY].taken == PLAIN
    assert bench.plan() == []


def test_a_route_that_the_pipe_dropped_is_put_again_where_it_is_wanted() -> None:
    """The dead-man's switch fired while the agent was stopped, and now it goes on."""
    bench = Bench()
    bench.announce(KEY)
    bench.routes.dropped([KEY], bench.now)
    assert isinstance(bench.one(), PutRoutes)


def test_a_neighbor_that_exabgp_has_anew_gets_its_routes_again() -> None:
    """They may have been forgotten with the old one; the routes of other neighbors are left alone."""
    bench = Bench()
    other = replace(KEY, neighbor="leaf2")
    bench.announce(KEY, other)
    bench.routes.neighbors_renewed(["leaf1"])
    put = bench.one()
    assert isinstance(put, PutRoutes)
    assert put.neighbor == "leaf1"
    bench.end(put)
    assert bench.plan() == []


# --- sent, and withdrawn ---


def test_taken_is_not_sent() -> None:
    """``done`` says nothing of the wire; the UPDATE's report does, and a session that goes down undoes it."""
    bench = Bench()
    bench.want(KEY, PLAIN)
    bench.end(bench.one())
    state = bench.routes.states[KEY]
    assert (state.taken, state.sent) == (PLAIN, None)
    bench.routes.sent(KEY, True, bench.now)
    assert state.sent is True
    bench.routes.session("leaf1", True, bench.now)
    assert (state.taken, state.sent) == (PLAIN, False)


def test_what_was_sent_says_nothing_of_other_attributes() -> None:
    """While they are on the way, it is not known what the router has."""
    bench = Bench()
    bench.announce(KEY)
    bench.want(KEY, OTHER)
    bench.one()
    assert bench.routes.states[KEY].sent is None


def test_a_replay_without_a_route_does_not_say_that_its_withdrawal_was_sent() -> None:
    """It is gone from the ledger; of the wire, that says nothing."""
    bench = Bench()
    bench.announce(KEY)
    bench.want(KEY, None)
    bench.end(bench.one())
    bench.replay()
    assert bench.routes.states[KEY].sent is None


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
    bench.routes.sent(KEY, False, bench.now)
    assert bench.withdrawn_at() == dropped_at + 0.25
    bench.routes.sent(KEY, True, bench.now)
    bench.now = dropped_at + SENT_WITHIN
    assert bench.withdrawn_at() == dropped_at


def test_nothing_is_known_to_be_withdrawn_before_the_speaker_was_heard() -> None:
    """An earlier run may have left routes that nobody here has heard of."""
    timers = Timers()
    routes = Routes(timers, OpenActions(timers))
    assert routes.withdrawn_at(KEY.prefix, lambda _: True, 100.0) is None


def test_what_is_over_is_forgotten_and_what_is_not_is_kept() -> None:
    """Reloads do not pile up routes; one that is wanted, there, sent or on its way stays."""
    bench, (a, b, c, d, e) = Bench(), keys(5)
    bench.announce(a, b, c, d)
    bench.want(b, None)
    bench.end(bench.one())  # taken back, and not yet sent
    bench.want(c, None)
    bench.end(bench.one())
    bench.routes.sent(c, False, bench.now)
    bench.want(d, None)
    bench.one()
    bench.want(e, None)
    bench.routes.forget(lambda key: True)
    assert set(bench.routes.states) == {a, b, d}
    bench.routes.sent(b, False, bench.now)
    bench.routes.forget(lambda key: key != b)
    assert b in bench.routes.states
    bench.routes.forget(lambda key: True)
    assert bench.routes.of_prefix(b.prefix) == []
    assert b.prefix not in bench.routes.prefixes()


# --- next hop self ---

SELF_ROUTE = Attributes(med=50)
RESOLVED = replace(SELF_ROUTE, next_hop=OWN)


def test_self_is_put_as_the_sessions_own_address() -> None:
    """ExaBGP is never left to resolve ``self``, which it cannot do after a reload."""
    bench = Bench()
    bench.routes.take_own_address("leaf1", OWN)
    bench.want(KEY, SELF_ROUTE)
    put = bench.one()
    assert isinstance(put, PutRoutes)
    assert put.attributes == RESOLVED
    bench.end(put)
    assert bench.plan() == []


def test_a_route_waits_for_the_sessions_own_address_and_that_is_no_error() -> None:
    """The uplink is not there yet: nothing is asked of ExaBGP, nothing has failed, and it is put once it can be."""
    bench = Bench()
    bench.want(KEY, SELF_ROUTE)
    assert bench.plan() == []
    assert (bench.routes.states[KEY].error, bench.opened.overdue_total) == ("", 0)
    bench.routes.take_own_address("leaf1", OWN)
    assert isinstance(bench.one(), PutRoutes)


def test_another_own_address_is_another_next_hop() -> None:
    """The node was given another address on the uplink: the route is put again with that."""
    bench = Bench()
    bench.routes.take_own_address("leaf1", OWN)
    bench.announce_as(KEY, SELF_ROUTE)
    bench.routes.take_own_address("leaf1", "198.51.100.77")
    put = bench.one()
    assert isinstance(put, PutRoutes)
    assert put.attributes.next_hop == "198.51.100.77"


def test_a_route_that_is_there_stays_while_the_own_address_is_not_known() -> None:
    """An agent that starts while the uplink is down finds its route with an address: it confirms it."""
    bench = Bench(found(attributes=RESOLVED))
    bench.want(KEY, SELF_ROUTE)
    assert isinstance(bench.one(), ConfirmRoutes)
    changed = Bench(found(attributes=RESOLVED, confirmed=True))
    changed.want(KEY, Attributes(med=51))
    assert changed.plan() == []  # other attributes wait; what is there stays


def test_self_that_an_earlier_agent_left_to_exabgp_is_the_same_route() -> None:
    """An upgrade changes nothing on the wire: ``self`` in the ledger and its address are one."""
    bench = Bench(found(attributes=SELF_ROUTE, confirmed=True))
    bench.want(KEY, SELF_ROUTE)
    bench.routes.take_own_address("leaf1", OWN)
    assert bench.plan() == []


def test_where_an_older_pipe_does_not_say_self_is_left_to_exabgp() -> None:
    """A new agent on a speaker that was not restarted yet."""
    bench = Bench()
    bench.routes.take_own_address("leaf1", None)
    bench.want(KEY, SELF_ROUTE)
    put = bench.one()
    assert isinstance(put, PutRoutes)
    assert put.attributes == SELF_ROUTE


def test_a_withdrawal_waits_for_no_address() -> None:
    """Whatever is not known of the session, what is not wanted is taken back."""
    bench = Bench(found(attributes=SELF_ROUTE))
    bench.want(KEY, None)
    assert isinstance(bench.one(), DropRoutes)


def test_a_session_that_comes_up_ends_the_backoff_of_its_routes() -> None:
    """What failed while it was down is tried at once, and only there."""
    other = RouteKey("leaf2", KEY.prefix)
    bench = Bench()
    bench.want(KEY, PLAIN)
    bench.want(other, PLAIN)
    for _ in range(8):
        for put in bench.plan():
            bench.end(put, "ExaBGP said error")
        bench.replay()
        bench.now += RETRY_MOST
    for put in bench.plan():
        bench.end(put, "ExaBGP said error")
    bench.replay()
    assert bench.plan() == []
    bench.routes.session_up("leaf1")
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
