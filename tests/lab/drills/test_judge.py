"""The judge: what happened, as figures, windows of loss, and expectations that are met or not."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.drills.conduct import Counted, Request, Running, Story
from lab.drills.figures import MAX_MARKS
from lab.drills.judge import judge
from lab.drills.result import BUCKET, Expectation, Load, Result, Stream
from tests.conftest import examples
from tests.lab.drills.stories import (
    BEGIN,
    STREAMS,
    Answers,
    asked,
    change,
    drill,
    fault,
    half_lost,
    lost,
    recovery,
    seen,
    story,
)

WELL_BEFORE = "before the fault, nothing is lost"
"""Every drill is asked that."""


def windows(told: Story) -> list[tuple[float, float | None]]:
    (stream,) = judge(told, drill()).streams
    return [(round(w.begin, 3), w.end and round(w.end, 3)) for w in stream.windows]


def one(told: Story, expect: dict[str, object], slack: float = 1.0) -> Expectation | None:
    """What became of the only expectation."""
    found = [e for e in judge(told, drill(expect), slack).expectations if e.text != WELL_BEFORE]
    assert len(found) < 2
    return found[0] if found else None


def met(told: Story, expect: dict[str, object], slack: float = 1.0) -> bool:
    found = one(told, expect, slack)
    assert found is not None
    return found.met


# --- windows ---


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([], []),
        ([(2, 3)], [(2.0, 3.0)]),
        ([(2, 2.01)], [(2.0, 2.01)]),
        ([(0, 1)], [(0.0, 1.0)]),
        ([(0, 99)], [(0.0, None)]),
        ([(9, 99)], [(9.0, None)]),
        ([(2, 3), (3.2, 4)], [(2.0, 4.0)]),
        ([(2, 3), (3.3, 4)], [(2.0, 3.0), (3.3, 4.0)]),
        ([(2, 3), (5, 6), (9, 99)], [(2.0, 3.0), (5.0, 6.0), (9.0, None)]),
    ],
)
def test_a_window_is_from_the_first_loss_to_the_first_answer(
    spans: list[tuple[float, float]], said: list[tuple[float, float | None]]
) -> None:
    """Losses that are near each other are one; one that lasts to the end has none."""
    assert windows(story(asked(lost(*spans)))) == said


def test_with_ecmp_other_flows_are_answered_within_a_window() -> None:
    """Half of the requests are lost, and it is one stretch of loss."""
    (stream,) = judge(story(asked(half_lost(2, 4))), drill()).streams
    (window,) = stream.windows
    assert (window.begin, window.end) == (2.0, 3.99)
    assert (window.lost, window.sent) == (100, 199)


@pytest.mark.parametrize("pause", [0.3, 2.0])
def test_a_pause_of_the_client_ends_no_window(pause: float) -> None:
    """On a busy machine it may send nothing for a while: what it sends next is lost, so the loss has gone on."""
    requests = [r for r in asked(lost((2, 6))) if not 3 <= r.sent - BEGIN < 3 + pause]
    assert windows(story(requests)) == [(2.0, 6.0)]


def test_a_slow_stream_joins_what_is_two_requests_apart() -> None:
    """One request a second, every second one lost: its flow's neighbors are answered in between."""
    told = story(asked(lambda at: None if at in (2, 4) else "a", rate=1))
    (stream,) = judge(told, drill(traffic={"dns": 1, "http": 1})).streams
    assert [(w.begin, w.end, w.lost, w.sent) for w in stream.windows] == [(2.0, 5.0, 2, 3)]


def test_each_client_protocol_and_family_is_a_stream() -> None:
    """One's loss is not another's; each has who answered, how many, and how fast."""
    told = story(asked(lost((2, 3)), "c1") + asked(lost(who="b"), "c1", "http IPv6") + asked(lost(), "c2"))
    streams = judge(told, drill()).streams
    assert [(s.client, s.protocol, s.family, s.sent, s.lost, s.answered) for s in streams] == [
        ("c1", "dns", "IPv4", 1000, 100, {"a": 900}),
        ("c1", "http", "IPv6", 1000, 0, {"b": 1000}),
        ("c2", "dns", "IPv4", 1000, 0, {"a": 1000}),
    ]
    assert streams[0].latency_p50 == streams[0].latency_p99 == 0.002
    (silent,) = judge(story(asked(lambda at: None)), drill()).streams
    assert silent.latency_p50 is silent.latency_p99 is None


# --- figures ---


def test_figures_are_told_from_the_fault() -> None:
    """In order: noticed, the first table, the last of that burst, the longest loss, the last loss."""
    figures = judge(
        story(
            asked(lost((2.1, 2.5), (3.1, 3.2))),
            [fault(2), recovery(6)],
            [change(2.3, "ab", "b"), change(2.6, "a", "b", "s"), change(7, "b", "ab")],
            [seen(1.5), seen(2.25), seen(2.3), seen(6.5)],
        ),
        drill(),
    ).figures
    assert (figures.detected, figures.withdrawn, figures.table) == (0.25, 0.3, 0.6)
    assert (figures.loss, figures.restored, figures.flaps) == (0.4, 1.2, 0)


