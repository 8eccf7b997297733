"""The kernel adapter: reports addresses, links and ways back; adds and removes addresses. It decides nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyroute2
from pyroute2.netlink.exceptions import NetlinkError

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import (
    Address,
    AddressMode,
    AddressState,
    Config,
    Family,
    WayBackRule,
    address_of,
    prefix_of,
)
from anycast_agent.kernel import netlink as nl
from anycast_agent.kernel import sysctls
from anycast_agent.kernel.ownership import Ownership

ROUTES_SETTLE = 0.01
"""Changes of routes and links within so long are looked at together. Seconds."""

RESYNC_EVERY = 60.0
RECEIVE_BUFFER = 1 << 20

_IFF_UP, _IFF_BROADCAST, _IFF_LOOPBACK, _IFF_NOARP = 0x1, 0x2, 0x8, 0x80

KernelAction = act.AddAddress | act.RemoveAddress | act.WatchKernel | act.Resync


def kernel_marks() -> bool:
    """Whether this kernel has IFA_PROTO (5.18 and later): an older one ignores it without a word."""
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
        self._config: Config | None = None
        self._watched = asyncio.Event()
        self._look = asyncio.Event()
        self._names: dict[int, str] = {}
        self._loopback = 1
        self._addresses: dict[Address, AddressState] = {}
        self._present: dict[Address, dict[int, nl.SeenAddress]] = {}
        self._links: dict[str, bool] = {}
        self._all_links: dict[str, tuple[int, bool]] = {}
        self._way_back: dict[Family, bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()
        self._netlink: Any = None

    # --- watching ---

    async def run(self) -> None:
        """Report, until something fails; a monitor that ends raises. The next call reports in full."""
        await self._watched.wait()
        self._owned.load()
        # Heard of before it is read: nothing that happens between the two is missed.
        with nl.monitor(self._receive_buffer) as sock:
            hearing = asyncio.create_task(self._hear(sock))
            looking = asyncio.create_task(self._look_again())
            try:
                await self._report()
                done, _ = await asyncio.wait({hearing, looking}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                raise RuntimeError("the netlink monitor has ended")
            finally:
                hearing.cancel()
                looking.cancel()
                await asyncio.gather(hearing, looking, return_exceptions=True)

    async def _hear(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await loop.sock_recv(sock, 1 << 18)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                await self._report()  # more happened than the socket holds: only the whole is known to be right
                continue
            if not data:
                raise ConnectionError("the netlink monitor was closed")
            for kind, message in nl.messages(data):
                if kind in (nl.RTM_NEWADDR, nl.RTM_DELADDR):
                    self._address_changed(kind == nl.RTM_NEWADDR, nl.parse(message))
                else:
                    self._look.set()

    async def _look_again(self) -> None:
        """Links and routes, soon after they changed; everything now and then."""
        while True:
            try:
                await asyncio.wait_for(self._look.wait(), self._resync_every)
            except TimeoutError:
                await self._report()
                continue
            await asyncio.sleep(ROUTES_SETTLE)
            self._look.clear()
            await self._look_at_links()
            await self._look_at_ways_back()

    # --- reporting ---

    async def _report(self) -> None:
        """Everything, whatever was reported before."""
        config = self._config
        if config is None:
            return
        if config.address_mode is AddressMode.UNMANAGED:
            self._post(ev.KernelSeen({}, {}, dict.fromkeys(Family, True)))
            return
        await self._read_links()
        self._present = {}
        async for message in await (await self._open()).addr("dump"):
            self._remember(True, message)
        self._addresses = self._of_interest(config)
        self._links = self._links_of_interest()
        self._way_back = await self._ways_back(config)
        self._post(ev.KernelSeen(dict(self._addresses), dict(self._links), dict(self._way_back)))
        self._warn(config)

    async def _open(self) -> Any:
        if self._netlink is None:
            self._netlink = pyroute2.AsyncIPRoute()
            await self._netlink.setup_endpoint()
        return self._netlink

    def _remember(self, there: bool, message: Any) -> Address | None:
        seen = nl.seen_address(message)
        if seen is None:
            return None
        on = self._present.setdefault(seen.address, {})
        if there:
            on[seen.index] = seen
        else:
            on.pop(seen.index, None)
            if not on:
                del self._present[seen.address]
        return seen.address

    def _state(self, address: Address) -> AddressState | None:
        """As it stands on whatever interface has it; ours first where several do."""
        states = [
            AddressState(self._names.get(seen.index, str(seen.index)), self._is_ours(seen), seen.usable)
            for seen in self._present.get(address, {}).values()
        ]
        return next((s for s in states if s.ours), states[0] if states else None)

    def _is_ours(self, seen: nl.SeenAddress) -> bool:
        host = seen.length == (128 if ":" in seen.address else 32)
        return host and (seen.marked or seen.address in self._owned)

    def _of_interest(self, config: Config) -> dict[Address, AddressState]:
        wanted = {address_of(p) for s in config.services.values() for p in s.prefixes}
        ours = {a for a, on in self._present.items() if any(self._is_ours(seen) for seen in on.values())}
        found = {address: self._state(address) for address in wanted | ours}
        return {address: state for address, state in found.items() if state is not None}

    def _address_changed(self, there: bool, message: Any) -> None:
        address, config = self._remember(there, message), self._config
        if address is None or config is None or config.address_mode is AddressMode.UNMANAGED:
            return
        state = self._state(address)
        ours = state is not None and state.ours
        if not ours and address not in self._addresses and config.service_of(prefix_of(address)) is None:
            return
        if self._addresses.get(address) != state:
            if state is None:
                self._addresses.pop(address, None)
            else:
                self._addresses[address] = state
            self._post(ev.AddressSeen(address, state))

    # --- links ---

    async def _read_links(self) -> None:
        links: dict[str, tuple[int, bool]] = {}
        async for message in await (await self._open()).link("dump"):
            name = str(message.get_attr("IFLA_IFNAME"))
            state = message.get_attr("IFLA_OPERSTATE")
            # An interface without a carrier of its own (lo, dummy) calls itself UNKNOWN.
            up = bool(message["flags"] & _IFF_UP) and state in ("UP", "UNKNOWN")
            links[name] = (message["flags"], up)
            self._names[message["index"]] = name
            if message["flags"] & _IFF_LOOPBACK:
                self._loopback = message["index"]
        self._all_links = links

    def _links_of_interest(self) -> dict[str, bool]:
        names = {state.interface for state in self._addresses.values()}
        if self._config is not None:
            names.add(self._config.interface)
        return {name: self._all_links.get(name, (0, False))[1] for name in names}

    async def _look_at_links(self) -> None:
        await self._read_links()
        links = self._links_of_interest()
        for name, up in links.items():
            if self._links.get(name) is not up:
                self._post(ev.LinkSeen(name, up))
        self._links = links

    # --- ways back ---

    async def _ways_back(self, config: Config) -> dict[Family, bool]:
        if config.way_back is WayBackRule.OFF:
            return dict.fromkeys(Family, True)
        default_only = config.way_back is WayBackRule.DEFAULT
        families = {Family.IPV6 if ":" in p else Family.IPV4 for s in config.services.values() for p in s.prefixes}
        found = {}
        for family in families:
            found[family] = await asyncio.to_thread(
                nl.has_route, family, default_only=default_only, not_over=self._loopback
            )
        return found

    async def _look_at_ways_back(self) -> None:
        config = self._config
        if config is None or config.address_mode is AddressMode.UNMANAGED:
            return
        for family, usable in (await self._ways_back(config)).items():
            if self._way_back.get(family) is not usable:
                self._way_back[family] = usable
                self._post(ev.WayBackSeen(family, usable))

    # --- warnings ---

    def _warn(self, config: Config) -> None:
        plain = [n for n, (flags, _) in self._all_links.items() if flags & _IFF_UP and not flags & _IFF_LOOPBACK]
        has_v4 = any(":" not in p for s in config.services.values() for p in s.prefixes)
        shared = {
            self._names.get(seen.index, "")
            for on in self._present.values()
            for seen in on.values()
            if ":" not in seen.address and seen.length < 30
        }
        loud = [n for n in plain if n in shared and self._all_links[n][0] & _IFF_BROADCAST]
        loud = [n for n in loud if not self._all_links[n][0] & _IFF_NOARP]
        self._post(ev.Warned("rp_filter", sysctls.strict_rp_filter(plain) if has_v4 else ""))
        self._post(ev.Warned("arp", sysctls.talkative_arp(loud) if has_v4 else ""))

    # --- actions ---

    def execute(self, action: KernelAction) -> None:
        """Begin an action; returns at once."""
        match action:
            case act.WatchKernel():
                self._config = action.config
                if self._watched.is_set():
                    self._begin(self._report())
                self._watched.set()
            case act.Resync():
                if self._watched.is_set():
                    self._begin(self._report())
            case act.AddAddress():
                self._begin(self._add(action))
            case act.RemoveAddress():
                self._begin(self._remove(action))

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._post(ev.AdapterFailed(ev.Source.KERNEL, f"{type(error).__name__}: {error}"[:300]))

    async def _add(self, action: act.AddAddress) -> None:
        error: str | None = None
        try:
            async with self._one_at_a_time:
                if not self._marks:
                    await asyncio.to_thread(self._owned.add, action.address)
                await self._change("add", action)
        except (OSError, NetlinkError) as problem:
            if _code(problem) != errno.EEXIST:  # it is there already: that was what was wanted
                error = _explain(problem, action)
        self._post(ev.AddressAdded(action.id, error))

    async def _remove(self, action: act.RemoveAddress) -> None:
        error: str | None = None
        try:
            async with self._one_at_a_time:
                state = self._state(action.address)
                if state is not None and state.ours:  # someone else's is never removed
                    await self._change("del", action)
                if not self._marks:
                    await asyncio.to_thread(self._owned.discard, action.address)
        except (OSError, NetlinkError) as problem:
            if _code(problem) not in (errno.EADDRNOTAVAIL, errno.ENODEV):  # gone already
                error = _explain(problem, action)
        self._post(ev.AddressRemoved(action.id, error))

    async def _change(self, verb: str, action: act.AddAddress | act.RemoveAddress) -> None:
        index = next((i for i, name in self._names.items() if name == action.interface), None)
        if index is None:
            raise OSError(errno.ENODEV, f"there is no interface {action.interface}")
        length = 128 if ":" in action.address else 32
        values: dict[str, Any] = {"index": index, "address": action.address, "prefixlen": length}
        if verb == "add":
            if self._marks:
                values["proto"] = nl.IFA_PROTO_OURS
            if length == 128:
                # No duplicate detection: every copy of an anycast address is one. Preferred 0: it is never the source
                # of the node's own traffic.
                values |= {"flags": nl.IFA_F_NODAD, "preferred": 0, "valid": 0xFFFFFFFF}
        await (await self._open()).addr(verb, **values)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._netlink is not None:
            self._netlink.close()


def _code(problem: Exception) -> int | None:
    return problem.code if isinstance(problem, NetlinkError) else getattr(problem, "errno", None)


def _explain(problem: Exception, action: act.AddAddress | act.RemoveAddress) -> str:
    code = _code(problem)
    if code == errno.EPERM:
        return "not permitted: the agent needs CAP_NET_ADMIN, or node.addresses: verify"
    if code == errno.EACCES and ":" in action.address:
        return f"IPv6 is disabled here: sysctl -w net.ipv6.conf.{action.interface}.disable_ipv6=0"
    if code == errno.ENODEV:
        return f"there is no interface {action.interface}; see node.interface"
    return f"{errno.errorcode.get(code or 0, '')} {problem}".strip()
