"""The last resort of a service: what may be written, what comes of it, and every refusal with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anycast_agent.config import load
from anycast_agent.config.diff import changes
from anycast_agent.core.model import Config, Cover, RouteKey, Service
from tests.support.configs import DNS, LEAF, V4, V6, changed, problems, written

LAST = (*DNS, "last_resort")
TIER = (*DNS, "tiers", "last_resort")
WWW = ("services", "www")
WWW_VALUES = {"prefixes": ["192.0.2.52/32"], "checks": {"port": {"type": "tcp", "port": 80}}}
WAY_OUT = "give the service a prefix with a free network around it, or a last resort without that"


def config(folder: Path, *changes: tuple[tuple[str, ...], Any]) -> Config:
    return load(written(folder, changed(*changes))).config


def dns(folder: Path, *changes: tuple[tuple[str, ...], Any]) -> Service:
    return config(folder, *changes).services["dns"]


def of(service: Service, prefix: str) -> Cover:
    return next(c for c in service.covers if c.prefix == prefix)


@pytest.mark.parametrize("value", [None, False, "never"])
def test_there_is_none_by_default_and_none_where_it_is_refused_on_purpose(tmp_path: Path, value: Any) -> None:
    """Left out, false and never: nothing but the prefixes goes to the speaker and the kernel."""
    found = config(tmp_path, (LAST, value))
    assert found.services["dns"].covers == ()
    assert found.speaker.prefixes == {V4, V6}
    assert found.kernel.covers == frozenset()


def test_true_is_the_smallest_network_around_each_prefix(tmp_path: Path) -> None:
    """A /31 and a /127, at the neighbors of its family, known to speaker and kernel."""
    found = config(tmp_path, (LAST, True))
    service = found.services["dns"]
    assert {c.prefix: c.behind for c in service.covers} == {"192.0.2.52/31": (V4,), "2001:db8:53::52/127": (V6,)}
    assert set(of(service, "192.0.2.52/31").attributes) == {RouteKey("leaf4", "192.0.2.52/31")}
    assert found.speaker.prefixes == {V4, V6, "192.0.2.52/31", "2001:db8:53::52/127"}
    assert found.kernel.covers == {"192.0.2.52/31", "2001:db8:53::52/127"}
    assert "192.0.2.52" not in found.kernel.addresses


def test_two_prefixes_of_one_service_may_share_a_last_resort(tmp_path: Path) -> None:
    """They are both inside, and there is one route for it."""
    service = dns(tmp_path, ((*DNS, "prefixes"), [V4, "192.0.2.52/32"]), (LAST, True))
    assert [(c.prefix, c.behind) for c in service.covers] == [("192.0.2.52/31", (V4, "192.0.2.52/32"))]


def test_prefixes_of_the_operators_own(tmp_path: Path) -> None:
    """As short as /24 and /48, as long as /31 and /127; written once more they are one; IPv6 in canonical text."""
    service = dns(tmp_path, (LAST, ["192.0.2.0/24", "192.0.2.0/24", "2001:DB8:53:0::/48"]))
    assert [(c.prefix, c.behind) for c in service.covers] == [("192.0.2.0/24", (V4,)), ("2001:db8:53::/48", (V6,))]


def test_it_carries_what_the_service_does_and_the_community_of_a_last_resort(tmp_path: Path) -> None:
    """By default; a key under tiers.last_resort is instead of it."""
    attributes = {"med": 5, "communities": ["65101:1"], "large_communities": ["65101:1:2"]}
    key = RouteKey("leaf4", "192.0.2.52/31")
    usual = of(dns(tmp_path, (LAST, True), ((*DNS, "attributes"), attributes)), key.prefix).attributes[key]
    assert (usual.med, usual.communities) == (5, ("65101:1",))
    assert usual.large_communities == ("65101:1:2", "65101:172:1")
    tier = {"communities": ["65000:9"], "prepend": 1}
    own = of(dns(tmp_path, (LAST, True), ((*DNS, "attributes"), attributes), (TIER, tier)), key.prefix).attributes[key]
    assert (own.med, own.communities, own.as_path) == (5, ("65000:9",), (65101, 65101))
    assert own.large_communities == ("65101:1:2", "65101:172:1")
    alone = dns(tmp_path, (LAST, True), (TIER, {"large_communities": ["65101:9:9"]}))
    assert of(alone, key.prefix).attributes[key].large_communities == ("65101:9:9",)


LENGTH = "it would draw what is sent to networks that are not this service's"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("always", "a last resort is true, false, never or a list of prefixes, not 'always'"),
        (1, "a last resort is true, false, never or a list of prefixes, not 1"),
        ([], "a last resort is true, false, never or a list of prefixes, not a list"),
        ("192.0.2.52/31", "a last resort is true, false, never or a list of prefixes, not '192.0.2.52/31'"),
        (["dns"], "not a prefix: 'dns'; write 192.0.2.52/31 or 2001:db8:53::52/127"),
        ([V4], f"{V4} is no last resort: it is shorter than the prefix inside, /24 to /31"),
        (["192.0.2.53"], "192.0.2.53 is no last resort: it is shorter than the prefix inside, /24 to /31"),
        ([V6], f"{V6} is no last resort: it is shorter than the prefix inside, /48 to /127"),
        (["192.0.2.0/23"], f"192.0.2.0/23 is too short for a last resort, /24 to /31: {LENGTH}"),
        (["0.0.0.0/0"], f"0.0.0.0/0 is too short for a last resort, /24 to /31: {LENGTH}"),
        (["2001:db8::/47"], f"2001:db8::/47 is too short for a last resort, /48 to /127: {LENGTH}"),
        (["192.0.2.53/31"], "192.0.2.53/31 names an address, not a network: write 192.0.2.52/31"),
        (["fe80::%eth0/64"], "an address is written without its zone (%…)"),
        (["203.0.113.0/24", "192.0.2.0/24", "2001:db8:53::/64"], "203.0.113.0/24 holds no prefix of this service"),
        (["192.0.2.0/24"], f"no prefix of this last resort holds {V6}"),
    ],
)  # fmt: skip
def test_what_is_no_last_resort_is_refused_with_the_reason(tmp_path: Path, value: Any, said: str) -> None:
    """Each says what to write in its place, or what it lacks."""
    assert problems(tmp_path, (LAST, value)) == [said]


def test_one_that_holds_another_services_prefix_is_refused(tmp_path: Path) -> None:
    """It would draw that service's users here, whatever its own checks say; both ways of asking for it."""
    said = f"holds 192.0.2.52/32 of service www: {WAY_OUT}"
    assert problems(tmp_path, (LAST, True), (WWW, WWW_VALUES)) == [f"192.0.2.52/31 {said}"]
    own = ["192.0.2.0/24", "2001:db8:53::52/127"]
    assert problems(tmp_path, (LAST, own), (WWW, WWW_VALUES)) == [f"192.0.2.0/24 {said}"]


