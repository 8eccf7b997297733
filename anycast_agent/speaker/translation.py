"""Between the core's words and the wire's: actions as messages, messages as events. Pure.

The wire names a neighbor by its address, because ExaBGP does. The core names it by its configured name.
"""

from __future__ import annotations

from collections.abc import Iterator

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import RouteKey, SessionState, SpeakerConfig, Will
from anycast_agent.speaker import notifications, wire
from anycast_agent.speaker.pipe import codec

STATES = {"up": SessionState.UP, "connected": SessionState.CONNECTED, "down": SessionState.DOWN}

RouteAction = act.PutRoutes | act.DropRoutes | act.ConfirmRoutes | act.ExtendDeadMan


class Translation:
    """Knows the neighbors' names, and why their last sessions ended."""

    def __init__(self) -> None:
        self._config = SpeakerConfig()
        self._names: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        """Addresses by name, also of neighbors that are being removed or renamed, until that is done."""
        self._known: set[str] = set()
        self.up: set[str] = set()
        """The neighbors whose sessions are up."""
        self._ended: dict[str, str] = {}
        """The NOTIFICATION that ended the last session, in words, by neighbor."""

    # --- neighbors ---

    def begin(self, config: SpeakerConfig) -> None:
        """ExaBGP is about to be given this configuration: the old names still hold beside the new ones."""
        self._config = config
        self._names.update({n.address: n.name for n in config.neighbors.values()})
        self._addresses.update({n.name: n.address for n in config.neighbors.values()})

    def configured(self) -> list[ev.Event]:
        """ExaBGP has it. Of a neighbor that is no longer configured, nothing is warned of."""
        self._names = {n.address: n.name for n in self._config.neighbors.values()}
        self._addresses = {n.name: n.address for n in self._config.neighbors.values()}
        gone, self._known = self._known - self._addresses.keys(), set(self._addresses)
        for name in gone:
            self._ended.pop(name, None)
            self.up.discard(name)
        return [ev.Warned(f"{subject} {name}", "") for name in gone for subject in ("session", "families of")]

    def _name(self, address: str) -> str:
        return self._names.get(address, address)

    def _address(self, name: str) -> str:
        return self._addresses.get(name, name)

    # --- actions ---

    def request(self, action: RouteAction, number: int) -> wire.Request:
        """The request, by this number, that carries out an action."""
        match action:
            case act.PutRoutes():
                head = codec.head(action.attributes)
                return wire.Put(number, self._address(action.neighbor), action.prefixes, head, action.will)
            case act.DropRoutes():
                return wire.Drop(number, self._keys(action.keys))
            case act.ConfirmRoutes():
                return wire.Confirm(number, self._keys(action.keys))
            case act.ExtendDeadMan():
                return wire.Extend(number, action.seconds)

    def _keys(self, keys: tuple[RouteKey, ...]) -> tuple[wire.Key, ...]:
        return tuple((self._address(key.neighbor), key.prefix) for key in keys)

    @staticmethod
    def ended(action: RouteAction, done: wire.Done) -> ev.Event:
        """The one event in which an action ends."""
        if isinstance(action, act.ExtendDeadMan):
            return ev.DeadManExtended(action.id, done.error)
        return ev.RoutesDone(action.id, done.error)

    # --- messages ---

    def events(self, message: wire.ToAgent | wire.Unknown) -> Iterator[ev.Event]:
        """The events of a message. Answers to requests, and the connection's end, are not for the core."""
        match message:
            case wire.Welcome():
                yield ev.SpeakerConnected(message.pipe)
            case wire.Route():
                key = RouteKey(self._name(message.neighbor), message.prefix)
                will = Will.KEEP if message.will == Will.KEEP else Will.WITHDRAW
                attributes = codec.parse_head(message.head)
                yield ev.RouteFound(key, attributes, will, message.sent, message.confirmed)
            case wire.Synced():
                yield ev.SpeakerSynced()
            case wire.Session():
                yield from self._session(message)
            case wire.Open():
                yield self._open(message)
            case wire.Path(neighbor, prefix, path_id, None):
                yield ev.PathGone(self._name(neighbor), prefix, path_id)
            case wire.Path():
                as_path = message.as_path or ()
                yield ev.PathSeen(self._name(message.neighbor), message.prefix, message.id, as_path, message.large)
            case wire.Sent():
                yield ev.RoutesSent(self._name(message.neighbor), message.announced, message.withdrawn)
            case wire.Dropped():
                keys = tuple(RouteKey(self._name(neighbor), prefix) for neighbor, prefix in message.keys)
                yield ev.RoutesDropped(keys, message.why)
            case wire.HeartbeatAnswer():
                yield ev.SpeakerAnswered(message.exabgp_age)
            case wire.Notification(direction="receive"):
                code = (message.code, message.subcode)
                yield from self._end(self._name(message.neighbor), "received", code, message.text)

    def _session(self, message: wire.Session) -> Iterator[ev.Event]:
        name, state = self._name(message.neighbor), STATES.get(message.state, SessionState.UNKNOWN)
        own = message.own_address
        own = own if own is None or codec.is_address(own) else ""
        (self.up.add if state is SessionState.UP else self.up.discard)(name)
        why = ""
        if state is SessionState.UP:
            self._ended.pop(name, None)
            yield ev.Warned(f"session {name}", "")
        elif state is SessionState.DOWN:
            found = notifications.in_reason(message.why)
            if found is not None and (found[0] == "sent" or name not in self._ended):
                yield from self._end(name, found[0], found[1], "")
            why = self._why(name, message.why, told=found is not None)
        yield ev.SessionChanged(name, state, why, own)

    def _why(self, name: str, why: str, *, told: bool) -> str:
        """The reason why the session is down, in words. A NOTIFICATION's text is kept until the session is up again:
        the attempts after it fail for the same reason."""
        ended = self._ended.get(name, "")
        if told or not ended:
            return ended or why
        return f"{ended}; since then: {why}" if why else ended

    def _end(self, name: str, direction: str, code: notifications.Code, text: str) -> Iterator[ev.Event]:
        """A NOTIFICATION ended the session; a person is warned of an end that does not pass by itself."""
        self._ended[name] = notifications.ended(direction, code, text)
        remedy = notifications.remedy(direction, code)
        if remedy:
            yield ev.Warned(f"session {name}", f"{self._ended[name]}; {remedy}")

    def _open(self, message: wire.Open) -> ev.Event:
        name = self._name(message.neighbor)
        neighbor, offered = self._config.neighbors.get(name), frozenset(message.families)
        missing = [str(family) for family in neighbor.families if family not in offered] if neighbor else []
        which = " and no ".join(missing)
        text = f"the router takes no {which} routes on this session: activate that there, or leave it out of families"
        if not message.capabilities:
            text = "the router sent no capabilities (RFC 5492), and gets no routes: let it send them, or update it"
        return ev.Warned(f"families of {name}", text if missing else "")
