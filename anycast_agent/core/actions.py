"""What the engine asks of the shell. Adapters execute; they compare nothing and decide nothing.

Actions with an ``id`` end in exactly one event that carries it. The engine times them: one that is overdue makes
what it was about Unknown, and asks for a Resync.
"""

from __future__ import annotations

from dataclasses import dataclass

from anycast_agent.core.events import Source
from anycast_agent.core.model import Address, Attributes, Check, KernelConfig, Prefix, RouteKey, SpeakerConfig, Will


@dataclass(frozen=True, slots=True, order=True)
class CheckKey:
    service: str
    check: str
    prefix: Prefix = ""
    """The prefix whose address this run of the check asks; empty for a check with a target of its own."""

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
    """Ends in AddressesRemoved. Only what is marked as ours is removed."""

    id: int
    addresses: tuple[Address, ...]
    interface: str


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
    """Bring ExaBGP's neighbors, and the prefixes that the pipe passes, to what is given. Ends in SpeakerConfigured."""

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
    """What the kernel adapter is to look for from now on. Answered by KernelSeen; has no id."""

    config: KernelConfig


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


EndingAction = (
    RunProbe
    | AddAddresses
    | RemoveAddresses
    | PutRoutes
    | DropRoutes
    | ConfirmRoutes
    | ConfigureSpeaker
    | RestartSpeaker
    | ExtendDeadMan
)
"""Each of these has an ``id``, and ends in exactly one event."""

Action = EndingAction | Heartbeat | Resync | WatchKernel | Reply | Exit