def test_of_several_faults_the_first_counts() -> None:
    """They are told as one."""
    figures = judge(
        story(asked(lost((3, 4))), [fault(2), fault(3), recovery(6)], [change(3.5, "a", "b")], [seen(3.1)]), drill()
    ).figures
    assert (figures.detected, figures.withdrawn, figures.restored) == (1.1, 1.5, 2.0)


@pytest.mark.parametrize(
    ("at", "table"),
    [
        ([2.5], 0.5),
        ([2.5, 7.4, 12.3], 10.3),
        ([2.5, 7.6], 0.5),
        ([1.9], None),
        ([15], None),
        ([14.9], 12.9),
        ([], None),
    ],
)
def test_a_table_has_settled_with_the_last_change_of_the_first_burst(at: list[float], table: float | None) -> None:
    """Not with what changes long after, before the fault, or after the recovery."""
    told = story((), [fault(2), recovery(15)], [change(t, "a", "b", f"r{t}") for t in at], seconds=20)
    assert judge(told, drill()).figures.table == table


@pytest.mark.parametrize(
    ("spans", "restored"),
    [
        ([], None),
        ([(2.1, 3)], 1.0),
        ([(1, 1.5)], None),
        ([(1, 3)], 1.0),
        ([(2.1, 3), (4, 5)], 3.0),
        ([(2.1, 7)], 5.0),
        ([(2.1, 3), (7, 8)], 1.0),
        ([(7, 8)], None),
        ([(2.1, 99)], None),
        ([(2.1, 3), (9, 99)], None),
    ],
)
def test_restored_is_when_the_last_loss_that_the_fault_began_is_over(
    spans: list[tuple[float, float]], restored: float | None
) -> None:
    """Not what was lost before; not what the recovery costs; never, where it is lost at the end."""
    assert judge(story(asked(lost(*spans)), [fault(2), recovery(6)]), drill()).figures.restored == restored


def test_without_a_fault_there_are_only_the_loss_and_the_flaps() -> None:
    """Figures that are told from it are not guessed."""
    figures = judge(
        story(asked(lost((2, 3))), (), [change(2, "a", "b"), change(3, "b", "a")], [seen(2)]), drill()
    ).figures
    assert (figures.detected, figures.withdrawn, figures.table, figures.restored) == (None,) * 4
    assert (figures.loss, figures.flaps) == (1.0, 1)


@pytest.mark.parametrize(
    ("changes", "flaps"),
    [
        ([], 0),
        ([(3, "ab", "b")], 0),
        ([(3, "ab", "b"), (7, "b", "ab")], 0),  # the recovery gives it back: it was asked for
        ([(3, "ab", "b"), (4, "b", "ab")], 1),
        ([(3, "ab", "b"), (4, "b", "ab"), (5, "ab", "b")], 2),
        ([(3, "a", None), (4, None, "a")], 1),
        ([(3, "ab", "b"), (4, "b", None), (5, None, "a")], 0),
        ([(3, "ab", "b"), (5.9, "b", "ab"), (6.1, "ab", "b"), (7, "b", "ab")], 2),
    ],
)
def test_a_flap_is_a_table_that_comes_back_while_nothing_is_done(
    changes: list[tuple[float, str | None, str | None]], flaps: int
) -> None:
    """By node and prefix, between two acts."""
    told = story((), [fault(2), recovery(6)], [change(*c) for c in changes])
    assert judge(told, drill()).figures.flaps == flaps
    other = story((), [fault(2), recovery(6)], [change(*c, node=f"r{n}") for n, c in enumerate(changes)])
    assert judge(other, drill()).figures.flaps == 0


def test_marks_say_what_was_done_who_noticed_and_how_tables_moved() -> None:
    """In order, in seconds of the drill."""
    told = story(
        (),
        [fault(2), recovery(6)],
        [change(2.3, "ab", "b"), change(2.6, "a", None, "s"), change(7, "b", "ab")],
        [seen(2.25)],
    )
    assert [(m.at, m.kind, m.text) for m in judge(told, drill()).marks] == [
        (2.0, "fault", "something breaks"),
        (2.25, "detected", "r: BFD session down"),
        (2.3, "withdrawn", "r: 192.0.2.53/32 → b"),
        (2.6, "table", "the last of 2: s: 192.0.2.53/32 → nobody"),
        (6.0, "recovery", "it is mended"),
        (7.0, "announced", "r: 192.0.2.53/32 → a and b"),
    ]
    many = story((), [fault(n / 100) for n in range(900)])
    assert len(judge(many, drill()).marks) == MAX_MARKS


# --- expectations ---

CUT = [fault(2), recovery(6)]
LOSES = asked(lost((2.1, 2.5)))
V6 = "2001:db8:53::53/128"
TWO = {"four": ("192.0.2.53/32",), "six": (V6,), "aggregate": ("192.0.2.0/24",)}
BOTH = [change(2.1, "ab", "b"), change(4, "ab", "b", prefix=V6)]


