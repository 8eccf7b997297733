"""A small ExaBGP in virtual time, as the pipe knows it: lines in, lines out, and a router behind each session.

It keeps what was seen of ExaBGP 5.0 (and is easy to get wrong):

- It answers each command with ``done`` or ``error``, in order, some time later. ``done`` says parsed, not sent.
- What it is told while a session is up and has sent its first turn goes out at once. What it is told before waits, and
  goes out when the session comes up: grouped by attributes, and not in the order of the commands.
- It reports each UPDATE that it writes, then End-of-RIB for each family.
- A session that ends loses what the router had. ExaBGP keeps its own Adj-RIB-Out, and sends it on the next session.
- Another API process finds all that there: sessions, routes, revision.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

Key = tuple[str, str]
"""(neighbor address, prefix)."""


@dataclass
class Peer:
    up: bool = False
    age: str = "0:00:01"
    """For how long, as ExaBGP writes it."""
    sent: int = 0
    """UPDATEs on this session, End-of-RIB included."""
    router: dict[str, str] = field(default_factory=dict)
    """What the router has from us: the head by the prefix."""
    waiting: list[tuple[str, str | None]] = field(default_factory=list)
    """(prefix, head, or None for a withdrawal) that the session has not carried yet, in the order of the commands."""


@dataclass
class ExaBGP:
    """``refuses``: the prefixes whose commands are answered ``error``. ``silent``: it does not answer at all."""

    own_address: str = "198.51.100.9"
    revision: str = "r1"
    peers: dict[str, Peer] = field(default_factory=dict)
    rib: dict[Key, str] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)
    refuses_puts: set[str] = field(default_factory=set)
    """The prefixes whose announcements are answered ``error``."""
    refuses_clear: bool = False
    resolves_self: bool = False
    """What ``self`` stands for is not known any more after a reload."""
    silent: bool = False
    hides: frozenset[str] = frozenset()
    """What it does not report: ``connected``, ``up``, ``down``, ``update``, ``eor``."""
    skips: frozenset[str] = frozenset()
    """Prefixes that its next session does not send, though it has them."""
    never: frozenset[str] = frozenset()
    """Prefixes that no session sends: the router takes no routes of their family."""
    ended: bool = False
    hear: list[str] = field(default_factory=list)
    """Lines for the API process, to be taken by the test."""
    updates: list[tuple[str, str, str | None]] = field(default_factory=list)
    """(neighbor, prefix, head or None) as the routers saw them."""
    own_addresses: dict[str, str] = field(default_factory=dict)
    """This node's address on a session, where it is not ``own_address``."""
    _queue: list[str] = field(default_factory=list)
    _due: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Changes that were answered, and are not sent yet."""

    def take(self) -> list[str]:
        lines, self.hear = self.hear, []
        return lines

    def told(self, line: str) -> None:
        """A command; it waits until ``work``."""
        self._queue.append(line)

    def work(self) -> bool:
        """Carry out the next command. False where there is none, or it is silent."""
        if self.silent or self.ended or not self._queue:
            return False
        line = self._queue.pop(0)
        self.hear.append("done" if self._carry_out(line) else "error")
        return True

    @property
    def owes(self) -> bool:
        """Whether something was told, and is not sent yet."""
        return bool(self._due)

    def send(self) -> bool:
        """Send what was told and answered. False where there is nothing."""
        due, self._due = self._due, []
        for neighbor, prefix, head in due:
            if neighbor in self.peers:
                self._send_or_wait(neighbor, prefix, head)
        return bool(due)

    def _carry_out(self, line: str) -> bool:
        words = line.split()
        if words[0] == "show":
            self.hear += self._shown(" ".join(words[1:]))
            return True
        if words[0] != "neighbor" or words[1] not in self.peers:
            return False
        neighbor, verb = words[1], words[2]
        if verb == "flush":
            return self._flush(neighbor)
        if verb == "clear":
            return self._clear(neighbor)
        at = words.index("nlri") + 1
        head, prefixes = " ".join(words[3:at]), words[at:]
        refused = self.refuses | (self.refuses_puts if verb == "announce" else set())
        if refused.intersection(prefixes) or ("next-hop self" in head and not self.resolves_self):
            return False
        for prefix in prefixes:
            self._change(neighbor, prefix, head if verb == "announce" else None)
        return True

    def _shown(self, what: str) -> list[str]:
        match what:
            case "adj-rib out extensive":
                return [self._rib_line(n, p, head) for (n, p), head in self.rib.items()]
            case "neighbor summary":
                heading = "Peer            AS        up/down state       |     #sent     #recvd"
                return [heading, *(_summary_line(n, p) for n, p in self.peers.items())]
            case "neighbor configuration":
                return [f'  description "{self.revision}";' for _ in self.peers]
        return []

    def _rib_line(self, neighbor: str, prefix: str, head: str) -> str:
        words = head.split()[1:-1]
        family = "ipv6" if ":" in prefix else "ipv4"
        before = f"neighbor {neighbor} local-ip {self.own_address} local-as 65101 peer-as 65011 router-id 198.51.100.1"
        return f"{before} family-allowed in-open {family} unicast {prefix} {' '.join(words)}"

    # --- routes ---

    def _change(self, neighbor: str, prefix: str, head: str | None) -> None:
        if head is None:
            self.rib.pop((neighbor, prefix), None)
        else:
            self.rib[neighbor, prefix] = head
        self._due.append((neighbor, prefix, head))

    def _send_or_wait(self, neighbor: str, prefix: str, head: str | None) -> None:
        peer = self.peers[neighbor]
        if peer.up:
            self._send(neighbor, prefix, head)
        else:
            peer.waiting.append((prefix, head))

    def _send(self, neighbor: str, prefix: str, head: str | None) -> None:
        peer = self.peers[neighbor]
        if peer.router.get(prefix) == head or prefix in self.never:
            return
        if head is None:
            peer.router.pop(prefix, None)
        else:
            peer.router[prefix] = head
        self.updates.append((neighbor, prefix, head))
        family = "ipv6 unicast" if ":" in prefix else "ipv4 unicast"
        entry = [{"nlri": prefix}]
        update = {"withdraw": {family: entry}} if head is None else {"announce": {family: {"hop": entry}}}
        self._report(neighbor, "update", update)

    def _report(self, neighbor: str, kind: str, said: object) -> None:
        self.peers[neighbor].sent += 1
        if kind not in self.hides:
            self._event(neighbor, type="update", direction="send", message={kind: said})

    def _flush(self, neighbor: str) -> bool:
        if not self.peers[neighbor].up:
            return False
        for (peer, prefix), head in list(self.rib.items()):
            if peer == neighbor:
                self.peers[neighbor].router.pop(prefix, None)
                self._send(neighbor, prefix, head)
        return True

    def _clear(self, neighbor: str) -> bool:
        if self.refuses_clear:
            return False
        for key in [k for k in self.rib if k[0] == neighbor]:
            self._change(*key, None)
        return True

    # --- sessions ---

    def session(self, neighbor: str, *, up: bool) -> None:
        peer = self.peers.setdefault(neighbor, Peer())
        if peer.up is up:
            return
        peer.up, peer.sent, peer.age = up, 0, "0:00:01"
        if not up:
            peer.router.clear()
            self._state(neighbor, "down", reason="peer reset")
            return
        self._state(neighbor, "connected")
        self._state(neighbor, "up")
        self._first_turn(neighbor)

    def _state(self, neighbor: str, state: str, **said: object) -> None:
        if state not in self.hides:
            self._event(neighbor, type="state", state=state, **said)

    def _first_turn(self, neighbor: str) -> None:
        """What waited goes out by attributes, withdrawals first: an announcement may win over a later withdrawal."""
        peer, waiting = self.peers[neighbor], self.peers[neighbor].waiting
        peer.waiting = []
        changed = {prefix for prefix, _ in waiting}
        for (n, prefix), head in list(self.rib.items()):
            if n == neighbor and prefix not in changed | self.skips:
                self._send(neighbor, prefix, head)
        self.skips = frozenset()
        for prefix, head in sorted(waiting, key=lambda change: change[1] or ""):
            self._send(neighbor, prefix, head)
        for afi in ("ipv4", "ipv6"):
            self._report(neighbor, "eor", {"afi": afi, "safi": "unicast"})

    def _event(self, neighbor: str, type: str, **said: object) -> None:  # noqa: A002
        own = self.own_addresses.get(neighbor, self.own_address)
        about = {"address": {"local": own, "peer": neighbor}, **said}
        self.hear.append(json.dumps({"exabgp": "5.0.0", "type": type, "neighbor": about}))

    # --- its end ---

    def end(self) -> None:
        """SIGTERM, or a crash: the sessions go, and the routers drop what they had of them."""
        self.ended = True
        self.rib.clear()
        self._queue.clear()
        self._due.clear()
        for peer in self.peers.values():
            peer.up = False
            peer.router.clear()
            peer.waiting.clear()

    def routers(self) -> dict[Key, str]:
        """What the routers have from us."""
        return {(n, prefix): head for n, peer in self.peers.items() for prefix, head in peer.router.items()}


def _summary_line(neighbor: str, peer: Peer) -> str:
    age, state = (peer.age, "established") if peer.up else ("down", "active")
    return f"{neighbor:15} {65011:<7} {age:>9} {state:<12} {peer.sent:>10} {1:>10}"
