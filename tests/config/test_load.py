"""The configuration: what is taken, what is refused, and in which words."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from anycast_agent.config import ConfigError, Loaded, load
from anycast_agent.config.schema import schema
from anycast_agent.core.model import Family, RouteKey, Scope, Tier

CONFIGS = Path(__file__).parents[2] / "configs"

BASE: dict[str, Any] = {
    "node": {"name": "edge1", "site": "ams"},
    "bgp": {
        "local_as": 65101,
        "router_id": "198.51.100.1",
        "neighbors": {
            "leaf4": {"address": "198.51.100.0", "remote_as": 65011},
            "leaf6": {"address": "2001:db8::", "remote_as": 65011},
        },
    },
    "services": {
        "dns": {
            "prefixes": ["192.0.2.53/32", "2001:db8:53::53/128"],
            "checks": {"answers": {"type": "dns", "name": "example.org"}},
        }
    },
}
DNS = ("services", "dns")
ANSWERS = (*DNS, "checks", "answers")
LEAF = ("bgp", "neighbors", "leaf4")
SECRET_TEXT = "no secret stands in the YAML: put it in a file, name password_file"


def changed(*changes: tuple[tuple[str, ...], Any]) -> dict[str, Any]:
    """The base with values put in at their places; None takes one out."""
    values = copy.deepcopy(BASE)
    for where, value in changes:
        target = values
        for word in where[:-1]:
            target = target.setdefault(word, {})
        if value is None:
            target.pop(where[-1], None)
        else:
            target[where[-1]] = value
    return values


def written(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "agent.yaml"
    with path.open("w") as file:
        YAML(typ="safe").dump(values, file)
    return path


def problems(folder: Path, *changes: tuple[tuple[str, ...], Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(written(folder, changed(*changes)))
    return [p.message for p in caught.value.problems]


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
    ((*ANSWERS, "type"), "dnss", "unknown type 'dnss' (did you mean 'dns'?); there are tcp, http, dns, exec"),
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
]  # fmt: skip


@pytest.mark.parametrize(("where", "value", "message"), REFUSED)
def test_refused_with_the_reason(tmp_path: Path, where: tuple[str, ...], value: Any, message: str) -> None:
    """Each is refused, in these words."""
    assert message in problems(tmp_path, (where, value))


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "agent.yaml:2:1: 'a' stands here again; first on line 1"),
        ("a: [1\n", "agent.yaml:2:1: not YAML: "),
        ("a: !!python/object:os.system x\n", "is not allowed"),
        ("x" * (1 << 20) + "y", "over 1 MiB: split it into conf.d/*.yaml"),
        ("[" * 60 + "]" * 60, "nested deeper than 50 levels"),
        ("- 1\n", "the top level holds words and what they mean"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, message: str) -> None:
    """Duplicate keys, broken YAML, tags, a huge file, deep nesting."""
    (tmp_path / "agent.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "agent.yaml")
    assert message in str(caught.value)


def test_an_alias_bomb_is_refused_at_once(tmp_path: Path) -> None:
    """Nine lines that stand for a billion values cost nothing."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{chr(c)}: &{chr(c)} [{', '.join([f'*{chr(c - 1)}'] * 9)}]" for c in range(ord("b"), ord("k"))]
    (tmp_path / "agent.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="alias bomb"):
        load(tmp_path / "agent.yaml")


def test_not_utf8_missing_and_unreadable(tmp_path: Path) -> None:
    """What cannot be read is said, with the file's name."""
    (tmp_path / "agent.yaml").write_bytes(b"node:\n  name: \xff\n")
    with pytest.raises(ConfigError, match="agent.yaml:2:9: not UTF-8"):
        load(tmp_path / "agent.yaml")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_drop_ins_add_services_and_neighbors(tmp_path: Path) -> None:
    """conf.d is read in order; a name that stands already is refused, naming both places."""
    path = written(tmp_path, BASE)
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "10-web.yaml").write_text(
        "services: {web: {prefixes: [192.0.2.80/32], checks: {p: {type: tcp, port: 80}}}}"
    )
    assert set(load(path).config.services) == {"dns", "web"}
    (folder / "20-dns.yaml").write_text(
        "services: {dns: {prefixes: [192.0.2.1/32], checks: {p: {type: tcp, port: 1}}}}"
    )
    (folder / "30-node.yaml").write_text("node: {name: other}")
    with pytest.raises(ConfigError) as caught:
        load(path)
    said = str(caught.value)
    assert "20-dns.yaml:1:12: 'dns' stands in" in said
    assert "in conf.d only services and bgp.neighbors may stand, not 'node'" in said


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The file's mode is looked at; its content never shows."""
    secret = tmp_path / "leaf.secret"
    secret.write_text("hunter2")
    secret.chmod(0o644)
    assert f"{secret} can be read by others: chmod 600 {secret}" in problems(
        tmp_path, ((*LEAF, "password_file"), str(secret))
    )
    secret.chmod(0o600)
    loaded = load(written(tmp_path, changed(((*LEAF, "password_file"), str(secret)))))
    assert "hunter2" not in repr(loaded)
    before = loaded.config.neighbors["leaf4"]
    secret.write_text("other")
    assert load(tmp_path / "agent.yaml").config.neighbors["leaf4"] != before


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
    over = (("bgp", "neighbors", "leaf6"), {"address": "2001:db8::", "remote_as": 1, "extended_next_hop": True,
                                            "local_address": "2001:db8::1"})  # fmt: skip
    routes = load(written(tmp_path, changed(over))).config.services["dns"].attributes[Tier.FULL]
    assert routes[RouteKey("leaf6", "192.0.2.53/32")].next_hop == "2001:db8::1"


def test_loading_twice_gives_equal_values(tmp_path: Path) -> None:
    """What a reload compares: nothing changed is nothing changed."""
    path = written(tmp_path, BASE)
    assert load(path).config == load(path).config


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_the_examples_are_valid(path: Path) -> None:
    """Every file under configs/ loads."""
    assert isinstance(load(path), Loaded)


def test_the_schema_names_every_check_type() -> None:
    """Editors complete the parameters of each."""
    text = json.dumps(schema())
    assert all(word in text for word in ('"const": "dns"', '"follow_redirects"', '"at_least"', '"command"'))


PATHS = [("node",), ("node", "name"), ("bgp",), ("bgp", "local_as"), ("bgp", "neighbors"), LEAF, (*LEAF, "address"),
         (*LEAF, "families"), ("services",), DNS, (*DNS, "prefixes"), (*DNS, "checks"), ANSWERS, (*ANSWERS, "interval"),
         (*ANSWERS, "type"), (*DNS, "require"), (*DNS, "attributes"), (*DNS, "hold_down"), ("agent",)]  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


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


def test_the_same_from_the_command_line(tmp_path: Path) -> None:
    """validate: 0 and a word, or 1 and the problems."""
    good, bad = written(tmp_path, BASE), tmp_path / "bad.yaml"
    bad.write_text("node: {}\n")
    run = [sys.executable, "-m", "anycast_agent.cli.main", "validate", "--config"]
    assert subprocess.run([*run, str(good)], capture_output=True, check=False).returncode == 0
    done = subprocess.run([*run, str(bad)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "bad.yaml:1:1: 'bgp' is missing" in done.stderr
