"""The pipe's pure parts, in virtual time: the ledger with its two clocks, and what waits for ExaBGP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from anycast_agent.speaker.pipe.exchange import Command, Exchange, Job
from anycast_agent.speaker.pipe.ledger import KEEP, Ledger
from anycast_agent.speaker.wire import Key

HEAD, OTHER = "attributes next-hop self nlri", "attributes next-hop self med 5 nlri"
KEYS: list[Key] = [("192.0.2.1", f"192.0.2.{n}/32") for n in (53, 54, 55)]
DEAD_MAN, ADOPT_FOR, KEEP_FOR = 5.0, 30.0, 300.0

COVER: Key = ("192.0.2.1", "192.0.2.0/24")
"""Of a last resort: kept, also where a pipe that has just started finds it."""

steps = st.lists(
    st.tuples(
        st.sampled_from(["hello", "back", "gone", "beat", "put", "refused", "confirm", "extend", "live", "wait"]),
        st.sampled_from([*KEYS, COVER]),
        st.sampled_from([0.5, 2.0, 4.0, 9.0, 31.0]),
    ),
    max_size=40,
)


@dataclass
class Fact:
    """What is known of a route from what was done, and not from the ledger."""

    will: str
    agent: str
    stood: float
    """When its agent was last there."""
    ignored: float = 0.0
    """How long agents have been there since, without a word of it."""
    until: float = 0.0
    """Until when its agent had asked to wait for the next one."""


class Story:
    """Agents' lives against the ledger. What rings is dropped at once, as ExaBGP would; each ring has to be deserved."""

    def __init__(self, *, found: bool = False) -> None:
        self.now = 100.0
        self.ledger = Ledger(DEAD_MAN, ADOPT_FOR, self.now, KEEP_FOR)
        self.agents = 0
        self.facts: dict[Key, Fact] = {}
        for key, will in ((KEYS[0], "withdraw"), (COVER, KEEP)) if found else ():
            self.ledger.found(key, HEAD, self.now)
            self.facts[key] = Fact(will, "", self.now)

    def do(self, what: str, key: Key, seconds: float) -> None:
        ledger = self.ledger
        if what == "wait":
            self.wait(seconds)
        elif what == "hello":
            self.agents += 1
            ledger.hello(f"agent {self.agents}", self.now)
        elif what == "back" and ledger.agent:
            ledger.hello(ledger.agent, self.now)
        elif ledger.connected:
            self._by_the_agent(what, key, seconds)
        self._pass(self.now)

    def _by_the_agent(self, what: str, key: Key, seconds: float) -> None:
        ledger = self.ledger
        if what == "gone":
            ledger.gone(self.now)
            for fact in self.facts.values():
                fact.until = max(fact.until, ledger.waits_until)
        elif what == "extend":
            ledger.extend(seconds, self.now)
        elif what == "confirm" and key in self.facts:
            ledger.confirm([key])
            self.facts[key].agent = ledger.agent
        elif what == "live":
            for _ in range(round(seconds)):
                ledger.heartbeat(self.now)
                self.wait(1.0)
        else:
            ledger.heartbeat(self.now)
        if what in ("put", "refused"):
            will = KEEP if key == COVER else "withdraw"
            before = ledger.put([key], HEAD, will, ledger.agent)
            if what == "refused":
                ledger.restore(before)
            else:
                self.facts[key] = Fact(will, ledger.agent, self.now)

    def stands(self, fact: Fact) -> bool:
        return self.ledger.connected and fact.agent == self.ledger.agent

    def _pass(self, to: float) -> None:
        for fact in self.facts.values():
            if self.stands(fact):
                fact.stood, fact.ignored = to, 0.0
            elif self.ledger.connected:
                fact.ignored += to - self.now
        self.now = to

    def wait(self, seconds: float) -> None:
        """To the end, ringing at each deadline on the way."""
        end = self.now + seconds
        while (deadline := self.ledger.deadline()) is not None and deadline <= end:
            self._pass(max(self.now, deadline))
            keys, why = self.ledger.overdue(self.now)
            for key in keys:
                fact = self.facts.pop(key)
                assert self.may_ring(fact), (key, fact, why)
            self.ledger.drop(keys)
        self._pass(end)

    def may_ring(self, fact: Fact) -> bool:
        alone, ledger = self.now - self.ledger.last_heartbeat, self.ledger
        if alone >= (KEEP_FOR if fact.will == KEEP else DEAD_MAN) and self.now >= ledger.waits_until:
            return True
        lonely = fact.ignored if fact.will == KEEP else self.now - fact.stood
        return not self.stands(fact) and lonely >= ADOPT_FOR - 1e-6

    def must_be_gone(self, fact: Fact) -> bool:
        alone = self.now - self.ledger.last_heartbeat
        if alone >= (KEEP_FOR if fact.will == KEEP else DEAD_MAN) and self.now >= self.ledger.waits_until:
            return True
        if fact.will == KEEP:
            return fact.ignored > ADOPT_FOR + 1e-6
        return self.now - max(fact.stood, fact.until) > ADOPT_FOR + 1e-6


