"""The lab reads containerlab's files, and says by name what it cannot be."""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from ruamel.yaml import YAML

from anycast_agent.config.load import load as load_agent
from anycast_agent.config.problems import ConfigError
from containerlab import generate
from containerlab.generate import plan
from containerlab.generate.sessions import sessions
from lab.drills import scene
from lab.net import topology
from lab.net.containers.lab import ContainerLab
from lab.net.lab import LabError
from lab.net.namespaces.lab import differences
from lab.net.topology import End

ROOT = Path(__file__).parents[3]
CLAB = ROOT / "containerlab"


def write(folder: Path, text: str) -> Path:
    path = folder / "t.clab.yml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        topology.load(write(folder, text), {})
    return [str(problem).split("t.clab.yml:")[1] for problem in caught.value.problems]


def schema() -> Any:
    text = (Path(__file__).parent / "clab.schema.json").read_text()
    return json.loads(re.sub(r"\\\\p\{\w+\}", r"\\\\w", text))  # Python's patterns have no Unicode classes


GOOD = """
name: t
topology:
  defaults: {kind: linux, network-mode: none, sysctls: {net.ipv4.ip_forward: 1}}
  groups:
    router: {image: "frr:${VERSION:=10}", cmd: run, env: {A: group, B: group}, exec: [one, two]}
  nodes:
    a: {group: router, env: {A: own}}
    b: {image: x, cmd: sleep 1, labels: {site: ams}}
  links:
    - endpoints: ["a:eth1", "b:eth1"]
"""


# --- the file that we ship ---


@pytest.mark.parametrize("variant", ["bfd", "hold"])
def test_the_shipped_topology_is_valid_for_containerlab_and_for_us(variant: str) -> None:
    """Against containerlab's own JSON schema; and each file that it binds is there."""
    document = YAML(typ="safe", pure=True).load(CLAB / "anycast.clab.yml")
    fastjsonschema.validate(schema(), document)
    top = topology.load(CLAB / "anycast.clab.yml", {"ANYCAST_LAB_VARIANT": variant})
    assert (len(top.nodes), len(top.links)) == (14, 18)
    assert all(link.mtu == 1500 for link in top.links) and not top.mgmt
    assert {node.labels["lab-variant"] for node in top.nodes.values()} == {variant}
    assert all(bool(node.healthcheck) is (node.group != "client") for node in top.nodes.values())
    assert all(source.exists() for node in top.nodes.values() for source, _, _ in node.binds)
    assert any(f"/config/{variant}/" in str(source) for source, _, _ in top.nodes["isp1"].binds)


def test_the_configuration_is_what_the_generator_writes() -> None:
    """Whoever changes a router's file by hand learns where to change it."""
    files = generate.files()
    for path, text in files.items():
        assert (CLAB / path).read_text() == text, f"{path}: run python -m containerlab.generate"
    there = {path.relative_to(CLAB) for path in (CLAB / "config").rglob("*") if path.is_file()}
    assert there == {path for path in files if path.parts[0] == "config"}


def test_the_links_of_the_file_are_the_links_of_the_address_plan() -> None:
    """Interface by interface; both ends of a link are in one network, and no address is there twice."""
    top = topology.load(CLAB / "anycast.clab.yml", {})
    planned = {frozenset((End(a.node, a.interface), End(b.node, b.interface))) for a, b in plan.LINKS}
    assert planned == {frozenset(link.ends) for link in top.links}
    seen: set[object] = set()
    for a, b in plan.LINKS:
        for ours, theirs in ((a.ip4, b.ip4), (a.ip6, b.ip6)):
            one, other = ipaddress.ip_interface(ours), ipaddress.ip_interface(theirs)
            assert one.network == other.network and one.ip != other.ip
            assert not {one.ip, other.ip} & seen
            seen |= {one.ip, other.ip}


def test_only_documentation_prefixes_and_numbers_are_used() -> None:
    """RFC 5737, RFC 3849; AS numbers of RFC 5398 and RFC 6996."""
    ours = [ipaddress.ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]
    for port in (port for pair in plan.LINKS for port in pair):
        for text in (port.ip4, port.ip6):
            ip = ipaddress.ip_interface(text).ip
            assert any(ip in network for network in ours if network.version == ip.version)
    assert all(64496 <= number <= 64511 or 64512 <= number <= 65534 for number in plan.AS.values())
    assert len(set(plan.AS.values())) == len(plan.AS)


def test_every_agent_configuration_is_valid() -> None:
    """With the agent's own reader; each has two leaves and two families."""
    for path in sorted((CLAB / "config" / "common").glob("*/agent.yaml")):
        assert len(load_agent(path).config.neighbors) == 4


def test_the_scene_names_only_what_there_is() -> None:
    """lab.yaml, against the topology."""
    top = topology.load(CLAB / "anycast.clab.yml", {})
    assert set(scene.load(CLAB / "lab.yaml", top).steady) == set(top.nodes) - {"client1", "client2"}


