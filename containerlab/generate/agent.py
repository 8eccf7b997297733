"""The edges' agents: their configuration."""

from __future__ import annotations

from containerlab.generate.plan import AS, ROUTER_ID, neighbors, site_of


def agent(node: str) -> str:
    text = f"""\
# {node}: what the agent runs with. Written by containerlab/generate: change it there.
node: {{name: {node}, site: {site_of(node)}}}
bgp:
  local_as: {AS[node]}
  router_id: {ROUTER_ID[node]}
  neighbors:
"""
    for port, far in neighbors(node):
        for label, own, other in (("v4", port.four, far.four), ("v6", port.six, far.six)):
            text += (
                f'    {far.node}-{label}: {{address: "{other}", local_address: "{own}", remote_as: {AS[far.node]}, '
                "hold_time: 9, add_path_receive: true, listen: true}\n"
            )
    return (
        text
        + f"""\
services:
  dns:
    prefixes: [192.0.2.53/32, "2001:db8:53::53/128"]
    # 64496:80 would make a site the backup at its provider: no edge may ask for that, and the leaves take it off.
    attributes: {{communities: ["64496:80"], extended_communities: ["bandwidth:{AS[node]}:125000000"]}}
    last_resort: true  # www has none: the drills show the difference
    local_consumers: follow
    checks:
      answers: {{type: dns, name: www.example, record: A, contains: [192.0.2.80], interval: 1s, timeout: 500ms, rise: 2, fall: 2}}
  www:
    prefixes: [192.0.2.80/32, "2001:db8:53::80/128"]
    attributes: {{extended_communities: ["bandwidth:{AS[node]}:125000000"]}}
    checks:
      page: {{type: http, host: www.example, path: /health, contains: ok, interval: 1s, timeout: 500ms, rise: 2, fall: 2}}
"""
    )
