"""From YAML to the core's values: every key arrives, and nothing is lost on the way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from anycast_agent.config import Loaded, load
from anycast_agent.core.model import Family, RouteKey, Scope, Service, Tier, Will
from tests.support.configs import ANSWERS, BASE, DNS, LEAF, V4, V6, changed, problems, written

CONFIGS = Path(__file__).parents[2] / "configs"


def test_a_good_one_becomes_the_cores_values(tmp_path: Path) -> None:
    """A check for each prefix, routes for each neighbor of its family, defaults as documented."""
    loaded = load(
        written(
            tmp_path,
            changed(
                ((*DNS, "attributes"), {"prepend": 1, "med": 5}),
                ((*DNS, "checks", "origin"), {"type": "tcp", "target": "203.0.113.1", "port": 1, "scope": "shared"}),
            ),
        )
    )
    service = loaded.config.services["dns"]
    assert [(c.name, c.prefix, c.scope) for c in service.checks] == [
        ("answers", "192.0.2.53/32", Scope.LOCAL),
        ("answers", "2001:db8:53::53/128", Scope.LOCAL),
        ("origin", "", Scope.SHARED),
    ]
    assert set(service.keys) == {RouteKey("leaf4", "192.0.2.53/32"), RouteKey("leaf6", "2001:db8:53::53/128")}
    full, degraded = (service.attributes[t][RouteKey("leaf4", "192.0.2.53/32")] for t in (Tier.FULL, Tier.DEGRADED))
    assert (full.as_path, full.med, full.next_hop) == ((65101,) * 2, 5, "self")
    assert degraded.as_path == (65101,) * 4
    check = service.checks[0]
    assert (check.interval, check.timeout, check.fast_interval) == (1.0, 1.0, 0.1)
    assert (check.doubt_window, check.fresh_for) == (1.0, 6.0)
    assert loaded.config.neighbors["leaf4"].families == (Family.IPV4,)


def test_a_loaded_service_has_what_was_written(tmp_path: Path) -> None:
    """Every key of a service reaches the core."""
    values = changed(
        ((*DNS, "require"), "any"),
        ((*DNS, "neighbors"), ["leaf4", "leaf6"]),
        ((*DNS, "will"), "keep"),
        ((*DNS, "observe_only"), True),
        ((*DNS, "linger"), "250ms"),
        ((*DNS, "hold_down"), {"initial": "1s", "maximum": "10s", "half_life": "1m"}),
        ((*DNS, "attributes"), {"med": 7, "large_communities": ["65101:1:2"]}),
        ((*DNS, "tiers"), {"degraded": {"prepend": 1, "communities": ["65101:9"]}}),
        ((*ANSWERS, "interval"), "10s"),
    )
    service = load(written(tmp_path, values)).config.services["dns"]
    assert (service.require.at_least, service.will, service.observe_only, service.linger) == (1, Will.KEEP, True, 0.25)
    assert dataclasses.astuple(service.hold_down) == (1.0, 10.0, 60.0)
    key = RouteKey("leaf4", "192.0.2.53/32")
    full, degraded = service.attributes[Tier.FULL][key], service.attributes[Tier.DEGRADED][key]
    assert (full.med, full.large_communities, full.as_path) == (7, ("65101:1:2",), ())
    assert (degraded.med, degraded.communities, degraded.as_path) == (7, ("65101:9",), (65101, 65101))
    check = service.checks[0]
    assert (check.interval, check.timeout, check.fast_interval, check.doubt_window) == (10.0, 1.0, 1.0, 10.0)
    assert {c.prefix for c in service.checks} == set(service.prefixes)


def test_loading_twice_gives_equal_values(tmp_path: Path) -> None:
    """What a reload compares: nothing changed is nothing changed."""
    path = written(tmp_path, BASE)
    assert load(path).config == load(path).config


def test_a_service_is_equal_to_itself_only(tmp_path: Path) -> None:
    """What the core compares at a reload: any difference in YAML that matters makes another value."""
    one: Service = load(written(tmp_path, BASE)).config.services["dns"]
    assert one == load(written(tmp_path, BASE)).config.services["dns"]
    assert one != load(written(tmp_path, changed(((*ANSWERS, "rise"), 4)))).config.services["dns"]


def test_next_hops_of_the_other_family(tmp_path: Path) -> None:
    """IPv6 on an IPv4 session needs one that is given; IPv4 on an IPv6 session needs RFC 8950."""
    both = ((*LEAF, "families"), ["ipv4", "ipv6"])
    assert (
        "2001:db8:53::53/128 on the ipv4 session with leaf4 needs next_hop: an ipv6 address of this node"
        in problems(tmp_path, both)
    )
    given = ((*DNS, "attributes"), {"next_hop": ["198.51.100.1", "2001:db8::1"]})
    routes = load(written(tmp_path, changed(both, given))).config.services["dns"].attributes[Tier.FULL]
    assert routes[RouteKey("leaf4", "2001:db8:53::53/128")].next_hop == "2001:db8::1"
    over = (("bgp", "neighbors", "leaf6"), {"address": "2001:db8::", "remote_as": 1, "extended_next_hop": True})
    routes = load(written(tmp_path, changed(over))).config.services["dns"].attributes[Tier.FULL]
    assert routes[RouteKey("leaf6", "192.0.2.53/32")].next_hop == "self"


def test_attributes_of_a_neighbor_are_those_of_each_of_its_routes(tmp_path: Path) -> None:
    """A service's own come first; communities of both are sent, each once; prepends are added up; in every tier."""
    at_leaf = {"med": 50, "prepend": 1, "communities": ["65000:1", "65000:2"], "large_communities": ["65101:1:1"]}
    of_dns = {"med": 10, "prepend": 1, "communities": ["65000:2", "65000:3"]}
    values = changed(((*LEAF, "attributes"), at_leaf), ((*DNS, "attributes"), of_dns), ((*DNS, "last_resort"), True))
    service = load(written(tmp_path, values)).config.services["dns"]
    key = RouteKey("leaf4", V4)
    full, degraded = (service.attributes[tier][key] for tier in (Tier.FULL, Tier.DEGRADED))
    assert (full.med, full.as_path) == (10, (65101,) * 3)
    assert (full.communities, full.large_communities) == (("65000:2", "65000:3", "65000:1"), ("65101:1:1",))
    assert (degraded.med, degraded.as_path, degraded.communities) == (10, (65101,) * 5, full.communities)
    cover = next(c for c in service.covers if c.behind == (V4,))
    (last,) = (a for k, a in cover.attributes.items() if k.neighbor == "leaf4")
    assert last.large_communities == ("65101:172:1", "65101:1:1") and last.med == 10
    plain = load(written(tmp_path, changed(((*LEAF, "attributes"), {"med": 50})))).config.services["dns"]
    assert plain.attributes[Tier.FULL][key].med == 50


