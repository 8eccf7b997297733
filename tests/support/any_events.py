"""Every event that there is, with values that nobody expects."""

from __future__ import annotations

from hypothesis import strategies as st

from anycast_agent.core import events as ev
from anycast_agent.core.consumers import AsideState
from anycast_agent.core.model import (
    AddressState,
    Attributes,
    CoverState,
    ReturnRoute,
    RouteKey,
    SessionState,
    Will,
    address_of,
)
from anycast_agent.core.outcome import Evidence, Outcome
from anycast_agent.core.requests import Asker, HandOver, Reload
from tests.support.faults import COVERS, PREFIXES, configs

NUMBERS = st.integers(0, 60)
TEXTS = st.sampled_from(("", "leaf1", "leaf2", "leaf9", "kernel", "speaker", "x" * 5000, "\x00é"))
PREFIX = st.sampled_from((*PREFIXES, *COVERS, "203.0.113.9/32", "2001:db8::9/128"))
ADDRESS = PREFIX.map(address_of)
KEY = st.builds(RouteKey, TEXTS, PREFIX)
ERROR = st.none() | TEXTS
ERRORS = st.dictionaries(ADDRESS, TEXTS, max_size=3)
STATE = st.none() | st.builds(AddressState, st.sampled_from(("lo", "eth9")), st.booleans(), st.booleans())
ATTRIBUTES = st.sampled_from((None, Attributes(), Attributes(med=50)))
PREFIX_LISTS = st.lists(PREFIX, max_size=3).map(tuple)
CONFIG = st.sampled_from(configs())
COVER_STATE = st.builds(CoverState, st.booleans(), st.booleans(), st.none() | ADDRESS)
RETURN_ROUTES = st.dictionaries(ADDRESS, st.builds(ReturnRoute, st.booleans(), TEXTS), max_size=4)
OUTCOME = st.builds(Outcome, st.sampled_from(Evidence), TEXTS, TEXTS, by_time=st.booleans())
REQUEST = st.builds(Reload, st.booleans()) | st.builds(HandOver, st.none() | st.floats(0, 99))
EVENTS = st.one_of(
    st.builds(ev.ProbeFinished, NUMBERS, OUTCOME, st.floats(), st.floats()),
    st.builds(
        ev.KernelSeen,
        st.dictionaries(ADDRESS, STATE.filter(bool), max_size=4),
        st.dictionaries(st.sampled_from(("lo", "eth9")), st.booleans()),
        RETURN_ROUTES,
        st.dictionaries(PREFIX, COVER_STATE, max_size=3),
    ),
    st.builds(ev.AddressSeen, ADDRESS, STATE),
    st.builds(ev.LinkSeen, TEXTS, st.booleans()),
    st.builds(ev.ReturnRoutesSeen, RETURN_ROUTES),
    st.builds(ev.CoverSeen, PREFIX, COVER_STATE),
    st.builds(ev.BlackholesAdded, NUMBERS, st.dictionaries(PREFIX, TEXTS, max_size=3)),
    st.builds(ev.BlackholesRemoved, NUMBERS, st.dictionaries(PREFIX, TEXTS, max_size=3)),
    st.builds(ev.AddressesAdded, NUMBERS, ERRORS),
    st.builds(ev.AddressesRemoved, NUMBERS, ERRORS),
    st.builds(ev.SpeakerConnected, TEXTS),
    st.builds(ev.RouteFound, KEY, ATTRIBUTES, st.sampled_from(Will), st.booleans(), st.booleans()),
    st.builds(ev.SpeakerSynced),
    st.builds(ev.SpeakerLost, TEXTS),
    st.builds(ev.SpeakerAnswered, st.floats()),
    st.builds(ev.SessionChanged, TEXTS, st.sampled_from(SessionState), TEXTS, st.none() | TEXTS),
    st.builds(ev.SendQueueSeen, TEXTS, NUMBERS),
    st.builds(ev.RoutesDone, NUMBERS, ERROR),
    st.builds(ev.RoutesSent, TEXTS, PREFIX_LISTS, PREFIX_LISTS),
    st.builds(ev.RoutesDropped, st.lists(KEY, max_size=3).map(tuple), TEXTS),
    st.builds(ev.PathSeen, TEXTS, PREFIX, TEXTS, st.sampled_from(((), (65101,), (65001, 65101)))),
    st.builds(ev.PathGone, TEXTS, PREFIX, TEXTS),
    st.builds(ev.SpeakerConfigured, NUMBERS, ERROR),
    st.builds(
        ev.RoutersSeen,
        st.dictionaries(st.sampled_from(("up0", "up1")), st.lists(st.sampled_from(("fe80::1", "fe80::2"))).map(tuple)),
    ),
    st.builds(ev.AsideSeen, st.dictionaries(ADDRESS, st.sampled_from(AsideState), max_size=4)),
    st.builds(ev.AsideSet, NUMBERS, ERROR),
    st.builds(ev.ConfigOffered, CONFIG, st.booleans(), st.none() | NUMBERS),
    st.builds(ev.ConfigRejected, st.lists(TEXTS, max_size=2).map(tuple), st.none() | NUMBERS),
    st.builds(ev.StopAsked, TEXTS),
    st.builds(ev.LoopWasLate, st.floats(0, 9), st.floats(0, 9)),
    st.builds(ev.Asked, REQUEST, st.builds(Asker, TEXTS, st.none() | NUMBERS)),
    st.builds(ev.FilesChecked, NUMBERS, st.lists(TEXTS, max_size=2).map(tuple), st.booleans()),
    st.builds(ev.DeadManExtended, NUMBERS, ERROR),
    st.builds(ev.AdapterFailed, TEXTS, TEXTS),
    st.builds(ev.Lost, st.sampled_from(ev.Source), TEXTS),
    st.builds(ev.Warned, TEXTS, TEXTS),
)
RARE = (ev.StopAsked, ev.Asked)
"""Ends: where they came as often as the rest, no story would get far."""
