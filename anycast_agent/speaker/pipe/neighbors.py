"""ExaBGP's neighbors: their sessions, and the paths that they showed us. Pure.

ExaBGP reports a session by events. One may be lost with an earlier pipe, or ExaBGP fails to write it. So each round
trip compares its summary with this table. What a session carries is never believed across one that began anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from anycast_agent.speaker import wire
from anycast_agent.speaker.pipe import codec
from anycast_agent.speaker.pipe.accounts import Accounts
from anycast_agent.speaker.pipe.paths import Paths
from anycast_agent.speaker.pipe.peers import Peers
from anycast_agent.speaker.pipe.rib import Rib


class Neighbors:
    def __init__(self, rib: Rib, allow: frozenset[str], tell: Callable[[wire.ToAgent], None]) -> None:
        """``allow``: the prefixes of which paths are of interest. ``tell``: to the agent."""
        self._rib = rib
        self._tell = tell
        self.allow = allow
        self.peers = Peers()
        self._sessions: dict[str, tuple[str, str]] = {}
        """State and reason, by the neighbor's address."""
        self._accounts = Accounts()
        self._doubted: set[str] = set()
        """The last summary contradicted the last event."""
        self._opens: dict[str, wire.Open] = {}
        self._paths = Paths()

    def known(self, neighbor: str) -> bool:
        """True if ExaBGP has the neighbor, as far as it said."""
        return neighbor in self._sessions

    def messages(self) -> Iterator[wire.ToAgent]:
        """The replay of this table."""
        for neighbor in self._sessions:
            yield self._session_message(neighbor)
            if neighbor in self._opens:
                yield self._opens[neighbor]
        for path in self._paths:
            yield _path_message(path)

    # --- sessions ---

    def session(self, event: codec.SessionEvent) -> None:
        neighbor, state = event.neighbor, event.state
        if state == "up" and self._state(neighbor) == "up":
            self.session(
                codec.SessionEvent(neighbor, "unknown", "it began anew; ExaBGP did not tell that it had ended")
            )
        self._doubted.discard(neighbor)
        self._sessions[neighbor] = (state, event.why)
        self._rib.own.session(neighbor, state, event.own_address)
        self._tell(self._session_message(neighbor))
        if state == "up":
            self._accounts.begins(neighbor)
        else:
            self._accounts.ends(neighbor)
            self._rib.session_ends(neighbor)
            self._forget_paths(neighbor)

    def _state(self, neighbor: str) -> str:
        return self._sessions.get(neighbor, ("", ""))[0]

    def reported(self, neighbor: str) -> None:
        """ExaBGP reported an UPDATE that it sent."""
        self._accounts.reported(neighbor)

    def opened(self, event: codec.OpenEvent) -> None:
        """A router sent its OPEN."""
        said = wire.Open(event.neighbor, event.families, event.capabilities)
        self._opens[event.neighbor] = said
        self._tell(said)

    def summary_line(self, line: str) -> codec.Shown | None:
        """Take a line of ``show neighbor summary``. None: it is no neighbor.

        Raises ValueError the first time that a line could not be read.
        """
        shown = codec.parse_summary_line(line)
        if shown is None:
            if not codec.is_heading(line) and self.peers.could_not_read():
                raise ValueError(f"in the summary of its neighbors: {line[:100]!r}")
            return None
        self.peers.show(shown.neighbor, shown.up)
        state = self._state(shown.neighbor)
        if not state:
            self._found(shown)
        elif (state == "up") is not shown.up:
            self._doubt(shown)
        elif shown.up:
            self._audit(shown)
        elif self._rib.own.session(shown.neighbor, state):  # the uplink has come, or has another address
            self._tell(self._session_message(shown.neighbor))
        return shown

    def _found(self, shown: codec.Shown) -> None:
        self.session(codec.SessionEvent(shown.neighbor, "up" if shown.up else "down"))
        if shown.up:
            self._accounts.begins(shown.neighbor, shown.sent)
            self._rib.session_flows(shown.neighbor)

    def _doubt(self, shown: codec.Shown) -> None:
        """A summary can be ahead of an event by a moment. Two in a row without one: it was lost."""
        if shown.neighbor not in self._doubted:
            self._doubted.add(shown.neighbor)
        elif shown.up:
            self._unsure(shown, "ExaBGP did not tell that it came up")
        else:
            self.session(codec.SessionEvent(shown.neighbor, "down", "ExaBGP did not tell that it ended"))

    def _audit(self, shown: codec.Shown) -> None:
        self._doubted.discard(shown.neighbor)
        if not self._accounts.agrees(shown.neighbor, shown.sent, shown.age):
            self._unsure(shown, "ExaBGP did not tell of all that it sent on this session")
        elif self._accounts.lasts(shown.neighbor, fault=not self._rib.ledger.is_settled(shown.neighbor)):
            self._rib.say_again(shown.neighbor)

    def _unsure(self, shown: codec.Shown, why: str) -> None:
        """What the session carries is not known. Have ExaBGP say it again, and what the router said."""
        neighbor = shown.neighbor
        if self._state(neighbor) == "up":
            self.session(codec.SessionEvent(neighbor, "unknown", why))
        self.session(codec.SessionEvent(neighbor, "up"))
        self._accounts.begins(neighbor, shown.sent)
        self._rib.say_again(neighbor)
        self._rib.ask("show adj-rib in extensive", self.path_line, lambda _: None)

    def configuration_line(self, line: str) -> None:
        self.peers.configured += codec.parse_revision_line(line) is not None

    def _session_message(self, neighbor: str) -> wire.Session:
        state, why = self._sessions[neighbor]
        return wire.Session(neighbor, state, why, self._rib.own.of(neighbor))

    # --- paths ---

    def path_line(self, line: str) -> None:
        path = codec.parse_path_line(line)
        if path is not None:
            self.received(path)

    def received(self, path: codec.ReceivedPath) -> None:
        if path.prefix not in self.allow:
            return  # a router may send a whole table: only our own prefixes are of interest
        changed = self._paths.take(path)
        if changed is not None:
            self._tell(_path_message(changed))

    def _forget_paths(self, neighbor: str) -> None:
        for path in self._paths.of(neighbor):
            self.received(replace(path, as_path=None))

    # --- neighbors that went ---

    def round_trip(self) -> None:
        """A summary is complete: a neighbor that was taken out of the configuration has no session, and no routes."""
        present = self.peers.all_shown()
        if present is None:
            return
        known = dict.fromkeys([*self._sessions, *(neighbor for neighbor, _ in self._rib.ledger.entries)])
        gone = []
        for neighbor in [n for n in known if n not in present]:
            self._sessions.pop(neighbor, None)
            self._opens.pop(neighbor, None)
            self._accounts.forget(neighbor)
            self._forget_paths(neighbor)
            gone += self._rib.forget(neighbor)
        if gone:
            self._tell(wire.Dropped(tuple(gone), "ExaBGP has no such neighbor any more"))


def _path_message(path: codec.ReceivedPath) -> wire.Path:
    as_path = None if path.as_path is None else tuple(path.as_path)
    return wire.Path(path.neighbor, path.prefix, path.path_id, as_path, tuple(path.large_communities))