@given(steps, st.booleans())
def test_each_route_goes_when_its_time_has_come_and_not_before(
    story: list[tuple[str, Key, float]], found: bool
) -> None:
    """Whatever agents come, go, wait, put and confirm. An agent that beats keeps what it stands behind; without a beat
    for ``dead_man``, or ``keep_for``, nothing is left, nor what agents have not confirmed for ``adopt_for``."""
    s = Story(found=found)
    for step in (*(() if found else (("hello", COVER, 0.0), *(("put", key, 0.0) for key in (*KEYS, COVER)))), *story):
        s.do(*step)
        assert set(s.ledger.entries) == set(s.facts)
        assert not [key for key, fact in s.facts.items() if s.must_be_gone(fact)]


def test_a_route_that_is_to_stay_is_not_dropped_the_moment_an_agent_comes_back() -> None:
    """The clock of KEEP runs while agents are there and say nothing; the time without any does not count."""
    s = Story()
    s.do("hello", COVER, 0)
    s.do("put", COVER, 0)
    s.do("gone", COVER, 0)
    s.do("wait", COVER, 80.0)
    for _ in range(2):  # one agent that crashes, and one that comes much later
        s.do("hello", COVER, 0)
        s.do("wait", COVER, 10.0)
        s.do("gone", COVER, 0)
        s.do("wait", COVER, 80.0)
        assert COVER in s.ledger.entries
    s.do("hello", COVER, 0)
    s.do("wait", COVER, 11.0)
    assert s.ledger.entries == {}


def test_what_exabgp_refuses_was_never_there() -> None:
    """The ledger then says what it said before, and the clock of an agent that went meanwhile runs."""
    s = Story()
    s.do("hello", KEYS[0], 0)
    s.ledger.restore(s.ledger.put(KEYS[:1], HEAD, "withdraw", s.ledger.agent))
    assert s.ledger.entries == {}
    s.ledger.put(KEYS[:1], HEAD, "withdraw", s.ledger.agent)
    before = s.ledger.put(KEYS[:1], OTHER, "withdraw", s.ledger.agent)
    s.do("gone", KEYS[0], 0)
    s.ledger.restore(before)
    assert s.ledger.entries[KEYS[0]].head == HEAD
    assert s.ledger.entries[KEYS[0]].unconfirmed_since == s.now


def test_sent_is_of_these_attributes_and_this_session() -> None:
    """Other attributes, or the session down: no longer sent. The same attributes again: still sent."""
    s = Story()
    s.do("hello", KEYS[0], 0)
    s.do("put", KEYS[0], 0)
    s.ledger.sent(*KEYS[0][:1], [KEYS[0][1]])
    s.do("put", KEYS[0], 0)
    assert s.ledger.entries[KEYS[0]].sent
    s.ledger.put(KEYS[:1], OTHER, "withdraw", s.ledger.agent)
    assert not s.ledger.entries[KEYS[0]].sent
    s.ledger.sent(KEYS[0][0], [KEYS[0][1]])
    s.ledger.session_ends(KEYS[0][0])
    assert not s.ledger.entries[KEYS[0]].sent


# --- what waits for ExaBGP ---


