"""Local consumers go aside and come back, in namespaces: this node, its router, and another replica behind it."""

from __future__ import annotations

import socket
import subprocess
import threading

import pytest

from anycast_agent.core.consumers import AsideState
from anycast_agent.core.model import Family, family_of
from anycast_agent.kernel.aside import steps
from anycast_agent.kernel.aside.rules import LOCAL, OURS, Rule, Rules
from anycast_agent.kernel.aside.steps import Setting
from tests.support.consumers import NODE, OTHERS, ROUTER, VIPS, ask, connected, inside, net, rules, server, who_answers
from tests.support.netns import enter, ip, needs_root
from tests.support.until import wait_until

pytestmark = [needs_root, pytest.mark.root]

SETTING = Setting(88)
BARRED = frozenset(VIPS + OTHERS)


def aside(node: str, vip: str, setting: Setting = SETTING) -> None:
    inside(node, lambda: steps.go_aside(vip, [ROUTER[family_of(vip)]], setting, BARRED))


def state(node: str, setting: Setting = SETTING) -> dict[str, AsideState]:
    found: dict[str, AsideState] = inside(node, lambda: steps.look(setting))
    return found


@pytest.mark.parametrize("vip", VIPS)
def test_consumers_go_to_the_other_replica_and_come_back(vip: str) -> None:
    """TCP and UDP. What began aside goes on while the address returns; at the end, nothing of ours is left."""
    with net() as (node, other), server(node, b"here", *VIPS), server(other, b"there", *VIPS):
        before = rules(node)
        assert who_answers(node, vip) == {b"here"}
        with connected(node, vip) as old:
            assert ask(old) == b"here"
            aside(node, vip)
            assert state(node) == {vip: AsideState.ASIDE}
            assert who_answers(node, vip) == {b"there"}
            assert ask(old) == b"here", "a connection of before goes on"
        with connected(node, vip) as young:
            assert young.getsockname()[0] == NODE[family_of(vip)], "its source is the node's own"
            assert ask(young) == b"there"
            inside(node, lambda: steps.begin_return(vip, SETTING))
            assert state(node) == {vip: AsideState.RETURNING}
            assert who_answers(node, vip) == {b"here"}
            assert ask(young) == b"there"
            inside(node, lambda: steps.go_home(vip, SETTING))
        assert state(node) == {}
        assert who_answers(node, vip) == {b"here"}
        assert rules(node) == before


def test_packets_from_the_network_and_probes_stay() -> None:
    """A client elsewhere is served here as long as its packets come; so is whoever asks from the address itself."""
    with net() as (node, other), server(node, b"here", *VIPS), server(other, b"there", *VIPS):
        for vip in VIPS:
            aside(node, vip)
            assert who_answers(node, vip, source=vip) == {b"here"}, "as a pinned probe does"
        leaf = node.replace("node", "leaf")
        for vip in VIPS:
            ip("-n", leaf, "route", "replace", vip, "via", NODE[family_of(vip)])
            assert who_answers(leaf, vip) == {b"here"}


def test_a_service_that_is_restarted_binds_as_ever() -> None:
    with net() as (node, _):
        for vip in VIPS:
            aside(node, vip)
        with server(node, b"here", *VIPS):
            for vip in VIPS:
                assert who_answers(node, vip, source=vip) == {b"here"}


def test_users_and_marks_stay() -> None:
    """Exec checks run as the agent's user, and cannot mark what they send; other probes have a mark."""
    with net() as (node, other), server(node, b"here", *VIPS), server(other, b"there", *VIPS):
        setting = Setting(88, users=(4242,), mark=0x77)
        for vip in VIPS:
            aside(node, vip, setting)
            script = f"exec 3<>/dev/tcp/{vip}/7053; echo -n ? >&3; head -c 4 <&3"
            words = ["ip", "netns", "exec", node, "setpriv", "--reuid", "4242", "--clear-groups", "bash", "-c", script]
            assert subprocess.run(words, check=True, capture_output=True, timeout=10).stdout == b"here"

            def marked(vip: str = vip) -> bytes:
                with socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x77)
                    sock.connect((vip, 7053))
                    return ask(sock)

            assert inside(node, marked) == b"here"
            assert who_answers(node, vip) == {b"there"}
        assert state(node, setting) == dict.fromkeys(VIPS, AsideState.ASIDE)


