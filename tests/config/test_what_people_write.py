"""Configurations as people write them who come from other tools, or are in a hurry: what each is answered.

Every case is a whole configuration, less or more some lines. Whatever is refused is refused with its line and column,
in the words of the configuration, and with what to write instead where that is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from anycast_agent.config import ConfigError, load
from anycast_agent.config.problems import Problem
from tests.support.configs import KINDS

NODE = "node: {name: edge1, site: ams}"
LOCAL_AS = "  local_as: 65101"
ROUTER_ID = "  router_id: 198.51.100.1"
NEIGHBORS = "  neighbors:"
LEAF1 = "    leaf1: {address: 198.51.100.0, remote_as: 65011}"
SERVICES = "services:"
PREFIXES = "    prefixes: [192.0.2.80/32]"
CHECKS = "    checks:"
PORT = "      port: {type: tcp, port: 80}"
WEB = f"{PREFIXES}\n{CHECKS}\n{PORT}"
HEAD = f"{NODE}\nbgp:\n{LOCAL_AS}\n{ROUTER_ID}\n{NEIGHBORS}\n{LEAF1}\n{SERVICES}\n  web:\n{WEB}\n"


@dataclass(frozen=True)
class Case:
    """Lines in place of others, and what is said: ``line:column: message``, everything and nothing else."""

    name: str
    lines: dict[str, str]
    refused: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        text = HEAD
        for old, new in self.lines.items():
            assert old in text
            text = text.replace(old, new, 1)
        return text


CASES = [
    Case(
        "keepalived words",
        {
            PREFIXES: "    virtual_ipaddress: [192.0.2.80/32]",
            PORT: "      port: {type: TCP_CHECK, connect_port: 80, connect_timeout: 3, delay_loop: 6}",
        },
        refused=[
            "9:5: unknown key 'virtual_ipaddress': here it is 'prefixes'",
            "11:14: unknown type 'TCP_CHECK' (did you mean 'tcp'?); there are " + KINDS,
            "11:31: unknown key 'connect_port': here it is 'port'",
            "11:49: a duration has a unit: write 3s or 3ms",
            "11:49: unknown key 'connect_timeout': here it is 'timeout'",
            "11:69: a duration has a unit: write 6s or 6ms",
            "11:69: unknown key 'delay_loop': here it is 'interval'",
        ],
    ),
    Case(
        "anycast healthchecker words",
        {
            WEB: "    ip_prefix: 192.0.2.80/32\n    check_cmd: /usr/bin/curl http://192.0.2.80/\n    check_interval: 10\n    check_timeout: 2\n    check_rise: 2\n    check_fail: 3\n    on_disabled: withdraw\n    interface: lo"
        },
        refused=[
            "8:3: 'checks' is missing",
            "9:5: prefixes: a list belongs here, not '192.0.2.80/32': write [192.0.2.80/32]",
            "9:5: unknown key 'ip_prefix': here it is 'prefixes'",
            "10:5: unknown key 'check_cmd': a program is a check: checks: {NAME: {type: exec, command: [program, argument, …]}}",
            "11:5: unknown key 'check_interval': here it is services.NAME.checks.NAME.interval",
            "12:5: unknown key 'check_timeout': here it is services.NAME.checks.NAME.timeout",
            "13:5: unknown key 'check_rise': here it is services.NAME.checks.NAME.rise",
            "14:5: unknown key 'check_fail': here it is services.NAME.checks.NAME.fall",
            "15:5: unknown key 'on_disabled': write enabled: false",
            "16:5: unknown key 'interface': it belongs to node.interface",
        ],
    ),
    Case(
        "exabgp healthcheck words",
        {
            WEB: "    ip: [192.0.2.80/32]\n    command: curl -sf http://192.0.2.80/\n    interval: 5\n    rise: 3\n    fall: 3\n    up-metric: 100\n    down-metric: 1000\n    next-hop: self\n    community: [65101:100]\n    disable: /etc/maintenance"
        },
        refused=[
            "8:3: 'checks' is missing",
            "9:5: unknown key 'ip': here it is 'prefixes'",
            "10:5: unknown key 'command': a program is a check: checks: {NAME: {type: exec, command: [program, argument, …]}}",
            "11:5: unknown key 'interval': it belongs to services.NAME.checks.NAME.interval",
            "12:5: unknown key 'rise': it belongs to services.NAME.checks.NAME.rise",
            "13:5: unknown key 'fall': it belongs to services.NAME.checks.NAME.fall",
            "14:5: unknown key 'up-metric': here it is services.NAME.attributes.med",
            "15:5: unknown key 'down-metric': a service that is down is withdrawn; tiers says how it is announced while a shared check fails",
            "16:5: unknown key 'next-hop': it belongs to services.NAME.attributes.next_hop",
            "17:5: unknown key 'community': here it is services.NAME.attributes.communities",
            "18:5: unknown key 'disable': write enabled: false",
        ],
    ),
    Case(
        "exabgp neighbor words",
        {
            LOCAL_AS + "\n" + ROUTER_ID: "  local-as: 65101\n  router-id: 198.51.100.1",
            LEAF1: "    leaf1: {peer-address: 198.51.100.0, peer-as: 65011, hold-time: 9, md5-password: secret}",
        },
        refused=[
            "3:3: unknown key 'local-as' (did you mean 'local_as'?)",
            "4:3: unknown key 'router-id' (did you mean 'router_id'?)",
            "6:13: unknown key 'peer-address': here it is 'address'",
            "6:41: unknown key 'peer-as': here it is 'remote_as'",
            "6:57: unknown key 'hold-time' (did you mean 'hold_time'?)",
            "6:71: unknown key 'md5-password': here it is 'password_file'",
            "6:71: write the absolute path of a file that holds the secret",
        ],
    ),
    Case(
        "metallb words",
        {
            LOCAL_AS: "  myASN: 65101",
            NEIGHBORS + "\n" + LEAF1: "  peers:\n    - {peerAddress: 198.51.100.0, peerASN: 65011}",
        },
        refused=[
            "3:3: unknown key 'myASN': here it is 'local_as'",
            "5:3: neighbors: each entry has a name here, NAME: {…}, not a list",
            "5:3: unknown key 'peers': here it is 'neighbors'",
        ],
    ),
    Case(
        "consul check words",
        {PORT: '      page: {http: "http://192.0.2.80/health", interval: 10s, timeout: 1s, tls_skip_verify: true}'},
        refused=[
            "11:7: 'type' is missing; there are " + KINDS,
            "11:14: unknown key 'http': write type: http, and the URL as url, or port and path of the service's own address",
            "11:76: unknown key 'tls_skip_verify': verify: false takes any certificate",
        ],
    ),
    Case(
        "k8s probe words",
        {
            PORT: "      live: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 5, failureThreshold: 3, successThreshold: 1}"
        },
        refused=[
            "11:7: 'type' is missing; there are " + KINDS,
            "11:14: unknown key 'httpGet': write type: http, and the URL as url, or port and path of the service's own address",
            "11:53: unknown key 'periodSeconds': here it is 'interval'",
            "11:71: unknown key 'failureThreshold': here it is 'fall'",
            "11:92: unknown key 'successThreshold': here it is 'rise'",
        ],
    ),
    Case(
        "haproxy inter",
        {PORT: "      page: {type: http, path: /, inter: 2s, rise: 2, fall: 3}"},
        refused=["11:35: unknown key 'inter': here it is 'interval'"],
    ),
    Case(
        "frr neighbor as key",
        {LEAF1: "    198.51.100.0: {remote-as: 65011}"},
        refused=[
            "6:5: 'address' is missing, or the interface that the router is on: the key above it is a name of your own, "
            "like leaf1",
            "6:20: unknown key 'remote-as' (did you mean 'remote_as'?)",
        ],
    ),
    Case("birdc hold with unit", {LEAF1: "    leaf1: {address: 198.51.100.0, remote_as: 65011, hold_time: 9s}"}),
    Case(
        "octal port",
        {PORT: "      port: {type: tcp, port: 0120}"},
        refused=[
            "11:31: write 120 or 80, or '0120' in quotes where it is text: a leading 0 means octal to many YAML readers"
        ],
    ),
    Case(
        "sexagesimal interval",
        {PORT: "      port: {type: tcp, port: 80, interval: 1:30}"},
        refused=["11:35: a duration reads 500ms, 2s or 5m, not '1:30'"],
    ),
    Case(
        "tab indent",
        {HEAD: "bgp:\n\tlocal_as: 65101\n\trouter_id: 198.51.100.1\n"},
        refused=["2:1: a tab stands here: YAML indents with spaces"],
    ),
    Case(
        "duplicate key",
        {PORT: PORT + "\n      port: {type: tcp, port: 81}"},
        refused=["12:7: 'port' stands here again; first on line 11"],
    ),
    Case(
        "unquoted v6 block",
        {LEAF1: "    leaf1:\n      address: 2001:db8:0:1::\n      remote_as: 65011"},
        refused=["7:29: not YAML: a value that ends in a colon stands in quotes, like '2001:db8::'"],
    ),
    Case(
        "billion laughs",
        {
            HEAD: "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nservices: *g\n"
        },
        refused=["1:24: more than 200,000 values: an alias bomb?"],
    ),
    Case(
        "float exponent as",
        {LEAF1: "    leaf1: {address: 198.51.100.0, remote_as: 6.5e4}"},
        refused=["6:36: an AS is one plain number from 1 to 4294967295, not 65000.0"],
    ),
    Case(
        "typos",
        {
            SERVICES: "servces:",
            PREFIXES: "    prefixs: [192.0.2.80/32]",
            PORT: "      port: {type: tcp, port: 80, intervall: 1s}",
        },
        refused=[
            "7:1: unknown key 'servces' (did you mean 'services'?)",
            "9:5: unknown key 'prefixs' (did you mean 'prefixes'?)",
            "11:35: unknown key 'intervall' (did you mean 'interval'?)",
        ],
    ),
    Case(
        "case of keys",
        {SERVICES: "Services:", WEB: "    Prefixes: [192.0.2.80/32]\n    Checks:\n      port: {type: TCP, port: 80}"},
        refused=[
            "7:1: unknown key 'Services' (did you mean 'services'?)",
            "9:5: unknown key 'Prefixes' (did you mean 'prefixes'?)",
            "10:5: unknown key 'Checks' (did you mean 'checks'?)",
            "11:14: unknown type 'TCP' (did you mean 'tcp'?); there are " + KINDS,
        ],
    ),
    Case(
        "check without type",
        {PORT: "      page: {path: /health}"},
        refused=["11:7: 'type' is missing; there are " + KINDS],
    ),
    Case(
        "checks as list",
        {PORT: "      - {type: tcp, port: 80}"},
        refused=["10:5: checks: each entry has a name here, NAME: {…}, not a list"],
    ),
    Case(
        "neighbors as list",
        {LEAF1: "    - {address: 198.51.100.0, remote_as: 65011}"},
        refused=["5:3: neighbors: each entry has a name here, NAME: {…}, not a list"],
    ),
    Case(
        "prefix singular string",
        {PREFIXES: "    prefixes: 192.0.2.80/32"},
        refused=["9:5: prefixes: a list belongs here, not '192.0.2.80/32': write [192.0.2.80/32]"],
    ),
    Case(
        "ms number",
        {PORT: "      port: {type: tcp, port: 80, interval: 1000, timeout: 500}"},
        refused=[
            "11:35: a duration has a unit: write 1000s or 1000ms",
            "11:51: a duration has a unit: write 500s or 500ms",
        ],
    ),
    Case(
        "unit sec",
        {PORT: "      port: {type: tcp, port: 80, interval: 5 sec}"},
        refused=["11:35: a duration reads 500ms, 2s or 5m, not '5 sec'"],
    ),
    Case(
        "timeout over interval",
        {PORT: "      port: {type: tcp, port: 80, interval: 1s, timeout: 5s}"},
        refused=["11:49: the timeout, 5 s, is longer than the interval, 1 s"],
    ),
    Case(
        "v6 prefix no v6 session",
        {PREFIXES: '    prefixes: ["2001:db8:53::53/128"]'},
        refused=["9:16: no neighbor of this service carries ipv6: see families"],
    ),
    Case(
        "prefix slash 24",
        {PREFIXES: "    prefixes: [192.0.2.0/24]"},
        refused=["9:16: only host routes are announced: write 192.0.2.0/32"],
    ),
    Case(
        "bare address",
        {PREFIXES: "    prefixes: [192.0.2.80]"},
        refused=["9:16: only host routes are announced: write 192.0.2.80/32"],
    ),
    Case(
        "v6 slash 32",
        {PREFIXES: '    prefixes: ["2001:db8:53::53/32"]'},
        refused=["9:16: only host routes are announced: write 2001:db8:53::53/128"],
    ),
    Case(
        "local address wrong family",
        {LEAF1: '    leaf1: {address: 198.51.100.0, remote_as: 65011, local_address: "2001:db8::1"}'},
        refused=["6:54: 2001:db8::1 is not of the family of 198.51.100.0"],
    ),
    Case(
        "link local neighbor",
        {LEAF1: '    leaf1: {address: "fe80::1%eth0", remote_as: 65011}'},
        refused=[
            "6:13: write the address without its zone, and the interface beside it: address: 'fe80::1', interface: eth0"
        ],
    ),
    Case(
        "next hop wrong family",
        {PREFIXES: PREFIXES + '\n    attributes: {next_hop: "2001:db8::1"}'},
        refused=["10:18: no next hop for 192.0.2.80/32: 2001:db8::1 is of the other family"],
    ),
    Case(
        "only shared checks",
        {PORT: "      port: {type: tcp, port: 80, scope: shared}"},
        refused=["10:5: needs a check with scope: local; a shared one never withdraws, however dead the service is"],
    ),
    Case(
        "neighbor name unknown",
        {PREFIXES: PREFIXES + "\n    neighbors: [leaf-1]"},
        refused=["10:17: no neighbor 'leaf-1' (did you mean 'leaf1'?)"],
    ),
    Case(
        "neighbor is own prefix",
        {LEAF1: "    leaf1: {address: 192.0.2.80, remote_as: 65011}"},
        refused=["6:13: 192.0.2.80 is the anycast address of service web: it cannot be the address of a neighbor"],
    ),
    Case(
        "two neighbors same address",
        {LEAF1: LEAF1 + "\n    leaf2: {address: 198.51.100.0, remote_as: 65012}"},
        refused=["7:13: neighbor leaf1 has this address already"],
    ),
    Case(
        "exec string",
        {PORT: "      disk: {type: exec, command: /usr/lib/nagios/plugins/check_disk -c 5% /}"},
        refused=["11:26: command is a list, [program, argument, …]: it is never given to a shell"],
    ),
    Case(
        "exec missing program",
        {PORT: "      disk: {type: exec, command: [/usr/lib/nagios/plugins/check_dsk, -c, '5%']}"},
        missing=["11:26: /usr/lib/nagios/plugins/check_dsk cannot be run: no such file or directory"],
    ),
    Case(
        "url without scheme",
        {PORT: "      page: {type: http, url: origin.example.org/health}"},
        refused=["11:26: url: write http://… or https://… with a host"],
    ),
    Case(
        "url and path both",
        {PORT: '      page: {type: http, url: "http://192.0.2.80/", path: /health}'},
        refused=["11:7: url says port and path already"],
    ),
    Case(
        "status typo range",
        {PORT: "      page: {type: http, status: 2xx}"},
        refused=["11:26: statuses read 200, 200-299, or several of these with commas"],
    ),
    Case(
        "regex broken",
        {PORT: "      page: {type: http, regex: '(ok'}"},
        refused=["11:26: not a regular expression: missing ), unterminated subpattern at position 0"],
    ),
    Case(
        "dns name with at",
        {PORT: "      a: {type: dns, name: 'example..org', record: A}"},
        refused=["11:22: not a domain name: A DNS label is empty."],
    ),
    Case(
        "graceful community word",
        {PREFIXES: PREFIXES + "\n    attributes: {communities: [no-export]}"},
        refused=["10:32: write the number, 65535:65281: words are not safe in ExaBGP's commands"],
    ),
    Case(
        "env var",
        {ROUTER_ID: "  router_id: ${ROUTER_ID}"},
        refused=["4:3: a router id is written like an IPv4 address, not '${ROUTER_ID}'"],
    ),
    Case(
        "as dot",
        {LOCAL_AS: "  local_as: 64496.1"},
        refused=[
            "3:3: an AS is one plain number from 1 to 4294967295, not 64496.1; for asdot, HIGH.LOW, write HIGH × 65536 + LOW"
        ],
    ),
    Case(
        "hold 1",
        {LEAF1: "    leaf1: {address: 198.51.100.0, remote_as: 65011, hold_time: 1}"},
        refused=["6:54: a hold time is 0 or at least 3 (RFC 4271, 4.2)"],
    ),
    Case(
        "ibgp med prepend",
        {
            LEAF1: "    rr1: {address: 198.51.100.0, remote_as: 65101}",
            PREFIXES: PREFIXES + "\n    attributes: {prepend: 3}",
        },
        refused=[
            "10:18: no neighbor of this service is eBGP, and an iBGP one takes our own AS for a loop: local_preference"
        ],
    ),
    Case(
        "fall true",
        {PORT: "      port: {type: tcp, port: 80, fall: true}"},
        refused=["11:35: fall: a whole number belongs here, not true"],
    ),
    Case(
        "api listen port only",
        {NODE: NODE + '\nagent: {api: {listen: ":9179"}}'},
        refused=[
            "2:15: write an address and a port, like 127.0.0.1:9179 or [::1]:9179; 0.0.0.0:9179 is every IPv4 address of the node, [::]:9179 every IPv6 one"
        ],
    ),
    Case(
        "two documents",
        {PORT: PORT + "\n---\nservices: {}"},
        refused=["12:1: a second document begins here: one file is one configuration, without ---"],
    ),
    Case(
        "default route prefix",
        {PREFIXES: "    prefixes: [0.0.0.0/32]"},
        refused=["9:16: 0.0.0.0 cannot be an anycast address: it is unspecified"],
    ),
    Case(
        "private host part",
        {PREFIXES: '    prefixes: ["fe80::53/128"]'},
        refused=["9:16: fe80::53 cannot be an anycast address: it never leaves the node or the link"],
    ),
    Case("nul", {NODE: "node: {name: edge1, site: am\0s}"}, refused=["1:29: a NUL stands here: YAML allows none"]),
    Case(
        "merge conflict marker",
        {
            LOCAL_AS: LOCAL_AS + "\n<<<<<<< HEAD",
            ROUTER_ID: ROUTER_ID + "\n=======\n  router_id: 198.51.100.2\n>>>>>>> fix",
        },
        refused=["4:1: a merge conflict was left in the file"],
    ),
    Case(
        "nbsp",
        {ROUTER_ID: "\xa0\xa0router_id: 198.51.100.1"},
        refused=["4:1: not YAML: a no-break space (U+00A0) stands here, which YAML takes for text: write a space"],
    ),
    Case(
        "smart quotes",
        {PREFIXES: "    prefixes: [“192.0.2.80/32”]"},
        refused=["9:16: not a prefix: '“192.0.2.80/32”'; write 192.0.2.53/32 or 2001:db8:53::53/128"],
    ),
    Case(
        "jinja left",
        {LOCAL_AS: "  local_as: {{ local_as }}"},
        refused=["3:14: a key is a word: is this a template, {{ … }}, that was not filled in?"],
    ),
    Case("yaml no site", {NODE: "node: {name: edge1, site: no}"}),
    Case("enabled no", {PREFIXES: PREFIXES + "\n    enabled: no"}),
    Case(
        "unquoted v6 colons",
        {
            LEAF1: "    leaf1: {address: 2001:db8:0:1::, remote_as: 65011}",
            PREFIXES: '    prefixes: ["2001:db8:53::53/128"]',
        },
    ),
    Case(
        "anchor merge",
        {
            LEAF1: LEAF1 + "\nx-defaults: &d {interval: 2s, timeout: 500ms}",
            PORT: "      port: {<<: *d, type: tcp, port: 80}",
        },
    ),
    Case("community sexagesimal", {PREFIXES: PREFIXES + "\n    attributes:\n      communities:\n        - 65101:100"}),
    Case("port string", {PORT: "      port: {type: tcp, port: '80'}"}),
    Case(
        "api listen all no auth",
        {NODE: NODE + '\nagent: {api: {listen: "0.0.0.0:9179"}}'},
        warned=["2:15: whoever reaches every address of the node on port 9179 can read every page: filter it"],
    ),
    Case(
        "a key by its earlier name",
        {NODE: "node: {name: edge1, way_back: off}"},
        warned=["1:21: way_back is called return_route by now; write return_route"],
    ),
    Case(
        "a key by both of its names",
        {NODE: "node: {name: edge1, way_back: off, return_route: any}"},
        refused=["1:21: unknown key 'way_back'"],
    ),
    Case(
        "empty services",
        {
            "services:\n  web:\n    prefixes: [192.0.2.80/32]\n    checks:\n      port: {type: tcp, port: 80}": "services: {}"
        },
    ),
    Case("trailing tab comment", {LOCAL_AS: "  local_as: 65101\t# ours"}),
    Case(
        "quoted v6",
        {
            LEAF1: '    l: {address: "2001:db8:0:1::", remote_as: 65011}',
            PREFIXES: '    prefixes: ["2001:db8:53::53/128"]',
        },
    ),
]


def placed(problems: tuple[Problem, ...]) -> list[str]:
    return [f"{p.line}:{p.column}: {p.message}" for p in problems]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_people_write(tmp_path: Path, case: Case) -> None:
    """Each is taken or refused as it should be, and said in exactly these words."""
    (tmp_path / "agent.yaml").write_text(case.text, "utf-8")
    try:
        loaded = load(tmp_path / "agent.yaml")
    except ConfigError as error:
        assert placed(error.problems) == case.refused
    else:
        assert case.refused == []
        assert placed(loaded.warnings) == case.warned
        assert placed(loaded.missing) == case.missing


ENCODED: list[tuple[str, Callable[[str], bytes], str]] = [
    ("CRLF", lambda text: text.replace("\n", "\r\n").encode(), ""),
    ("a byte order mark", lambda text: b"\xef\xbb\xbf" + text.encode(), ""),
    ("UTF-16", lambda text: text.encode("utf-16"), "1:1: UTF-16: save it as UTF-8"),
    ("Latin-1", lambda text: text.replace("ams", "Zürich").encode("latin-1"), "1:28: not UTF-8"),
]


@pytest.mark.parametrize(("encode", "message"), [case[1:] for case in ENCODED], ids=[case[0] for case in ENCODED])
def test_encodings(tmp_path: Path, encode: Callable[[str], bytes], message: str) -> None:
    """UTF-8 is taken with the ends of lines and the mark of other systems; what is no UTF-8 is named with its place."""
    (tmp_path / "agent.yaml").write_bytes(encode(HEAD))
    try:
        assert load(tmp_path / "agent.yaml").config.services and not message
    except ConfigError as error:
        assert placed(error.problems) == [message]


def test_three_thousand_services_are_taken(tmp_path: Path) -> None:
    """As a scheduler writes them into one file."""
    services = "".join(
        f"  s{i}: {{prefixes: [10.0.{i // 250}.{i % 250}/32], checks: {{port: {{type: tcp, port: 80}}}}}}\n"
        for i in range(3000)
    )
    (tmp_path / "agent.yaml").write_text(HEAD.partition("  web:")[0] + services)
    assert len(load(tmp_path / "agent.yaml").config.services) == 3000


def test_a_file_over_one_mebibyte_is_refused(tmp_path: Path) -> None:
    """It says what to do: split it."""
    (tmp_path / "agent.yaml").write_text(HEAD + "# more\n" * 150_000)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "agent.yaml")
    assert placed(caught.value.problems) == ["1:1: over 1 MiB: split it into conf.d/*.yaml"]


DROP_INS: list[tuple[str, dict[str, str], list[str]]] = [
    (
        "a service in two files",
        {"a.yaml": f"services:\n  web:\n{WEB}\n", "b.yaml": f"services:\n  web:\n{WEB}\n"},
        ["b.yaml:2:3: 'web' stands in DIR/a.yaml:2 already"],
    ),
    (
        "a prefix in two services",
        {"a.yaml": f"services:\n  web:\n{WEB}\n", "b.yaml": f"services:\n  shop:\n{WEB}\n"},
        ["b.yaml:3:16: 192.0.2.80/32 is in service web already"],
    ),
    (
        "another suffix",
        {"web.yml": f"services:\n  web:\n{WEB}\n"},
        ["web.yml:1:1: only *.yaml is read here: rename it"],
    ),
    (
        "a key that belongs to the node",
        {"web.yaml": "bgp: {local_as: 65102}\n"},
        ["web.yaml:1:7: in conf.d only services and bgp.neighbors may stand, not 'bgp.local_as'"],
    ),
    ("a key of another file's own", {"web.yaml": f"x-web: 1\nservices:\n  web:\n{WEB}\n"}, []),
]


@pytest.mark.parametrize(("files", "refused"), [d[1:] for d in DROP_INS], ids=[d[0] for d in DROP_INS])
def test_drop_ins(tmp_path: Path, files: dict[str, str], refused: list[str]) -> None:
    """What stands in two places names both; nothing that stands in conf.d is passed over in silence."""
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (tmp_path / "agent.yaml").write_text(HEAD.partition(SERVICES)[0])
    for name, text in files.items():
        (folder / name).write_text(text)
    try:
        load(tmp_path / "agent.yaml")
        said = []
    except ConfigError as error:
        said = [str(p).replace(f"{folder}/", "", 1).replace(str(folder), "DIR") for p in error.problems]
    assert said == refused
