"""The kernel adapter: reports addresses, links and return routes; adds and removes addresses. It decides nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import (
    Address,
    AddressMode,
    AddressState,
    Family,
    KernelConfig,
    ReturnRoute,
    ReturnRouteRule,
    family_of,
)
from anycast_agent.kernel import blackholes, return_routes, sysctls
from anycast_agent.kernel import netlink as nl
from anycast_agent.kernel.changes import Changes, Failures, explain
from anycast_agent.kernel.covers import BlackholeAction, Covers
from anycast_agent.kernel.ownership import Ownership
from anycast_agent.kernel.threads import to_its_end
from anycast_agent.kernel.view import View

ROUTES_SETTLE = 0.01
"""Changes within this time that may touch a return route are looked at together. Seconds."""

ROUTES_SHARE, ROUTES_REST = 10, 1.0
"""Asking for return routes takes at most one part in so many of the time while routes keep changing; and a change waits
no longer than so many seconds for it."""

RESYNC_EVERY = 60.0
RECEIVE_BUFFER = 1 << 20

HEARD_AT_ONCE = 10_000
"""More messages than this, during a dump or in one go, are an overrun: the adapter reads a new dump instead."""

HEARD_IN_A_ROW = 100
"""So many messages, then the loop has its turn: what is at hand is had without waiting, and when a routing daemon fills
the table something always is."""

AddressAction = act.AddAddresses | act.RemoveAddresses
KernelAction = AddressAction | BlackholeAction | act.WatchKernel | act.Resync
Change = tuple[nl.SeenAddress | nl.SeenLink, bool]
"""The address or link that changed, and whether it is there now."""


def kernel_marks() -> bool:
    """True if this kernel has IFA_PROTO (5.18 and later). An older one ignores it silently."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return found is not None and (int(found[1]), int(found[2])) >= (5, 18)