@pytest.mark.parametrize(
    ("expect", "told", "is_met"),
    [
        ({"no_loss": {}}, story(asked(lost())), True),
        ({"no_loss": {}}, story(asked(lost((2, 2.01)))), False),
        ({"no_loss": {}}, story(), False),
        ({"no_loss": {"client": "c2"}}, story(LOSES + asked(lost(), "c2")), True),
        ({"no_loss": {"client": "c1"}}, story(LOSES + asked(lost(), "c2")), False),
        ({"no_loss": {"client": "c2"}}, story(asked(lost())), False),
        ({"no_loss": {"protocol": "http"}}, story(LOSES + asked(lost(), stream="http IPv4")), True),
        ({"no_loss": {"protocol": "dns"}}, story(LOSES + asked(lost(), stream="http IPv4")), False),
        ({"no_loss": {"family": "IPv6"}}, story(LOSES + asked(lost(), stream="dns IPv6")), True),
        ({"no_loss": {"family": "IPv4"}}, story(LOSES + asked(lost(), stream="dns IPv6")), False),
        ({"loss": {"within": "400ms"}}, story(LOSES, CUT), True),
        ({"loss": {"within": "390ms"}}, story(LOSES, CUT), False),
        ({"loss": {"within": "1s"}}, story(asked(lost()), CUT), True),
        ({"loss": {"within": "1s"}}, story((), CUT), False),
        ({"loss": {"within": "1s", "client": "c2"}}, story(asked(lost()), CUT), False),
        ({"loss": {"within": "2s"}}, story(asked(lost((3, 99))), CUT), False),
        ({"loss": {"within": "9s"}}, story(asked(lost((3, 99))), CUT), False),  # it did not end
        ({"loss": {"within": "9s"}}, story(asked(lost((3, 9.9))), CUT), True),
        ({"loss": {"within": "1s", "client": "c2"}}, story(asked(lost((2, 9))) + asked(lost(), "c2"), CUT), True),
        ({"loss": {"within": "500ms"}}, story(asked(lost((2, 2.4), (3, 3.4))), CUT), False),  # twice, and once is allowed
        ({"loss": {"within": "500ms", "times": 2}}, story(asked(lost((2, 2.4), (3, 3.4))), CUT), False),  # 0.8 s in all
        ({"loss": {"within": "800ms"}}, story(asked(lost((2, 2.1), (2.6, 2.7))), CUT), True),  # one outage, as a flow sees it
        ({"loss": {"within": "600ms"}}, story(asked(lost((2, 2.1), (2.6, 2.7))), CUT), False),
        ({"loss": {"within": "800ms"}}, story(asked(lost((2, 2.1), (2.6, 2.7), (3, 3.1))), CUT), False),
        ({"loss": {"within": "500ms", "times": 2, "total": "800ms"}}, story(asked(lost((2, 2.4), (3, 3.4))), CUT), True),
        ({"loss": {"within": "500ms", "times": 2, "total": {"hold": "9s"}}}, story(LOSES, CUT, variant="hold"), True),
        ({"detected": "200ms"}, story((), CUT, (), [seen(2.2)]), True),
        ({"detected": "200ms"}, story((), CUT, (), [seen(2.3)]), False),
        ({"detected": "200ms"}, story((), CUT, (), [seen(1.9), seen(6.1)]), False),
        ({"withdrawn": "200ms"}, story((), CUT, [change(2.2, "ab", "b"), change(3, "b", None)]), True),
        ({"withdrawn": "200ms"}, story((), CUT, [change(2.3, "ab", "b")]), False),
        ({"withdrawn": "200ms"}, story((), CUT), False),
        ({"withdrawn": "2s"}, story((), CUT, BOTH, prefixes=TWO), True),
        ({"withdrawn": "1500ms"}, story((), CUT, BOTH, prefixes=TWO), False),  # the last family counts
        ({"withdrawn": "2s"}, story((), CUT, BOTH[:1], prefixes=TWO), False),
        ({"withdrawn": {"within": "200ms", "prefixes": ["four"]}}, story((), CUT, BOTH, prefixes=TWO), True),
        ({"withdrawn": "9s"}, story((), CUT, [*BOTH[:1], replace(BOTH[1], at=BEGIN + 7)], prefixes=TWO), False),
        ({"withdrawn": "9s"}, story((), CUT, [*BOTH[:1], change(2.1, "a", "ab", prefix=V6)], prefixes=TWO), False),
        ({"detected": "1s"}, story((), CUT, (), [seen(2.2, f"{V6}: withdraw"), seen(2.9, "x-v4: session down")]), True),
        ({"detected": "1s"}, story((), CUT, (), [seen(2.2, f"{V6}: withdraw"), seen(3.1, "x-v4: session down")]), False),
        ({"detected": "9s"}, story((), CUT, (), [seen(2.2, "neighbor 2001:db8::1 Down BFD")]), False),
        ({"table": "1s"}, story((), CUT, [change(2.2, "ab", "b"), change(3, "b", None)]), True),
        ({"table": "900ms"}, story((), CUT, [change(2.2, "ab", "b"), change(3, "b", None)]), False),
        ({"table": "1s"}, story((), CUT), False),
        ({"flaps": 1}, story((), CUT, [change(3, "a", "b"), change(4, "b", "a")]), True),
        ({"flaps": 0}, story((), CUT, [change(3, "a", "b"), change(4, "b", "a")]), False),
    ],
)  # fmt: skip
def test_each_kind_of_expectation_can_be_met_and_not(expect: dict[str, object], told: Story, is_met: bool) -> None:
    """At its limit it is met; what was not seen, or not asked, is not met."""
    assert met(told, expect) == is_met
    result = judge(told, drill(expect))
    assert result.passed == all(e.met for e in result.expectations) and not (result.passed and not is_met)


