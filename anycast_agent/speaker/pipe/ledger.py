"""The pipe's ledger: the routes that ExaBGP has from us, their agents, and each route's will if the agent dies.

Pure, with time as an argument (monotonic seconds). The pipe does the I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from anycast_agent.core.model import is_host_route
from anycast_agent.speaker.pipe.codec import same_route
from anycast_agent.speaker.wire import Key

KEEP = "keep"


@dataclass(slots=True)
class Entry:
    head: str
    will: str = "withdraw"
    sent: bool = False
    """ExaBGP reported the UPDATE, on the session that is up now."""
    agent: str = ""
    """Which agent put or confirmed it; empty: found with ExaBGP when the pipe started."""
    unconfirmed_since: float | None = None
    """No living agent stands behind it since then."""
    unconfirmed_for: float = 0.0
    """For a route to be kept: the time that agents were present without confirming it, up to the last one's leave."""
    leaving: bool = False
    """The pipe withdraws it by itself, and waits for ExaBGP."""


class Ledger:
    """Three clocks. Without a heartbeat for ``dead_man`` the wills are carried out. A route that no agent confirms is
    withdrawn after ``adopt_for``, also with heartbeats, so that a crash loop does not keep it. A route whose will is to
    keep it is withdrawn after ``keep_for`` without a heartbeat: nobody is responsible for it any more."""

    def __init__(self, dead_man: float, adopt_for: float, now: float, keep_for: float = 86_400.0) -> None:
        self.dead_man = dead_man
        self.adopt_for = adopt_for
        self.keep_for = keep_for
        self.entries: dict[Key, Entry] = {}
        self.strays: set[Key] = set()
        """Routes that were withdrawn, while the last report about them is that they were announced."""
        self.agent = ""
        self.connected = False
        self.last_heartbeat = now
        self.waits_until = now
        """An agent that hands over may ask for more time than the dead-man's switch has."""
        self.fired = False

    def configure(self, dead_man: float, adopt_for: float, keep_for: float) -> None:
        self.dead_man, self.adopt_for, self.keep_for = dead_man, adopt_for, keep_for

    # --- agents ---

    def hello(self, agent: str, now: float) -> None:
        """An agent has come. Routes that another one put are unconfirmed from now on, if they were not already."""
        same = agent == self.agent
        self.agent, self.connected = agent, True
        for entry in self.entries.values():
            if same and entry.agent == agent:
                entry.unconfirmed_since = None
            elif entry.agent != agent and (entry.unconfirmed_since is None or entry.unconfirmed_since > now):
                entry.unconfirmed_since = now - entry.unconfirmed_for
        if self.waits_until > now:  # the awaited agent has come: its first heartbeat has the usual time
            self.waits_until = self.last_heartbeat = now

    def gone(self, now: float) -> None:
        """The agent has gone, for any cause. For a route to be kept, the next agent's presence runs the clock."""
        self.connected = False
        for entry in self.entries.values():
            if entry.will == KEEP:
                if entry.unconfirmed_since is not None:
                    entry.unconfirmed_for, entry.unconfirmed_since = now - entry.unconfirmed_since, None
            elif entry.unconfirmed_since is None:
                entry.unconfirmed_since = max(now, self.waits_until)

    def heartbeat(self, now: float) -> None:
        self.last_heartbeat, self.fired = now, False

    def extend(self, seconds: float, now: float) -> None:
        self.waits_until = now + seconds

    # --- routes ---

    def found(self, key: Key, head: str, now: float) -> None:
        """ExaBGP had the route when the pipe started: its agent is unknown. Only a last resort's will is known: it is
        kept, so its clock runs while an agent is present."""
        will = "withdraw" if is_host_route(key[1]) else KEEP
        runs = will != KEEP or self.connected
        self.entries.setdefault(key, Entry(head, will, unconfirmed_since=now if runs else None))

    def put(self, keys: Iterable[Key], head: str, will: str, agent: str) -> dict[Key, Entry | None]:
        """Called before ExaBGP is told: the route may be there from now on, whatever the answer. Returns the entry
        before."""
        before = {}
        for key in keys:
            old = before[key] = self.entries.get(key)
            # A report about other attributes says nothing of these. The report comes after the answer.
            sent = old is not None and old.sent and same_route(old.head, head)
            self.entries[key] = Entry(head, will, sent, agent)
        return before

    def restore(self, before: dict[Key, Entry | None]) -> None:
        """ExaBGP refused: it still has the entry before."""
        for key, old in before.items():
            new = self.entries.pop(key, None)
            if old is not None:
                if old.unconfirmed_since is None and new is not None:
                    old.unconfirmed_since = new.unconfirmed_since  # its agent may have gone meanwhile
                self.entries[key] = old

    def confirm(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if (entry := self.entries.get(key)) is not None:
                entry.agent, entry.unconfirmed_since, entry.unconfirmed_for = self.agent, None, 0.0

    def leaving(self, keys: Iterable[Key]) -> None:
        """Their withdrawals wait for ExaBGP: the clock need not ring for them again."""
        for key in keys:
            if (entry := self.entries.get(key)) is not None:
                entry.unconfirmed_since, entry.leaving = None, True

    def again(self, keys: Iterable[Key], now: float, after: float) -> None:
        """Their withdrawal failed: their clock rings again in ``after`` seconds."""
        for key in keys:
            if (entry := self.entries.get(key)) is not None:
                entry.will, entry.leaving = "withdraw", False
                entry.unconfirmed_since = now - self.adopt_for + after

    def drop(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.entries.pop(key, None)

    def sent(self, neighbor: str, announced: Iterable[str], withdrawn: Iterable[str] = ()) -> None:
        """ExaBGP reported an UPDATE; the last one about a route is what the router has."""
        for carried, prefixes in ((False, withdrawn), (True, announced)):
            for prefix in prefixes:
                if (entry := self.entries.get((neighbor, prefix))) is not None:
                    entry.sent = carried
                (self.strays.add if carried and entry is None else self.strays.discard)((neighbor, prefix))

    def session_ends(self, neighbor: str) -> None:
        """What it carried is gone, or not known."""
        for (peer, _), entry in self.entries.items():
            if peer == neighbor:
                entry.sent = False
        self.strays = {key for key in self.strays if key[0] != neighbor}

    def is_settled(self, neighbor: str) -> bool:
        """True if the router has just the routes of the ledger, by ExaBGP's reports."""
        unsent = any(peer == neighbor and not entry.sent for (peer, _), entry in self.entries.items())
        return not unsent and not self.strays_of(neighbor)

    def strays_of(self, neighbor: str) -> list[Key]:
        return [key for key in self.strays if key[0] == neighbor]

    # --- the clocks ---

    def deadline(self) -> float | None:
        """When one of the clocks next rings."""
        times = []
        if not self.fired and self.entries:
            times.append(self._dead_at())
        times += [self._expires(e) for e in self.entries.values() if self._clock_runs(e)]
        if any(e.will == KEEP and not e.leaving for e in self.entries.values()):
            times.append(self._kept_until())
        return min(times) if times else None

    def overdue(self, now: float) -> tuple[list[Key], str]:
        """The routes that are to be withdrawn now, and why. Asking is ringing: the dead-man's switch fires once."""
        if not self.fired and now >= self._dead_at():
            self.fired = True
            keys = [key for key, entry in self.entries.items() if entry.will != KEEP]
            if keys:
                return keys, f"no heartbeat of the agent for {now - self.last_heartbeat:.1f} s"
        if now >= self._kept_until():
            kept = [key for key, entry in self.entries.items() if entry.will == KEEP and not entry.leaving]
            if kept:
                return kept, f"to be kept, and no heartbeat of an agent for {self.keep_for:g} s"
        late = [k for k, e in self.entries.items() if self._clock_runs(e) and now >= self._expires(e)]
        return late, f"not confirmed by an agent for {self.adopt_for:g} s"

    def _kept_until(self) -> float:
        return max(self.last_heartbeat + self.keep_for, self.waits_until)

    def _dead_at(self) -> float:
        return max(self.last_heartbeat + self.dead_man, self.waits_until)

    def _clock_runs(self, entry: Entry) -> bool:
        return entry.unconfirmed_since is not None and (entry.will != KEEP or self.connected)

    def _expires(self, entry: Entry) -> float:
        return (entry.unconfirmed_since or 0.0) + self.adopt_for
