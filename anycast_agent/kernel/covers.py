"""The covers on this node: the blackhole route of each, and whether an address of the node itself is inside."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_network

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import Address, CoverState, Prefix
from anycast_agent.kernel import blackholes, routes
from anycast_agent.kernel.blackholes import Found, Seen
from anycast_agent.kernel.changes import Changes, Failures
from anycast_agent.kernel.threads import to_its_end

BlackholeAction = act.AddBlackholes | act.RemoveBlackholes


class Covers:
    """As netlink last told, and the actions on their routes. It decides nothing."""

    def __init__(self, post: Callable[[ev.Event], None], drain: Callable[[], None]) -> None:
        """``drain``: hear now what has happened up to now."""
        self._post = post
        self._drain = drain
        self._configured: dict[tuple[int, bytes], Prefix] = {}
        self._lengths: dict[int, tuple[int, ...]] = {}
        self._there: Found = {}
        self._heard: list[tuple[Seen, bool]] | None = None
        self._strangers: dict[Prefix, Address] = {}
        self._reported: dict[Prefix, CoverState] = {}
        self._one_at_a_time = asyncio.Lock()
        self._changes = Changes()

    def configure(self, prefixes: Iterable[Prefix]) -> None:
        networks = [ip_network(prefix) for prefix in prefixes]
        self._configured = {(n.prefixlen, n.network_address.packed): str(n) for n in networks}
        self._lengths = {v: tuple({n.prefixlen for n in networks if n.version == v}) for v in (4, 6)}

    def close(self) -> None:
        self._changes.close()

    # --- heard ---

    def take(self, message: bytes, *, there: bool) -> bool:
        """A route came or went. False: what that means for a cover is only seen when all is read anew."""
        if not blackholes.is_ours(message) and not (self._configured and routes.prefix(message) in self._configured):
            return True
        seen = blackholes.seen(message)
        if seen is None or self._there.get(seen.prefix, seen.ours) is not seen.ours:
            return not blackholes.in_main(message)  # another type of route took its place, or there are two
        if self._heard is not None:
            self._heard.append((seen, there))
        self._note(seen, there=there)
        self._say(seen.prefix)
        return True

    def _note(self, seen: Seen, *, there: bool) -> None:
        if there:
            self._there[seen.prefix] = seen.ours
        else:
            self._there.pop(seen.prefix, None)

    def _say(self, prefix: Prefix) -> None:
        state = self._state(prefix)
        if (prefix in self._reported or prefix in self._told()) and self._reported.get(prefix) != state:
            self._reported[prefix] = state
            self._post(ev.CoverSeen(prefix, state))

    # --- read ---

    def hear(self) -> None:
        """Keep what is heard from now on, until all has been read."""
        self._heard = []

    def read(self, found: Found) -> None:
        """All that was read, then what was heard meanwhile."""
        heard, self._heard, self._there = self._heard or [], None, found
        for seen, there in heard:
            self._note(seen, there=there)

    def report(self, strangers: Iterable[Address]) -> dict[Prefix, CoverState]:
        """All of them. ``strangers``: the node's own addresses."""
        inside = ((prefix, address) for address in sorted(strangers, reverse=True) for prefix in self.around(address))
        self._strangers = dict(inside)
        self._reported = {prefix: self._state(prefix) for prefix in self._told()}
        return dict(self._reported)

    def _told(self) -> set[Prefix]:
        """Each configured cover, and whatever else is ours."""
        return {*self._configured.values(), *(prefix for prefix, ours in self._there.items() if ours)}

    def _state(self, prefix: Prefix) -> CoverState:
        return CoverState(prefix in self._there, self._there.get(prefix, False), self._strangers.get(prefix))

    def around(self, address: Address) -> list[Prefix]:
        """The configured covers that hold an address."""
        ip = ip_address(address)
        bits, number = ip.max_prefixlen, int(ip)
        keys = ((n, (number >> bits - n << bits - n).to_bytes(bits // 8)) for n in self._lengths.get(ip.version, ()))
        return [self._configured[key] for key in keys if key in self._configured]

    # --- actions ---

    async def change(self, action: BlackholeAction) -> None:
        """An action ends in exactly one event, also on failure. It does not wait for one on addresses."""
        add = isinstance(action, act.AddBlackholes)
        try:
            async with self._one_at_a_time:
                failures = await (self._add(action.prefixes) if add else self._remove(action.prefixes))
                self._drain()
            errors = {prefix: blackholes.explain(code, prefix) for prefix, code in failures.items()}
        except Exception as problem:
            errors = dict.fromkeys(action.prefixes, (str(problem) or type(problem).__name__)[:300])
        self._post((ev.BlackholesAdded if add else ev.BlackholesRemoved)(action.id, errors))

    async def _add(self, prefixes: Iterable[Prefix]) -> Failures:
        """One that is there already is as it should be, and stays whose it is."""
        bodies = {prefix: blackholes.request(prefix, there=True) for prefix in prefixes}
        failures = await to_its_end(self._changes.add_routes, bodies)
        self._drain()
        return {p: code for p, code in failures.items() if code != errno.EEXIST or p not in self._there}

    async def _remove(self, prefixes: Iterable[Prefix]) -> Failures:
        bodies = {prefix: blackholes.request(prefix, there=False) for prefix in prefixes}
        failures = await to_its_end(self._changes.remove_routes, bodies)
        return {prefix: code for prefix, code in failures.items() if code != errno.ESRCH}