def test_each_address_by_itself() -> None:
    """Four addresses: one of each family returns and goes again. The others do not move, and the order is right."""
    with net() as (node, other), server(node, b"here", *VIPS, *OTHERS), server(other, b"there", *VIPS, *OTHERS):
        before = rules(node)
        for vip in VIPS + OTHERS:
            aside(node, vip)
        for _ in range(2):
            for vip in VIPS:
                inside(node, lambda vip=vip: steps.begin_return(vip, SETTING))
                inside(node, lambda vip=vip: steps.go_home(vip, SETTING))
                assert who_answers(node, vip) == {b"here"}
            assert state(node) == dict.fromkeys(OTHERS, AsideState.ASIDE)
            for vip in VIPS:
                aside(node, vip)
            for vip in VIPS + OTHERS:
                assert who_answers(node, vip) == {b"there"}
        for vip in VIPS + OTHERS:
            inside(node, lambda vip=vip: steps.go_home(vip, SETTING))
        assert rules(node) == before


def test_what_a_killed_agent_left_is_found_and_removed() -> None:
    """Aside in full, and with two ``lookup local`` because it was killed between two steps."""
    with net() as (node, _):
        before = rules(node)
        for vip in VIPS:
            aside(node, vip)
            inside(node, lambda vip=vip: _second_local(family_of(vip)))
        assert state(node) == dict.fromkeys(VIPS, AsideState.ASIDE)
        for vip in VIPS:
            inside(node, lambda vip=vip: steps.go_home(vip, SETTING))
        assert rules(node) == before


@pytest.mark.parametrize("vip", VIPS)
def test_what_somebody_takes_away_is_seen_and_put_back(vip: str) -> None:
    """The route goes with its uplink; a rule is removed; ``lookup local`` is put before ours."""
    number = "-6" if ":" in vip else "-4"
    with net() as (node, other), server(node, b"here", *VIPS), server(other, b"there", *VIPS):
        for words in (
            ["-n", node, number, "route", "flush", "table", "88"],
            ["-n", node, number, "rule", "del", "to", vip, "lookup", "88", "pref", "0"],
        ):
            aside(node, vip)
            ip(*words)
            assert state(node)[vip] is not AsideState.ASIDE
            assert who_answers(node, vip) == {b"here"}, "it falls back to this node, and not into a hole"
            aside(node, vip)
            assert state(node) == {vip: AsideState.ASIDE}
            assert who_answers(node, vip) == {b"there"}


def test_a_foreign_order_of_rules_is_respected() -> None:
    """``lookup local`` that somebody has moved to 100 stays there; ours come before it."""
    with net() as (node, other), server(node, b"here", *VIPS), server(other, b"there", *VIPS):
        for family in ("-4", "-6"):
            ip("-n", node, family, "rule", "add", "pref", "100", "lookup", "local")
            ip("-n", node, family, "rule", "del", "pref", "0", "lookup", "local")
        before = rules(node)
        for vip in VIPS:
            aside(node, vip)
            assert who_answers(node, vip) == {b"there"}
        found: list[Rule] = inside(node, lambda: _all(Family.IPV4))
        assert [rule.priority for rule in found if rule.plain_local] == [100]
        assert {rule.priority for rule in found if rule.protocol == OURS} == {99}
        for vip in VIPS:
            inside(node, lambda vip=vip: steps.go_home(vip, SETTING))
        assert rules(node) == before


def _second_local(family: Family) -> None:
    with Rules() as kernel:
        kernel.add(family, next(rule for rule in kernel.all(family) if rule.plain_local), again=True)


def _all(family: Family) -> list[Rule]:
    with Rules() as kernel:
        return kernel.all(family)


