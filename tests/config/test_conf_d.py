"""conf.d: services and neighbors of many files are one configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_agent.config import ConfigError, load
from tests.conftest import examples
from tests.support.configs import ANYTHING, BASE, written


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


def test_one_section_of_the_wrong_shape_hides_no_other(tmp_path: Path) -> None:
    """Both are reported, and so is a name that stands in two files."""
    text = "services: [1]\nbgp: {neighbors: {leaf4: {address: 198.51.100.9, remote_as: 1}}}\n"
    with pytest.raises(ConfigError) as caught:
        load(drop_in(tmp_path, text))
    said = [p.message for p in caught.value.problems]
    assert said[0] == "services holds names and what they are"
    assert said[1].startswith("'leaf4' stands in ")


def test_a_file_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    """Each broken drop-in is named at once, in whatever way it is broken; nobody mends them one load at a time."""
    drop_in(tmp_path, "services: {", "10-a.yaml")
    drop_in(tmp_path, "bgp: 5\n", "20-b.yaml")
    with pytest.raises(ConfigError) as caught:
        load(drop_in(tmp_path, "services: }", "30-c.yaml"))
    assert [Path(p.file).name for p in caught.value.problems] == ["10-a.yaml", "20-b.yaml", "30-c.yaml"]
