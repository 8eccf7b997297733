"""Messages from one part to the others within a turn. An event comes from outside; news come from a part, about
itself."""

from __future__ import annotations

from dataclasses import dataclass

from anycast_agent.core.model import Config, SessionState, SpeakerConfig


@dataclass(frozen=True, slots=True)
class ConfigApplied:
    """A configuration is in force from now on."""

    config: Config
    old: Config | None
    """None: this is the first one."""


@dataclass(frozen=True, slots=True)
class RoutersFound:
    """Neighbors without an address in the configuration have another one, or their first."""


@dataclass(frozen=True, slots=True)
class ReplayBegan:
    """The speaker is about to name every route in its ledger."""


@dataclass(frozen=True, slots=True)
class ReplayEnded:
    """The speaker has named every route in its ledger, and nothing was lost meanwhile."""


@dataclass(frozen=True, slots=True)
class SpeakerCame:
    """The pipe is there: attempts that failed because it was absent need not wait any longer."""


@dataclass(frozen=True, slots=True)
class SpeakerGone:
    """The speaker's routes are no longer known."""

    why: str


@dataclass(frozen=True, slots=True)
class ReplayNeeded:
    """A part no longer knows its own state in the speaker."""

    why: str


@dataclass(frozen=True, slots=True)
class SessionMoved:
    """A BGP session has another state."""

    neighbor: str
    state: SessionState


@dataclass(frozen=True, slots=True)
class SpeakerSetUp:
    """ExaBGP was configured or restarted, or the attempt failed."""

    error: str | None
    renewed: frozenset[str] = frozenset()
    """The neighbors that ExaBGP has anew, and of which it may have forgotten the routes."""
    settled: bool = False
    """ExaBGP has the configuration that is desired, or the attempt is over."""


@dataclass(frozen=True, slots=True)
class SpeakerTook:
    """ExaBGP has this configuration now."""

    config: SpeakerConfig
    desired: frozenset[str]
    """The neighbors that are desired; where another configuration follows, they are not those that ExaBGP has."""


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """This node's address at a neighbor, which next hop ``self`` stands for."""

    neighbor: str
    address: str | None
    """Empty: not known yet. None: left to ExaBGP."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The agent has begun to stop or to hand over."""

    why: str
    stop: bool
    """True: a stop, which withdraws. False: a hand-over, which leaves everything as it is."""
