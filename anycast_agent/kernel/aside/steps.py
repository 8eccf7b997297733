"""Bring an address to a state by policy rules, and read the state back. Blocks: call it in a thread. Raises OSError.

An address that is aside has these rules, before every ``from all lookup local``, and a route in our table::

    to VIP             iif lo  uidrange or fwmark  lookup local    packets that are to stay here: probes of the agent
    from VIP   to VIP  iif lo                      lookup local    both ends are the address: probes, older connections
    to VIP             iif lo                      lookup TABLE    the rule: every other packet of this node
    from NODE  to VIP  iif lo                      lookup TABLE    connections that began aside go on during the return

``iif lo`` is a packet of this node itself: one from the network, or a forwarded one, never matches.

Going aside: first the route, which no rule looks for; then the rules, where they have no effect yet; then a second
``lookup local`` behind them, and only then the first one goes. There is no moment without it. Returning: the rule goes
first, and the others once connections have had their time. Nothing of ours is left then.

A rule is repaired by adding the whole list anew behind the old one, and then deleting the old: the kernel takes a rule
without a source for one like a rule that has one, when it adds and when it deletes. So only the order tells them apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from anycast_agent.core.consumers import AsideState
from anycast_agent.core.model import Address, Family, family_of
from anycast_agent.kernel.aside.rules import LOCAL, OURS, Hop, Rule, Rules

OWN = "lo"

ROUNDS = 8
"""Tries against somebody who changes rules at the same time."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How rules are made."""

    table: int
    interfaces: tuple[str, ...] = ()
    """Bridges whose consumers go aside, too."""
    users: tuple[int, ...] = ()
    mark: int | None = None
    """Packets of these users, or with this mark, stay here."""


def look(setting: Setting) -> dict[Address, AsideState]:
    """Every address of which the kernel has a rule or a route of ours. Others are at home."""
    found: dict[Address, AsideState] = {}
    with Rules() as kernel:
        for family in Family:
            rules = kernel.all(family)
            routed = kernel.routes(family, setting.table)
            ours = [rule for rule in rules if rule.protocol == OURS]
            for address in {rule.to for rule in ours if rule.to} | routed:
                found[address] = _state(address, rules, routed, setting)
    return found


def go_aside(address: Address, gateways: Iterable[Address], setting: Setting, barred: frozenset[Address]) -> None:
    """``gateways``: the routers to which this node's packets go. ``barred``: never a source address."""
    family = family_of(address)
    with Rules() as kernel:
        hops = _hops(kernel, gateways, barred)
        rules = kernel.all(family)
        _refuse_foreign_zero(rules)
        kernel.set_route(address, setting.table, hops)
        priority = max(0, min((r.priority for r in rules if r.plain_local), default=0) - 1)
        desired = list(_rules(address, priority, setting, hops[0].source))
        before = _of(address, rules)
        if before != desired:
            for rule in desired:
                kernel.add(family, rule, again=True)
        _come_first(kernel, family)
        if before != desired:
            for rule in sorted(before, key=lambda rule: not _special(rule)):
                kernel.delete(family, rule)


def begin_return(address: Address, setting: Setting) -> None:
    """New connections stay here from now on. Those that began aside go on."""
    family = family_of(address)
    with Rules() as kernel:
        for rule in _of(address, kernel.all(family)):
            if rule.table == setting.table and not rule.source:
                kernel.delete(family, rule)


def go_home(address: Address, setting: Setting) -> None:
    """Nothing of ours is left for this address."""
    family = family_of(address)
    with Rules() as kernel:
        for _ in range(ROUNDS):
            mine = _of(address, kernel.all(family))
            if not mine:
                break
            for rule in sorted(mine, key=lambda rule: rule.table == LOCAL):
                kernel.delete(family, rule)
        else:
            raise OSError(f"rules for {address} come back as often as they are deleted")
        _one_local(kernel, family)
        kernel.delete_route(address, setting.table)


def _of(address: Address, rules: Iterable[Rule]) -> list[Rule]:
    return [rule for rule in rules if rule.protocol == OURS and rule.to == address]


def _special(rule: Rule) -> bool:
    """The kernel tells it from the rule for every packet."""
    return bool(rule.source) or rule.users is not None or rule.mark is not None


def _refuse_foreign_zero(rules: list[Rule]) -> None:
    """A rule of somebody else behind ``lookup local``, at its priority, would come before it by what we do."""
    for rule in itertools.dropwhile(lambda rule: not rule.plain_local, rules):
        if rule.priority == 0 and rule.protocol != OURS and not rule.plain_local:
            raise OSError("a policy rule at priority 0 is not ours (ip rule): give it another priority")


def _hops(kernel: Rules, gateways: Iterable[Address], barred: frozenset[Address]) -> tuple[Hop, ...]:
    """One source for all: it is the route's. A router that would need another one is left out."""
    found = tuple(dict.fromkeys(kernel.hop(gateway) for gateway in gateways))
    if not found:
        raise OSError("no router to send consumers to")
    usable = [hop for hop in found if hop.source not in barred]
    if not usable:
        raise OSError(f"this node has no address of its own towards {found[0].gateway}, only {found[0].source}")
    return tuple(hop for hop in usable if hop.source == usable[0].source)


def _rules(address: Address, priority: int, setting: Setting, source: Address) -> Iterator[Rule]:
    """In the order in which the kernel is to ask them."""
    for user in setting.users:
        yield Rule(priority, LOCAL, to=address, incoming=OWN, users=(user, user))
    if setting.mark is not None:
        yield Rule(priority, LOCAL, to=address, incoming=OWN, mark=setting.mark)
    yield Rule(priority, LOCAL, to=address, source=address, incoming=OWN)
    yield Rule(priority, setting.table, to=address, incoming=OWN)
    yield Rule(priority, setting.table, to=address, source=source, incoming=OWN)
    for interface in setting.interfaces:
        yield Rule(priority, setting.table, to=address, incoming=interface)


def _come_first(kernel: Rules, family: Family) -> None:
    """Move the kernel's own ``lookup local`` behind our rules, without a moment without it."""
    for _ in range(ROUNDS):
        rules = kernel.all(family)
        last = max((at for at, rule in enumerate(rules) if rule.protocol == OURS), default=0)
        ahead = [rule for rule in rules[:last] if rule.plain_local and rule.priority == 0]
        if not ahead:
            return
        if not any(rule.plain_local for rule in rules[last:]):
            kernel.add(family, ahead[0], again=True)
        kernel.delete(family, ahead[0])
    raise OSError("somebody keeps putting 'lookup local' before our rules")


def _one_local(kernel: Rules, family: Family) -> None:
    """An agent that was killed between two steps has left two of them."""
    for rule in [rule for rule in kernel.all(family) if rule.plain_local and rule.priority == 0][1:]:
        kernel.delete(family, rule)


def _state(address: Address, rules: list[Rule], routed: frozenset[Address], setting: Setting) -> AsideState:
    mine = _of(address, rules)
    away = [rule for rule in mine if rule.table == setting.table]
    ahead = rules[: next((at for at, rule in enumerate(rules) if rule.plain_local), len(rules))]
    source = next((rule.source for rule in away if rule.source), "")
    desired = list(_rules(address, mine[0].priority, setting, source)) if mine else []
    if address not in routed or not source or not set(mine) <= set(ahead):
        return AsideState.BROKEN
    if mine == desired:
        return AsideState.ASIDE
    stays = [rule for rule in desired if rule.table == LOCAL or rule.source]
    return AsideState.RETURNING if mine == stays else AsideState.BROKEN
