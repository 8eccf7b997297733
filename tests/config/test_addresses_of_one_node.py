"""An anycast address stands for no single machine: where one is meant, it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from anycast_agent.config import ConfigError, load

TEXT = """\
bgp:
  local_as: 65101
  router_id: 198.51.100.1
  neighbors:
    leaf1: {address: 198.51.100.0, remote_as: 65011}
services:
  web:
    prefixes: [192.0.2.80/32]
    attributes: {med: 1}
    tiers: {degraded: {med: 2}}
    checks:
      port: {type: tcp, port: 80}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("198.51.100.1", "192.0.2.80", "3:3: 192.0.2.80 is the anycast address of service web: it cannot be a router id"),
        ("198.51.100.0", "192.0.2.80",
         "5:13: 192.0.2.80 is the anycast address of service web: it cannot be the address of a neighbor"),
        ("remote_as: 65011", "remote_as: 65011, local_address: 192.0.2.80",
         "5:54: 192.0.2.80 is the anycast address of service web: it cannot be the address of a session"),
        ("med: 1", "next_hop: 192.0.2.80",
         "9:18: 192.0.2.80 is the anycast address of service web: it cannot be a next hop"),
        ("med: 2", "next_hop: 192.0.2.80",
         "10:24: 192.0.2.80 is the anycast address of service web: it cannot be a next hop"),
    ],
)  # fmt: skip
def test_an_anycast_address_is_refused_where_one_node_is_meant(tmp_path: Path, old: str, new: str, said: str) -> None:
    """Its router id, a neighbor, an end of a session, a next hop: all of them would be every node of the service."""
    (tmp_path / "agent.yaml").write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "agent.yaml")
    assert [f"{p.line}:{p.column}: {p.message}" for p in caught.value.problems] == [said]