def test_a_loss_that_may_not_be_is_told_by_name() -> None:
    """Whose it was, when, and why, in order; of many the first three."""
    found = one(story(asked(lost((2, 2.01)), "c1", "http IPv6")), {"no_loss": {}})
    assert found is not None and found.found == "1 of 1000 (c1 http IPv6 at +2.000 s: timeout)"
    found = one(story(asked(lost((2, 2.05)), "c2") + asked(lost((1, 1.01)))), {"no_loss": {}})
    assert found is not None and found.found.startswith("6 of 2000 (c1 dns IPv4 at +1.000 s: timeout; c2 dns IPv4 at")
    assert found.found.endswith("; …)") and found.found.count(" at +") == 3


@pytest.mark.parametrize("name", ["loss", "detected", "withdrawn", "table"])
def test_a_bound_is_by_variant_and_says_nothing_of_another(name: str) -> None:
    """One bound for all; or each its own."""
    limits: object = {"bfd": "600ms", "hold": "10s"}
    wrapped = {name: {"within": limits} if name == "loss" else limits}

    def told(variant: str) -> Story:
        return story(asked(lost((2, 3))), CUT, [change(3, "a", "b")], [seen(3)], variant=variant)

    assert not met(told("bfd"), wrapped) and met(told("hold"), wrapped)
    assert one(told("third"), wrapped) is None


@pytest.mark.parametrize("name", ["loss", "detected", "withdrawn", "table"])
def test_slack_widens_the_bound_on_tables_alone(name: str) -> None:
    """A withdrawal or a loss that is late is late on a busy machine, too; and the widened bound is what is printed."""
    expect = {name: {"within": "500ms"} if name == "loss" else "500ms"}
    told = story(asked(lost((2, 3))), CUT, [change(3, "a", "b")], [seen(3)])
    widened = [False, False, True, True] if name == "table" else [False] * 4
    assert [met(told, expect, slack) for slack in (1, 1.9, 2, 4)] == widened
    found = one(told, expect, 4)
    assert found is not None and ("with slack 4 within 2.00 s" in found.text) == (name == "table")
    assert judge(told, drill(expect), 4).slack == 4


def test_slack_excuses_no_end_state_and_no_objective() -> None:
    """Not what is lost, who answers, how often a table flaps, how large a share is lost, or when all is well again."""
    told = story(asked(lost((2, 3))), CUT, [change(3, "a", "b"), change(4, "b", "a")])
    for expect in (
        {"no_loss": {}}, {"flaps": 0}, {"answered_by": {"only": ["b"]}}, {"loss": {"within": "9s", "share": 0.5}},
    ):  # fmt: skip
        assert not met(told, expect, 1000), expect
    assert not judge(told, drill(objective={"restore": "900ms"}), 1000).passed


# --- what every drill is asked ---


def failed(told: Story, *expect: dict[str, object], **more: object) -> list[str]:
    return [e.text for e in judge(told, drill(*expect, **more)).expectations if not e.met]


RATE = "each flow asks at 90% to 110% of its rate, in each phase"


def everyone(answers: Answers, client: str = "c1", **more: float) -> list[Request]:
    return [request for stream in STREAMS for request in asked(answers, client, stream, **more)]


@pytest.mark.parametrize(
    ("requests", "is_met"),
    [
        (everyone(lost()), True),
        (everyone(lost(), seconds=1.0), False),
        (everyone(lost(), rate=89), False),
        (everyone(lost(), rate=91), True),
        (everyone(lost()) + everyone(lost()), False),
        (everyone(lost())[:3000], False),
        ([r for r in everyone(lost()) if not (2.2 < r.sent - BEGIN < 2.5)], True),
        ([r for r in everyone(lost()) if not (2.2 < r.sent - BEGIN < 2.7)], False),
        ([], False),
    ],
)
def test_a_client_that_asks_too_little_in_any_phase_fails_the_drill(requests: list[Request], is_met: bool) -> None:
    """It stops after a second, is slow, has lost a family, or pauses in the fault: whoever asks nothing loses nothing."""
    told = story(requests, CUT, clients=["c1"])
    assert (RATE not in failed(told)) == is_met
    assert RATE in failed(story(everyone(lost()), CUT, clients=["c1", "c2"]))


