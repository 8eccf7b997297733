"""Ways to break the lab, its clients, its judge's evidence, and what the agents run with: each has to be caught by name.

A mutant is a change of a few words in a copy of the checkout. Its drill has to miss an expectation of the mutant's own kind:
a drill that fails for another reason has caught nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

CLIENT, ACTS, LINKS = "lab/drills/traffic.py", "lab/drills/acts.py", "lab/net/links.py"
FRR, BIRD, AGENT, HOSTS = (f"containerlab/generate/{name}.py" for name in ("frr", "bird", "agent", "linux"))
TOPOLOGY, EDGE = "containerlab/anycast.clab.yml", "containerlab/edge/start"


@dataclass(frozen=True, slots=True)
class Edit:
    """``old`` stands in the file exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    drill: str
    caught: str
    """The beginning of the expectation that has to be missed, or a part of why the drill could not begin."""
    edits: tuple[Edit, ...]
    ci: bool = False
    """In the sample that every run of the tests makes: together, in one lab and one drill, which has to catch each."""


NOT_STEADY = "before the drill, the lab is not steady"
TABLES = "the tables are as expected"
AS_BEFORE = "everything is as before"
RATE = "each flow asks at"
LOSES = "each flow loses for"
BACK = "on the way back, "
WITHDRAWN = "every prefix is withdrawn"
COSTS = "effect: the fault costs"
ANSWERED = "effect: ams-edge1 answered"

ANSWERS_CHECK = "contains: [192.0.2.80], interval: 1s, timeout: 500ms, rise: 2, fall: 2"
PAGE_CHECK = "path: /health, contains: ok, interval: 1s, timeout: 500ms, rise: 2, fall: 2"
DNS_SERVICE = """    prefixes: [192.0.2.53/32, "2001:db8:53::53/128"]
"""
WWW_PREFIXES = """    prefixes: [192.0.2.80/32, "2001:db8:53::80/128"]
"""
NODE_LINE = "node: {{name: {node}, site: {site_of(node)}}}"

