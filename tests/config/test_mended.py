"""What a review of the loader found: each was taken, said wrongly, or brought it down."""

from __future__ import annotations

import os
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_agent.config import ConfigError, load
from anycast_agent.config.diff import changes
from anycast_agent.config.schema import schema
from anycast_agent.config.types import extended_community
from anycast_agent.core.model import RouteKey, Tier
from tests.config.test_load import ANSWERS, ANYTHING, BASE, DNS, LEAF, changed, problems, written
from tests.conftest import examples

V4, V6 = "192.0.2.53/32", "2001:db8:53::53/128"

MAPPED = ip_address("::ffff:192.0.2.1")  # its text is another from Python 3.13 on
REFUSED: list[tuple[tuple[str, ...], Any, str]] = [
    ((*LEAF, "address"), "fe80::1%x; y", "an address is written without its zone (%…)"),
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
]  # fmt: skip


@pytest.mark.parametrize(("where", "value", "message"), REFUSED)
def test_refused_in_these_words_and_no_others(tmp_path: Path, where: tuple[str, ...], value: Any, message: str) -> None:
    """One mistake is one problem: nothing that only follows from it is said beside it."""
    assert set(problems(tmp_path, (where, value))) == {message}


def test_a_loopback_next_hop_is_good_on_a_loopback_session(tmp_path: Path) -> None:
    """Where the router is on this very machine, as in the demo."""
    values = changed((LEAF, {"address": "127.0.0.2", "remote_as": 65011, "families": ["ipv4", "ipv6"]}),
                     ((*DNS, "attributes"), {"next_hop": ["127.0.0.1", "::1"]}), ((*DNS, "neighbors"), ["leaf4"]),)  # fmt: skip
    routes = load(written(tmp_path, values)).config.services["dns"].attributes[Tier.FULL]
    assert [routes[RouteKey("leaf4", prefix)].next_hop for prefix in (V4, V6)] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("text", ["target:99999999:99999999", "target:999.1.1.1:1", "bandwidth:70000:1"])
def test_extended_communities_that_exabgp_refuses(text: str) -> None:
    """They are refused here, and not when the route is to be announced."""
    with pytest.raises(ValueError, match="one at most is above 65535"):
        extended_community(text)


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


# --- conf.d -------------------------------------------------------------------------------------------------


def drop_in(folder: Path, text: str, name: str = "a.yaml") -> Path:
    (folder / "conf.d").mkdir(exist_ok=True)
    (folder / "conf.d" / name).write_text(text)
    return written(folder, BASE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bgp: 5\n", "bgp holds neighbors: and what they are"),
        ("bgp: [[1]]\n", "bgp holds neighbors: and what they are"),
        ("bgp: {neighbors: 5}\n", "bgp.neighbors holds names and what they are"),
        ("services: [1]\n", "services holds names and what they are"),
        ("services: text\n", "services holds names and what they are"),
        ("bgp: {local_as: 1}\n", "in conf.d only services and bgp.neighbors may stand, not 'bgp.local_as'"),
    ],
)
def test_a_drop_in_of_the_wrong_shape_is_said(tmp_path: Path, text: str, message: str) -> None:
    """It neither brings the loader down nor is passed over in silence."""
    with pytest.raises(ConfigError) as caught:
        load(drop_in(tmp_path, text))
    assert [(Path(p.file).name, p.message) for p in caught.value.problems] == [("a.yaml", message)]


def test_a_drop_in_of_another_suffix_is_said(tmp_path: Path) -> None:
    """``.yml`` would be a service that silently never is announced."""
    with pytest.raises(ConfigError, match=r"a\.yml:1:1: only \*\.yaml is read here: rename it"):
        load(drop_in(tmp_path, "services: {}\n", "a.yml"))


def test_services_may_all_stand_in_conf_d_or_nowhere_yet(tmp_path: Path) -> None:
    """A scheduler that takes its last service away must not make the configuration invalid."""
    path = drop_in(tmp_path, "services:\n")
    path.write_text("bgp: {local_as: 65101, router_id: 198.51.100.1}\nservices:\n")
    assert load(path).config.services == {}


@given(ANYTHING, st.sampled_from(["services", "bgp", "neighbors"]))
@settings(max_examples=examples(100), deadline=None)
def test_whatever_a_drop_in_holds(tmp_path_factory: pytest.TempPathFactory, value: Any, key: str) -> None:
    """A configuration, or ConfigError."""
    folder = tmp_path_factory.mktemp("any")
    (folder / "conf.d").mkdir()
    content = {"bgp": {"neighbors": value}} if key == "neighbors" else {key: value}
    written(folder / "conf.d", content).rename(folder / "conf.d" / "a.yaml")
    try:
        load(written(folder, BASE))
    except ConfigError as error:
        assert error.problems


# --- files --------------------------------------------------------------------------------------------------


def test_a_fifo_in_a_files_place_holds_nothing_up(tmp_path: Path) -> None:
    """Read as a file it would block the thread of each reload for ever."""
    os.mkfifo(tmp_path / "agent.yaml")
    with pytest.raises(ConfigError, match="is no regular file"):
        load(tmp_path / "agent.yaml")


def test_nesting_is_refused_while_it_is_read(tmp_path: Path) -> None:
    """The scanner's work grows with the square of the depth: 100,000 brackets would take it a quarter of an hour."""
    (tmp_path / "agent.yaml").write_text("[" * 100_000)
    began = time.monotonic()
    with pytest.raises(ConfigError, match="nested deeper than 50 levels"):
        load(tmp_path / "agent.yaml")
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("text", ["", "\n", "one\ntwo\n", "x" * 81, "pass\u00e4"])
def test_a_password_file_that_exabgp_could_not_use(tmp_path: Path, text: str) -> None:
    """Said before the configuration is taken, and not by the speaker afterwards. The content is not."""
    secret = tmp_path / "secret"
    secret.write_text(text)
    secret.chmod(0o600)
    (said,) = problems(tmp_path, ((*LEAF, "password_file"), str(secret)))
    assert said.endswith("holds the password alone: 1 to 80 printable ASCII characters on one line")


def test_a_tls_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """It is a secret as a password is."""
    key = tmp_path / "key.pem"
    key.write_text("key")
    key.chmod(0o644)
    check = {"type": "http", "cert_file": str(key), "key_file": str(key)}
    assert problems(tmp_path, ((*DNS, "checks"), {"x": check})) == [f"{key} can be read by others: chmod 600 {key}"]


# --- schema and plan ----------------------------------------------------------------------------------------


def test_the_schema_takes_headers_as_they_are_written() -> None:
    """A mapping, as the loader takes them: an editor must not mark it as wrong."""
    checks = schema()["$defs"]["ServiceModel"]["properties"]["checks"]["additionalProperties"]["oneOf"]
    assert [c["properties"]["headers"]["type"] for c in checks if "headers" in c["properties"]] == ["object"]


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ((*DNS, "tiers"), {"degraded": {"prepend": 5}}),
        ((*DNS, "prefixes"), [V6, V4]),
        (("bgp", "router_id"), "198.51.100.77"),
        (("node",), {"name": "edge2"}),
    ],
)
def test_a_plan_is_empty_only_where_nothing_differs(tmp_path: Path, where: tuple[str, ...], value: Any) -> None:
    """Also what shows only while a shared check fails is a change."""
    old, new = load(written(tmp_path, BASE)).config, load(written(tmp_path, changed((where, value)))).config
    assert old != new
    assert changes(old, new)
