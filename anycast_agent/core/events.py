"""What can happen. Every event is a fact in the past tense; what follows from it, the engine decides.

An event that ends an action carries the action's id in ``action``. Each action ends in exactly one such event.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar

from anycast_agent.core.consumers import AsideState
from anycast_agent.core.model import (
    Address,
    AddressState,
    Attributes,
    Config,
    CoverState,
    Prefix,
    ReturnRoute,
    RouteKey,
    SessionState,
    Will,
)
from anycast_agent.core.outcome import Outcome
from anycast_agent.core.requests import Asker, Request


class Source(StrEnum):
    """Who observes for us, and can be asked to report in full."""

    KERNEL = "kernel"
    SPEAKER = "speaker"


class Observation:
    """What somebody observed for us. Past the inbox's bound it is dropped, and its source is asked in full."""

    __slots__ = ()
    SOURCE: ClassVar[Source]


class Latest:
    """A later event says the same better: only the last one of a key waits in the inbox."""

    __slots__ = ()

    def coalesces_by(self) -> Hashable:
        raise NotImplementedError


# --- checks ---


@dataclass(frozen=True, slots=True)
class ProbeFinished:
    action: int
    outcome: Outcome
    duration: float = 0.0
    late: float = 0.0
    """For how much of that the agent itself could not look at its events. Seconds."""


# --- kernel ---


@dataclass(frozen=True, slots=True)
class KernelSeen:
    """A full report: what is not in it is not there."""

    addresses: Mapping[Address, AddressState]
    """Every host address (/32, /128) that is configured for a service, or that is marked as ours."""
    links: Mapping[str, bool]
    """The interfaces that carry those addresses or are configured to; True where up."""
    return_routes: Mapping[Address, ReturnRoute]
    """Of each configured address that is, or was, on the node; of another it is not known."""
    covers: Mapping[Prefix, CoverState] = field(default_factory=lambda: MappingProxyType({}))
    """Each configured cover, and each other one of which a blackhole route is marked as ours."""


@dataclass(frozen=True, slots=True)
class AddressSeen(Observation, Latest):
    SOURCE = Source.KERNEL

    address: Address
    state: AddressState | None
    """None: it is not on the node."""

    def coalesces_by(self) -> Hashable:
        return self.address


@dataclass(frozen=True, slots=True)
class LinkSeen(Observation, Latest):
    SOURCE = Source.KERNEL

    interface: str
    up: bool

    def coalesces_by(self) -> Hashable:
        return self.interface


@dataclass(frozen=True, slots=True)
class ReturnRoutesSeen(Observation, Latest):
    """Something has changed; all of them are told, as in KernelSeen."""

    SOURCE = Source.KERNEL

    return_routes: Mapping[Address, ReturnRoute]

    def coalesces_by(self) -> Hashable:
        return None


@dataclass(frozen=True, slots=True)
class RoutersSeen(Latest):
    """The link-local addresses of the routers on each interface that is watched for them."""

    routers: Mapping[str, tuple[Address, ...]]

    def coalesces_by(self) -> Hashable:
        return None


@dataclass(frozen=True, slots=True)
class CoverSeen(Observation, Latest):
    SOURCE = Source.KERNEL

    prefix: Prefix
    state: CoverState

    def coalesces_by(self) -> Hashable:
        return self.prefix


@dataclass(frozen=True, slots=True)
class AddressesAdded:
    action: int
    errors: Mapping[Address, str] = field(default_factory=dict)
    """Of those that could not be added."""


@dataclass(frozen=True, slots=True)
class AddressesRemoved:
    action: int
    errors: Mapping[Address, str] = field(default_factory=dict)
    """Of those that could not be removed."""


@dataclass(frozen=True, slots=True)
class BlackholesAdded:
    action: int
    errors: Mapping[Prefix, str] = field(default_factory=dict)
    """Of those that could not be added."""


@dataclass(frozen=True, slots=True)
class BlackholesRemoved:
    action: int
    errors: Mapping[Prefix, str] = field(default_factory=dict)
    """Of those that could not be removed."""


# --- speaker ---


@dataclass(frozen=True, slots=True)
class SpeakerConnected:
    """The pipe agreed on a version; its replay follows, then SpeakerSynced."""

    pipe: str
    """Which pipe, for people: its process id and version."""


@dataclass(frozen=True, slots=True)
class RouteFound(Observation):
    """The replay: a route in the pipe's ledger."""

    SOURCE = Source.SPEAKER

    key: RouteKey
    attributes: Attributes | None
    """None: the line is not one that we could have written."""
    will: Will
    sent: bool
    """ExaBGP reported the UPDATE that announces it, on the session that is up now."""
    confirmed: bool
    """This very agent process put or confirmed it."""


@dataclass(frozen=True, slots=True)
class SpeakerSynced:
    """The replay is complete: a route that was not in it is not in the ledger."""


@dataclass(frozen=True, slots=True)
class SpeakerLost:
    why: str