class Kernel:
    def __init__(
        self,
        post: Callable[[ev.Event], None],
        state_dir: Path,
        *,
        marks: bool | None = None,
        resync_every: float = RESYNC_EVERY,
        receive_buffer: int = RECEIVE_BUFFER,
    ) -> None:
        """``marks``: whether the kernel can mark an address as ours; None: by its version."""
        self._post = post
        self._marks = kernel_marks() if marks is None else marks
        self._owned = Ownership(state_dir / "addresses.json")
        self._resync_every = resync_every
        self._receive_buffer = receive_buffer
        self._config: KernelConfig | None = None
        self._wanted: frozenset[Address] = frozenset()
        self._watched = asyncio.Event()
        self._wake = asyncio.Event()
        self._report_due = False
        self._monitor: socket.socket | None = None
        self._view = View(self._owned.has)
        self._heard: list[Change] | None = None
        self._addresses: dict[Address, AddressState] = {}
        self._links: dict[str, bool] = {}
        self._return_routes: dict[Address, ReturnRoute] = {}
        self._unasked: set[Address] = set()
        """Something happened that may have changed their return routes."""
        self._rest_until = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()
        self._adding: frozenset[Address] = frozenset()
        """Recorded, and not there yet."""
        self._known = False
        """The view is as true as the monitor."""
        self._changes = Changes()
        self._covers = Covers(post, self._drain)

    @property
    def _looks(self) -> bool:
        return self._config is not None and self._config.address_mode is not AddressMode.UNMANAGED

    # --- watching ---

    async def run(self) -> None:
        """Report, until something fails; a monitor that ends raises. The next call reports in full."""
        await self._watched.wait()
        if problem := await asyncio.to_thread(self._owned.load):
            self._post(ev.Warned("record of addresses", problem))
        # Heard of before it is read: nothing that happens between the two is missed.
        with nl.monitor(self._receive_buffer) as sock:
            self._monitor = sock
            self._ask(report=True)
            parts = {asyncio.create_task(self._hear(sock)), asyncio.create_task(self._look())}
            try:
                done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                raise RuntimeError("the netlink monitor has ended")
            finally:
                self._monitor, self._heard, self._known = None, None, False
                for task in parts:
                    task.cancel()
                await asyncio.gather(*parts, return_exceptions=True)

    async def _hear(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for _ in range(HEARD_IN_A_ROW):
                try:
                    self._take(await loop.sock_recv(sock, 1 << 16))
                except OSError as error:
                    self._overrun(error)
            await asyncio.sleep(0)

    def _drain(self) -> None:
        """Read the notifications that wait now: the next step relies on them."""
        for _ in range(HEARD_AT_ONCE if self._monitor is not None else 0):
            try:
                self._take(self._monitor.recv(1 << 16))  # type: ignore[union-attr]
            except BlockingIOError:
                return
            except OSError as error:
                self._overrun(error)
                return
        if self._monitor is not None:
            self._ask(report=True)

    def _overrun(self, error: OSError) -> None:
        if error.errno != errno.ENOBUFS:
            raise error
        self._ask(report=True)  # more happened than the socket holds: only the whole is known to be right

    def _ask(self, *, report: bool) -> None:
        self._report_due |= report
        self._unasked |= self._wanted
        self._wake.set()

    def _take(self, data: bytes) -> None:
        if not data:
            raise ConnectionError("the netlink monitor was closed")
        config = self._config
        if config is None or not self._looks:
            return
        for kind, _, message in nl.messages(data):
            if kind in (nl.RTM_NEWADDR, nl.RTM_DELADDR):
                seen = nl.seen_address(nl.parse(message))
                if seen is not None:
                    self._changed((seen, kind == nl.RTM_NEWADDR))
            elif kind in (nl.RTM_NEWLINK, nl.RTM_DELLINK):
                if message[16] == socket.AF_UNSPEC:  # others tell of a bridge's ports
                    self._changed((nl.seen_link(nl.parse(message)), kind == nl.RTM_NEWLINK))
            elif kind not in (nl.RTM_NEWROUTE, nl.RTM_DELROUTE):
                self._ask(report=False)
            else:
                if not self._covers.take(message, there=kind == nl.RTM_NEWROUTE):
                    self._ask(report=True)
                if return_routes.concerns(message, config.return_route):
                    self._ask(report=False)

    def _changed(self, change: Change) -> None:
        if self._heard is not None:
            self._heard.append(change)
        seen, there = change
        if isinstance(seen, nl.SeenLink):
            was = self._view.links.get(seen.index)
            self._view.link(seen, there=there)
            # A new name is a new place for all that is on it.
            self._ask(report=was is not None and was.name != seen.name)
            self._say_link(seen.name)
        else:
            self._view.address(seen, there=there)
            self._say_address(seen.address)
            if seen.address not in self._wanted and self._covers.around(seen.address):
                self._ask(report=True)
            # The kernel flushes routes with the last address of their interface, and says nothing of them.
            if not self._view.is_loopback(seen.index):
                self._ask(report=False)

    def _say_link(self, interface: str) -> None:
        if interface in self._links and self._links[interface] is not self._view.up(interface):
            self._links[interface] = self._view.up(interface)
            self._post(ev.LinkSeen(interface, self._links[interface]))

    def _say_address(self, address: Address) -> None:
        state, before = self._view.state(address), self._addresses.get(address)
        recorded = self._owned.interface(address)
        if recorded is not None and address not in self._adding and self._view.host_on(address, recorded) is None:
            self._forget([address])
        ours = state is not None and state.ours
        if state == before or not (ours or before is not None or address in self._wanted):
            return
        if state is None:
            del self._addresses[address]
        else:
            self._addresses[address] = state
            if before is None and address in self._wanted:
                self._unasked.add(address)
                self._wake.set()
            if state.interface not in self._links:
                self._links[state.interface] = self._view.up(state.interface)
                self._post(ev.LinkSeen(state.interface, self._links[state.interface]))
        self._post(ev.AddressSeen(address, state))

    def _forget(self, addresses: Iterable[Address]) -> None:
        """An address that is gone is no longer ours: it belongs to whoever adds it next."""
        for address in addresses:
            self._owned.forget(address)
        self._wake.set()

    # --- looking ---

    async def _look(self) -> None:
        """Report changed addresses soon, and all addresses now and then, however busy the node is."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if loop.time() >= due or self._report_due:
                self._report_due = False
                due = loop.time() + self._resync_every
                await self._report()
            elif self._unasked:
                await asyncio.sleep(max(ROUTES_SETTLE, self._rest_until - loop.time()))
                await self._look_at_return_routes()
            if self._owned.unsaved:
                async with self._one_at_a_time:
                    await to_its_end(self._owned.save)
            if not self._report_due and not self._unasked:
                self._wake.clear()
                try:
                    async with asyncio.timeout_at(due):  # wait_for of Python 3.11 can lose a cancellation
                        await self._wake.wait()
                except TimeoutError:
                    pass  # it is due

    async def _report(self) -> None:
        """Report everything, also what was reported before."""
        if self._config is None:
            return
        if not self._looks:
            self._addresses, self._links, self._return_routes = {}, {}, {}
            self._unasked.clear()
            self._post(ev.KernelSeen({}, {}, {}))
            for subject in ("rp_filter", "arp"):
                self._post(ev.Warned(subject, ""))
            return
        await self._read()
        self._unasked |= self._wanted
        return_routes = await self._ask_return_routes()
        self._drain()
        config, view = self._config, self._view
        found = {address: view.state(address) for address in self._wanted | view.ours()}
        self._addresses = {address: state for address, state in found.items() if state is not None}
        names = {state.interface for state in self._addresses.values()} | {config.interface}
        self._links = {name: view.up(name) for name in names}
        self._return_routes = return_routes
        for address, interface in self._owned.addresses.items():
            if view.host_on(address, interface) is None and address not in self._adding:
                self._forget([address])
        covers = self._covers.report(view.others(self._wanted))
        self._post(ev.KernelSeen(dict(self._addresses), dict(self._links), dict(return_routes), covers))
        await self._warn(config)

    async def _read(self) -> None:
        """Read a dump, and the changes during it. Reports come from the old view until then."""
        heard: list[Change] = []
        self._heard = heard
        self._covers.hear()
        try:
            links = await asyncio.to_thread(nl.all_links)
            addresses = await asyncio.to_thread(nl.all_addresses)
            discarded = await asyncio.to_thread(blackholes.read_all)
            self._drain()
        finally:
            self._heard = None
        if len(heard) > HEARD_AT_ONCE:
            raise RuntimeError(f"{len(heard)} changes to addresses and links while they were being read")
        view = View(self._owned.has, links, addresses)
        for seen, there in heard:
            if isinstance(seen, nl.SeenLink):
                view.link(seen, there=there)
            else:
                view.address(seen, there=there)
        self._covers.read(discarded)
        self._view, self._known = view, True

    async def _ask_return_routes(self) -> dict[Address, ReturnRoute]:
        """The kernel's answer for each address on the node that was due; its earlier answer for the others.

        The kernel has no answer for an address that is not on the node.
        """
        config, asked = self._config, self._unasked
        self._unasked = set()
        if config is None or config.return_route is ReturnRouteRule.OFF:
            return dict.fromkeys(self._wanted, ReturnRoute(usable=True))
        there = [address for address in asked if self._view.state(address) is not None]
        loopback = [index for index in self._view.links if self._view.is_loopback(index)]
        loop = asyncio.get_running_loop()
        began = loop.time()
        answers = await asyncio.to_thread(return_routes.look, there, config.return_route, loopback)
        self._rest_until = loop.time() + min(ROUTES_REST, (ROUTES_SHARE - 1) * (loop.time() - began))
        self._drain()  # it may have gone while it was asked for
        fresh = {a: answer for a, answer in answers.items() if self._view.state(a) is not None}
        known = self._return_routes | fresh
        return {address: known[address] for address in self._wanted if address in known}

    async def _look_at_return_routes(self) -> None:
        found = await self._ask_return_routes()
        if found != self._return_routes:
            self._return_routes = found
            self._post(ev.ReturnRoutesSeen(dict(found)))

    async def _warn(self, config: KernelConfig) -> None:
        for subject, look, interfaces in (
            ("rp_filter", sysctls.strict_rp_filter, self._view.uplinks()),
            ("arp", sysctls.talkative_arp, self._view.shared_segments()),
        ):
            concerned = any(family_of(address) is Family.IPV4 for address in self._wanted)
            self._post(ev.Warned(subject, await asyncio.to_thread(look, interfaces) if concerned else ""))

    # --- actions ---

    def execute(self, action: KernelAction) -> None:
        """Begin an action; returns at once."""
        match action:
            case act.WatchKernel():
                self._config = action.config
                self._wanted = action.config.addresses
                self._covers.configure(action.config.covers)
                self._watched.set()
                self._ask(report=True)
            case act.Resync():
                self._ask(report=True)
            case act.AddAddresses() | act.RemoveAddresses():
                self._begin(self._change(action))
            case act.AddBlackholes() | act.RemoveBlackholes():
                self._begin(self._covers.change(action))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _change(self, action: AddressAction) -> None:
        """An action ends in exactly one event, also on failure. Its own changes are read before."""
        try:
            async with self._one_at_a_time:
                if not self._known:
                    raise RuntimeError("the kernel is not being watched just now")
                self._drain()
                work = self._add(action) if isinstance(action, act.AddAddresses) else self._remove(action)
                failures = await work
                self._drain()
            errors = {address: explain(code, address, action.interface) for address, code in failures.items()}
        except Exception as problem:
            errors = dict.fromkeys(action.addresses, (str(problem) or type(problem).__name__)[:300])
        ended = ev.AddressesAdded if isinstance(action, act.AddAddresses) else ev.AddressesRemoved
        self._post(ended(action.id, errors))

    async def _add(self, action: act.AddAddresses) -> Failures:
        """An address that is there already stays, and its owner stays."""
        index = await self._index(action.interface)
        if index is None:
            return dict.fromkeys(action.addresses, errno.ENODEV)
        missing = [a for a in action.addresses if self._view.host_on(a, action.interface) is None]
        try:
            if not self._marks:
                self._adding = frozenset(missing)
                await to_its_end(self._owned.add, missing, action.interface)
            failures = await to_its_end(partial(self._changes.add, missing, index, mark=self._marks))
            self._drain()
        finally:
            self._adding = frozenset()
        # If the kernel did not answer, the address may be there: its next report says so.
        self._forget(address for address, code in failures.items() if code != errno.ETIMEDOUT)
        return {address: code for address, code in failures.items() if code != errno.EEXIST}

    async def _remove(self, action: act.RemoveAddresses) -> Failures:
        """An address of somebody else stays, without an error. Its state shows the owner."""
        found = {address: self._view.host_on(address, action.interface) for address in action.addresses}
        ours = {a: seen.index for a, seen in found.items() if seen is not None and self._view.is_ours(seen)}
        if not ours:
            return {}
        failures = await to_its_end(self._changes.remove, ours, next(iter(ours.values())))
        self._drain()
        await to_its_end(self._owned.save)
        gone = (errno.EADDRNOTAVAIL, errno.ENODEV)
        return {address: code for address, code in failures.items() if code not in gone}

    async def _index(self, interface: str) -> int | None:
        found = self._view.named(interface)
        if found is None:  # it may be newer than what we have read
            found = next((link for link in await asyncio.to_thread(nl.all_links) if link.name == interface), None)
        return None if found is None else found.index

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._changes.close()
        self._covers.close()
