"""The runner, with nodes that route nothing: what is left behind, power, freezing, links, two labs, bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.net import topology
from lab.net.cgroups import mounted, of_process
from lab.net.lab import Lab, LabError, check_host
from lab.net.namespaces.lab import ROOT, NamespaceLab, take_down
from lab.net.node import NodeError
from tests.support.netns import needs_root

pytestmark = needs_root

PAIR = """
name: t
topology:
  defaults: {kind: linux, network-mode: none, cmd: sh /lab/hello, binds: [hello:/lab/hello:ro]}
  nodes:
    a: {exec: ["ip addr add 192.0.2.1/31 dev eth1"], sysctls: {net.ipv4.ip_forward: 1, net.ipv6.conf.default.accept_dad: 0}, env: {GREETING: hello}}
    b: {exec: ["ip addr add 192.0.2.0/31 dev eth1"]}
  links:
    - endpoints: ["a:eth1", "b:eth1"]
"""
REPO = Path(__file__).parents[3]


def until(condition: Callable[[], bool], deadline: float = 10.0) -> None:
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def name(suffix: str = "") -> str:
    return f"test-{os.getpid()}{suffix}"


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    (tmp_path / "hello").write_text('echo "$GREETING from $(hostname)"; touch /tmp/mark; exec sleep 1000\n')
    path = tmp_path / "t.clab.yml"
    path.write_text(PAIR)
    return path


@pytest.fixture
def lab(pair: Path) -> Iterator[Lab]:
    lab = NamespaceLab(topology.load(pair, {}), name(), "bfd")
    lab.up()
    yield lab
    lab.down()


def reaches(lab: Lab, node: str, address: str) -> bool:
    code = (
        "import socket,sys; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.3); s.connect((sys.argv[1], 9))\n"
        "s.send(b'x')\n"
        "try: s.recv(1)\n"
        "except ConnectionRefusedError: print('there')\n"  # its kernel says so: nothing listens on port 9
        "except OSError: print('gone')\n"
    )
    return "there" in lab.nodes[node].run([sys.executable, "-I", "-c", code, address], check=False)


def leftovers(lab_name: str) -> list[str]:
    """Control groups, files, mounts, and processes of a lab."""
    found = [str(p) for p in (mounted() / f"anycast-lab-{lab_name}", ROOT / lab_name) if p.exists()]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if lab_name in line]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            place, parent = (folder / "cgroup").read_text(), (folder / "stat").read_text().rpartition(")")[2].split()[1]
            ended = "(deleted)" in place and parent != str(os.getpid())  # it is the host's init that is to reap it
            if f"anycast-lab-{lab_name}" in place and not ended:
                found.append(f"process {folder.name}")
        except OSError:
            pass
    return found


# --- nodes ---


def test_a_node_has_its_name_file_system_environment_and_neighbor(lab: Lab) -> None:
    """What it writes stays its own; its command runs, with what the file binds and sets."""
    a = lab.nodes["a"]
    assert a.run(["hostname"]).strip() == "a"
    until(lambda: a.path("/tmp/mark").exists())
    assert "hello from a" in a.run(["cat", "/var/log/console.log"])
    a.run(["touch", "/etc/of-a"])
    assert not Path("/etc/of-a").exists() and not lab.nodes["b"].path("/etc/of-a").exists()
    assert a.run(["cat", "/proc/sys/net/ipv4/ip_forward"]).strip() == "1"
    with pytest.raises(NodeError, match="Read-only file system"):
        a.run(["sh", "-c", "echo x >> /lab/hello"])
    assert reaches(lab, "a", "192.0.2.0") and reaches(lab, "b", "192.0.2.1")
    assert a.run(["ps", "-o", "pid=", "-p", "1"]).strip() == "1"


def test_what_is_set_for_new_interfaces_holds_for_those_of_the_links(lab: Lab) -> None:
    """Also after a cold boot, where they come into a new network namespace."""
    a = lab.nodes["a"]
    assert a.run(["cat", "/proc/sys/net/ipv6/conf/eth1/accept_dad"]).strip() == "0"
    lab.power_off(["a"])
    lab.power_on(["a"])
    assert a.run(["cat", "/proc/sys/net/ipv6/conf/eth1/accept_dad"]).strip() == "0"


def test_a_root_file_system_of_its_own(pair: Path, tmp_path: Path) -> None:
    """It has no Python, its users have other numbers, and what the lab asks with is still at hand."""
    root = tmp_path / "root"
    (root / "usr").mkdir(parents=True)
    for program in ("sh", "sleep", "hostname", "touch", "stat", "ip"):
        path = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert path
        libraries = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout.split()
        for file in (path, *(word for word in libraries if word.startswith("/"))):
            (root / file[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, root / file[1:])
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nfrr:x:4321:1::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nfrr:x:1234:\n")
    text = pair.read_text().replace("  nodes:", "  groups: {own: {}}\n  nodes:").replace("b: {", "b: {group: own, ")
    pair.write_text(text)
    lab = NamespaceLab(topology.load(pair, {}), name("-root"), "bfd", {"own": str(root)})
    lab.up()
    try:
        b = lab.nodes["b"]
        assert b.run(["stat", "-c", "%u %g", "/run/frr"]).split() == ["4321", "1234"]
        assert reaches(lab, "a", "192.0.2.0")
        words = b.tool([sys.executable, "-c", "import socket; print(socket.if_nameindex()[-1][1])"])
        assert subprocess.run(words, capture_output=True, text=True).stdout.strip() == "eth1"
        assert not (root / "run/frr").exists(), "what the node writes is not written into the tree"
    finally:
        lab.down()


def test_a_command_that_fails_says_where_and_what(lab: Lab) -> None:
    """Also one that does not end, and one in a node that is off."""
    with pytest.raises(NodeError, match="a: false: status 1"):
        lab.nodes["a"].run(["false"])
    with pytest.raises(NodeError, match=r"a: sleep 9: no end after 0\.2 s"):
        lab.nodes["a"].run(["sleep", "9"], timeout=0.2)
    lab.power_off(["a"])
    with pytest.raises(NodeError, match="a is off"):
        lab.nodes["a"].run(["true"])


def test_a_power_cut_leaves_the_neighbors_link_up_and_a_boot_is_cold(lab: Lab) -> None:
    """Nothing answers, no carrier is lost; afterwards neither files nor addresses of before are there."""
    a, b = lab.nodes["a"], lab.nodes["b"]
    a.run(["sh", "-c", "touch /etc/of-before; ip addr add 192.0.2.9/32 dev lo"])
    lab.power_off(["a"])
    assert not reaches(lab, "b", "192.0.2.1")
    assert "LOWER_UP" in b.run(["ip", "-br", "link", "show", "eth1"])
    lab.power_on(["a"])
    assert not a.path("/etc/of-before").exists()
    assert "192.0.2.9" not in a.run(["ip", "addr"])
    until(lambda: reaches(lab, "b", "192.0.2.1"))
    with pytest.raises(NodeError, match="a is on already"):
        lab.power_on(["a"])


def test_a_node_may_be_called_what_the_lab_calls_things_of_its_own(pair: Path) -> None:
    """Its power is its own: the networks of the others stay."""
    pair.write_text(PAIR.replace("a: {", "keepers: {").replace('"a:', '"keepers:'))
    lab = NamespaceLab(topology.load(pair, {}), name("-names"), "bfd")
    lab.up()
    try:
        lab.power_off(["keepers"])
        lab.power_on(["keepers"])
        assert reaches(lab, "keepers", "192.0.2.0")
    finally:
        lab.down()


def test_a_node_without_power_says_no_goodbye(lab: Lab) -> None:
    """The kernel closes the connections of whom it kills; the neighbor must hear nothing of that."""
    a, b = lab.nodes["a"], lab.nodes["b"]
    server = "import socket,time; s=socket.create_server(('192.0.2.0', 7)); c=s.accept()[0]; time.sleep(60)"
    client = "import socket,time; s=socket.create_connection(('192.0.2.0', 7)); time.sleep(60)"

    def states() -> set[str]:
        rows = b.run(["cat", "/proc/net/tcp"]).splitlines()[1:]
        return {row.split()[3] for row in rows if row.split()[1].endswith(":0007")}

    with b.popen([sys.executable, "-I", "-c", server]):
        until(lambda: "0A" in states())  # it listens
        with a.popen([sys.executable, "-I", "-c", client]):
            until(lambda: "01" in states())  # established
            lab.power_off(["a"])
        assert states() == {"0A", "01"}
        lab.power_off(["b"])


def test_a_lost_carrier_is_in_a_hurry(lab: Lab) -> None:
    """It is for the kernel where the numbers of the two ends differ; also of a node that has booted again."""
    for again in (False, True):
        if again:
            lab.power_off(["b"])
            lab.power_on(["b"])
        for node in lab.nodes.values():
            numbers = node.run(["cat", "/sys/class/net/eth1/ifindex", "/sys/class/net/eth1/iflink"]).split()
            assert len(set(numbers)) == 2


def test_a_node_whose_cables_go_with_it_takes_the_carrier(lab: Lab) -> None:
    """And gives it back."""
    lab.power_off(["a"], links_up=False)
    until(lambda: "NO-CARRIER" in lab.nodes["b"].run(["ip", "link", "show", "eth1"]))
    lab.power_on(["a"])
    until(lambda: reaches(lab, "b", "192.0.2.1"))


def test_links_are_cut_mended_and_lossy(lab: Lab) -> None:
    """A cut takes the carrier; a lossy one does not."""
    from lab.net import links

    link, b = lab.link("b", "a"), lab.nodes["b"]
    links.cut(link, lab.nodes)
    until(lambda: "NO-CARRIER" in b.run(["ip", "link", "show", "eth1"]))
    links.mend(link, lab.nodes)
    until(lambda: reaches(lab, "b", "192.0.2.1"))
    for end in link.ends:
        links.lose(end, lab.nodes[end.node], 100)
    assert not reaches(lab, "b", "192.0.2.1")
    assert "NO-CARRIER" not in b.run(["ip", "link", "show", "eth1"])
    for end in link.ends:
        links.lose(end, lab.nodes[end.node], 0)
    until(lambda: reaches(lab, "b", "192.0.2.1"))


def test_a_frozen_node_runs_nothing_until_it_thaws(lab: Lab) -> None:
    """All of its processes at once, and a command is refused instead of waiting for ever; its kernel goes on answering."""
    a = lab.nodes["a"]
    counter = "n=0; while :; do n=$((n+1)); echo $n > /tmp/n; sleep 0.01; done"
    with a.popen(["sh", "-c", counter]):
        until(lambda: a.path("/tmp/n").exists())
        a.freeze(True)
        with pytest.raises(NodeError, match="a is frozen"):
            a.run(["true"])
        before = a.path("/tmp/n").read_text()
        assert reaches(lab, "b", "192.0.2.1") and a.path("/tmp/n").read_text() == before
        a.freeze(False)
        until(lambda: a.path("/tmp/n").read_text() not in ("", before))
        lab.power_off(["a"])
    lab.power_on(["a"])
    assert a.run(["echo", "back"]).strip() == "back"


def test_a_node_whose_power_is_cut_while_it_is_frozen_boots_as_any_other(lab: Lab) -> None:
    """And one that is off cannot be frozen."""
    a = lab.nodes["a"]
    a.freeze(True)
    lab.power_off(["a"])
    for frozen in (True, False):
        with pytest.raises(NodeError, match="a is off"):
            a.freeze(frozen)
    lab.power_on(["a"])
    assert a.run(["echo", "back"]).strip() == "back"


# --- what is left ---


def test_nothing_is_left_after_down_or_after_a_start_that_failed(pair: Path) -> None:
    """No process, control group, mount or file."""
    lab = NamespaceLab(topology.load(pair, {}), name(), "bfd")
    lab.up()
    assert leftovers(name())
    lab.down()
    assert leftovers(name()) == []
    pair.write_text(PAIR.replace("ip addr add 192.0.2.1/31 dev eth1", "false"))
    with pytest.raises(NodeError, match="a: false"):
        NamespaceLab(topology.load(pair, {}), name(), "bfd").up()
    assert leftovers(name()) == []
    pair.write_text(PAIR.replace("net.ipv4.ip_forward", "net.ipv4.no_such_thing"))
    with pytest.raises(NodeError, match="a: .*sysctl net.ipv4.no_such_thing=1"):
        NamespaceLab(topology.load(pair, {}), name(), "bfd").up()
    assert leftovers(name()) == []


def test_a_node_that_ends_before_it_has_read_its_orders_says_why(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where no mount namespace may be made; its environment fills the pipe, so that it is not read for sure."""
    program = tmp_path / "bin" / "unshare"
    program.parent.mkdir()
    real = shutil.which("unshare")
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *--mount*) echo "unshare: not permitted"; exit 1 ;; *) exec {real} "$@" ;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    pair.write_text(PAIR.replace("GREETING: hello", f"GREETING: {'x' * 100_000}"))
    with pytest.raises(NodeError, match="a: unshare: not permitted"):
        NamespaceLab(topology.load(pair, {}), name("-deaf"), "bfd").up()
    assert leftovers(name("-deaf")) == []