class Wire:
    """Jobs and what became of them."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.ended: dict[int, str | None] = {}
        self.lines: list[str] = []
        self.jobs = 0

    def add(self, commands: int, *, urgent: bool, key: Key | None = None, owner: object = None) -> int:
        self.jobs = number = self.jobs + 1

        def make() -> list[Command]:
            return [Command(f"{number}.{n}") for n in range(commands)]

        self.exchange.add(
            Job(make, self.end(number), owner=owner, announces=frozenset([key] if key else [])), urgent=urgent
        )
        return number

    def end(self, number: int) -> Callable[[str | None], None]:
        def ended(error: str | None) -> None:
            assert number not in self.ended, "a job ends once"
            self.ended[number] = error

        return ended

    def turn(self, error: str | None = None) -> None:
        line = self.exchange.next_line()
        if line is not None:
            assert self.exchange.next_line() is None, "one command is with ExaBGP at a time"
            self.lines.append(line)
            self.exchange.answered(error)


asked = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 3)),
        st.tuples(st.just("drop"), st.integers(0, 3)),
        st.tuples(st.just("turn"), st.integers(0, 1)),
        st.tuples(st.just("overtake"), st.integers(0, 2)),
        st.tuples(st.just("forget"), st.just(0)),
    ),
    max_size=40,
)


@given(asked)
def test_each_job_ends_exactly_once(story: list[tuple[str, int]]) -> None:
    """Answered, refused, overtaken or forgotten, also between two of its commands."""
    wire, agent = Wire(), object()
    for what, n in story:
        if what == "put":
            wire.add(n, urgent=False, key=KEYS[n % 3], owner=agent)
        elif what == "drop":
            wire.add(n, urgent=True)
        elif what == "turn":
            wire.turn("refused" if n else None)
        elif what == "overtake":
            wire.exchange.overtake(frozenset([KEYS[n]]))
        else:
            wire.exchange.forget(agent)
    for _ in range(200):
        wire.turn()
    assert sorted(wire.ended) == list(range(1, wire.jobs + 1))
    assert len(wire.exchange) == 0


def test_a_withdrawal_goes_between_two_commands_of_a_big_announcement() -> None:
    """It waits for one command at most."""
    wire = Wire()
    wire.add(3, urgent=False, key=KEYS[0])
    wire.turn()
    wire.add(1, urgent=True)
    for _ in range(3):
        wire.turn()
    assert wire.lines == ["1.0", "2.0", "1.1", "1.2"]


def test_what_was_withdrawn_is_not_announced_by_what_waited() -> None:
    """The rest of the announcement is given up, and says so; others are not touched."""
    wire = Wire()
    one, other = wire.add(2, urgent=False, key=KEYS[0]), wire.add(1, urgent=False, key=KEYS[1])
    wire.turn()
    wire.exchange.overtake(frozenset(KEYS[:1]))
    wire.add(1, urgent=True)
    for _ in range(4):
        wire.turn()
    assert wire.lines == ["1.0", "3.0", "2.0"]
    assert wire.ended[one] is not None
    assert wire.ended[other] is None


def test_a_job_ends_with_the_answer_to_its_last_command() -> None:
    """And not when the next command goes out: what follows from the end is said before anything else."""
    wire = Wire()
    number = wire.add(1, urgent=False)
    wire.exchange.next_line()
    wire.exchange.answered(None)
    assert wire.ended == {number: None}
    assert len(wire.exchange) == 0


def test_the_clocks_say_when_they_ring() -> None:
    """The dead man once, at its time; a wait that was extended beyond keep_for holds for what is to be kept too."""
    ledger = Ledger(DEAD_MAN, ADOPT_FOR, 100.0, keep_for=10.0)
    ledger.hello("one", 100.0)
    assert ledger.deadline() is None
    ledger.put(KEYS[:1], HEAD, "withdraw", "one")
    assert ledger.deadline() == 105.0
    assert ledger.overdue(105.0)[0] == KEYS[:1]
    ledger.leaving(KEYS[:1])
    assert ledger.deadline() is None
    ledger.drop(KEYS[:1])
    ledger.heartbeat(106.0)
    ledger.put(KEYS[:1], HEAD, KEEP, "one")
    ledger.extend(60.0, 106.0)
    assert ledger.overdue(140.0)[0] == []
    assert ledger.overdue(166.0)[0] == KEYS[:1]
