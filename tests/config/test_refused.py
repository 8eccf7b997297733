"""Configurations that are refused, and the words for each."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_agent.config import ConfigError, load
from tests.support.configs import ANSWERS, ANYTHING, BASE, DNS, KINDS, LEAF, V4, V6, changed, problems, written

SECRET_TEXT = "no secret stands in the YAML: put it in a file, name password_file"


MAPPED = ip_address("::ffff:192.0.2.1")  # its text is another from Python 3.13 on


REFUSED: list[tuple[tuple[str, ...], Any, str]] = [
    ((*DNS, "prefixes"), ["192.0.2.0/24"], "only host routes are announced: write 192.0.2.0/32"),
    ((*DNS, "prefixes"), ["192.0.2.53"], "only host routes are announced: write 192.0.2.53/32"),
    ((*DNS, "prefixes"), ["2001:db8::/48"], "only host routes are announced: write 2001:db8::/128"),
    ((*DNS, "prefixes"), ["127.0.0.1/32"], "127.0.0.1 cannot be an anycast address: it never leaves the node or the link"),
    ((*DNS, "prefixes"), ["dns"], "not a prefix: 'dns'; write 192.0.2.53/32 or 2001:db8:53::53/128"),
    (("services", "two"), BASE["services"]["dns"], "192.0.2.53/32 is in service dns already"),
    (("bgp", "neighbors", "leaf6"), None, "no neighbor of this service carries ipv6: see families"),
    ((*ANSWERS, "timeout"), "2s", "the timeout, 2 s, is longer than the interval, 1 s"),
    ((*ANSWERS, "interval"), "10ms", "an interval is at least 50ms"),
    ((*ANSWERS, "fast_interval"), "5s", "the fast interval is at least 50ms, and no longer than the interval"),
    ((*ANSWERS, "interval"), "fast", "a duration reads 500ms, 2s or 5m, not 'fast'"),
    ((*ANSWERS, "interfal"), "1s", "unknown key 'interfal' (did you mean 'interval'?)"),
    ((*ANSWERS, "type"), "dnss", "unknown type 'dnss' (did you mean 'dns'?); there are " + KINDS),
    ((*ANSWERS, "scope"), "shared",
     "needs a check with scope: local; a shared one never withdraws, however dead the service is"),
    ((*DNS, "require"), {"at_least": 2}, "at_least 2 can never be met: there are 1 local checks"),
    ((*DNS, "neighbours"), ["leaf4"], "unknown key 'neighbours' (did you mean 'neighbors'?)"),
    ((*DNS, "neighbors"), ["leaf5"], "no neighbor 'leaf5' (did you mean 'leaf6'?)"),
    ((*LEAF, "password"), "hunter2", SECRET_TEXT),
    ((*LEAF, "hold_time"), 2, "a hold time is 0 or at least 3 (RFC 4271, 4.2)"),
    ((*LEAF, "remote_as"), 0, "remote_as: at least 1, not 0"),
    (("bgp", "neighbors", "zagain"), {"address": "198.51.100.0", "remote_as": 1},
     "neighbor leaf4 has this address already"),
    ((*DNS, "attributes"), {"local_preference": 200}, "local_preference does not leave an AS: neighbor leaf4 is eBGP"),
    ((*DNS, "attributes"), {"next_hop": "2001:db8::1"},
     "no next hop for 192.0.2.53/32: 2001:db8::1 is of the other family"),
    ((*DNS, "attributes"), {"communities": ["graceful-shutdown"]},
     "write the number, 65535:0: words are not safe in ExaBGP's commands"),
    ((*DNS, "attributes"), {"communities": ["70000:1"]}, "write 2 numbers up to 65535, like 65000:1"),
    ((*DNS, "attributes"), {"large_communities": ["1:2"]}, "write 3 numbers up to 4294967295, like 65000:1:2"),
    ((*DNS, "attributes"), {"prepend": 11}, "prepend: at most 10, not 11"),
    (("services", "dns\n2"), BASE["services"]["dns"],
     "a name has letters, digits, '-', '_' and '.', begins with a letter or digit, 63 at most"),
    (("services", "dös"), BASE["services"]["dns"],
     "a name has letters, digits, '-', '_' and '.', begins with a letter or digit, 63 at most"),
    ((*DNS, "checks"), {"x": {"type": "exec", "command": "ls /"}},
     "command is a list, [program, argument, …]: it is never given to a shell"),
    ((*DNS, "checks"), {"x": {"type": "http", "regex": "("}},
     "not a regular expression: missing ), unterminated subpattern at position 0"),
    (("bgp", "router_id"), "2001:db8::1", "a router id is written like an IPv4 address, not '2001:db8::1'"),
    (("agent", "api"), {"listen": "localhost"}, "write an address and a port, like 127.0.0.1:9179 or [::1]:9179"),
    ((*DNS, "prefixes"), ["192.0.2.53/24"], "only host routes are announced: write 192.0.2.53/32"),
    ((*DNS, "prefixes"), ["224.0.0.5/32"], "224.0.0.5 cannot be an anycast address"),
    ((*DNS, "prefixes"), ["169.254.0.1/32"], "169.254.0.1 cannot be an anycast address"),
    ((*DNS, "prefixes"), ["fe80::1/128"], "fe80::1 cannot be an anycast address"),
    ((*DNS, "prefixes"), ["0.0.0.0/32"], "0.0.0.0 cannot be an anycast address"),
    ((*DNS, "prefixes"), ["::/128"], ":: cannot be an anycast address"),
    ((*LEAF, "hold_time"), 1, "a hold time is 0 or at least 3 (RFC 4271, 4.2)"),
    ((*LEAF, "remote_as"), 2**32, "remote_as: at most 4294967295, not 4294967296"),
    ((*LEAF, "ttl_security"), 255, "ttl_security: at most 254, not 255"),
    ((*LEAF, "families"), ["ipv4", "ipv4"], "a family stands here twice"),
    ((*LEAF, "local_address"), "2001:db8::1", "2001:db8::1 is not of the family of 198.51.100.0"),
    ((*LEAF, "listen"), True, "to listen, a local_address is needed"),
    ((*ANSWERS, "fresh_for"), "1s", "shorter than one round: every verdict would be stale"),
    ((*ANSWERS, "jitter"), 0.6, "jitter: at most 0.5, not 0.6"),
    ((*DNS, "attributes"), {"communities": ["no-export"]}, "write the number, 65535:65281"),
    ((*DNS, "attributes"), {"extended_communities": ["rt:1:2"]}, "write target:65000:1"),
    ((*DNS, "checks"), {}, "checks: at least 1 entry"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "value", "message"), REFUSED)
def test_refused_with_the_reason(tmp_path: Path, where: tuple[str, ...], value: Any, message: str) -> None:
    """Each is refused, and the message says this."""
    assert any(message in said for said in problems(tmp_path, (where, value)))


ALONE: list[tuple[tuple[str, ...], Any, str]] = [
    ((*LEAF, "address"), "fe80::1%x; y",
     "write the address without its zone, and the interface beside it: address: 'fe80::1', interface: …"),
    ((*LEAF, "address"), "fe80::1%eth0.7",
     "write the address without its zone, and the interface beside it: address: 'fe80::1', interface: eth0.7"),
    ((*LEAF, "attributes"), {"local_preference": 5}, "local_preference does not leave an AS: this neighbor is eBGP"),
    (LEAF, {"address": "198.51.100.0", "remote_as": 65101, "attributes": {"prepend": 1}},
     "this neighbor is iBGP, and takes our own AS for a loop: local_preference"),
    ((*LEAF, "attributes"), {"next_hop": "127.0.0.1"}, "127.0.0.1 cannot be a next hop: routers cannot send to it"),
    ((*LEAF, "interface"), "eth0; x", "interface: the name of an interface has at most 15 letters, digits and _ . : -"),
    ((*LEAF, "interface"), "a-name-of-16-too", "interface: the name of an interface has at most 15 letters, digits and _ . : -"),
    (("bgp", "neighbors", "leaf6"), {"address": "fe80::1", "remote_as": 1},
     "fe80::1 is link-local: name the interface that it is on, interface: eth0"),
    (("bgp", "neighbors", "leaf6"), {"address": "fe80::1", "interface": "eth0", "remote_as": 1, "listen": True, "local_address": "fe80::2"},
     "ExaBGP cannot listen on a link-local address; it opens the session itself"),
    (("bgp", "neighbors"), {"leaf4": {"address": "198.51.100.0", "remote_as": 65011},
                            "a": {"address": "fe80::1", "interface": "eth0", "remote_as": 1},
                            "b": {"address": "fe80::1", "interface": "eth1", "remote_as": 1}},
     "neighbor a has this address already; ExaBGP tells its neighbors apart by address alone: give one of the routers another link-local address"),
    ((*DNS, "attributes"), {"next_hop": "2001:db8::1%a\nb"}, "an address is written without its zone (%…)"),
    ((*DNS, "prefixes"), ["2001:db8::1%eth0/128"], "an address is written without its zone (%…)"),
    ((*DNS, "prefixes"), ["255.255.255.255/32"],
     "255.255.255.255 cannot be an anycast address: it is reserved (240.0.0.0/4)"),
    ((*DNS, "prefixes"), [f"{MAPPED}/128"], f"{MAPPED} cannot be an anycast address: it is IPv4-mapped"),
    ((*LEAF, "address"), "0.0.0.0", "0.0.0.0 is unspecified: write a unicast address"),
    ((*LEAF, "address"), "224.0.0.1", "224.0.0.1 is multicast: write a unicast address"),
    ((*DNS, "attributes"), {"next_hop": ["127.0.0.1", "2001:db8::9"]},
     "127.0.0.1 cannot be a next hop: routers cannot send to it"),
    ((*DNS, "attributes"), {"next_hop": "foo"}, "not an IP address: 'foo'"),
    (("bgp", "router_id"), "0.0.0.0", "a router id is not 0.0.0.0 (RFC 6286)"),
    ((*LEAF, "remote_as"), True, "an AS is one plain number from 1 to 4294967295, not true"),
    ((*LEAF, "remote_as"), 1.1, "an AS is one plain number from 1 to 4294967295, not 1.1; for asdot, HIGH.LOW, write HIGH × 65536 + LOW"),
    ((*LEAF, "password_file"), "hunter2", "write the absolute path of a file that holds the secret"),
    ((*ANSWERS, "timeout"), 0, "a timeout is longer than 0"),
    ((*DNS, "require"), "most", "require: write all, any, or {at_least: n}"),
    ((*DNS, "require"), {"atleast": 1}, "unknown key 'atleast' (did you mean 'at_least'?)"),
    ((*DNS, "neighbors"), [], "an empty list announces nothing: leave neighbors out for all of them"),
    ((*DNS, "linger"), "30s", "linger, 30 s, does not fit into agent.stop_within, 20 s"),
    ((*DNS, "hold_down"), {"initial": "2m"}, "longer than hold_down.maximum"),
    (("agent", "run_dir"), "run", "run_dir is an absolute path, beginning with /"),
    (("agent", "api"), {"lisen": "127.0.0.1:1"}, "unknown key 'lisen' (did you mean 'listen'?)"),
    (("bgp", "neighbors", "le af"), {"address": "198.51.100.9", "remote_as": 1},
     "a name has letters, digits, '-', '_' and '.', begins with a letter or digit, 63 at most"),
    ((*DNS, "prefixes"), ["240.0.0.0/32"], "240.0.0.0 cannot be an anycast address: it is reserved (240.0.0.0/4)"),
    ((*DNS, "attributes"), {"next_hop": "fe80::1"}, "fe80::1 cannot be a next hop: routers cannot send to it"),
    (("agent", "dead_man"), "400ms", "dead_man is 500ms to 10m"),
    (("agent", "dead_man"), "11m", "dead_man is 500ms to 10m"),
    (("agent", "state_dir"), "/" + "x" * 80, "state_dir is longer than a Unix socket's path may be: at most 80 bytes"),
    (LEAF, {"address": "198.51.100.0", "remote_as": 65011, "ttl_security": 1, "multihop": 2},
     "ttl_security says how far away the neighbor is; leave multihop out"),
    ((*LEAF, "extended_next_hop"), True, "RFC 8950 carries IPv4 over an IPv6 session; this one is IPv4"),
    (("bgp", "neighbors", "leaf6"), {"address": "2001:db8::", "remote_as": 1, "extended_next_hop": True, "families": ["ipv6"]},
     "extended_next_hop is for IPv4 routes: ipv4 is not among the families"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "value", "message"), ALONE)
def test_refused_in_these_words_and_no_others(tmp_path: Path, where: tuple[str, ...], value: Any, message: str) -> None:
    """One mistake is one problem: nothing that only follows from it is said beside it."""
    assert set(problems(tmp_path, (where, value))) == {message}


def test_all_problems_at_once_each_with_its_place(tmp_path: Path) -> None:
    """file:line:column, in the order of the file."""
    (tmp_path / "agent.yaml").write_text(
        "node: {nam: edge1}\n"
        "bgp:\n"
        "  local_as: 65101\n"
        "  router_id: 198.51.100.1\n"
        "  neighbors:\n"
        "    leaf: {address: 198.51.100.0, remote_as: 65011}\n"
        "services:\n"
        "  dns:\n"
        "    prefixes: [192.0.2.0/24]\n"
        "    checks: {answers: {type: dns, nme: example.org}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "agent.yaml")
    said = [str(p).removeprefix(f"{tmp_path}/") for p in caught.value.problems]
    assert said == [
        "agent.yaml:1:8: unknown key 'nam' (did you mean 'name'?)",
        "agent.yaml:9:16: only host routes are announced: write 192.0.2.0/32",
        "agent.yaml:10:35: unknown key 'nme' (did you mean 'name'?)",
    ]


def test_one_mistake_hides_no_other(tmp_path: Path) -> None:
    """What is wrong with the shape of one part, what another part says together: all at once."""
    said = problems(
        tmp_path,
        (("node",), {"nam": "edge1"}),
        ((*LEAF, "hold_tme"), 9),
        ((*ANSWERS, "timeout"), "2s"),
        ((*ANSWERS, "nme"), "x"),
        (("services", "two"), BASE["services"]["dns"]),
    )
    assert set(said) == {
        "unknown key 'nam' (did you mean 'name'?)",
        "unknown key 'hold_tme' (did you mean 'hold_time'?)",
        "unknown key 'nme' (did you mean 'name'?)",
        "the timeout, 2 s, is longer than the interval, 1 s",
        f"{V4} is in service dns already",
        f"{V6} is in service dns already",
    }


PATHS = [("node",), ("node", "name"), ("bgp",), ("bgp", "local_as"), ("bgp", "neighbors"), LEAF, (*LEAF, "address"),
         (*LEAF, "families"), ("services",), DNS, (*DNS, "prefixes"), (*DNS, "checks"), ANSWERS, (*ANSWERS, "interval"),
         (*ANSWERS, "type"), (*DNS, "require"), (*DNS, "attributes"), (*DNS, "hold_down"), ("agent",)]  # fmt: skip


@given(st.sampled_from(PATHS), ANYTHING)
@settings(max_examples=150, deadline=None)
def test_whatever_stands_in_the_file_the_answer_is_an_error_or_a_configuration(
    tmp_path_factory: pytest.TempPathFactory, where: tuple[str, ...], value: Any
) -> None:
    """Nothing but ConfigError ever comes out, and each of its problems lies inside of the file."""
    folder = tmp_path_factory.mktemp("any")
    values = changed()
    target = values
    for word in where[:-1]:
        target = target.setdefault(word, {})
    target[where[-1]] = value
    path = written(folder, values)
    lines = path.read_text("utf-8").count("\n") + 1
    try:
        load(path)
    except ConfigError as error:
        assert error.problems
        assert all(1 <= p.line <= lines for p in error.problems)


@pytest.mark.parametrize(
    "first",
    [{"type": "telepathy"}, {"type": "tcp", "port": 0}, {"type": "tcp", "port": 80, "rise": 0}],
    ids=["no type", "no port", "no rise"],
)
def test_a_check_that_cannot_be_read_hides_no_later_one(tmp_path: Path, first: dict[str, Any]) -> None:
    """The times of the second are judged as well."""
    second = {"type": "tcp", "port": 80, "timeout": "2s"}
    said = problems(tmp_path, ((*DNS, "checks"), {"first": first, "second": second}))
    assert len(said) == 2
    assert "the timeout, 2 s, is longer than the interval, 1 s" in said


def test_two_neighbors_that_listen_on_different_ports(tmp_path: Path) -> None:
    """ExaBGP has one listening port."""
    listening = [
        ((*LEAF, "listen"), True),
        ((*LEAF, "local_address"), "198.51.100.1"),
        (("bgp", "neighbors", "other"),
         {"address": "198.51.100.4", "remote_as": 1, "local_address": "198.51.100.5", "listen": True, "port": 1179}),
    ]  # fmt: skip
    assert problems(tmp_path, *listening) == ["ExaBGP listens on one port, and neighbor leaf4 has 179"]


def test_more_prefixes_than_a_node_may_have(tmp_path: Path) -> None:
    """The bound is over all services."""
    tcp = {"port": {"type": "tcp", "port": 80}}
    services = {
        f"s{i}": {"prefixes": [f"10.{i}.{n // 250}.{n % 250}/32" for n in range(5001)], "checks": tcp} for i in range(2)
    }
    assert problems(tmp_path, (("services",), services)) == ["more than 10,000 prefixes"]
