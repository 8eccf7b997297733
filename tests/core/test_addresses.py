"""Addresses: what is wanted on the node, what is ours and goes, and what the kernel's answers mean."""

from __future__ import annotations

import pytest

from anycast_agent.core.actions import AddAddresses, RemoveAddresses
from anycast_agent.core.addresses import (
    ASK_EVERY,
    BATCH,
    DUE,
    KEEP_UNKNOWN,
    REPAIR_WITHIN,
    Addresses,
    AddressTurn,
    KernelDue,
    RepairOver,
)
from anycast_agent.core.events import KernelSeen
from anycast_agent.core.model import AddressMode, AddressState, ReturnRoute
from anycast_agent.core.opened import OpenActions, Overdue
from anycast_agent.core.timers import Timers
from tests.support.world import V4, config, service

A, B = "192.0.2.53", "192.0.2.80"
OURS, THEIRS = AddressState("lo", ours=True), AddressState("lo", ours=False)
LINKS, BACK = {"lo": True}, {A: ReturnRoute(usable=True)}


class Bench:
    """Addresses with a kernel that does as the test says."""

    def __init__(self, mode: AddressMode = AddressMode.MANAGE) -> None:
        self.timers = Timers()
        self.opened = OpenActions(self.timers)
        self.addresses = Addresses(self.timers, self.opened)
        self.now = 100.0
        self.removable: float | None = 0.0
        self.addresses.configure(config(service("dns", (V4,)), address_mode=mode))

    def report(self, there: dict[str, AddressState] | None = None) -> tuple[list[str], bool]:
        return self.addresses.report(KernelSeen(there or {}, LINKS, BACK), self.now)

    def plan(self) -> AddAddresses | RemoveAddresses | None:
        for timer in list(self.timers.due(self.now)):
            if isinstance(timer, AddressTurn):
                self.addresses.look_at(timer.address)
        return self.addresses.plan(self.now, lambda address: self.removable)

    def step(self) -> AddAddresses | RemoveAddresses:
        action = self.plan()
        assert action is not None
        return action

    def end(self, action: AddAddresses | RemoveAddresses, error: str | None = None) -> None:
        self.opened.end(action.id)
        self.addresses.ended(action, {} if error is None else dict.fromkeys(action.addresses, error), self.now)

    def repairing(self) -> bool:
        return self.addresses.fact(A, self.now).repairing


def test_nothing_is_done_before_the_kernel_is_known() -> None:
    """What is there already would be added once more."""
    bench = Bench()
    assert bench.plan() is None
    bench.report({A: OURS})
    assert bench.plan() is None


def test_a_wanted_address_that_is_absent_is_added_once() -> None:
    """The open action is waited for; that it is there is seen, not assumed."""
    bench = Bench()
    bench.report()
    add = bench.step()
    assert add == AddAddresses(add.id, (A,), "lo")
    assert bench.timers.get(Overdue(add.id)) == bench.now + DUE
    assert bench.plan() is None
    bench.end(add)
    assert not bench.addresses.there(A)
    bench.addresses.seen(A, OURS, bench.now)
    assert bench.addresses.there(A)
    assert bench.plan() is None


@pytest.mark.parametrize("mode", [AddressMode.VERIFY, AddressMode.UNMANAGED])
def test_who_does_not_manage_adds_and_removes_nothing(mode: AddressMode) -> None:
    """Whatever is missing or left over."""
    bench = Bench(mode)
    bench.report({B: OURS})
    assert bench.plan() is None
    assert bench.addresses.ours_left() == []


def test_ours_that_nobody_wants_goes_when_it_may_and_someone_elses_stays() -> None:
    """From the instant that the caller names; not before, and not where that is not known yet."""
    bench = Bench()
    bench.removable = None
    bench.report({A: THEIRS, B: OURS, "192.0.2.99": THEIRS})
    assert bench.addresses.ours_left() == [B]
    assert bench.plan() is None
    bench.removable = bench.now + 1.0
    bench.addresses.look_at_all()
    assert bench.plan() is None
    assert bench.timers.get(AddressTurn(B)) == bench.now + 1.0
    bench.now += 1.0
    remove = bench.step()
    assert remove == RemoveAddresses(remove.id, (B,), "lo")
    bench.end(remove)
    bench.addresses.seen(B, None, bench.now)
    assert bench.plan() is None
    assert B not in bench.addresses.records


def test_what_fails_is_tried_ever_later() -> None:
    """0.5, 1, 2 … 30 seconds, with the error shown meanwhile."""
    bench, waits = Bench(), []
    bench.report()
    for _ in range(8):
        add = bench.step()
        bench.end(add, "permission denied")
        assert bench.addresses.records[A].error == "permission denied"
        assert not bench.repairing()
        assert bench.plan() is None
        at = bench.timers.get(AddressTurn(A))
        assert at is not None
        waits.append(at - bench.now)
        bench.now = at
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_an_address_that_was_added_and_is_never_seen_is_no_repair_for_ever() -> None:
    """Once, its report may still be on the way; after that the prefix is not announced on a hope."""
    bench = Bench()
    bench.report({A: OURS})
    bench.addresses.seen(A, None, bench.now)
    add = bench.step()
    bench.end(add)
    assert bench.repairing()
    bench.now += 0.5
    add = bench.step()
    bench.end(add)
    assert not bench.repairing()
    assert bench.addresses.records[A].error == "it was added, and is not there"