MUTANTS = (
    # --- the clients ---
    Mutant("the client never counts a loss", "site-power", COSTS, (
        Edit(CLIENT, "        self.records.append([round(sent, 5), stream.name, None, why])\n", ""),
    )),
    Mutant("the client stops asking after three seconds", "link-cut", RATE, (
        Edit(CLIENT, "        if stream.due < self.until:\n", "        if stream.due < min(self.until, self.start + 3):\n"),
    )),
    Mutant("an answer is counted twice", "node-power", RATE, (
        Edit(CLIENT, "            self.records.append([round(sent, 5), stream.name, who, round(time.monotonic() - sent, 5)])\n",
             "            self.records += 2 * [[round(sent, 5), stream.name, who, round(time.monotonic() - sent, 5)]]\n"),
    ), ci=True),
    Mutant("IPv6 streams ask over IPv4", "ipv6-only", COSTS, (
        Edit(CLIENT, 'orders["targets"][f"{name} {family}"]', 'orders["targets"][f"{name} IPv4"]'),
    )),
    Mutant("one family is never asked", "link-cut", "has not asked", (
        Edit(CLIENT, '            for family in ("IPv4", "IPv6")\n', '            for family in ("IPv4",)\n'),
    )),
    # --- what is done to the lab ---
    Mutant("kill does nothing", "agent-killed", "effect: anycast-agent on ams-edge1 is another process", (
        Edit(ACTS, "                os.kill(pid, number)\n", "                os.kill(pid, 0)\n"),
    )),
    Mutant("stop does nothing", "node-withdrawn", TABLES, (
        Edit(ACTS, "        _off(lab, name, what.process).touch()\n    _signal(lab, names, drill.KEPT[what.process], signal.Signals[f\"SIG{what.signal}\"])\n", "        pass\n"),
    )),
    Mutant("freeze does nothing", "node-frozen", TABLES, (
        Edit(ACTS, "        lab.nodes[name].freeze(frozen)\n", "        pass\n"),
    )),
    Mutant("lossy does nothing", "link-lossy", COSTS, (
        Edit(ACTS, "        links.lose(end, lab.nodes[end.node], percent, family)\n", "        pass\n"),
    )),
    Mutant("lossy loses both families", "ipv6-only", TABLES, (
        Edit(ACTS, "        links.lose(end, lab.nodes[end.node], percent, family)\n", "        links.lose(end, lab.nodes[end.node], percent)\n"),
    )),
    Mutant("clean leaves a third lost", "link-lossy", BACK, (
        Edit(ACTS, "lambda link: _lose(lab, link, 0)", "lambda link: _lose(lab, link, 33)"),
    )),
    Mutant("cut does nothing", "link-cut", TABLES, (
        Edit(LINKS, "    set_up(nodes[link.a.node], [link.a.interface], up=False)\n", "    pass\n"),
    )),
    Mutant("mend does nothing", "link-cut", AS_BEFORE, (
        Edit(LINKS, "    set_up(nodes[link.a.node], [link.a.interface])\n", "    pass\n"),
    )),
    Mutant("power off leaves the node on", "node-power", TABLES, (
        Edit("lab/net/namespaces/lab.py", "                links.silence(self.nodes[name], ends)\n", "                pass\n"),
        Edit("lab/net/namespaces/lab.py", "            self.nodes[name].cut_power()\n", "            pass\n"),
        Edit("lab/net/namespaces/lab.py", '                raise NodeError(f"{node.name} is on already")\n', "                return\n"),
    )),
    Mutant("a node that boots loses a fifth of what comes in", "node-power", BACK, (
        Edit("lab/net/namespaces/lab.py", "        self._boot(nodes)\n", "        self._boot(nodes)\n        for node in nodes:\n            for end in self.ends(node.name):\n                links.lose(end, node, 20)\n"),
    ), ci=True),
    Mutant("client1's link loses one packet in a hundred, all the time", "link-cut", "before the fault, nothing is lost", (
        Edit("lab/net/namespaces/lab.py", "            self._boot(self.nodes.values())\n", "            self._boot(self.nodes.values())\n            for end in self.ends('client1'):\n                links.lose(end, self.nodes['client1'], 1)\n"),
    )),
    # --- the network ---
    Mutant("updates of BGP wait for ten seconds", "site-withdrawn", LOSES, (
        Edit(FRR, 'advertisement-interval 0"', 'advertisement-interval 10"'),
    )),
    Mutant("an edge may send any community", "backbone-cut", NOT_STEADY, (
        Edit(FRR, 'match("EDGE-IN", 10, "ANYCAST", f"set community {own}")', 'match("EDGE-IN", 10, "ANYCAST", f"set community {own} additive")'),
    )),
    Mutant("routers refuse the last resort", "checks-wrong", "not converged", (
        Edit(FRR, "permit {ANYCAST4} ge 31", "permit {ANYCAST4} ge 32"), Edit(FRR, "permit {ANYCAST6} ge 127", "permit {ANYCAST6} ge 128"),
    )),
    Mutant("the longer aggregate goes out whatever is there", "site-last-resort", TABLES, (
        Edit(FRR, 'advertise-map HEALTHY exist-map HOST")', 'advertise-map HEALTHY exist-map HEALTHY")'),
    )),
    Mutant("the backbone carries no host route", "backbone-cut", NOT_STEADY, (
        Edit(FRR, '        + match("BACKBONE-OUT", 30, "ANYCAST", "match community OWN-SITE")\n', ""),
    )),
    Mutant("host routes are sent to the providers, which refuse them", "backbone-cut", NOT_STEADY, (
        Edit(FRR, '        + match("ISP-OUT", 10, "AGGREGATE")\n', '        + match("ISP-OUT", 10, "AGGREGATE") + match("ISP-OUT", 20, "ANYCAST")\n'),
    )),
    Mutant("host routes are sent to the providers, which take them", "site-power", "not converged", (
        Edit(FRR, '        + match("ISP-OUT", 10, "AGGREGATE")\n', '        + match("ISP-OUT", 10, "AGGREGATE") + match("ISP-OUT", 20, "ANYCAST")\n'),
        Edit(FRR, '        + match("CUSTOMER-OUT", 10, "DEFAULT")\n', '        + match("CUSTOMER-IN", 40, "ANYCAST") + match("CUSTOMER-OUT", 10, "DEFAULT")\n'),
    )),
    Mutant("a provider tells its peer who is a customer", "backbone-cut", NOT_STEADY, (
        Edit(FRR, 'match("PEER-OUT", 20, "AGGREGATE", "match community CUSTOMER", "set comm-list OURS delete")', 'match("PEER-OUT", 20, "AGGREGATE", "match community CUSTOMER")'),
    )),
    Mutant("a provider drops GRACEFUL_SHUTDOWN", "site-drained", TABLES, (
        Edit(FRR, '"match community SHUTDOWN", "set local-preference 0",\n                f"set community {asn}:100 additive")',
             '"match community SHUTDOWN", "set local-preference 200",\n                f"set community {asn}:100")'),
    )),
    Mutant("isp1 speaks no BFD", "site-power", LOSES, (
        Edit(FRR, 'if variant == "bfd" and s.policy != "WAY":', 'if variant == "bfd" and s.policy != "WAY" and node != "isp1":'),
    )),
    Mutant("a border keeps its aggregate when it is cut off", "site-cut-off", TABLES, (
        Edit(FRR, 'f"  aggregate-address {prefix}" for', 'f"  network {prefix}" for'),
        Edit(FRR, '    if role(node) == "isp":\n        text +=', '    if role(node) == "border":\n        text += f"ip route {ANYCAST4} blackhole\\nipv6 route {ANYCAST6} blackhole\\n!\\n"\n    if role(node) == "isp":\n        text +='),
    )),
    Mutant("the leaves speak no BFD", "node-power", LOSES, (
        Edit(FRR, 'if variant == "bfd" and s.policy != "WAY":', 'if variant == "bfd" and s.policy != "WAY" and role(node) != "leaf":'),
    ), ci=True),
    Mutant("addresses go when a link goes down", "link-cut", AS_BEFORE, (
        Edit(TOPOLOGY, "      net.ipv6.conf.all.keep_addr_on_down: 1\n      net.ipv6.conf.default.keep_addr_on_down: 1\n", ""),
    )),
    Mutant("routers hash addresses alone", "node-power", ANSWERED, (
        Edit(TOPOLOGY, "      net.ipv4.fib_multipath_hash_policy: 1\n", "      net.ipv4.fib_multipath_hash_policy: 0\n"),
        Edit(TOPOLOGY, "      net.ipv6.fib_multipath_hash_policy: 1\n", "      net.ipv6.fib_multipath_hash_policy: 0\n"),
    )),
    # --- the edges ---
    Mutant("ams-edge1 carries a thousandth of its site", "service-500", ANSWERED, (
        Edit(AGENT, WWW_PREFIXES + "    attributes: {{extended_communities: [\"bandwidth:{AS[node]}:125000000\"]}}\n",
             WWW_PREFIXES + "    attributes: {{extended_communities: [\"bandwidth:{AS[node]}:{125000 if node == 'ams-edge1' else 125000000}\"]}}\n"),
    )),
    Mutant("ams-edge1 answers by the name of ams-edge2", "node-power", ANSWERED, (
        Edit(EDGE, '"$(hostname)" > /etc/unbound', '"$(hostname | sed s/ams-edge1/ams-edge2/)" > /etc/unbound'),
    ), ci=True),
    Mutant("the edges answer by a static route", "leaf-uplinks", TABLES, (
        Edit(BIRD, "ipv4 {{ import none; export all; }}; merge paths on; }}\nprotocol kernel {{ ipv6 {{ import none; export all; }}", "ipv4 {{ import none; export none; }}; merge paths on; }}\nprotocol kernel {{ ipv6 {{ import none; export none; }}"),
        Edit(HOSTS, "    return text\n", "    if role(node) == 'edge':\n        ways = [far for _, far in neighbors(node)]\n"
             "        text += 'route add default ' + ' '.join(f'nexthop via {far.four}' for far in ways) + '\\n'\n"
             "        text += 'route add ::/0 ' + ' '.join(f'nexthop via {far.six}' for far in ways) + '\\n'\n    return text\n"),
    )),
    Mutant("BIRD waits for the hold time of a leaf that is silent", "leaf-power", LOSES, (
        Edit(BIRD, '{"  bfd;" if bfd else', '{"  # mutant" if bfd else'),
    )),
    # --- the agents ---
    Mutant("a web server that answers 500 is healthy", "service-500", TABLES, (
        Edit(AGENT, PAGE_CHECK, 'path: /health, status: "200-599", interval: 1s, timeout: 500ms, rise: 2, fall: 2'),
    )),
    Mutant("the dead man's switch is off", "agent-frozen", TABLES, (
        Edit(AGENT, NODE_LINE, NODE_LINE + "\nagent: {{dead_man: 10m}}"),
    )),
    Mutant("the dead man's switch withdraws IPv4 alone", "agent-frozen", WITHDRAWN, (
        Edit(AGENT, "services:\n  dns:\n" + DNS_SERVICE, "services:\n  dns6:\n    prefixes: [\"2001:db8:53::53/128\"]\n    will: keep\n"
             "    checks:\n      answers: {{type: dns, name: www.example, record: A, interval: 1s, timeout: 500ms, rise: 2, fall: 2}}\n"
             "  dns:\n    prefixes: [192.0.2.53/32]\n"),
    )),
    Mutant("a last resort goes with the agent", "agents-hung", LOSES, (
        Edit(AGENT, NODE_LINE, NODE_LINE + "\nagent: {{keep_for: 1s}}"),
    )),
    Mutant("a node's own questions stay on it", "consumers", "answered by fra-edge1 and fra-edge2", (
        Edit(AGENT, "    local_consumers: follow\n", ""),
    )),
    Mutant("every withdrawal is three seconds late", "service-killed", WITHDRAWN, (
        Edit(AGENT, ANSWERS_CHECK, "contains: [192.0.2.80], interval: 3s, fast_interval: 3s, timeout: 500ms, rise: 2, fall: 2"),
    )),
    Mutant("IPv6 is withdrawn three seconds after IPv4", "service-killed", WITHDRAWN, (
        Edit(AGENT, "services:\n  dns:\n" + DNS_SERVICE, "services:\n  dns6:\n    prefixes: [\"2001:db8:53::53/128\"]\n"
             "    checks:\n      answers: {{type: dns, name: www.example, record: A, interval: 3s, fast_interval: 3s, timeout: 500ms, rise: 2, fall: 2}}\n"
             "  dns:\n    prefixes: [192.0.2.53/32]\n"),
    )),
    Mutant("a service that has failed is announced again at once", "service-flaps", LOSES, (
        Edit(AGENT, "  www:\n    prefixes", "  www:\n    hold_down: {{initial: 0s, maximum: 0s}}\n    prefixes"),
        Edit(AGENT, PAGE_CHECK, "path: /health, contains: ok, interval: 200ms, fast_interval: 100ms, timeout: 150ms, rise: 1, fall: 1"),
    )),
    Mutant("a broken service is announced whatever its checks say", "service-wrong-dns", TABLES, (
        Edit(AGENT, "type: dns, name: www.example, record: A, " + ANSWERS_CHECK, "type: tcp, port: 80, interval: 1s, timeout: 500ms, rise: 2, fall: 2"),
    )),
    Mutant("the other datacenter is dark already", "site-power", "not converged", (
        Edit(EDGE, "keep agent 0.2 ", 'case "$(hostname)" in fra-*) touch /run/lab/agent.off ;; esac\nkeep agent 0.2 '),
    )),
)  # fmt: skip