def test_what_is_lost_before_the_fault_fails_the_drill() -> None:
    """A lab that was not well proves nothing, whatever the drill expects of its fault."""
    assert failed(story(asked(lost((1, 1.01))), CUT)) == [WELL_BEFORE]


# --- the way back ---


@pytest.mark.parametrize(
    ("requests", "back", "is_met"),
    [
        (asked(lost((2.1, 2.5))), {"no_loss": {}}, True),
        (asked(lost((7, 7.01))), {"no_loss": {}}, False),
        (asked(lost((7, 7.01))), {"no_loss": {"client": "c2"}}, False),  # nobody was asked
        (asked(lost((7, 7.3))), {"loss": {"within": "300ms"}}, True),
        (asked(lost((7, 7.3), (8, 8.3))), {"loss": {"within": "300ms"}}, False),
        (asked(lost((7, 99))), {"loss": {"within": "9s"}}, False),
        (asked(lost(*[(6.1 + n * 0.39, 6.2 + n * 0.39) for n in range(10)])), {"loss": {"within": "300ms"}}, False),
    ],
)
def test_the_way_back_is_judged_by_itself(requests: list[Request], back: dict[str, object], is_met: bool) -> None:
    """However short the loss of the fault was; and what the fault costs is not the way back's."""
    texts = failed(story(requests, CUT), {"loss": {"within": "400ms"}}, back=[back])
    assert (not any(text.startswith("on the way back, ") for text in texts)) == is_met
    assert all(text.startswith("on the way back, ") for text in texts)


BUDGET = {"loss": {"within": "600ms", "client": "c1"}}
RETURN = {"loss": {"within": "200ms"}}


@pytest.mark.parametrize(
    "answers",
    [
        lost((2.05, 2.4), *[(6.1 + n * 0.95, 6.65 + n * 0.95) for n in range(4)]),
        lambda at: None if 2.05 <= at < 2.4 or (at > 6 and round(at * 100) % 4 == 0) else "a",
        lambda at: None if round(at * 100) % 100 == 0 else "a",
    ],
    ids=["outages after the recovery", "a quarter lost after the recovery", "one in a hundred, for ever"],
)
def test_a_short_loss_of_the_fault_does_not_hide_what_goes_on_after_it(answers: Answers) -> None:
    """Many short outages, or a steady share, on the way back or all along, are no success."""
    assert failed(story(everyone(answers), CUT, clients=["c1"]), BUDGET, back=[RETURN])


# --- effects ---


def effect(told: Story, wanted: dict[str, object]) -> Expectation:
    (found,) = [e for e in judge(told, drill(effect=[wanted])).expectations if e.text.startswith("effect: ")]
    assert not found.timed  # no machine is so busy that a fault is none
    return found


def split(at: float) -> str:
    return "a" if round(at * 100) % 2 else "b"


@pytest.mark.parametrize(
    ("told", "share", "is_met"),
    [
        (story(everyone(split), CUT), [0.4, 0.6], True),
        (story(everyone(split), CUT), [0.6, 1], False),
        (story(everyone(lost(who="b")), CUT), [0.1, 0.9], False),
        (story([], CUT), [0, 1], False),
        (story(asked(split) + asked(lost(who="b"), stream="dns IPv6"), CUT), [0.2, 0.9], False),
        (story(asked(lambda at: "a" if at >= 2 else "b"), CUT), [0.1, 0.9], False),  # afterwards is too late
    ],
)
def test_the_victim_carried_its_share_of_each_flow_before(told: Story, share: list[float], is_met: bool) -> None:
    """A node that nobody asked is missed by nobody; one family must not hide behind the other."""
    assert effect(told, {"carried": {"by": ["a"], "share": share}}).met == is_met


@pytest.mark.parametrize(("packets", "is_met"), [((100, 600), True), ((100, 110), False), ((), False), ((100,), False)])
def test_a_link_carried_its_share_of_a_clients_packets(packets: tuple[int, ...], is_met: bool) -> None:
    """Counted at one end of it, and at the client's, between the drill's begin and the fault."""
    told = story((), CUT)
    for number, count in enumerate(packets):
        told.counted += [Counted(BEGIN + number, "a", "b", count), Counted(BEGIN + number, "c1", "r", 1000 * number)]
    wanted = {"carried": {"link": ["b", "a"], "client": "c1", "share": [0.2, 0.8]}}
    assert effect(told, wanted).met == is_met


def test_the_fault_costs_what_it_has_to_cost() -> None:
    """Before it and after it, a loss is not its effect."""
    told = story(asked(lost((1, 1.5), (3, 3.1), (7, 8))), CUT)
    assert effect(told, {"lost": {"at_least": 10}}).met and not effect(told, {"lost": {"at_least": 11}}).met
    assert not effect(told, {"lost": {"at_least": 1, "client": "c2"}}).met


