"""The edges' BIRD: it installs the routes by which an edge answers, and speaks BFD for the agent's sessions."""

from __future__ import annotations

from containerlab.generate.plan import AS, ROUTER_ID, neighbors


def bird(node: str, variant: str) -> str:
    bfd = variant == "bfd"
    text = f"""\
# {node}: the way back. ExaBGP installs no routes: BIRD takes the leaves' default, both of them while both have one.
# Written by containerlab/generate: change it there.
log "/var/log/bird.log" all;
router id {ROUTER_ID[node]};

protocol device {{}}
protocol kernel {{ ipv4 {{ import none; export all; }}; merge paths on; }}
protocol kernel {{ ipv6 {{ import none; export all; }}; merge paths on; }}

filter way_back {{
  if net ~ [ 0.0.0.0/0 ] || net ~ [ ::/0 ] then accept;
  reject;
}}

template bgp leaf {{
  # ExaBGP listens on this node, too: routers connect to it every second, and it waits longer each time it fails.
  strict bind yes;
  hold time 9;
  keepalive time 3;
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  # A leaf that is silent is gone: BIRD would keep the routes of one that can restart gracefully for its restart time.
  graceful restart off;
{"  bfd;" if bfd else "  # No BFD: the hold time notices."}
}}
"""
    if bfd:
        text += "\n# Also for the agent's sessions: ExaBGP speaks no BFD, and a leaf notices no sooner than its hold time.\n"
        text += (
            'protocol bfd {\n  interface "eth*" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; };\n'
        )
        for port, far in neighbors(node):
            text += f'  neighbor {far.four} local {port.four};\n  neighbor {far.six} dev "{port.interface}" local {port.six};\n'
        text += "}\n"
    for port, far in neighbors(node):
        name = far.node.replace("-", "_")
        for family, own, other in (("ipv4", port.bird4, far.four), ("ipv6", port.bird6, far.six)):
            text += f"""
protocol bgp {name}_{family} from leaf {{
  local {own.split("/")[0]} as {AS[node]};
  neighbor {other} as {AS[far.node]};
  {family} {{ import filter way_back; export none; }};
}}
"""
    return text
