"""The language between agent and pipe: each message letter by letter, an older and a newer peer, and anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_agent.speaker import wire

GOLDEN = Path(__file__).parent / "golden" / "wire.jsonl"

FROM_AGENT: tuple[wire.FromAgent, ...] = (
    wire.Hello((1,), "3f2a", 12.5),
    wire.Put(1, "198.51.100.0", ("192.0.2.53/32",), "attributes next-hop self nlri", "keep"),
    wire.Drop(2, (("198.51.100.0", "192.0.2.53/32"),)),
    wire.Confirm(3, (("198.51.100.0", "192.0.2.53/32"),)),
    wire.Heartbeat(7),
    wire.Extend(4, 30.0),
    wire.Reload(5, exabgp=True),
    wire.AskRevision(6),
    wire.Resync(),
)
TO_AGENT: tuple[wire.ToAgent, ...] = (
    wire.Welcome(1, "pid 42, 0.1.0"),
    wire.Route("198.51.100.0", "192.0.2.53/32", "attributes next-hop self nlri", "withdraw", True, False),
    wire.Session("198.51.100.0", "down", "peer reset", "198.51.100.1"),
    wire.Open("198.51.100.0", ("ipv4", "ipv6"), 3),
    wire.Path("198.51.100.0", "192.0.2.53/32", "0.0.0.1", (65011, 65101), ("65101:1:2",)),
    wire.Path("198.51.100.0", "192.0.2.53/32", "0.0.0.1", None),
    wire.Synced(),
    wire.Done(6, None, ("f00",), 2),
    wire.Done(1, "ExaBGP said error"),
    wire.Sent("198.51.100.0", ("192.0.2.53/32",), ()),
    wire.Dropped((("198.51.100.0", "192.0.2.53/32"),), "no heartbeat"),
    wire.Notification("198.51.100.0", "receive", 6, 2, "maintenance"),
    wire.HeartbeatAnswer(7, 0.25),
    wire.Replaced(),
)


def test_every_message_is_among_those_tried_here() -> None:
    """A message that is added cannot be forgotten by this file."""
    assert {type(m) for m in FROM_AGENT} == set(get_args(wire.FromAgent))
    assert {type(m) for m in TO_AGENT} == set(get_args(wire.ToAgent))


def test_each_message_is_written_as_it_always_was() -> None:
    """The golden file is what peers of an earlier version read: a line of it never changes, fields are only added."""
    written = b"".join(wire.write(message) for message in (*FROM_AGENT, *TO_AGENT))
    assert written.decode() == GOLDEN.read_text()


@pytest.mark.parametrize("message", FROM_AGENT, ids=lambda m: type(m).__name__)
def test_the_pipe_reads_what_the_agent_writes(message: wire.FromAgent) -> None:
    """Both ways, the same value."""
    assert wire.read_from_agent(wire.write(message)) == message


@pytest.mark.parametrize("message", TO_AGENT, ids=lambda m: type(m).__name__)
def test_the_agent_reads_what_the_pipe_writes(message: wire.ToAgent) -> None:
    """Both ways, the same value."""
    assert wire.read_to_agent(wire.write(message)) == message


OLDER: list[tuple[str, wire.ToAgent]] = [
    ('{"op":"session","neighbor":"a","state":"up"}', wire.Session("a", "up", "", None)),
    ('{"op":"done","id":1,"error":null}', wire.Done(1)),
    ('{"op":"hello","version":1}', wire.Welcome(1, "")),
    ('{"op":"path","neighbor":"a","prefix":"p","id":"","as_path":null}', wire.Path("a", "p", "", None)),
]


@pytest.mark.parametrize(("line", "message"), OLDER)
def test_an_older_pipe_lacks_fields_and_is_understood(line: str, message: wire.ToAgent) -> None:
    """Each field that was added has a default that says that nothing was said."""
    assert wire.read_to_agent(line.encode()) == message


def test_a_newer_peer_says_more_and_is_understood() -> None:
    """A field that is not known is passed over; a message that is not known is kept as such, with its number."""
    assert wire.read_from_agent(b'{"op":"beat","n":1,"mood":"good"}') == wire.Heartbeat(1)
    assert wire.read_from_agent(b'{"op":"dance","id":9}') == wire.Unknown("dance", 9)
    assert wire.read_to_agent(b'{"op":"dance"}') == wire.Unknown("dance", None)


BROKEN: list[tuple[bytes, int | None]] = [
    (b"", None),
    (b"{", None),
    (b"[]", None),
    (b"\xff", None),
    (b"[" * 100_000, None),
    (b'{"op":"put","id":3}', 3),
    (b'{"op":"put","id":3,"neighbor":1,"prefixes":[],"head":""}', 3),
    (b'{"op":"put","id":3,"neighbor":"a","prefixes":"192.0.2.53/32","head":""}', 3),
    (b'{"op":"drop","id":4,"keys":[["a"]]}', 4),
    (b'{"op":"drop","id":4,"keys":[["a",1]]}', 4),
    (b'{"op":"extend","id":5,"seconds":NaN}', 5),
    (b'{"op":"extend","id":5,"seconds":true}', 5),
    (b'{"op":"extend","id":5,"seconds":1' + b"0" * 400 + b"}", 5),
    (b'{"op":"hello","versions":[1],"agent":"a","started":1' + b"0" * 400 + b"}", None),
    (b'{"op":"extend","id":"5","seconds":1}', None),
    (b'{"op":"hello","versions":[1.5],"agent":"a"}', None),
]


@pytest.mark.parametrize(("line", "number"), BROKEN)
def test_a_line_that_is_no_message_is_refused_with_its_number(line: bytes, number: int | None) -> None:
    """So that whoever asked can be answered; and in one kind of error."""
    with pytest.raises(wire.MalformedError) as refused:
        wire.read_from_agent(line)
    assert refused.value.id == number


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.just(10**400) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted({name for m in (*FROM_AGENT, *TO_AGENT) for name in json.loads(wire.write(m))})
OPS = st.sampled_from(sorted({json.loads(wire.write(m))["op"] for m in (*FROM_AGENT, *TO_AGENT)}))


@given(OPS, st.dictionaries(st.sampled_from([n for n in NAMES if n != "op"]), JSON))
def test_whatever_comes_is_a_message_or_malformed(op: str, values: dict[str, object]) -> None:
    """Values of any kind in any field: nothing else is raised, and what is read is of the declared kinds."""
    line = json.dumps({"op": op, **values}).encode("ascii")
    for read, kinds in ((wire.read_from_agent, wire.FromAgent), (wire.read_to_agent, wire.ToAgent)):
        try:
            message = read(line)
        except wire.MalformedError:
            continue
        assert isinstance(message, (*get_args(kinds), wire.Unknown))
        if not isinstance(message, wire.Unknown):
            assert read(wire.write(message)) == message
