"""ExaBGP's commands and answers as text: as ExaBGP 5.0.15 reads and writes them."""

from __future__ import annotations

import pytest
from exabgp.bgp.neighbor import NeighborTemplate
from hypothesis import given
from hypothesis import strategies as st

from anycast_agent.core.model import Attributes
from anycast_agent.speaker.pipe import codec

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


@pytest.mark.parametrize(("attributes", "head"), COMMANDS)
def test_a_head_is_written_as_exabgp_reads_it_and_read_back(attributes: Attributes, head: str) -> None:
    """Both ways, letter by letter."""
    assert codec.head(attributes) == head
    assert codec.parse_head(head) == attributes


def test_a_command_names_its_neighbor_and_all_its_prefixes() -> None:
    """The bulk form: one line, one neighbor, one set of attributes, one family."""
    assert codec.command(
        "announce", "192.0.2.1", codec.head(Attributes(med=5)), ("192.0.2.53/32", "192.0.2.54/32")
    ) == ("neighbor 192.0.2.1 announce attributes next-hop self med 5 nlri 192.0.2.53/32 192.0.2.54/32")


numbers = st.integers(0, 2**32 - 1)
communities = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda c: f"{c[0]}:{c[1]}")
large = st.tuples(numbers, numbers, numbers).map(lambda c: f"{c[0]}:{c[1]}:{c[2]}")
extended = st.tuples(st.sampled_from(["target", "origin", "bandwidth"]), st.integers(1, 65535), numbers)
some_attributes = st.builds(
    Attributes,
    next_hop=st.sampled_from(["self", "192.0.2.1", "2001:db8::1"]),
    med=st.none() | numbers,
    local_preference=st.none() | numbers,
    as_path=st.lists(st.integers(1, 2**32 - 1), max_size=5).map(tuple),
    communities=st.lists(communities, max_size=4).map(tuple),
    large_communities=st.lists(large, max_size=4).map(tuple),
    extended_communities=st.lists(extended.map(lambda e: f"{e[0]}:{e[1]}:{e[2]}"), max_size=3).map(tuple),
)


@given(some_attributes)
def test_what_is_written_is_read_back_whatever_it_is(attributes: Attributes) -> None:
    """Replays are byte for byte: nothing is lost or added on the way through the pipe's ledger."""
    assert codec.parse_head(codec.head(attributes)) == attributes


@pytest.mark.parametrize(
    "head",
    [
        "",
        "attributes nlri",
        "attributes next-hop self",
        "attributes next-hop self nlri 192.0.2.1/32",
        "attributes next-hop self\nshutdown\n nlri",
        "attributes next-hop self community [ graceful-shutdown ] nlri",
        "attributes next-hop self med 5 med 6 nlri",
        "attributes next-hop self nlri\n",
        "route 192.0.2.1/32 next-hop self",
    ],
)
def test_what_we_could_not_have_written_is_not_read(head: str) -> None:
    """ExaBGP finds some of its words anywhere in a line: nothing passes that is not known through and through."""
    assert codec.parse_head(head) is None


@pytest.mark.parametrize("line", ["{}", '{"type": "update"}', '{"neighbor": []}', '{"neighbor": {}, "type": 5}', "[1]"])
def test_events_of_another_shape_say_nothing(line: str) -> None:
    """A later ExaBGP may add kinds of events: they are not for us."""
    assert codec.parse_event(line) == []


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
    assert read == [None, codec.Shown("127.0.0.1", True, 2, 12), codec.Shown("2001:db8::1", False, 0, 0), None]
    assert [codec.is_heading(line) for line in [NeighborTemplate.summary_header, *lines]] == [
        True,
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("age", [0, 1, 59, 86_399, 86_400, 86_405, 400 * 86_400, -5])
@pytest.mark.parametrize("address", ["127.0.0.1", "2001:db8:1111:2222:3333:4444:5555:6666"])
def test_a_session_of_any_age_is_up(address: str, age: int) -> None:
    """ExaBGP writes a day as ``1 day, 0:00:00``, and a clock that was set back as ``-1 day``. A neighbor that the
    pipe could not read would count as given up, and ExaBGP would be ended for it."""
    said = {"peer-address": address, "peer-as": 65011, "duration": age, "state": "ESTABLISHED",
            "messages": {"update": (2, 0)}}  # fmt: skip
    assert codec.parse_summary_line(NeighborTemplate.summary(said)) == codec.Shown(address, True, 2, age)


@pytest.mark.parametrize(
    "prefix",
    [
        "192.0.2.0/23", "0.0.0.0/0", "::/0", "2001:db8::/47", "192.0.2.1/31", "2001:db8::1/127",
        "192.0.2.1", "192.0.2.1/33", "2001:DB8::1/128", "192.0.2.1/32 x", "",
    ],
)  # fmt: skip
def test_nothing_shorter_than_a_last_resort_passes(prefix: str) -> None:
    """And only canonical text: a prefix of somebody's whole network is never announced from here."""
    assert not codec.is_announceable(prefix)


@pytest.mark.parametrize(
    "prefix", ["192.0.2.1/32", "2001:db8::1/128", "192.0.2.0/31", "192.0.2.0/24", "2001:db8::/127", "2001:db8::/48"]
)
def test_host_routes_and_last_resorts_pass(prefix: str) -> None:
    """From the prefix itself to the shortest cover that a configuration may have."""
    assert codec.is_announceable(prefix)