def test_a_rule_of_somebody_else_is_read_and_left_alone() -> None:
    """However odd: it is neither ours nor a plain look-up."""
    with net() as (node, _):
        for words in (
            "rule add pref 5 not from 10.0.0.0/8 lookup main",
            "rule add pref 6 fwmark 0x10/0xf0 lookup main",
            "rule add pref 7 to 192.0.2.0/24 blackhole",
            "rule add pref 8 ipproto tcp dport 80 lookup main",
            "-6 rule add pref 5 iif lo suppress_prefixlength 0 lookup main",
        ):
            ip("-n", node, *words.split())
        before = rules(node)
        for vip in VIPS:
            aside(node, vip)
            inside(node, lambda vip=vip: steps.go_home(vip, SETTING))
        assert rules(node) == before


def test_a_rule_at_priority_0_of_somebody_else_is_a_refusal() -> None:
    """It stands behind ``lookup local``. What we do would put it before: so we do not."""
    with net() as (node, _):
        ip("-n", node, "rule", "add", "pref", "0", "to", "198.18.0.0/15", "lookup", "main")
        before = rules(node)
        with pytest.raises(OSError, match="give it another priority"):
            aside(node, VIPS[0])
        assert rules(node) == before
        assert state(node) == {}


def test_no_source_of_this_node_is_an_error_that_says_so() -> None:
    """An anycast address must never be the source: the answer would go to another node."""
    with net() as (node, _):
        with pytest.raises(OSError, match="no router"):
            inside(node, lambda: steps.go_aside(VIPS[0], [], SETTING, BARRED))
        with pytest.raises(OSError, match="no address of its own"):
            inside(node, lambda: steps.go_aside(VIPS[0], [ROUTER[Family.IPV4]], SETTING, BARRED | {NODE[Family.IPV4]}))
        assert state(node) == {}


def test_thirty_flips_lose_nothing() -> None:
    """A consumer that asks all the while is answered each time, by one or the other, in both families."""
    with net() as (node, other), server(node, b"here", *VIPS), server(other, b"there", *VIPS):
        stop = threading.Event()
        answers: dict[str, list[bytes]] = {vip: [] for vip in VIPS}
        errors: list[str] = []

        def consume(vip: str) -> None:
            enter(node)
            while not stop.is_set():
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    try:
                        with socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET, kind) as sock:
                            sock.settimeout(2)
                            sock.connect((vip, 7053))
                            answers[vip].append(ask(sock))
                    except OSError as error:
                        errors.append(f"{vip} {kind!r}: {error!r}")

        threads = [threading.Thread(target=consume, args=(vip,)) for vip in VIPS]
        for thread in threads:
            thread.start()
        try:
            for _ in range(30):
                for vip in VIPS:
                    aside(node, vip)
                wait_until(lambda: all(a[-1:] == [b"there"] for a in answers.values()))
                for vip in VIPS:
                    inside(node, lambda vip=vip: steps.begin_return(vip, SETTING))
                wait_until(lambda: all(a[-1:] == [b"here"] for a in answers.values()))
                for vip in VIPS:
                    inside(node, lambda vip=vip: steps.go_home(vip, SETTING))
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)
        assert errors == []
        assert all(a.count(b"there") >= 30 and a.count(b"here") >= 30 for a in answers.values())


def test_local_is_never_missing() -> None:
    """At no step is there a moment without ``lookup local``: a reader of the rules sees one each time."""
    with net() as (node, _):
        stop = threading.Event()
        fewest = [9]

        def watch() -> None:
            enter(node)
            while not stop.is_set():
                fewest[0] = min(fewest[0], sum(rule.table == LOCAL and rule.plain_local for rule in _all(Family.IPV4)))

        thread = threading.Thread(target=watch)
        thread.start()
        for _ in range(20):
            aside(node, VIPS[0])
            inside(node, lambda: steps.go_home(VIPS[0], SETTING))
        stop.set()
        thread.join(10)
        assert fewest == [1]
