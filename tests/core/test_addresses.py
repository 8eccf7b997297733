"""Addresses: what is desired on the node, what is ours and goes, and what the kernel's answers mean."""

from __future__ import annotations

import pytest

from anycast_agent.core import events as ev
from anycast_agent.core.actions import AddAddresses, RemoveAddresses, Resync, WatchKernel
from anycast_agent.core.changes import Told
from anycast_agent.core.model import AddressMode, AddressState, prefix_of
from anycast_agent.core.news import ConfigApplied, Ending
from anycast_agent.core.opened import Overdue
from anycast_agent.core.parts.addresses import (
    ASK_EVERY,
    BATCH,
    DUE,
    KEEP_UNKNOWN,
    REPAIR_WITHIN,
    AddressAction,
    Addresses,
    AddressTurn,
    KernelDue,
    RepairOver,
)
from tests.support.parts import PartBench
from tests.support.world import V4, V6, config, service

A, B = "192.0.2.53", "192.0.2.80"
OURS, THEIRS = AddressState("lo", ours=True), AddressState("lo", ours=False)
LINKS = {"lo": True}


class Bench(PartBench):
    """Addresses with a kernel that does as the test says."""

    def __init__(self, mode: AddressMode = AddressMode.MANAGE) -> None:
        super().__init__()
        self.removable: float | None = 0.0
        self.addresses = Addresses(self.board, self.timers, self.opened, lambda address, now: self.removable)
        self.install(self.addresses)
        self.post(ConfigApplied(config(service("dns", (V4,)), address_mode=mode), None))
        assert [type(a) for a in self.plan()] == [WatchKernel]

    def report(self, there: dict[str, AddressState] | None = None, links: dict[str, bool] = LINKS) -> None:
        self.post(ev.KernelSeen(there or {}, links, {}))

    def seen(self, address: str, state: AddressState | None) -> None:
        self.post(ev.AddressSeen(address, state))

    def turn(self) -> list[AddressAction]:
        return [a for a in self.plan() if isinstance(a, AddAddresses | RemoveAddresses)]

    def end(self, action: AddressAction, error: str | None = None) -> None:
        ended = ev.AddressesAdded if isinstance(action, AddAddresses) else ev.AddressesRemoved
        self.post(ended(action.id, {} if error is None else dict.fromkeys(action.addresses, error)))

    def repairing(self) -> bool:
        return self.addresses.fact(A, self.now).repairing


def test_nothing_is_done_before_the_kernel_is_known() -> None:
    """What is there already would be added once more."""
    bench = Bench()
    assert bench.turn() == []
    bench.report({A: OURS})
    assert bench.turn() == []


def test_a_wanted_address_that_is_absent_is_added_once() -> None:
    """The open action is waited for; that it is there is seen, not assumed."""
    bench = Bench()
    bench.report()
    (add,) = bench.turn()
    assert add == AddAddresses(add.id, (A,), "lo")
    assert bench.timers.get(Overdue(add.id)) == bench.now + DUE
    assert bench.turn() == []
    bench.end(add)
    assert not bench.addresses.there(A)
    bench.seen(A, OURS)
    assert bench.addresses.there(A)
    assert bench.turn() == []


@pytest.mark.parametrize("mode", [AddressMode.VERIFY, AddressMode.UNMANAGED])
def test_who_does_not_manage_adds_and_removes_nothing(mode: AddressMode) -> None:
    """Whatever is missing or left over."""
    bench = Bench(mode)
    bench.report({B: OURS})
    assert bench.turn() == []
    assert bench.addresses.ours_left() == []


def test_ours_that_nobody_wants_goes_when_it_may_and_someone_elses_stays() -> None:
    """From the instant that the caller names; not before, and not where that is not known yet."""
    bench = Bench()
    bench.removable = None
    bench.report({A: THEIRS, B: OURS, "192.0.2.99": THEIRS})
    assert bench.addresses.ours_left() == [B]
    assert bench.turn() == []
    bench.removable = bench.now + 1.0
    bench.board.touch_all()
    assert bench.turn() == []
    assert bench.timers.get(AddressTurn(B)) == bench.now + 1.0
    bench.now += 1.0
    (remove,) = bench.turn()
    assert remove == RemoveAddresses(remove.id, (B,), "lo")
    bench.end(remove)
    bench.seen(B, None)
    assert bench.turn() == []
    assert B not in bench.addresses.records


