"""Our routes at ExaBGP: its Adj-RIB-Out, as far as it comes from us, and the commands that change it. Pure.

A route is in the ledger before ExaBGP is told of it, and leaves it only after ExaBGP has acknowledged the withdrawal.
Withdrawals overtake everything that waits; a put that was overtaken is given up, never said afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from anycast_agent.core.model import Attributes
from anycast_agent.speaker.pipe import codec
from anycast_agent.speaker.pipe.exchange import Command, Exchange, Job
from anycast_agent.speaker.pipe.flow import Announced, Flow
from anycast_agent.speaker.pipe.ledger import Entry, Ledger
from anycast_agent.speaker.pipe.own_address import UNSPECIFIED, OwnAddresses
from anycast_agent.speaker.pipe.refusals import Refusals
from anycast_agent.speaker.pipe.requests import RefusedError, chunks, command_line
from anycast_agent.speaker.wire import Key

MAX_QUEUE = 10_000
"""Requests that wait for ExaBGP."""

Then = Callable[[str | None], None]
"""The callback, with ExaBGP's error or None."""


class Rib:
    def __init__(
        self, ledger: Ledger, own: OwnAddresses, clock: Callable[[], float], say: Callable[[str], None]
    ) -> None:
        """``clock``: the time of the input that is being handled. ``say``: to the log."""
        self.ledger = ledger
        self.own = own
        self.exchange = Exchange()
        self.flow = Flow()
        self.refusals = Refusals()
        self._clock = clock
        self._say = say

    def ask(self, command: str, on_text: Callable[[str], None], then: Then, owner: int | None = None) -> None:
        """Ask ExaBGP something; ``on_text`` gets each line of its answer."""
        self.add(Job(lambda: [Command(command)], then, on_text, owner))

    def add(self, job: Job, *, urgent: bool = False) -> None:
        """Raises RefusedError if too much waits already. The pipe's own jobs are always accepted."""
        if len(self.exchange) >= MAX_QUEUE and job.owner is not None:
            raise RefusedError("too many requests wait for ExaBGP")
        self.exchange.add(job, urgent=urgent)

    # --- announcing ---

    def put(self, routes: list[Announced], will: str, agent: str, owner: int, then: Then) -> None:
        """Announce. ``agent``: the agent that answers for the routes; ``owner``: the connection that asked."""
        keys = frozenset((neighbor, prefix) for neighbor, prefix, _ in routes)

        def make() -> list[Command]:
            return [self._announcement(chunk, will, agent) for chunk in chunks(routes)]

        self.add(Job(make, then, owner=owner, announces=keys))

    def _announcement(self, chunk: list[Announced], will: str, agent: str) -> Command:
        keys = [(neighbor, prefix) for neighbor, prefix, _ in chunk]
        before: dict[Key, Entry | None] = {}

        def begins() -> None:
            before.update(self.ledger.put(keys, chunk[0][2], will, agent))

        def ends(error: str | None) -> None:
            if error is None:
                self.flow.told(chunk)
                self.refusals.over(keys)
            else:
                self.ledger.restore(before)

        return Command(command_line("announce", chunk), begins, ends)

    # --- withdrawing ---

    def withdraw(self, keys: list[Key], known: Callable[[str], bool], then: Then, owner: int | None = None) -> None:
        """Withdraw ahead of everything that waits, with the attributes that were announced.

        ``known``: whether ExaBGP has the neighbor. Where it has not, no router has a route, and an error is no refusal.
        """

        def make() -> list[Command]:
            entries = self.ledger.entries
            routes = [(*key, entries[key].head) for key in keys if key in entries]
            return [self._withdrawal(chunk, known) for chunk in chunks(routes)]

        self.exchange.overtake(frozenset(keys))
        self.add(Job(make, then, owner=owner), urgent=True)

    def _withdrawal(self, chunk: list[Announced], known: Callable[[str], bool]) -> Command:
        keys = [(neighbor, prefix) for neighbor, prefix, _ in chunk]

        def ends(error: str | None) -> None:
            if error is None:
                self.flow.told(chunk)
                self.gone(keys)
            elif known(chunk[0][0]):
                self.refusals.refused(keys, self._clock())

        return Command(self._withdrawal_line(chunk), ends=ends)

    def _withdrawal_line(self, chunk: list[Announced]) -> str:
        """Never with ``self``: a withdrawal depends on no address. With the one that was announced, if it is known."""
        neighbor, prefix, head = chunk[0]
        address = self.own.of(neighbor) or UNSPECIFIED[":" in prefix]
        return command_line("withdraw", [(n, p, codec.with_next_hop(head, address)) for n, p, _ in chunk])

    def clear(self, neighbor: str, then: Callable[[list[Key]], None]) -> None:
        """Withdraw all routes of a neighbor, by a command that names none of them. ``then`` gets those that went."""

        def finish(error: str | None) -> None:
            if error is not None:
                return  # the next step of the escalation follows
            routes = [(*key, entry.head) for key, entry in self.ledger.entries.items() if key[0] == neighbor]
            keys = [(n, p) for n, p, _ in routes]
            self.flow.told(routes)
            self.gone(keys)
            then(keys)

        self.exchange.overtake(frozenset(key for key in self.ledger.entries if key[0] == neighbor))
        self.add(Job(lambda: [Command(f"neighbor {neighbor} clear adj-rib out")], finish), urgent=True)

    def gone(self, keys: Iterable[Key]) -> None:
        """ExaBGP has these routes no more."""
        keys = list(keys)
        self.ledger.drop(keys)
        self.refusals.over(keys)

    # --- sessions ---

    def session_flows(self, neighbor: str) -> None:
        """A session came up, and its queue was sent. For each route that changed more than once meanwhile, the last
        command is repeated."""
        changed = self.flow.starts(neighbor)
        if changed:
            self._repeat(neighbor, changed)

    def say_again(self, neighbor: str) -> None:
        """All routes of a session that is up, and the withdrawals of those that the router still has."""
        strays = [(*key, codec.head(Attributes())) for key in self.ledger.strays_of(neighbor)]
        self._repeat(neighbor, [*self.flow.starts(neighbor), *strays])

    def _repeat(self, neighbor: str, changed: list[Announced]) -> None:
        """All routes are announced again. ``changed``: is withdrawn again where it is gone."""

        def make() -> list[Command]:
            entries = self.ledger.entries
            gone = chunks(route for route in changed if route[:2] not in entries)
            flush = Command(f"neighbor {neighbor} flush adj-rib out")
            return [flush, *(Command(self._withdrawal_line(chunk)) for chunk in gone)]

        def then(error: str | None) -> None:
            if error is not None:  # the session is down again, most likely: ExaBGP flushes only one that is up
                self._say(f"routes were not said again to {neighbor}: {error}")

        self.add(Job(make, then), urgent=True)

    def session_ends(self, neighbor: str) -> None:
        """It carries nothing, or it is not known what."""
        self.flow.stops(neighbor)
        self.ledger.session_ends(neighbor)

    def forget(self, neighbor: str) -> list[Key]:
        """ExaBGP has no such neighbor any more. Returns the routes that went with it."""
        self.flow.forget(neighbor)
        self.own.forget(neighbor)
        keys = [key for key in self.ledger.entries if key[0] == neighbor]
        self.gone(keys)
        return keys