def test_two_services_with_one_last_resort_refuse_each_other(tmp_path: Path) -> None:
    """Both are told."""
    said = problems(tmp_path, (LAST, True), (WWW, {**WWW_VALUES, "last_resort": True}))
    assert sorted(said) == [
        f"192.0.2.52/31 holds 192.0.2.52/32 of service www: {WAY_OUT}",
        f"192.0.2.52/31 holds 192.0.2.53/32 of service dns: {WAY_OUT}",
    ]


@pytest.mark.parametrize(
    ("change", "role"),
    [
        (((*LEAF, "address"), "192.0.2.1"), "the address of a neighbor"),
        (((*LEAF, "local_address"), "192.0.2.1"), "the address of a session"),
        ((("bgp", "router_id"), "192.0.2.1"), "a router id"),
        (((*DNS, "attributes"), {"next_hop": ["192.0.2.1", "2001:db8:1::1"]}), "a next hop"),
        (((*DNS, "tiers"), {"last_resort": {"next_hop": ["192.0.2.1", "2001:db8:1::1"]}}), "a next hop"),
    ],
)
def test_one_that_holds_a_machines_own_address_is_refused(tmp_path: Path, change: Any, role: str) -> None:
    """A neighbor's, and those of the node that the configuration names."""
    own = ["192.0.2.0/24", "2001:db8:53::52/127"]
    assert problems(tmp_path, (LAST, own), change) == [f"192.0.2.0/24 holds 192.0.2.1, {role}: {WAY_OUT}"]


def test_a_node_that_nobody_looks_at_has_none(tmp_path: Path) -> None:
    """It would be announced without the address being there."""
    (said,) = problems(tmp_path, (LAST, True), (("node", "addresses"), "unmanaged"))
    assert said.startswith("a last resort needs node.addresses: manage or verify")


@pytest.mark.parametrize("value", [None, False, "never"])
def test_attributes_of_a_last_resort_that_is_not_there_are_refused(tmp_path: Path, value: Any) -> None:
    """Nothing is accepted that does nothing."""
    said = problems(tmp_path, (LAST, value), (TIER, {"communities": ["65000:9"]}))
    assert said == ["this service has no last resort: set last_resort, or leave this out"]


def test_a_local_preference_of_a_last_resort_towards_ebgp_is_refused_where_it_stands(tmp_path: Path) -> None:
    """As for any other tier."""
    said = problems(tmp_path, (LAST, True), (TIER, {"local_preference": 50}))
    assert said == [f"local_preference does not leave an AS: neighbor {n} is eBGP" for n in ("leaf4", "leaf6")]


def test_plan_tells_what_it_adds_alters_and_withdraws(tmp_path: Path) -> None:
    """The last resort of a service, and each of its routes."""
    none, some = config(tmp_path), config(tmp_path, (LAST, True))
    other = config(tmp_path, (LAST, True), (TIER, {"communities": ["65000:9"]}))
    told = {(c.what, c.name, c.text) for c in changes(none, some)}
    assert ("service", "dns", f"last resort 192.0.2.52/31 around {V4}") in told
    assert ("route", "192.0.2.52/31 at leaf4", "new") in told
    assert ("route", "192.0.2.52/31 at leaf4", "announced anew: communities") in {
        (c.what, c.name, c.text) for c in changes(some, other)
    }
    back = {(c.what, c.name, c.text, c.withdraws) for c in changes(some, none)}
    assert ("service", "dns", "last resort 192.0.2.52/31 removed", True) in back
    assert ("route", "192.0.2.52/31 at leaf4", "withdrawn", True) in back
    assert changes(some, some) == []


def test_thousands_of_last_resorts_are_read(tmp_path: Path) -> None:
    """What is inside of what is not looked for by asking each about each."""
    prefixes = [f"10.{n // 128 // 128}.{n // 128 % 128}.{n % 128 * 2}/32" for n in range(3000)]
    found = dns(tmp_path, ((*DNS, "prefixes"), prefixes), (LAST, True))
    assert len(found.covers) == 3000