def test_what_fails_is_tried_ever_later() -> None:
    """0.5, 1, 2 … 30 seconds, with the error shown meanwhile."""
    bench, waits = Bench(), []
    bench.report()
    for _ in range(8):
        (add,) = bench.turn()
        bench.end(add, "permission denied")
        assert bench.addresses.records[A].error == "permission denied"
        assert not bench.repairing()
        assert bench.turn() == []
        at = bench.timers.get(AddressTurn(A))
        assert at is not None
        waits.append(at - bench.now)
        bench.now = at
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_an_address_that_was_added_and_is_never_seen_is_no_repair_for_ever() -> None:
    """Once, its report may still be on the way; after that the prefix is not announced on a hope."""
    bench = Bench()
    bench.report({A: OURS})
    bench.seen(A, None)
    (add,) = bench.turn()
    bench.end(add)
    assert bench.repairing()
    bench.now += 0.5
    (add,) = bench.turn()
    bench.end(add)
    assert not bench.repairing()
    assert bench.addresses.records[A].error == "it was added, and is not there"


def test_an_address_removed_from_outside_is_put_back_at_once_and_counted() -> None:
    """Twice in a row too; it is a fight only from the third time."""
    bench = Bench()
    bench.report({A: OURS})
    for number in range(2):
        bench.now += 20.0
        bench.seen(A, None)
        assert bench.addresses.records[A].repairs == number + 1
        assert bench.repairing()
        (add,) = bench.turn()
        bench.seen(A, OURS)
        bench.end(add)


def test_a_fight_over_an_address_waits_and_is_forgotten_once_it_is_stable() -> None:
    """Removed as soon as it is there, over and over: each round waits longer; ten seconds of peace end it."""
    bench, gaps = Bench(), []
    bench.report({A: OURS})
    for _ in range(6):
        began = bench.now
        bench.seen(A, None)
        while not (actions := bench.turn()):
            at = bench.timers.get(AddressTurn(A))
            assert at is not None
            bench.now = at
        gaps.append(bench.now - began)
        bench.seen(A, OURS)
        bench.end(actions[0])
    assert gaps == [0.0, 0.0, 0.5, 1.0, 2.0, 4.0]
    bench.now += 10.0
    bench.seen(A, None)
    (add,) = bench.turn()
    bench.end(add, "busy")
    assert bench.turn() == []
    assert bench.timers.get(AddressTurn(A)) == bench.now + 0.5, "what fails next begins to wait anew"


def test_an_unknown_kernel_counts_for_a_while_and_is_asked_again() -> None:
    """A report ends both."""
    bench = Bench()
    assert not bench.addresses.counts(bench.now), "what was never known does not count"
    bench.report({A: OURS})
    bench.post(ev.Lost(ev.Source.KERNEL, "the inbox was full"))
    assert Resync(ev.Source.KERNEL, "the inbox was full") in bench.plan()
    assert bench.timers.get(KernelDue()) == bench.now + ASK_EVERY
    assert bench.addresses.counts(bench.now + KEEP_UNKNOWN - 0.1)
    assert not bench.addresses.counts(bench.now + KEEP_UNKNOWN)
    since = bench.now
    bench.now += 5.0
    bench.post(ev.Lost(ev.Source.KERNEL, "once more"))
    assert not bench.addresses.counts(since + KEEP_UNKNOWN), "being lost again does not start it anew"
    bench.report({A: OURS})
    assert bench.addresses.counts(bench.now + 1000.0)
    assert bench.timers.get(KernelDue()) is None


def test_a_kernel_that_does_not_report_is_asked_until_it_does() -> None:
    """Every five seconds."""
    bench = Bench()
    for _ in range(3):
        bench.now += ASK_EVERY
        assert [type(a) for a in bench.plan()] == [Resync]
    bench.report({A: OURS})
    bench.now += 10 * ASK_EVERY
    assert bench.plan() == []


def test_the_failure_of_an_adapter_concerns_the_addresses_only_where_it_is_the_kernels() -> None:
    """It reports by itself once it is started again, and is not asked meanwhile."""
    bench = Bench()
    bench.report({A: OURS})
    bench.post(ev.AdapterFailed(ev.Source.SPEAKER, "broke"))
    assert bench.addresses.known
    bench.post(ev.AdapterFailed(ev.Source.KERNEL, "broke"))
    assert not bench.addresses.known
    assert bench.plan() == []


