"""The two other tables of the core: the agent's life cycle, and its link to the speaker. Total over state × event."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Life(StrEnum):
    """The stages of the agent's life."""

    STARTING = "starting"
    """Configuration, kernel, or the speaker's routes are not known yet."""
    RUNNING = "running"
    STOPPING = "stopping"
    """Withdraw, linger, remove the addresses."""
    HANDING_OVER = "handing_over"
    """End, and leave everything as it is for the next agent."""
    ENDED = "ended"


class LifeEvent(StrEnum):
    ALL_KNOWN = "all_known"
    STOP_ASKED = "stop_asked"
    HAND_OVER_ASKED = "hand_over_asked"
    FINISHED = "finished"
    """Nothing is left to do, or the time for it is up."""


L, E = Life, LifeEvent
LIFE_TABLE: Mapping[tuple[Life, LifeEvent], Life] = {
    (L.STARTING, E.ALL_KNOWN): L.RUNNING,
    (L.STARTING, E.STOP_ASKED): L.STOPPING,
    (L.STARTING, E.HAND_OVER_ASKED): L.HANDING_OVER,
    (L.STARTING, E.FINISHED): L.ENDED,
    (L.RUNNING, E.ALL_KNOWN): L.RUNNING,
    (L.RUNNING, E.STOP_ASKED): L.STOPPING,
    (L.RUNNING, E.HAND_OVER_ASKED): L.HANDING_OVER,
    (L.RUNNING, E.FINISHED): L.ENDED,
    (L.STOPPING, E.ALL_KNOWN): L.STOPPING,
    (L.STOPPING, E.STOP_ASKED): L.STOPPING,
    # The withdrawn routes would not come back: a stop is finished as a stop.
    (L.STOPPING, E.HAND_OVER_ASKED): L.STOPPING,
    (L.STOPPING, E.FINISHED): L.ENDED,
    (L.HANDING_OVER, E.ALL_KNOWN): L.HANDING_OVER,
    # systemd sends SIGTERM to the rest of the unit after a hand-over: this does not cancel the hand-over.
    (L.HANDING_OVER, E.STOP_ASKED): L.HANDING_OVER,
    (L.HANDING_OVER, E.HAND_OVER_ASKED): L.HANDING_OVER,
    (L.HANDING_OVER, E.FINISHED): L.ENDED,
    (L.ENDED, E.ALL_KNOWN): L.ENDED,
    (L.ENDED, E.STOP_ASKED): L.ENDED,
    (L.ENDED, E.HAND_OVER_ASKED): L.ENDED,
    (L.ENDED, E.FINISHED): L.ENDED,
}


class Link(StrEnum):
    """The state of the link to the speaker."""

    ABSENT = "absent"
    SYNCING = "syncing"
    """Connected; the replay of its routes is under way."""
    SYNCED = "synced"
    WEDGED = "wedged"
    """Connected, and it, or ExaBGP behind it, does not answer."""


class LinkEvent(StrEnum):
    CONNECTED = "connected"
    REPLAYED = "replayed"
    RESYNC = "resync"
    """We asked for the replay again."""
    LOST = "lost"
    SILENT = "silent"
    """No answer for too long."""
    ANSWERED = "answered"


K, V = Link, LinkEvent
LINK_TABLE: Mapping[tuple[Link, LinkEvent], Link] = {
    (K.ABSENT, V.CONNECTED): K.SYNCING,
    (K.ABSENT, V.REPLAYED): K.ABSENT,
    (K.ABSENT, V.RESYNC): K.ABSENT,
    (K.ABSENT, V.LOST): K.ABSENT,
    (K.ABSENT, V.SILENT): K.ABSENT,
    (K.ABSENT, V.ANSWERED): K.ABSENT,
    (K.SYNCING, V.CONNECTED): K.SYNCING,
    (K.SYNCING, V.REPLAYED): K.SYNCED,
    (K.SYNCING, V.RESYNC): K.SYNCING,
    (K.SYNCING, V.LOST): K.ABSENT,
    (K.SYNCING, V.SILENT): K.WEDGED,
    (K.SYNCING, V.ANSWERED): K.SYNCING,
    (K.SYNCED, V.CONNECTED): K.SYNCING,
    (K.SYNCED, V.REPLAYED): K.SYNCED,
    (K.SYNCED, V.RESYNC): K.SYNCING,
    (K.SYNCED, V.LOST): K.ABSENT,
    (K.SYNCED, V.SILENT): K.WEDGED,
    (K.SYNCED, V.ANSWERED): K.SYNCED,
    (K.WEDGED, V.CONNECTED): K.SYNCING,
    # A replay that ends is an answer, but one that may have begun before the silence: ask again.
    (K.WEDGED, V.REPLAYED): K.WEDGED,
    (K.WEDGED, V.RESYNC): K.WEDGED,
    (K.WEDGED, V.LOST): K.ABSENT,
    (K.WEDGED, V.SILENT): K.WEDGED,
    (K.WEDGED, V.ANSWERED): K.SYNCING,
}