def test_degraded_is_worse_than_full_at_any_preference_of_an_ibgp_neighbor(tmp_path: Path) -> None:
    for preference in (0, 40, 100, 500):
        values = changed(((*LEAF, "remote_as"), 65101), ((*LEAF, "attributes"), {"local_preference": preference}))
        tiers = load(written(tmp_path, values)).config.services["dns"].attributes
        full, degraded = (tiers[tier][RouteKey("leaf4", V4)].local_preference for tier in (Tier.FULL, Tier.DEGRADED))
        assert full == preference and degraded == max(0, preference - 50)


def test_an_unnumbered_leaf_carries_both_families(tmp_path: Path) -> None:
    """With a link-local address, an interface, and RFC 8950; no address of the node has to be written."""
    over = (LEAF, {"address": "fe80::1", "interface": "eth0.7", "remote_as": 65011, "extended_next_hop": True})
    config = load(written(tmp_path, changed(over))).config
    leaf = config.neighbors["leaf4"]
    assert (leaf.interface, leaf.families) == ("eth0.7", (Family.IPV4, Family.IPV6))
    hops = {key.prefix: a.next_hop for key, a in config.services["dns"].attributes[Tier.FULL].items()}
    assert hops == {V4: "self", V6: "self"}


def test_a_loopback_next_hop_is_good_on_a_loopback_session(tmp_path: Path) -> None:
    """Where the router is on this very machine, as in the demo."""
    values = changed((LEAF, {"address": "127.0.0.2", "remote_as": 65011, "families": ["ipv4", "ipv6"]}),
                     ((*DNS, "attributes"), {"next_hop": ["127.0.0.1", "::1"]}), ((*DNS, "neighbors"), ["leaf4"]),)  # fmt: skip
    routes = load(written(tmp_path, values)).config.services["dns"].attributes[Tier.FULL]
    assert [routes[RouteKey("leaf4", prefix)].next_hop for prefix in (V4, V6)] == ["127.0.0.1", "::1"]


def test_ibgp_is_never_sent_our_own_as(tmp_path: Path) -> None:
    """It is a loop there (RFC 4271, 9.1.2): degraded would be withdrawn. A local preference stands for it."""
    ibgp = ((*LEAF, "remote_as"), 65101)
    service = load(written(tmp_path, changed(ibgp))).config.services["dns"]
    degraded = service.attributes[Tier.DEGRADED][RouteKey("leaf4", V4)]
    assert (degraded.as_path, degraded.local_preference) == ((), 50)
    said = problems(tmp_path, ibgp, ((*DNS, "neighbors"), ["leaf4"]), ((*DNS, "prefixes"), [V4]),
                    ((*DNS, "attributes"), {"prepend": 1}))  # fmt: skip
    text = "no neighbor of this service is eBGP, and an iBGP one takes our own AS for a loop: local_preference"
    assert said == [text]


def test_degraded_is_worse_than_full_at_any_prepend(tmp_path: Path) -> None:
    """Also where full prepends as often as may be."""
    for prepend in range(11):
        values = changed(((*DNS, "attributes"), {"prepend": prepend}))
        tiers = load(written(tmp_path, values)).config.services["dns"].attributes
        full, degraded = (tiers[tier][RouteKey("leaf4", V4)].as_path for tier in (Tier.FULL, Tier.DEGRADED))
        assert len(degraded) == max(1, len(full)) + 2


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_the_examples_are_valid(path: Path) -> None:
    """Every file under configs/ loads."""
    assert isinstance(load(path), Loaded)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_the_examples_announce_something(path: Path) -> None:
    """An example that loads and would announce nothing is none."""
    config = load(path).config
    assert all(service.keys and service.enabled for service in config.services.values())


def test_a_hold_down_may_be_as_long_from_the_start_as_at_the_most(tmp_path: Path) -> None:
    """Whoever wants one wait for every fall writes the same twice."""
    service = load(
        written(tmp_path, changed(((*DNS, "hold_down"), {"initial": "5s", "maximum": "5s"})))
    ).config.services["dns"]
    assert (service.hold_down.initial, service.hold_down.maximum) == (5.0, 5.0)