# --- routers of other kinds ---


@pytest.mark.parametrize("variant", ["bfd", "hold"])
@pytest.mark.parametrize("name", ["frr", "vendors"])
def test_the_other_topologies_are_valid_and_the_same_network(name: str, variant: str) -> None:
    """For containerlab's schema, and for us: the nodes and neighbors of the main file, and each startup configuration."""
    document = YAML(typ="safe", pure=True).load(CLAB / f"{name}.clab.yml")
    groups = document["topology"]["groups"]
    if name == "frr":  # the schema is 0.79's, the last one without this kind
        assert groups["router"].pop("kind") == "frr" and set(groups["router"].pop("extras")["frr"]["daemons"]) == {
            "bgpd",
            "bfdd",
        }
    fastjsonschema.validate(schema(), document)
    main = topology.load(CLAB / "anycast.clab.yml", {"ANYCAST_LAB_VARIANT": variant})
    top = topology.load(CLAB / f"{name}.clab.yml", {"ANYCAST_LAB_VARIANT": variant})
    assert set(top.nodes) == set(main.nodes) and top.name != main.name
    assert [[end.node for end in link.ends] for link in top.links] == [
        [e.node for e in link.ends] for link in main.links
    ]
    for node in top.nodes.values():
        assert node.labels["lab-variant"] == variant
        if node.kind == "linux":
            assert node.sysctls == main.nodes[node.name].sysctls
        else:
            written = groups[node.group]["startup-config"].replace("${ANYCAST_LAB_VARIANT:=bfd}", variant)
            assert (CLAB / written.replace("__clabNodeName__", node.name)).is_file()


def test_leaves_are_of_two_vendors_with_their_interfaces_names() -> None:
    """SR Linux counts its ports by card; the drills refuse what they cannot judge."""
    top = topology.load(CLAB / "vendors.clab.yml", {})
    assert {node.kind for node in top.nodes.values() if node.group == "srlinux"} == {"nokia_srlinux"}
    assert top.nodes["fra-leaf2"].kind == "arista_ceos"
    ours = {end.interface for link in top.links for end in link.ends if end.node == "ams-leaf1"}
    assert ours == {"e1-1", "e1-2", "e1-3"}
    with pytest.raises(LabError, match="ams-leaf1 is of kind 'nokia_srlinux': the lab reads the kernel's tables"):
        ContainerLab(top, "x", "bfd")


def test_the_vendors_leaves_have_the_sessions_and_limits_of_frrs() -> None:
    """Neighbors, AS numbers, policies both ways and prefix limits, in each dialect."""
    for leaf in ("ams-leaf1", "fra-leaf2"):
        nokia = (CLAB / "config" / "bfd" / leaf / "srlinux.cli").read_text()
        arista = (CLAB / "config" / "bfd" / leaf / "eos.cfg").read_text()
        for version, family in ((4, "ipv4-unicast"), (6, "ipv6-unicast")):
            for one in sessions(leaf, version):
                group = f"group {one.policy}-{family}"
                assert f"bgp neighbor {one.address} peer-as {one.remote_as}\n" in nokia
                assert f"bgp neighbor {one.address} peer-group {one.policy}-{family}\n" in nokia
                assert f"{group} import-policy [ {one.policy}-IN ]" in nokia
                assert f"{group} export-policy [ {one.policy}-OUT ]" in nokia
                assert (
                    f"{group} afi-safi {family} {family} prefix-limit-received max-received-routes {one.most}\n"
                    in nokia
                )
                assert f"   neighbor {one.address} remote-as {one.remote_as}\n" in arista
                assert f"      neighbor {one.address} route-map {one.policy}-IN in\n" in arista
                assert f"      neighbor {one.address} route-map {one.policy}-OUT out\n" in arista
                assert f"   neighbor {one.address} maximum-routes {one.most}\n" in arista
                assert (f"   neighbor {one.address} bfd\n" in arista) is (one.policy != "WAY")
        assert "enable-bfd true" not in (CLAB / "config" / "hold" / leaf / "srlinux.cli").read_text()


# --- reading ---


def test_a_node_has_what_its_group_kind_and_the_defaults_give_it(tmp_path: Path) -> None:
    """The nearest wins; mappings are merged; variables have defaults."""
    top = topology.load(write(tmp_path, GOOD), {})
    a, b = top.nodes["a"], top.nodes["b"]
    assert (a.image, a.cmd, a.exec, dict(a.env)) == ("frr:10", "run", ("one", "two"), {"A": "own", "B": "group"})
    assert a.sysctls == b.sysctls == {"net.ipv4.ip_forward": "1"}
    assert (b.labels["site"], b.exec) == ("ams", ())
    assert top.far_end("a", "eth1") == End("b", "eth1") and top.far_end("a", "eth9") is None
    assert topology.load(write(tmp_path, GOOD), {"VERSION": "8"}).nodes["a"].image == "frr:8"