def test_an_address_removed_from_outside_is_put_back_at_once_and_counted() -> None:
    """Twice in a row too; it is a fight only from the third time."""
    bench = Bench()
    bench.report({A: OURS})
    for number in range(2):
        bench.now += 20.0
        bench.addresses.seen(A, None, bench.now)
        assert bench.addresses.records[A].repairs == number + 1
        assert bench.repairing()
        add = bench.step()
        bench.addresses.seen(A, OURS, bench.now)
        bench.end(add)


def test_a_fight_over_an_address_waits_and_is_forgotten_once_it_is_stable() -> None:
    """Removed as soon as it is there, over and over: each round waits longer; ten seconds of peace end it."""
    bench, gaps = Bench(), []
    bench.report({A: OURS})
    for _ in range(6):
        began = bench.now
        bench.addresses.seen(A, None, bench.now)
        while (action := bench.plan()) is None:
            at = bench.timers.get(AddressTurn(A))
            assert at is not None
            bench.now = at
        gaps.append(bench.now - began)
        bench.addresses.seen(A, OURS, bench.now)
        bench.end(action)
    assert gaps == [0.0, 0.0, 0.5, 1.0, 2.0, 4.0]
    bench.now += 10.0
    bench.addresses.seen(A, None, bench.now)
    assert bench.plan() is not None


def test_an_unknown_kernel_counts_for_a_while_and_is_asked_again() -> None:
    """A report ends both."""
    bench = Bench()
    assert not bench.addresses.counts(bench.now), "what was never known does not count"
    bench.report({A: OURS})
    bench.addresses.lost(bench.now)
    bench.addresses.ask(bench.now)
    assert bench.timers.get(KernelDue()) == bench.now + ASK_EVERY
    assert bench.addresses.counts(bench.now + KEEP_UNKNOWN - 0.1)
    assert not bench.addresses.counts(bench.now + KEEP_UNKNOWN)
    bench.addresses.lost(bench.now + 5.0)
    assert not bench.addresses.counts(bench.now + KEEP_UNKNOWN), "being lost again does not start it anew"
    bench.report({A: OURS})
    assert bench.addresses.counts(bench.now + 1000.0)
    assert bench.timers.get(KernelDue()) is None


def test_a_report_says_what_is_news() -> None:
    """The addresses that changed; and everything, where links, return routes or knowing itself did."""
    bench = Bench()
    assert bench.report({A: OURS}) == ([A], True)
    assert bench.report({A: OURS}) == ([], False)
    assert bench.report({A: THEIRS}) == ([A], False)
    assert bench.report({}) == ([A], False)
    down = {"lo": False}
    assert bench.addresses.report(KernelSeen({}, down, BACK), bench.now) == ([], True)


def many(count: int) -> list[str]:
    return [f"192.0.2.{n}" for n in range(1, count + 1)]


def test_many_addresses_are_added_a_batch_at_a_time() -> None:
    """One action is open at most, so each has its whole time; the next one begins when it has ended."""
    bench = Bench()
    addresses = many(2 * BATCH + 10)
    bench.addresses.configure(config(service("dns", tuple(f"{a}/32" for a in addresses))))
    bench.report()
    done: list[str] = []
    for size in (BATCH, BATCH, 10):
        action = bench.step()
        assert len(action.addresses) == size
        assert bench.plan() is None
        assert bench.timers.get(Overdue(action.id)) == bench.now + DUE
        bench.now += DUE - 0.1
        for address in action.addresses:
            bench.addresses.seen(address, OURS, bench.now)
        bench.end(action)
        done += action.addresses
    assert sorted(done) == sorted(addresses)
    assert bench.plan() is None


def test_what_is_to_go_and_what_is_to_come_take_turns() -> None:
    """An action does one thing on one interface; what waits for another keeps its place."""
    bench = Bench()
    elsewhere = AddressState("nic0", ours=True)
    bench.report({B: OURS, "192.0.2.81": elsewhere, "192.0.2.82": OURS})
    done = []
    while (action := bench.plan()) is not None:
        done.append((type(action), action.addresses, action.interface))
        for address in action.addresses:
            bench.addresses.seen(address, OURS if isinstance(action, AddAddresses) else None, bench.now)
        bench.end(action)
    assert done == [
        (AddAddresses, (A,), "lo"),
        (RemoveAddresses, (B, "192.0.2.82"), "lo"),
        (RemoveAddresses, ("192.0.2.81",), "nic0"),
    ]


def test_a_lost_address_that_waits_too_long_is_no_repair_any_more() -> None:
    """Behind an action that hangs it has no error of its own; its route does not stay for that."""
    bench = Bench()
    bench.report({A: OURS})
    bench.addresses.seen(A, None, bench.now)
    assert bench.repairing()
    assert bench.timers.get(RepairOver(A)) == bench.now + REPAIR_WITHIN
    bench.now += REPAIR_WITHIN
    assert not bench.repairing()
