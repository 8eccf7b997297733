"""What ExaBGP 5.0.15 wrote as it ran, in golden files; what is passed on to it; and when two heads say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from anycast_agent.core.model import Attributes
from anycast_agent.speaker.pipe import codec

GOLDEN = Path(__file__).parent / "golden"


def test_the_events_of_exabgp_are_read() -> None:
    """Sessions, UPDATEs sent and received, withdrawals, a NOTIFICATION, the end of what waited for a session."""
    lines = (GOLDEN / "events.jsonl").read_text().splitlines()
    read = [event for line in lines for event in codec.parse_event(line)]
    peer = "127.0.0.1"
    assert read == [
        codec.SessionEvent(peer, "connected", own_address=peer),
        codec.SessionEvent(peer, "up", own_address=peer),
        codec.EndOfRibEvent(peer),
        codec.EndOfRibEvent(peer),
        codec.SentEvent(peer, ("192.0.2.1/32", "192.0.2.2/32"), ()),
        codec.SentEvent(peer, ("192.0.2.3/32",), ()),
        codec.SentEvent(peer, ("2001:db8:53::1/128",), ()),
        codec.SentEvent(peer, ("2001:db8:53::2/128",), ()),
        codec.ReceivedPath(peer, "192.0.2.6/32", "", (65011, 65102)),
        codec.ReceivedPath(peer, "192.0.2.6/32", "", None),
        codec.NotificationEvent(peer, "receive", 6, 1),
        codec.SessionEvent(peer, "down", "notification received (6,1)", peer),
        codec.SessionEvent(peer, "down", "stop, message [shutting down]", peer),
    ]


def test_what_exabgp_shows_of_its_routes_is_what_was_announced() -> None:
    """A respawned pipe reads them: words for well-known communities, addresses for numbers, octets for a bandwidth."""
    lines = (GOLDEN / "adj-rib-out.txt").read_text().splitlines()
    read = [codec.parse_rib_line(line) for line in lines]
    assert [(r[0], r[1]) for r in read if r] == [
        ("127.0.0.1", p)
        for p in (*(f"192.0.2.{n}/32" for n in (1, 3, 4, 5, 6)), "2001:db8:53::1/128")
    ]  # fmt: skip
    attributes = [codec.parse_head(r[2]) for r in read if r]
    assert attributes[0] == Attributes(
        "127.0.0.1",
        med=70,
        as_path=(65101, 65101),
        communities=("65000:7", "65535:0", "65535:65281"),
        large_communities=("65101:0:4294967295", "65101:1:2"),
        extended_communities=(
            "target:65000:1",
            "target:65000:9",
            "origin:65000:2",
            "target:192.0.2.1:5",
            "bandwidth:65000:1250000",
        ),
    )
    assert attributes[1] == Attributes("192.0.2.77", None, 200, (4200000001,), extended_communities=("target:65000:1",))
    assert attributes[2] == Attributes("127.0.0.1", extended_communities=("origin:65000:2",))
    assert attributes[5] == Attributes(
        "2001:db8::1", 5, communities=("65000:7",), extended_communities=("bandwidth:65000:1000",)
    )


@pytest.mark.parametrize(
    "value", ["shutdown", "target:reset", "x 0x00", "target:65000:1 shutdown", "bandwidth:crash:1"]
)
def test_an_extended_community_holds_no_word_of_exabgp(value: str) -> None:
    """``shutdown`` anywhere in a line ends ExaBGP: only the kinds we know pass, with numbers."""
    assert codec.parse_head(f"attributes next-hop self extended-community [ {value} ] nlri") is None


def test_numbers_are_ascii_digits() -> None:
    """Other scripts have digits too: one of them could not be written to ExaBGP, and the pipe would end over it."""
    assert codec.parse_head("attributes next-hop self med ٣ nlri") is None


@pytest.mark.parametrize(
    "text", ["fe80::1%x shutdown", "fe80::1%a\nshutdown", "192.0.2.1 ", "192.0.2.01", "", "2001:DB8::1"]
)
def test_a_neighbor_is_an_address_in_canonical_text(text: str) -> None:
    """An IPv6 scope may hold anything, even a newline: it does not pass."""
    assert not codec.is_address(text)
    assert codec.is_address("192.0.2.1")
    assert codec.is_address("2001:db8::1")


def test_the_same_route_in_other_words_is_the_same_route() -> None:
    """ExaBGP sorts communities, and sends no UPDATE for what it has announced: sent stays true."""
    one = codec.head(Attributes(communities=("65535:0", "65000:7"), extended_communities=("origin:65000:2",)))
    other = codec.head(Attributes(communities=("65000:7", "65535:0"), extended_communities=("origin:65000:0.0.0.2",)))
    assert codec.same_route(one, other)
    assert not codec.same_route(one, codec.head(Attributes(communities=("65535:0", "65000:8"))))
