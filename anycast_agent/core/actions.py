"""The engine's actions. Adapters carry them out; they compare nothing and decide nothing.

An action with an ``id`` ends in exactly one event that carries it. The engine times it: if it is overdue, its subject
becomes Unknown, and the engine asks for a Resync.
"""

from __future__ import annotations

from dataclasses import dataclass

from anycast_agent.core.consumers import AsideConfig, AsideState
from anycast_agent.core.events import Source
from anycast_agent.core.model import Address, Attributes, Check, KernelConfig, Prefix, RouteKey, SpeakerConfig, Will


@dataclass(frozen=True, slots=True, order=True)
class CheckKey:
    service: str
    check: str
    prefix: Prefix = ""
    """The prefix whose address this run asks; empty for a check with a target of its own."""

    def __str__(self) -> str:
        return f"{self.service}/{self.check}" + (f"@{self.prefix.partition('/')[0]}" if self.prefix else "")


@dataclass(frozen=True, slots=True)
class RunProbe:
    """Ends in ProbeFinished, within ``check.timeout``."""

    id: int
    key: CheckKey
    check: Check


@dataclass(frozen=True, slots=True)
class AddAddresses:
    """Ends in AddressesAdded. One action on addresses, at most, is open: its deadline runs from its own start."""

    id: int
    addresses: tuple[Address, ...]
    interface: str


@dataclass(frozen=True, slots=True)
class RemoveAddresses:
    """Ends in AddressesRemoved. Only addresses that are marked as ours are removed."""

    id: int
    addresses: tuple[Address, ...]
    interface: str


@dataclass(frozen=True, slots=True)
class AddBlackholes:
    """Discard what is sent to these prefixes and matches nothing longer. Ends in BlackholesAdded."""

    id: int
    prefixes: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class RemoveBlackholes:
    """Ends in BlackholesRemoved. Only what is marked as ours is removed."""

    id: int
    prefixes: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class PutRoutes:
    """Announce prefixes of one family, with the same attributes, to one neighbor. Ends in RoutesDone."""

    id: int
    neighbor: str
    prefixes: tuple[Prefix, ...]
    attributes: Attributes
    will: Will


@dataclass(frozen=True, slots=True)
class DropRoutes:
    """Withdraw. Ends in RoutesDone."""

    id: int
    keys: tuple[RouteKey, ...]


@dataclass(frozen=True, slots=True)
class ConfirmRoutes:
    """The route that was found is the desired one: the pipe stops its adoption clock. Ends in RoutesDone."""

    id: int
    keys: tuple[RouteKey, ...]


@dataclass(frozen=True, slots=True)
class ConfigureSpeaker:
    """Give ExaBGP these neighbors, and let the pipe pass these prefixes. Ends in SpeakerConfigured."""

    id: int
    config: SpeakerConfig
    changed: tuple[str, ...]
    """The neighbors that differ: added, removed, altered."""


@dataclass(frozen=True, slots=True)
class RestartSpeaker:
    """End a wedged ExaBGP that we started, and start another. Ends in SpeakerConfigured."""

    id: int
    why: str


@dataclass(frozen=True, slots=True)
class ExtendDeadMan:
    """Ends in DeadManExtended."""

    id: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Proof that deciding works. Answered by SpeakerAnswered; has no id."""


@dataclass(frozen=True, slots=True)
class Resync:
    """Report in full: KernelSeen, or RouteFound … SpeakerSynced. The full report is the answer; has no id."""

    source: Source
    why: str


@dataclass(frozen=True, slots=True)
class WatchKernel:
    """The addresses and rules that the kernel adapter observes from now on. Answered by KernelSeen; has no id."""

    config: KernelConfig


@dataclass(frozen=True, slots=True)
class WatchRouters:
    """Report the routers on these interfaces from now on. Answered by RoutersSeen; has no id."""

    interfaces: frozenset[str]


@dataclass(frozen=True, slots=True)
class SetAside:
    """Bring one address to HOME, ASIDE or RETURNING. Ends in AsideSet."""

    id: int
    address: Address
    state: AsideState
    gateways: tuple[Address, ...] = ()
    """The routers that take this node's packets while it is aside."""


@dataclass(frozen=True, slots=True)
class WatchAside:
    """The addresses that may go aside from now on. Answered by AsideSeen; has no id."""

    config: AsideConfig


@dataclass(frozen=True, slots=True)
class ReadConfig:
    """Read, validate and try the configuration's files. Ends in ConfigOffered or ConfigRejected; has no id."""

    force: bool
    request: int | None


@dataclass(frozen=True, slots=True)
class CheckFiles:
    """Could an agent start from the files as they are? Ends in FilesChecked."""

    id: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a person's request."""

    request: int
    ok: bool
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exit:
    code: int
    why: str
    hand_over: bool = False
    """True: leave the speaker running."""
    asked: bool = False
    """A person asked for the hand-over, and starts the next agent."""


EndingAction = (
    RunProbe
    | AddAddresses
    | RemoveAddresses
    | AddBlackholes
    | RemoveBlackholes
    | PutRoutes
    | DropRoutes
    | ConfirmRoutes
    | ConfigureSpeaker
    | RestartSpeaker
    | ExtendDeadMan
    | SetAside
    | CheckFiles
)
"""Each of these has an ``id``, and ends in exactly one event."""

Action = EndingAction | Heartbeat | Resync | WatchKernel | WatchRouters | WatchAside | ReadConfig | Reply | Exit