@pytest.mark.parametrize(
    ("there", "links", "touched"),
    [
        ({A: OURS}, LINKS, set()),
        ({A: THEIRS}, LINKS, {A}),
        ({A: OURS, B: OURS}, LINKS, {B}),
        ({}, LINKS, {A}),
        ({A: OURS}, {"lo": False}, None),
    ],
)
def test_a_report_touches_what_is_news(
    there: dict[str, AddressState], links: dict[str, bool], touched: set[str] | None
) -> None:
    """The addresses that changed; and everything (None), where a link or knowing itself did."""
    bench = Bench()
    bench.report({A: OURS})
    assert bench.board.take_touched().everything, "the first one is news for all"
    bench.report(there, links)
    found = bench.board.take_touched()
    if touched is None:
        assert found.everything
    else:
        assert (found.everything, found.prefixes) == (False, {prefix_of(a) for a in touched})


def test_an_error_is_told_by_what_was_done_and_where() -> None:
    """Adding and removing each in its own words, and one line for all that failed alike."""
    bench = Bench()
    bench.post(ConfigApplied(config(service("dns", (V4, "192.0.2.54/32"))), None))
    bench.report({B: OURS})
    for _ in range(2):
        (action,) = bench.turn()
        bench.end(action, "permission denied")
    bench.plan()
    told = [(c.subject, c.text, c.level) for c in bench.changes if isinstance(c, Told) and "failed" in c.text]
    assert sorted(told) == [
        (f"{A} and 1 more", "adding it to lo failed: permission denied", "error"),
        (B, "removing it from lo failed: permission denied", "error"),
    ]


def many(count: int) -> list[str]:
    return [f"192.0.2.{n}" for n in range(1, count + 1)]


def test_many_addresses_are_added_a_batch_at_a_time() -> None:
    """One action is open at most, so each has its whole time; the next one begins when it has ended."""
    bench = Bench()
    addresses = many(2 * BATCH + 10)
    bench.post(ConfigApplied(config(service("dns", tuple(f"{a}/32" for a in addresses))), None))
    bench.report()
    done: list[str] = []
    for size in (BATCH, BATCH, 10):
        (action,) = bench.turn()
        assert len(action.addresses) == size
        assert bench.turn() == []
        assert bench.timers.get(Overdue(action.id)) == bench.now + DUE
        bench.now += DUE - 0.1
        for address in action.addresses:
            bench.seen(address, OURS)
        bench.end(action)
        done += action.addresses
    assert sorted(done) == sorted(addresses)
    assert bench.turn() == []


def test_what_is_to_go_and_what_is_to_come_take_turns() -> None:
    """An action does one thing on one interface; what waits for another keeps its place."""
    bench = Bench()
    elsewhere = AddressState("nic0", ours=True)
    bench.report({B: OURS, "192.0.2.81": elsewhere, "192.0.2.82": OURS})
    done = []
    while actions := bench.turn():
        (action,) = actions
        done.append((type(action), action.addresses, action.interface))
        for address in action.addresses:
            bench.seen(address, OURS if isinstance(action, AddAddresses) else None)
        bench.end(action)
    assert sorted(done, key=str) == sorted(
        [
            (AddAddresses, (A,), "lo"),
            (RemoveAddresses, (B, "192.0.2.82"), "lo"),
            (RemoveAddresses, ("192.0.2.81",), "nic0"),
        ],
        key=str,
    )


def test_a_lost_address_that_waits_too_long_is_no_repair_any_more() -> None:
    """Behind an action that hangs it has no error of its own; its route does not stay for that."""
    bench = Bench()
    bench.report({A: OURS})
    bench.seen(A, None)
    assert bench.repairing()
    assert bench.timers.get(RepairOver(A)) == bench.now + REPAIR_WITHIN
    bench.now += REPAIR_WITHIN
    assert not bench.repairing()


def test_the_kernel_adapter_is_told_of_what_concerns_it_and_of_nothing_else() -> None:
    """At a reload: another address or interface does, another check does not."""
    bench = Bench()
    bench.post(ConfigApplied(config(service("dns", (V4,), checks=())), None))
    assert bench.plan() == []
    for changed in (config(service("dns", (V4, V6))), config(service("dns", (V4, V6)), interface="lo2")):
        bench.post(ConfigApplied(changed, None))
        assert bench.plan() == [WatchKernel(changed.kernel)]


def test_an_agent_that_hands_over_touches_no_address() -> None:
    """Not even one that is lost meanwhile: the next agent puts it back."""
    bench = Bench()
    bench.report({A: OURS, B: OURS})
    assert [a.addresses for a in bench.turn()] == [(B,)]
    bench = Bench()
    bench.post(Ending("upgrade", stop=False))
    bench.report({B: OURS})
    bench.seen(A, None)
    assert bench.turn() == []