@pytest.mark.parametrize(
    ("pids", "is_met", "said"),
    [
        ([(7, 8), (9,)], True, "yes"),
        ([(7, 8), (8, 9)], False, "a: process 8 is the same as before"),
        ([(7,), ()], False, "a: it ran no more at the end"),
        ([(), (7,)], False, "a: it ran not before"),
        ([], False, "a: it ran not before"),
    ],
)
def test_a_process_that_was_killed_is_another_one_afterwards(
    pids: list[tuple[int, ...]], is_met: bool, said: str
) -> None:
    """A kill that does nothing leaves it as it was."""
    told = story((), CUT)
    told.running += [Running(BEGIN + n, "a", "x", found) for n, found in enumerate(pids)]
    found = effect(told, {"replaced": {"nodes": ["a"], "process": "x"}})
    assert (found.met, found.found) == (is_met, said)


def test_the_fault_changes_the_tables_that_it_has_to() -> None:
    """Each node for each prefix, so often; what the recovery changes is not its effect."""
    wanted: dict[str, object] = {"nodes": ["r"], "prefixes": ["four", "six"]}
    told = story((), CUT, BOTH, prefixes=TWO)
    assert effect(told, {"changed": wanted}).met
    assert not effect(told, {"changed": wanted | {"times": 2}}).met
    assert not effect(told, {"changed": wanted | {"nodes": ["r", "s"]}}).met
    assert not effect(story((), CUT, [change(7, "ab", "b")], prefixes=TWO), {"changed": wanted}).met


# --- a busy machine ---

BUSY, CALM = Load(2, 1.0, 12.0, 0.3, 0.9), Load(2, 0.4, 0.8, 0.002, 0.03)


@pytest.mark.parametrize(
    ("load", "expect", "verdict"),
    [
        (CALM, {"loss": {"within": "1s"}}, "passed"),
        (CALM, {"loss": {"within": "100ms"}}, "failed"),
        (BUSY, {"loss": {"within": "1s"}}, "overloaded"),
        (BUSY, {"loss": {"within": "100ms"}}, "overloaded"),
        (BUSY, {"answered_by": {"only": ["z"]}}, "failed"),
        (BUSY, {"flaps": 0}, "failed"),
        (BUSY, {"withdrawn": "9s"}, "failed"),
        (None, {"loss": {"within": "1s"}}, "passed"),
    ],
)
def test_on_an_overloaded_machine_a_drill_neither_passes_nor_fails_by_its_times(
    load: Load | None, expect: dict[str, object], verdict: str
) -> None:
    """It says so; but what no load excuses fails there, too: who answers, a flap, a withdrawal that never came."""
    told = story(LOSES, CUT, [change(3, "a", "b", "s"), change(4, "b", "a", "s")], prefixes={"p": (V6,)})
    told.load = load
    result = judge(told, drill(expect))
    assert (result.verdict, result.passed) == (verdict, verdict == "passed")


# --- what users noticed ---


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ([], ""),
        (everyone(lost()), "c1: nothing"),
        (everyone(lost((2, 2.37))), "c1: no answer for 370 ms"),
        (everyone(lost((2, 2.37), (7, 7.1))), "c1: no answer for 370 ms, and 1 shorter times"),
        (everyone(lost((2, 99))), "c1: no answer for 8.00 s, and to the end"),
        (everyone(half_lost(2, 4)), "c1: 50 % of the requests lost for 1.99 s"),
        (everyone(lost()) + everyone(lost((2, 3)), "c2"), "c1: nothing; c2: no answer for 1.00 s"),
        (asked(lost()) + asked(lost((2, 3)), stream="http IPv4"), "c1: no answer to HTTP for 1.00 s"),
        (asked(lost()) + asked(lost((2, 3)), stream="dns IPv6"), "c1: no answer over IPv6 for 1.00 s"),
        (
            everyone(lost())[:3000] + asked(lost((2, 3)), stream="http IPv6"),
            "c1: no answer to HTTP over IPv6 for 1.00 s",
        ),
    ],
)
def test_what_users_noticed_is_one_sentence(requests: list[Request], said: str) -> None:
    """By client: how much of what, and for how long."""
    assert judge(story(requests, CUT), drill()).noticed == said


# --- share ---


@pytest.mark.parametrize(
    ("requests", "share", "is_met"),
    [
        (asked(half_lost(2, 4)), 0.51, True),
        (asked(half_lost(2, 4)), 0.4, False),
        (asked(lost((2, 4))), 0.99, False),
        (asked(lost((2, 4))), 1.0, True),
        (asked(lost((2, 4), (9, 9.01))), 0.5, False),  # a single one lost after the recovery does not thin it out
        (asked(lost((2, 4))) + asked(lost(), "c2"), 0.5, True),
        (asked(lost()), 0.1, True),
        (asked(lost((1, 1.5))), 0.1, True),
        (asked(lost((2, 99))), 0.9, False),
    ],
)
def test_a_share_is_of_what_was_sent_from_the_fault_until_its_loss_is_over(
    requests: list[Request], share: float, is_met: bool
) -> None:
    """All of what the expectation concerns together."""
    assert met(story(requests, CUT), {"loss": {"within": "9s", "share": share}}) == is_met