@dataclass(frozen=True, slots=True)
class SpeakerAnswered(Latest):
    """The answer to a heartbeat."""

    exabgp_age: float
    """Seconds since ExaBGP last answered the pipe."""

    def coalesces_by(self) -> Hashable:
        return None


@dataclass(frozen=True, slots=True)
class SessionChanged(Observation):
    SOURCE = Source.SPEAKER

    neighbor: str
    state: SessionState
    why: str = ""
    own_address: str | None = None
    """Our address on the session, which next hop ``self`` stands for; empty: not known yet; None: left to ExaBGP."""


@dataclass(frozen=True, slots=True)
class SendQueueSeen(Latest):
    """How much was sent on a session, and not taken by the router yet."""

    neighbor: str
    octets: int

    def coalesces_by(self) -> Hashable:
        return self.neighbor


@dataclass(frozen=True, slots=True)
class RoutesDone:
    """ExaBGP answered a PutRoutes, DropRoutes or ConfirmRoutes: ``done`` says parsed, not sent."""

    action: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class RoutesSent(Observation):
    """ExaBGP reported an UPDATE that it wrote to the session."""

    SOURCE = Source.SPEAKER

    neighbor: str
    announced: tuple[Prefix, ...] = ()
    withdrawn: tuple[Prefix, ...] = ()


@dataclass(frozen=True, slots=True)
class RoutesDropped(Observation):
    """The pipe dropped routes by itself: the dead-man's switch, or adoption that ran out."""

    SOURCE = Source.SPEAKER

    keys: tuple[RouteKey, ...]
    why: str


@dataclass(frozen=True, slots=True)
class PathSeen(Observation):
    """A router sent us a path for one of our prefixes."""

    SOURCE = Source.SPEAKER

    neighbor: str
    prefix: Prefix
    path_id: str
    as_path: tuple[int, ...] = ()
    large_communities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PathGone(Observation):
    SOURCE = Source.SPEAKER

    neighbor: str
    prefix: Prefix
    path_id: str


@dataclass(frozen=True, slots=True)
class SpeakerConfigured:
    """ConfigureSpeaker or RestartSpeaker ended; without an error, it was verified."""

    action: int
    error: str | None = None


# --- local consumers ---


@dataclass(frozen=True, slots=True)
class AsideSeen(Latest):
    """The rules of ours that the kernel has: a full report. An address that is not in it is at home."""

    states: Mapping[Address, AsideState]

    def coalesces_by(self) -> Hashable:
        return "aside"


@dataclass(frozen=True, slots=True)
class AsideSet:
    """SetAside ended."""

    action: int
    error: str | None = None


# --- people, and the process itself ---


@dataclass(frozen=True, slots=True)
class ConfigOffered:
    """A configuration that is valid in itself; the engine may still refuse what it would do."""

    config: Config
    force: bool = False
    request: int | None = None
    """Whom to reply to, where somebody asked."""
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The text of each file that it was read from, by path."""


@dataclass(frozen=True, slots=True)
class ConfigRejected:
    """A configuration that is not valid: nothing changes."""

    errors: tuple[str, ...]
    request: int | None = None


@dataclass(frozen=True, slots=True)
class StopAsked:
    why: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody asks for something. The part that the request concerns replies."""

    request: Request
    by: Asker


@dataclass(frozen=True, slots=True)
class FilesChecked:
    """CheckFiles ended."""

    action: int
    refused: tuple[str, ...] = ()
    """Why an agent could not start from the files as they are; empty if it could."""
    kept: bool = False
    """The configuration in force is on record: an agent would start from that."""


@dataclass(frozen=True, slots=True)
class DeadManExtended:
    action: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LoopWasLate:
    """Of the last ``over`` seconds, this process could not look at its events for ``lost``: it had no processor time,
    or was busy."""

    lost: float
    over: float


@dataclass(frozen=True, slots=True)
class AdapterFailed:
    """An adapter raised; the shell restarts it, and it then reports in full."""

    name: str
    error: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Events of this source were dropped: what we know of it is no longer known."""

    source: Source
    why: str


@dataclass(frozen=True, slots=True)
class Warned(Latest):
    """Something that a person should mend; ``text`` empty: it is mended."""

    subject: str
    text: str

    def coalesces_by(self) -> Hashable:
        return self.subject


Event = (
    ProbeFinished
    | KernelSeen
    | AddressSeen
    | LinkSeen
    | ReturnRoutesSeen
    | CoverSeen
    | RoutersSeen
    | AddressesAdded
    | AddressesRemoved
    | BlackholesAdded
    | BlackholesRemoved
    | SpeakerConnected
    | RouteFound
    | SpeakerSynced
    | SpeakerLost
    | SpeakerAnswered
    | SessionChanged
    | SendQueueSeen
    | RoutesDone
    | RoutesSent
    | RoutesDropped
    | PathSeen
    | PathGone
    | SpeakerConfigured
    | AsideSeen
    | AsideSet
    | ConfigOffered
    | ConfigRejected
    | StopAsked
    | Asked
    | FilesChecked
    | DeadManExtended
    | LoopWasLate
    | AdapterFailed
    | Lost
    | Warned
)
