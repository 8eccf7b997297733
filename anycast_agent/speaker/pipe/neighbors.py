"""ExaBGP's neighbors: their sessions, and the paths that they showed us. Pure.

ExaBGP reports a session by an event, which may be lost with an earlier pipe. So each round trip compares its summary
with this table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from anycast_agent.speaker import wire
from anycast_agent.speaker.pipe import codec
from anycast_agent.speaker.pipe.peers import Peers
from anycast_agent.speaker.pipe.rib import Rib

MAX_PATHS = 20_000


class Neighbors:
    def __init__(self, rib: Rib, allow: frozenset[str], tell: Callable[[wire.ToAgent], None]) -> None:
        """``allow``: the prefixes of which paths are of interest. ``tell``: to the agent."""
        self._rib = rib
        self._tell = tell
        self.allow = allow
        self.peers = Peers()
        self._sessions: dict[str, tuple[str, str]] = {}
        """State and reason, by the neighbor's address."""
        self._opens: dict[str, wire.Open] = {}
        self._paths: dict[tuple[str, str, str], codec.ReceivedPath] = {}

    def known(self, neighbor: str) -> bool:
        """True if ExaBGP has the neighbor, as far as it said."""
        return neighbor in self._sessions

    def messages(self) -> Iterator[wire.ToAgent]:
        """The replay of this table."""
        for neighbor in self._sessions:
            yield self._session_message(neighbor)
            if neighbor in self._opens:
                yield self._opens[neighbor]
        for path in self._paths.values():
            yield _path_message(path)

    # --- sessions ---

    def session(self, event: codec.SessionEvent) -> None:
        neighbor, state = event.neighbor, event.state
        self._sessions[neighbor] = (state, event.why)
        self._rib.own.session(neighbor, state, event.own_address)
        self._tell(self._session_message(neighbor))
        if state != "up":
            self._rib.flow.stops(neighbor)
        if state == "down":
            self._rib.ledger.session_down(neighbor)
            self._forget_paths(neighbor)

    def opened(self, event: codec.OpenEvent) -> None:
        """A router sent its OPEN."""
        said = wire.Open(event.neighbor, event.families, event.capabilities)
        self._opens[event.neighbor] = said
        self._tell(said)

    def summary_line(self, line: str) -> tuple[str, bool] | None:
        """Take a line of ``show neighbor summary``: the neighbor, and whether it is up. None: it is no such line.

        Raises ValueError the first time that a line could not be read.
        """
        found = codec.parse_summary_line(line)
        if found is None:
            if not codec.is_heading(line) and self.peers.could_not_read():
                raise ValueError(f"in the summary of its neighbors: {line[:100]!r}")
            return None
        neighbor, up = found
        self.peers.show(neighbor, up)
        state, _ = self._sessions.get(neighbor, ("", ""))
        if not state or (state == "up") is not up:  # an event was lost, with an earlier pipe at the latest
            self.session(codec.SessionEvent(neighbor, "up" if up else "down"))
            if up:
                self._rib.session_flows(neighbor)
        elif not up and self._rib.own.session(neighbor, state):  # the uplink has come, or has another address
            self._tell(self._session_message(neighbor))
        return found

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
        key = (path.neighbor, path.prefix, path.path_id)
        if path.prefix not in self.allow:
            return  # a router may send a whole table: only our own prefixes are of interest
        if path.as_path is None:
            self._paths.pop(key, None)
        elif key in self._paths or len(self._paths) < MAX_PATHS:
            self._paths[key] = path
        self._tell(_path_message(path))

    def _forget_paths(self, neighbor: str) -> None:
        for key in [k for k in self._paths if k[0] == neighbor]:
            self.received(codec.ReceivedPath(*key, as_path=None))

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
            self._forget_paths(neighbor)
            gone += self._rib.forget(neighbor)
        if gone:
            self._tell(wire.Dropped(tuple(gone), "ExaBGP has no such neighbor any more"))


def _path_message(path: codec.ReceivedPath) -> wire.Path:
    as_path = None if path.as_path is None else tuple(path.as_path)
    return wire.Path(path.neighbor, path.prefix, path.path_id, as_path, tuple(path.large_communities))