def test_what_is_answered_before_the_first_loss_of_a_fault_counts() -> None:
    """A window begins and ends with a loss: of two flows, that alone would be more than half."""
    requests = asked(lambda at: None if at in (2.01, 2.03) else "a")
    told = story(requests, CUT)
    assert met(told, {"loss": {"within": "1s", "share": 0.5}})
    found = one(told, {"loss": {"within": "1s", "share": 0.5}})
    assert found is not None and found.found.endswith(": 30 ms at the longest, once, 30 ms in all; 2 of 4")


def test_a_share_is_of_those_whom_it_concerns() -> None:
    """Another client's answers do not make it smaller."""
    told = story(asked(lost((2, 4))) + asked(lost(), "c2") + asked(lost(), stream="http IPv4"), CUT)
    assert not met(told, {"loss": {"within": "9s", "share": 0.9, "client": "c1", "protocol": "dns"}})
    assert met(told, {"loss": {"within": "9s", "share": 0.34}})


# --- answered by ---


def by_then(at: float) -> str | None:
    """a; from the fault on nobody; then c for a while, and then b."""
    return "a" if at < 2 or at >= 6 else None if at < 3 else "c" if at < 4 else "b"


@pytest.mark.parametrize(
    ("settled", "more", "is_met"),
    [
        ([4.5], {}, True),
        ([3.8], {}, True),
        ([3.8], {"after": "100ms"}, False),
        ([4.0], {"after": "0s"}, True),
        ([], {"after": "2s"}, True),
        ([], {}, False),
        ([1.0, 7.0], {}, False),
        ([4.5, 7.0], {}, True),
        ([4.5], {"after": "4s"}, False),
        ([4.5], {"client": "c2"}, False),
        ([4.5], {"protocol": "http"}, False),
        ([4.5], {"family": "IPv6"}, False),
        ([4.5], {"only": ["b", "x"]}, False),
        ([4.5], {"only": ["x"]}, False),
    ],
)
def test_answered_by_is_asked_after_the_tables_have_settled_until_something_recovers(
    settled: list[float], more: dict[str, object], is_met: bool
) -> None:
    """By all of them, and by nobody else; one lost request is nobody; and that nobody was asked is not met."""
    told = story(asked(by_then), CUT, settled=settled)
    assert met(told, {"answered_by": {"only": ["b"], **more}}) == is_met


def test_answered_by_says_who_it_was() -> None:
    """And how often; or that there was nothing to see."""
    told = story(asked(by_then), CUT)
    found = one(told, {"answered_by": {"only": ["b"]}})
    assert found is not None and found.found == "b 200, c 100, nobody 70"
    found = one(told, {"answered_by": {"only": ["b"], "client": "c2", "protocol": "dns", "family": "IPv6"}})
    assert found is not None and found.found == "nothing was asked then"
    assert found.text == "answered by b (DNS, IPv6, c2), and nobody else"


def test_answered_by_without_a_fault_is_from_the_start_to_the_end() -> None:
    """As an exercise's check asks it."""
    assert met(story(asked(lost())), {"answered_by": {"only": ["a"]}})
    assert not met(story(asked(lost((9.9, 99)))), {"answered_by": {"only": ["a"]}})


# --- objective, problems, all together ---


@pytest.mark.parametrize(
    ("requests", "is_met", "found"),
    [
        (asked(lost((2.1, 3))), True, "the last is c1 dns IPv4: 1.00 s"),
        (asked(lost((2.1, 3.1))), False, "the last is c1 dns IPv4: 1.10 s"),
        (asked(lost((2.1, 2.2))) + asked(lost((2.1, 3.1)), "c2"), False, "the last is c2 dns IPv4: 1.10 s"),
        (asked(lost()), True, "no flow lost anything"),
        (asked(lost((1, 1.5))), True, "no flow lost anything"),
        (asked(lost((2.1, 99))), False, "the last is c1 dns IPv4: never"),
        ([], False, "nothing was asked"),
    ],
)
def test_an_objective_is_that_each_flow_loses_nothing_any_more(
    requests: list[Request], is_met: bool, found: str
) -> None:
    """So long after the fault; and one that was missed fails the drill."""
    result = judge(story(requests, CUT), drill(objective={"restore": {"bfd": "1s"}}))
    objective = result.expectations[-1]
    said = "objective: each flow is restored within 1.00 s"
    assert (objective.text, objective.met, objective.found) == (said, is_met, found)
    assert result.passed == all(e.met for e in result.expectations)
    other = judge(story(requests, CUT, variant="hold"), drill(objective={"restore": {"bfd": "1s"}}))
    assert [e.text for e in other.expectations] == [WELL_BEFORE]