def test_two_labs_run_side_by_side_and_a_name_is_used_once(pair: Path, lab: Lab) -> None:
    """The second does not disturb the first."""
    other = NamespaceLab(topology.load(pair, {}), name("-2"), "bfd")
    other.up()
    try:
        assert reaches(other, "a", "192.0.2.0") and reaches(lab, "a", "192.0.2.0")
        with pytest.raises(LabError, match="is there already: anycast-lab --name .* down"):
            NamespaceLab(topology.load(pair, {}), name(), "bfd").up()
        assert reaches(lab, "a", "192.0.2.0")
    finally:
        other.down()
    assert leftovers(name("-2")) == [] and leftovers(name())


def test_what_a_killed_run_left_is_taken_down_by_name(pair: Path) -> None:
    """SIGKILL in the middle of the start: the next `down` finds all of it."""
    code = (
        "import sys, os; from pathlib import Path; from lab.net import topology; from lab.net.namespaces.lab import NamespaceLab\n"
        "lab = NamespaceLab(topology.load(Path(sys.argv[1]), {}), sys.argv[2], 'bfd')\n"
        "lab._boot = lambda nodes: os.kill(os.getpid(), 9)\n"
        "lab.up()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(pair), name()], cwd=REPO, timeout=30)
    assert done.returncode == -9 and leftovers(name())
    assert take_down(name())
    assert leftovers(name()) == []
    assert not take_down(name())


def test_a_number_that_is_somebody_elses_by_now_is_no_nodes(lab: Lab) -> None:
    """Whoever had it has died: what is done to the node must not be done to the host, whose network is not silenced."""
    state = lab.folder / "state.json"
    values = json.loads(state.read_text())
    with subprocess.Popen(["sleep", "60"]) as stranger:
        values["nodes"]["a"] = [stranger.pid, stranger.pid]
        state.write_text(json.dumps(values))
        found = NamespaceLab.running(name())
        a = found.nodes["a"]
        with pytest.raises(NodeError, match="a is off"):
            a.run(["true"])
        for do in (found.power_off, found.power_on):
            with pytest.raises(NodeError, match="a: nothing holds its network any more: anycast-lab down"):
                do(["a"])
        assert stranger.poll() is None and found.nodes["b"].run(["hostname"]).strip() == "b"
        stranger.kill()
    del values["nodes"]["b"]
    state.write_text(json.dumps(values))
    with pytest.raises(
        LabError, match=f"has other nodes than {name()} was started with: anycast-lab --name {name()} down"
    ):
        NamespaceLab.running(name())


def test_a_run_that_is_killed_between_a_power_cut_and_its_note_leaves_a_node_that_is_off(lab: Lab) -> None:
    """It can be switched on again."""
    code = (
        "import sys, os; from lab.net.namespaces.lab import NamespaceLab\n"
        "lab = NamespaceLab.running(sys.argv[1])\n"
        "lab._save = lambda: os.kill(os.getpid(), 9)\n"
        "lab.power_off(['a'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, name()], cwd=REPO, timeout=30)
    assert done.returncode == -9 and json.loads((lab.folder / "state.json").read_text())["nodes"]["a"][1]
    found = NamespaceLab.running(name())
    assert not found.nodes["a"].init
    found.power_on(["a"])
    until(lambda: reaches(found, "b", "192.0.2.1"))
    found.down()


# --- the command ---


def anycast_lab(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", *words], cwd=REPO, capture_output=True, text=True, timeout=60, **options
    )  # type: ignore[call-overload,no-any-return]


def test_bad_input_is_a_clear_message(pair: Path, lab: Lab) -> None:
    """An unknown node, drill, lab, variant or key; and a command that is missing."""
    (pair.parent / "lab.yaml").write_text(
        "variants: [bfd]\nprefixes: {}\nclients: [a]\nsteady: {}\ntargets: {dns IPv4: 192.0.2.0, dns IPv6: '2001:db8::', "
        "http IPv4: 192.0.2.0, http IPv6: '2001:db8::'}\n"
    )
    at = ["--topology", str(pair), "--name", name()]
    for words, said in (
        (["exec", "c", "true"], "there is no node 'c'"),
        (["exec", "a"], "which command?"),
        (["drill", "no-such"], "there is no drill 'no-such'"),
        (["drill"], "which drill?"),
        (["up"], "is there already"),
        (["status", "--output", "xml"], "invalid choice"),
    ):
        done = anycast_lab(*at, *words)
        assert done.returncode != 0 and said in done.stderr and "Traceback" not in done.stderr, (words, done.stderr)
    done = anycast_lab("--topology", str(pair), "--name", name("-none"), "exec", "a", "true")
    assert done.returncode == 1 and f"no lab named {name('-none')} is up; there is: " in done.stderr
    done = anycast_lab("--topology", str(pair), "--name", "../x", "down")
    assert done.returncode == 2 and "--name has letters" in done.stderr
    bad = pair.parent / "bad.yaml"
    bad.write_text("title: x\nsteps:\n  - fault: {power_off: {nodes: [c]}}\n  - wiat: 3s\n")
    done = anycast_lab(*at, "drill", str(bad))
    assert done.returncode == 2 and "bad.yaml:4:5: unknown key 'wiat' (did you mean 'wait'?)" in done.stderr
    bad.write_text("title: x\nsteps:\n  - fault: {power_off: {nodes: [c]}}\n  - fault: {cut: {links: [[a, a]]}}\n")
    done = anycast_lab(*at, "drill", str(bad))
    assert "bad.yaml:3:5: there is no node 'c'" in done.stderr and "bad.yaml:4:5: there is no link" in done.stderr


def test_exec_gives_the_commands_output_and_status(pair: Path, lab: Lab) -> None:
    """As if it had been run by hand."""
    at = ["--topology", str(pair), "--name", name()]
    done = anycast_lab(*at, "exec", "a", "--", "sh", "-c", "hostname; exit 3")
    assert (done.stdout, done.returncode) == ("a\n", 3)
    done = anycast_lab(*at, "exec", "a", "printenv", "GREETING")
    assert done.stdout == "hello\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_exec_that_is_ended_ends_its_command(pair: Path, lab: Lab, number: int) -> None:
    """Nothing goes on in the node; the status is a signal's, as a shell tells it."""
    words = ["--topology", str(pair), "--name", lab.name, "exec", "a", "sleep", "997"]
    with subprocess.Popen([sys.executable, "-m", "lab", *words], cwd=REPO) as process:
        until(lambda: len(lab.nodes["a"].processes("sleep")) == 2)  # beside the node's own
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    until(lambda: len(lab.nodes["a"].processes("sleep")) == 1)


def test_what_the_host_lacks_is_said_with_what_to_type(pair: Path) -> None:
    """Root, and programs by the package that has them."""
    with pytest.raises(LabError, match=r"not installed: frr x; type: apt-get install .* frr x"):
        check_host({"/no/such": "frr", "no-such-program": "x", "ip": "iproute2"})
    # In a user namespace of its own, a process is nobody.
    done = subprocess.run(
        ["unshare", "--user", sys.executable, "-m", "lab", "--topology", str(pair), "down"],
        cwd=REPO, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1 and "root is needed" in done.stderr


def test_without_cgroup2_it_says_how_to_have_it_and_that_works() -> None:
    """Beside version 1, and not on top of it: the host's own control groups stay in reach."""
    script = (
        "while read -r _ at kind _; do [ $kind != cgroup2 ] || umount -l $at; done < /proc/self/mounts\n"
        "mount -t tmpfs none /run && words=$($0 -c 'from lab.net.cgroups import mounted; mounted()' 2>&1) && exit 1\n"
        'echo "$words" | tail -1; eval "${words##*not mounted: }"; exec $0 -c "from lab.net.cgroups import *; print(mounted())"'
    )
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, sys.executable],
        cwd=REPO, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["/run/cgroup2"], done.stdout + done.stderr
    assert "cgroup2 is not mounted: " in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_start_leaves_nothing(number: int, pair: Path) -> None:
    """While it waits for routes that never come; also where the terminal has gone."""
    (pair.parent / "lab.yaml").write_text(
        json.dumps(
            {
                "variants": ["bfd"],
                "prefixes": {"x": ["192.0.2.53/32"]},
                "clients": ["a"],
                "steady": {"a": {"x": ["b"]}},
                "targets": dict.fromkeys(("dns IPv4", "dns IPv6", "http IPv4", "http IPv6"), "192.0.2.1"),
            }
        )
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "--topology", str(pair), "--name", name(), "up"],
        cwd=REPO, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    until(lambda: "still to come" in process.stderr.readline(), 20)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "interrupted" in err
    assert leftovers(name()) == []


def test_health_checks_run_when_they_are_asked_for(pair: Path) -> None:
    """With what they said where they fail; a node without one says nothing, and neither does one that is off."""
    pair.write_text(
        pair.read_text()
        .replace("a: {", "a: {healthcheck: {test: [CMD-SHELL, 'test -e /tmp/well || { echo ill >&2; exit 7; }']}, ")
        .replace("b: {", "b: {healthcheck: {test: [CMD, sleep, '60'], timeout: 1}, ")
    )
    lab = NamespaceLab(topology.load(pair, {}), name("-health"), "bfd")
    lab.up()
    try:
        a, b = lab.nodes["a"], lab.nodes["b"]
        assert "status 7: ill" in a.health() and "no end after 1 s" in b.health()
        a.path("/tmp/well").touch()
        assert a.health() == "healthy"
        lab.power_off(["a"])
        assert "a is off" in a.health()
    finally:
        lab.down()


def test_only_linux_runs_in_namespaces(pair: Path) -> None:
    """The other kinds are containerlab's; nothing is started, and nothing is left."""
    pair.write_text(pair.read_text().replace("b: {", "b: {kind: frr, "))
    with pytest.raises(
        LabError, match="b is of kind 'frr', and only linux nodes run in network namespaces: containerlab"
    ):
        NamespaceLab(topology.load(pair, {}), name("-kind"), "bfd").up()
    assert not leftovers(name("-kind"))


def test_what_is_not_as_containerlab_does_it_is_told_at_the_start(pair: Path) -> None:
    """Once for each difference that this topology meets."""
    told: list[str] = []
    lab = NamespaceLab(topology.load(pair, {}), name("-told"), "bfd")
    lab.up(told.append)
    lab.down()
    assert [line for line in told if line.startswith("not as containerlab: a node's files are new at each boot")]


def test_the_control_group_of_a_process_is_found_by_its_number(lab: NamespaceLab) -> None:
    """As for a container, whose engine says no more than the number of its first process."""
    a = lab.nodes["a"]
    cell = of_process(a.init)
    assert a.init in cell.processes() and not cell.frozen
    cell.freeze(True)
    try:
        assert cell.frozen and a.group.frozen and not lab.nodes["b"].group.frozen
        with pytest.raises(NodeError, match="a is frozen"):
            a.run(["true"])
    finally:
        cell.freeze(False)
    assert a.run(["echo", "well"]) == "well\n"
