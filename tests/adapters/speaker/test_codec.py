"""ExaBGP's commands and answers as text: as ExaBGP 5.0.15 reads and writes them."""

from __future__ import annotations

import pytest

from anycast_agent.core.model import Attributes
from anycast_agent.speaker import codec

COMMANDS = [
    (Attributes(), "attributes next-hop self nlri"),
    (Attributes(med=0), "attributes next-hop self med 0 nlri"),
    (Attributes("2001:db8::1", 50, 200), "attributes next-hop 2001:db8::1 med 50 local-preference 200 nlri"),
    (Attributes(as_path=(65101, 4200000001)), "attributes next-hop self as-path [ 65101 4200000001 ] nlri"),
    (
        Attributes(
            communities=("65535:0", "65000:7"),
            large_communities=("65101:1:2",),
            extended_communities=("target:65000:1", "bandwidth:65000:1250000", "0x0002fde800000009"),
        ),
        "attributes next-hop self community [ 65535:0 65000:7 ] large-community [ 65101:1:2 ] "
        "extended-community [ target:65000:1 bandwidth:65000:1250000 0x0002fde800000009 ] nlri",
    ),
]


@pytest.mark.parametrize(
    "line", ["", "done", "neighbor", "neighbor 192.0.2.1 local-ip 192.0.2.2 next-hop", "# a b c d e f g h i j"]
)
def test_a_line_that_is_no_route_is_none(line: str) -> None:
    """Whatever else ExaBGP answers with is passed over."""
    assert codec.parse_rib_line(line) is None
    assert codec.parse_path_line(line) is None


def test_the_summary_says_which_sessions_are_up() -> None:
    """Header and empty lines are no neighbors."""
    lines = [
        "Peer            AS        up/down state       |     #sent     #recvd",
        "127.0.0.1       65011     0:00:12 established           2          0",
        "2001:db8::1     4200000001   down idle                  0          0",
        "",
    ]
    read = [codec.parse_summary_line(line) for line in lines]
    assert read == [None, ("127.0.0.1", True), ("2001:db8::1", False), None]


@pytest.mark.parametrize(
    "prefix", ["192.0.2.0/24", "192.0.2.1", "192.0.2.1/33", "2001:DB8::1/128", "192.0.2.1/32 x", ""]
)
def test_only_host_routes_in_canonical_text_pass(prefix: str) -> None:
    """A covering prefix is never announced from here."""
    assert not codec.is_host_route(prefix)
    assert codec.is_host_route("192.0.2.1/32")
    assert codec.is_host_route("2001:db8::1/128")