def test_lists_are_joined_as_containerlab_joins_them(tmp_path: Path) -> None:
    """The defaults' commands and binds first, then the kind's, the group's, the node's; what is there twice, once."""
    text = GOOD.replace("kind: linux,", "kind: linux, exec: [zero], binds: ['.:/d'],").replace(
        "  groups:", "  kinds: {linux: {exec: [half]}}\n  groups:"
    )
    top = topology.load(write(tmp_path, text.replace("a: {", "a: {exec: [three, one], binds: ['.:/a', '.:/d'], ")), {})
    assert top.nodes["a"].exec == ("zero", "half", "one", "two", "three")
    assert [target for _, target, _ in top.nodes["a"].binds] == ["/d", "/a"]
    assert top.nodes["b"].exec == ("zero", "half")


def test_health_checks_are_read_as_docker_reads_them(tmp_path: Path) -> None:
    """A command's words, or a line for a shell; the nearest one counts."""
    text = GOOD.replace("cmd: run", "cmd: run, healthcheck: {test: [CMD, curl, -f, x], timeout: 5}")
    text = text.replace("cmd: sleep 1", "healthcheck: {test: [CMD-SHELL, 'curl -f x | grep y'], start-period: 9}")
    nodes = topology.load(write(tmp_path, text), {}).nodes
    of_a, of_b = nodes["a"].healthcheck, nodes["b"].healthcheck
    assert of_a and of_b and (of_a.command, of_a.timeout) == (("curl", "-f", "x"), 5)
    assert of_b.command == ("sh", "-c", "curl -f x | grep y")


def test_a_management_network_is_read_and_not_made(tmp_path: Path) -> None:
    """What the runner does differently from containerlab is told when the lab starts."""
    text = GOOD.replace("name: t", "name: t\nmgmt: {network: x, ipv4-subnet: 192.0.2.0/24}")
    top = topology.load(write(tmp_path, text.replace("cmd: run", "cmd: run, restart-policy: always")), {})
    told = "\n".join(differences(top, {}))
    assert "no management network" in told and "no restart-policy" in told and "health" not in told
    assert "the images frr:10, x" in told
    quiet = topology.load(write(tmp_path, GOOD.replace("name: t", "name: t\nmgmt: {skip-when-unused: true}")), {})
    assert "management" not in "\n".join(differences(quiet, {"router": "/elsewhere"}))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: t", "name: t\nmgmt: {netwrok: x}", "3:8: unknown key 'netwrok' (did you mean 'network'?)"),
        ("cmd: sleep 1", "healthcheck: {test: [curl, x]}", "a health check reads [CMD, word…] or [CMD-SHELL, line]"),
        ("cmd: sleep 1", "healthcheck: {test: [CMD-SHELL, curl, x]}", "a health check reads [CMD, word…]"),
        ("cmd: sleep 1", "comd: sleep 1", "9:19: unknown key 'comd' (did you mean 'cmd'?)"),
        ("cmd: sleep 1", "startup-config: x", "9:5: startup-config: a node of kind linux has no use for it"),
        ("cmd: sleep 1", "kind: nokia_sros", "9:19: kind 'nokia_sros' is not known here: linux, frr, nokia_srlinux, arista_ceos"),
        ("cmd: sleep 1", "network-mode: host", "network-mode 'host': only none has no network but the links"),
        ("b:eth1", "c:eth1", "11:7: no node 'c'"),
        ("b:eth1", "a:eth1", "11:7: a:eth1 is used by two links"),
        ("b:eth1", "b:lo", "11:7: b:lo cannot be a link's end"),
        ("b:eth1", "b", "an endpoint reads node:interface, not 'b'"),
        ("group: router", "group: ruoter", "no group 'ruoter' (did you mean 'router'?)"),
        ("cmd: sleep 1", "binds: [nowhere:/x]", "bind: there is no "),
        ("cmd: sleep 1", "binds: [x]", "a bind reads source:/target[:ro], not 'x'"),
        ("cmd: sleep 1", 'cmd: "${UNSET}"', "${UNSET} is not set in the environment and has no default"),
        ("  links:", "  links: []\n  nodes:", "11:3: 'nodes' stands here again; first on line 7"),
        ("name: t", "name: a/b", "2:1: name: "),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused_by_name(tmp_path: Path, old: str, new: str, said: str) -> None:
    """With its line and column, and what was likely meant."""
    found = problems(tmp_path, GOOD.replace(old, new, 1))
    assert any(said in text for text in found), found


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """And a file that is not there is a problem too."""
    assert len(problems(tmp_path, GOOD.replace("b:eth1", "c:eth1").replace("group: router", "group: no"))) == 2
    with pytest.raises(ConfigError, match="there is no such file"):
        topology.load(tmp_path / "none.clab.yml")
