"""Single values: durations, hold times, addresses to listen on, names of hosts."""

from __future__ import annotations

from typing import Any

import pytest
from exabgp.configuration.static import parser as exabgp
from hypothesis import given
from hypothesis import strategies as st

from anycast_agent.checks.durations import SPAN, duration, written_duration
from anycast_agent.config.schema import schema
from anycast_agent.config.types import (
    community,
    extended_community,
    hold_time,
    host_pattern,
    large_community,
    listening,
)


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.5, 1.0, 1.5, 90.0, 120.0, 3600.0, 86400.0, 604800.0])
def test_a_duration_is_written_as_it_is_read(seconds: float) -> None:
    """In the largest unit that leaves a whole number."""
    assert duration(written_duration(seconds)) == pytest.approx(seconds)


def test_a_bare_number_is_no_duration() -> None:
    """Seconds to one, milliseconds to another: it says both."""
    with pytest.raises(ValueError, match="a duration has a unit: write 1000s or 1000ms"):
        duration(1000)


def test_the_defaults_of_the_schema_can_be_written() -> None:
    """An editor that fills one in must not write what the loader refuses."""
    properties = [p for d in schema()["$defs"].values() for p in d.get("properties", {}).values()]
    defaults = [p["default"] for p in properties if SPAN in p.get("anyOf", ()) and p.get("default") is not None]
    assert len(defaults) > 5
    assert all(isinstance(default, int) or duration(default) > 0 for default in defaults)


@pytest.mark.parametrize(("value", "seconds"), [(0, 0), (9, 9), ("9", 9), ("9s", 9), ("3m", 180), (65535, 65535)])
def test_hold_times(value: Any, seconds: int) -> None:
    """Whole seconds, as on the wire; with a unit or without."""
    assert hold_time(value) == seconds


@pytest.mark.parametrize("value", [1, 2, "2s", -1, 65536, "500ms", 9.5, "09", True, None, [], "x"])
def test_no_hold_times(value: Any) -> None:
    """RFC 4271, 4.2: 0, or 3 and more; two octets."""
    with pytest.raises(ValueError, match="a hold time|a duration"):
        hold_time(value)


@pytest.mark.parametrize(
    ("text", "where"),
    [("127.0.0.1:9179", ("127.0.0.1", 9179)), ("[::1]:9179", ("::1", 9179)), ("0.0.0.0:1", ("0.0.0.0", 1)),
     ("[::]:9179", ("::", 9179)), ("192.0.2.1:0", ("192.0.2.1", 0))],
)  # fmt: skip
def test_where_the_pages_may_be(text: str, where: tuple[str, int]) -> None:
    """Every address of the node, too."""
    assert listening(text) == where


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("9179", "like 127.0.0.1:9179"), (":9179", "0.0.0.0:9179 is every IPv4 address"), ("127.0.0.1:", "like"),
        ("127.0.0.1:65536", "like"), ("127.0.0.1:09179", "like"), ("localhost:9179", "'localhost' is no address"),
        ("::1:9179", "brackets"), ("[127.0.0.1]:9179", "brackets"), ("[fe80::1%lo]:9179", "zone"), ("", "like"),
    ],
)  # fmt: skip
def test_where_they_may_not_be(text: str, why: str) -> None:
    """Each is refused with how it is written."""
    with pytest.raises(ValueError, match=why):
        listening(text)


@pytest.mark.parametrize("text", ["edge1", "edge1.example.org", "*.example.org", "EDGE1.example.org"])
def test_names_that_a_host_header_may_say(text: str) -> None:
    """One name, or all below a domain."""
    assert host_pattern(text) == text


@pytest.mark.parametrize(
    "text", ["", "*", "*.org", "edge*.example.org", "edge1:9179", "a b", "*.*.org", "-x", "x\n", "x."]
)
def test_names_that_it_may_not(text: str) -> None:
    """No port, no pattern but the one, and never all names there are."""
    with pytest.raises(ValueError, match=r"write a name without a port"):
        host_pattern(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("50ms", 0.05), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), ("2d", 172800.0), (0, 0.0)]
)
def test_durations(text: Any, seconds: float) -> None:
    """With a unit; 0 needs none."""
    assert duration(text) == pytest.approx(seconds)


@given(
    st.sampled_from(
        [
            "",
            "s",
            "5 s",
            "-1s",
            "1d2h",
            "1e3s",
            "∞",
            "5S",
            "0x5",
            ".5s",
            "05s",
            5,
            0.5,
            -1,
            True,
            False,
            None,
            [],
            float("nan"),
        ]
    )
)
def test_no_durations(value: Any) -> None:
    """What is not clearly a duration is none."""
    with pytest.raises(ValueError, match="duration"):
        duration(value)


@pytest.mark.parametrize(
    ("parse", "take", "texts"),
    [
        (community, exabgp._community, ["0:0", "65000:1", "65535:65535"]),
        (large_community, exabgp._large_community, ["0:0:0", "65000:1:2", "4294967295:4294967295:4294967295"]),
        (
            extended_community,
            exabgp._extended_community,
            ["target:65000:1", "target:65000:4294967295", "target:4200000000:1", "target:192.0.2.1:5",
             "origin:65000:1", "bandwidth:65000:1250000", "0x0002fde800000001"],
        ),
    ],
)  # fmt: skip
def test_exabgp_takes_the_communities_that_we_take(parse: Any, take: Any, texts: list[str]) -> None:
    """What passes here is not refused by ExaBGP when the route is announced."""
    for text in texts:
        assert take(parse(text)) is not None


@pytest.mark.parametrize("text", ["target:99999999:99999999", "target:999.1.1.1:1", "bandwidth:70000:1"])
def test_extended_communities_that_exabgp_refuses(text: str) -> None:
    """They are refused here, and not when the route is to be announced."""
    with pytest.raises(ValueError, match="one at most is above 65535"):
        extended_community(text)
