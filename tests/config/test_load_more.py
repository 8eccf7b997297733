"""More of what the loader takes and refuses; the examples, the schema and the reference that go with it."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from exabgp.configuration.static import parser as exabgp
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_agent.cli.main import main
from anycast_agent.config import ConfigError, load
from anycast_agent.config.diff import changes
from anycast_agent.config.reference import render
from anycast_agent.config.schema import schema
from anycast_agent.config.types import community, duration, extended_community, large_community
from anycast_agent.core.model import Config, RouteKey, Service, Tier, Will
from tests.config.test_load import ANSWERS, BASE, CONFIGS, DNS, LEAF, changed, problems, written
from tests.conftest import examples

ROOT = Path(__file__).parents[2]

REFUSED: list[tuple[tuple[str, ...], Any, str]] = [
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
]


@pytest.mark.parametrize(("where", "value", "message"), REFUSED)
def test_refused_with_the_reason(tmp_path: Path, where: tuple[str, ...], value: Any, message: str) -> None:
    """Each is refused, and the message says this."""
    assert any(message in said for said in problems(tmp_path, (where, value)))


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


def test_yaml_is_1_2(tmp_path: Path) -> None:
    """``off`` is a word, not a boolean; 65000:1 is a community, not a number to the base of 60."""
    values = tmp_path / "agent.yaml"
    values.write_text(
        "node: {name: edge1, way_back: off}\n"
        "bgp: {local_as: 65101, router_id: 198.51.100.1, neighbors: {l: {address: 198.51.100.0, remote_as: 1}}}\n"
        "services: {s: {prefixes: [192.0.2.1/32], checks: {c: {type: tcp, port: 1}},"
        " attributes: {communities: [65000:1]}}}\n"
    )
    config = load(values).config
    assert config.way_back == "off"
    assert config.services["s"].attributes[Tier.FULL][RouteKey("l", "192.0.2.1/32")].communities == ("65000:1",)


def test_links_that_go_round_and_folders(tmp_path: Path) -> None:
    """A symlink loop and a directory are clear errors with the file's name."""
    loop, folder = tmp_path / "loop.yaml", tmp_path / "folder.yaml"
    loop.symlink_to(loop)
    folder.mkdir()
    for path in (loop, folder):
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.problems[0].file == str(path)
        assert "cannot be read" in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_secret_of_another_user_is_refused(tmp_path: Path) -> None:
    """Who owns the file could change the password."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    os.chown(secret, 65534, 65534)
    said = problems(tmp_path, ((*LEAF, "password_file"), str(secret)))
    assert any("belongs to another user" in line for line in said)


# --- what is made from the models ---------------------------------------------------------------------------


def test_the_reference_is_current() -> None:
    """Where it is not: python -m anycast_agent.config.reference > docs/configuration.md."""
    assert (ROOT / "docs" / "configuration.md").read_text("utf-8") == render()


def test_every_key_is_in_the_reference() -> None:
    """Not one that the schema knows is left out, the deprecated trap for passwords apart."""
    page = render()
    definitions = schema()["$defs"]
    keys = {key for d in definitions.values() for key in d.get("properties", {})} - {"password", "pointer", "equals"}
    assert [key for key in sorted(keys) if f"| `{key}` |" not in page and key != "at_least"] == []


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_the_examples_announce_something(path: Path) -> None:
    """An example that loads and would announce nothing is none."""
    config = load(path).config
    assert all(service.keys and service.enabled for service in config.services.values())


# --- what differs -------------------------------------------------------------------------------------------


def _config(tmp: Path, *at: tuple[tuple[str, ...], Any]) -> Config:
    return load(written(tmp, changed(*at))).config


def test_nothing_changes_where_nothing_differs(tmp_path: Path) -> None:
    """A plan against itself is empty."""
    assert changes(_config(tmp_path), _config(tmp_path)) == []


def test_an_attribute_is_replaced_and_no_session_is_reset(tmp_path: Path) -> None:
    """A MED names the routes and the attribute; no neighbor is touched, nothing is withdrawn."""
    found = changes(_config(tmp_path), _config(tmp_path, ((*DNS, "attributes"), {"med": 5})))
    assert {c.what for c in found} == {"route"}
    assert any("med" in c.text for c in found)
    assert not any(c.withdraws for c in found)


def test_a_service_that_goes_is_withdrawn_and_refused(tmp_path: Path) -> None:
    """All that is announced would go: the plan says what a reload would."""
    old = _config(tmp_path)
    service = BASE["services"]["dns"] | {"prefixes": ["192.0.2.99/32"]}
    new = _config(tmp_path, (DNS, None), (("services", "other"), service))
    found = changes(old, new)
    assert {c.name for c in found if c.what == "route" and c.withdraws} == {
        "192.0.2.53/32 at leaf4",
        "2001:db8:53::53/128 at leaf6",
    }
    assert any(c.what == "reload" and c.name == "refused" for c in found)


@given(st.sampled_from(["require", "enabled", "observe_only", "linger", "will"]), st.booleans())
@settings(max_examples=examples(20))
def test_a_field_of_a_service_is_named(tmp_path_factory: pytest.TempPathFactory, field: str, backwards: bool) -> None:
    """What differs in a service shows, in whichever direction it changes."""
    other: dict[str, Any] = {"require": "any", "enabled": False, "observe_only": True, "linger": "2s", "will": "keep"}
    folder = tmp_path_factory.mktemp("diff")
    pair = [_config(folder), _config(folder, ((*DNS, field), other[field]))]
    old, new = reversed(pair) if backwards else pair
    assert any(c.what == "service" and c.text.startswith(f"{field}: ") for c in changes(old, new))


# --- the verbs ----------------------------------------------------------------------------------------------


def test_validate_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 and every problem with its place; exit 0 and what there is."""
    path = written(tmp_path, changed(((*LEAF, "hold_time"), 2)))
    assert main(["validate", "--config", str(path), "--output", "json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["valid"] is False
    assert {"file", "line", "column", "message"} == set(said["problems"][0])
    assert main(["validate", "--config", str(written(tmp_path, BASE)), "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["valid"] is True


def test_validate_takes_the_file_as_plan_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --config, or without: one verb is not stricter about it than the other."""
    assert main(["validate", str(written(tmp_path, BASE))]) == 0
    assert capsys.readouterr().out.startswith("valid: ")
    assert main(["validate", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml:1:1: cannot be read" in capsys.readouterr().err


def test_schema_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    """What an editor reads."""
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].endswith("2020-12/schema")


def test_plan_says_what_is_withdrawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 where nothing is, 1 where something is."""
    (tmp_path / "old").mkdir()
    old = written(tmp_path / "old", BASE)
    new = written(tmp_path, changed(((*DNS, "attributes"), {"med": 5})))
    assert main(["plan", "--config", str(new), "--against", str(old)]) == 0
    assert "med" in capsys.readouterr().out
    new = written(tmp_path, changed(((*DNS, "prefixes"), ["192.0.2.53/32"])))
    assert main(["plan", "--config", str(new), "--against", str(old), "--output", "json"]) == 1
    assert any(
        c["withdraws"] and "2001:db8:53::53/128" in c["name"] for c in json.loads(capsys.readouterr().out)["changes"]
    )


def test_a_service_is_equal_to_itself_only(tmp_path: Path) -> None:
    """What the core compares at a reload: any difference in YAML that matters makes another value."""
    one: Service = _config(tmp_path).services["dns"]
    assert one == _config(tmp_path).services["dns"]
    assert one != _config(tmp_path, ((*ANSWERS, "rise"), 4)).services["dns"]