def test_of_several_faults_each_flow_is_restored_from_the_one_that_it_lost_after() -> None:
    """A link that flaps for a minute has no bound of a second otherwise."""
    told = story(asked(lost((2, 2.1), (6, 6.1))), [fault(2), recovery(4), fault(6), recovery(8)])
    assert judge(told, drill(objective={"restore": "100ms"})).passed


def test_a_drill_that_could_not_go_on_has_not_passed() -> None:
    """Whatever it expects is met; nor has one whose tables were not as a step says."""
    told = story(asked(lost()))
    assert judge(told, drill({"no_loss": {}})).passed
    told.met.append(Expectation("the tables are as expected", False, "r: p goes to nobody"))
    result = judge(told, drill({"no_loss": {}}))
    assert not result.passed and [e.met for e in result.expectations] == [False, True]
    told.met.clear()
    told.problem = "r: no process 'x' runs there"
    assert not judge(told, drill({"no_loss": {}})).passed


def test_a_story_that_ended_before_anything_was_sent_is_judged_too() -> None:
    """The lab was not steady: a problem, no streams, and no expectation is met for that."""
    told = story(seconds=0.0)
    told.problem = "before the drill, the lab is not steady"
    result = judge(told, drill({"no_loss": {}}, {"loss": {"within": "1s"}}, {"answered_by": {"only": ["a"]}}))
    assert not result.passed and not any(e.met for e in result.expectations)


# --- what always holds ---

ANSWERS = st.lists(st.sampled_from([None, None, "a", "b"]), min_size=1, max_size=120)
GAPS = st.lists(st.sampled_from([0.0, 0.01, 0.1, 0.24, 0.26, 0.6]), min_size=120, max_size=120)


def stream_of(
    answers: list[str | None], gaps: list[float], shuffled: random.Random | None = None
) -> tuple[Story, Stream]:
    at, requests = 0.0, []
    for who, gap in zip(answers, gaps, strict=False):
        at += gap + 0.01
        requests.append(Request(round(BEGIN + at, 5), "c1", "dns IPv4", who, 0.001))
    if shuffled is not None:
        shuffled.shuffle(requests)
    told = story(requests, [fault(0.5)], seconds=at + 1)
    (stream,) = judge(told, drill()).streams
    return told, stream


@settings(max_examples=examples(150))
@given(ANSWERS, GAPS)
def test_every_request_is_counted_once(answers: list[str | None], gaps: list[float]) -> None:
    """Answered and lost are what was sent; so is the series; the windows hold all that was lost."""
    told, stream = stream_of(answers, gaps)
    assert stream.sent == len(answers) == stream.lost + sum(stream.answered.values())
    assert sum(map(sum, stream.series.values())) == stream.sent
    assert all(len(bars) == int((told.end - told.begin) / BUCKET) + 1 for bars in stream.series.values())
    assert sum(w.lost for w in stream.windows) == stream.lost
    assert all(0 < w.lost <= w.sent for w in stream.windows)


@settings(max_examples=examples(150))
@given(ANSWERS, GAPS)
def test_windows_are_apart_in_order_and_end_with_an_answer(answers: list[str | None], gaps: list[float]) -> None:
    """The open one is the last, and open only where the last request was lost."""
    told, stream = stream_of(answers, gaps)
    who = {round(r.sent - BEGIN, 4): r.who for r in told.requests}
    for window, following in zip(stream.windows, [*stream.windows[1:], None], strict=False):
        assert who[window.begin] is None
        if window.end is None:
            assert following is None and told.requests[-1].who is None
        else:
            assert window.begin < window.end and who[window.end] is not None
            assert following is None or window.end < following.begin


@settings(max_examples=examples(80))
@given(ANSWERS, GAPS, st.randoms(use_true_random=False))
def test_the_order_in_which_requests_are_told_does_not_matter(
    answers: list[str | None], gaps: list[float], chance: random.Random
) -> None:
    """A request that timed out is told after those that were sent later."""
    assert stream_of(answers, gaps)[1] == stream_of(answers, gaps, chance)[1]


@settings(max_examples=examples(80))
@given(ANSWERS, GAPS, st.floats(0, 5), st.floats(0, 5))
def test_a_wider_bound_is_never_harder(answers: list[str | None], gaps: list[float], less: float, more: float) -> None:
    """Who is within a bound is within a larger one."""
    told, _ = stream_of(answers, gaps)
    one_bound, other = sorted((less, more))
    if met(told, {"loss": {"within": f"{one_bound * 1000:.3f}ms"}}):
        assert met(told, {"loss": {"within": f"{other * 1000:.3f}ms"}})


def test_a_result_is_json() -> None:
    """With whether it passed."""
    import json

    result: Result = judge(story(LOSES, CUT), drill({"no_loss": {}}))
    assert json.loads(json.dumps(result.to_json()))["passed"] is False
