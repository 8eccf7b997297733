"""What a drill's story is made of, where it comes from logs: when a node noticed something, by its own clock."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from lab.drills.conduct import TRAFFIC, Conductor, Story, ago, noticed
from lab.drills.drill import Drill
from lab.drills.says import Says
from lab.drills.scene import STREAMS, Scene
from lab.net import topology
from lab.net.lab import Lab
from lab.net.namespaces.lab import NamespaceLab
from tests.support.netns import needs_root

AGENT, FRR = "/var/log/agent.log", "/var/log/frr/frr.log"


@pytest.mark.parametrize(
    ("clock", "now", "seconds"),
    [
        ("12:00:00.000", "12:00:00", 0.0),
        ("12:00:00.250", "12:00:01", 0.75),
        ("11:59:59.000", "12:00:01", 2.0),
        ("23:59:59.500", "00:00:00", 0.5),
        ("23:58:00.000", "00:01:00", 180.0),
        ("00:00:00.000", "00:00:00", 0.0),
        ("00:00:00.001", "23:59:59", 86398.999),
    ],
)
def test_a_clock_last_showed_that_so_long_ago(clock: str, now: str, seconds: float) -> None:
    """Also yesterday, when midnight is between."""
    moment = datetime.fromisoformat(f"2025-11-20T{now}+00:00")
    assert ago(clock, moment) == pytest.approx(seconds)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    path = tmp_path_factory.mktemp("conduct") / "t.clab.yml"
    path.write_text(
        "name: t\ntopology:\n  defaults: {kind: linux, network-mode: none, cmd: sleep 1000}\n"
        "  nodes: {a: {}, b: {}}\n  links:\n    - endpoints: ['a:eth1', 'b:eth1']\n"
    )
    lab = NamespaceLab(topology.load(path, {}), f"test-conduct-{os.getpid()}", "bfd")
    lab.up()
    yield lab
    lab.down()


def at(seconds: float) -> str:
    """What a node's clock shows, so many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%H:%M:%S.%f")[:-3]


def write(lab: Lab, log: str, *lines: str) -> None:
    lab.nodes["a"].path(log).write_text("".join(f"{line}\n" for line in lines))


@needs_root
def test_what_agents_and_routers_wrote_since_the_start_is_told(lab: Lab) -> None:
    """Of what went wrong alone; lines of no known shape are passed over."""
    today = datetime.now(UTC).strftime("%Y/%m/%d")
    write(
        lab, AGENT,
        f"{at(-30)} INFO    192.0.2.53/32: withdraw: before the drill",
        f"{at(-9)} INFO    192.0.2.53/32: announce: all is well",
        f"{at(-8)} WARNING 192.0.2.53/32: withdraw: health_down",
        "Traceback (most recent call last):",
        f"{at(-7)} INFO    leaf1: session down: closed",
        f"{at(-6)} INFO    leaf1: session up",
    )  # fmt: skip
    write(
        lab, FRR,
        f"{today} {at(-5)} BGP: [M59KS-A3ZXZ] bgp_update_receive: rcvd End-of-RIB",
        f"{today} {at(-4)} BGP: [PXVXG-TFNNT] %ADJCHANGE: neighbor 192.0.2.1 in vrf default Down BFD down received",
        f"{today} {at(-3)} BGP: [PXVXG-TFNNT] %ADJCHANGE: neighbor 192.0.2.1 in vrf default Up",
    )  # fmt: skip
    now = time.monotonic()
    found = sorted(noticed(lab, now - 10), key=lambda seen: seen.at)
    assert [(seen.node, seen.text) for seen in found] == [
        ("a", "192.0.2.53/32: withdraw: health_down"),
        ("a", "leaf1: session down: closed"),
        ("a", "neighbor 192.0.2.1 in vrf default Down BFD down received"),
    ]
    assert [now - seen.at for seen in found] == pytest.approx([8, 7, 4], abs=0.5)


@needs_root
def test_what_was_written_yesterday_at_this_time_is_not_of_today(lab: Lab) -> None:
    """A lab may be up for days, and its logs say no date; however much was written since the start, all of it counts."""
    write(
        lab, AGENT,
        f"{at(-5)} INFO    192.0.2.53/32: withdraw: yesterday",
        f"{at(-3600)} INFO    192.0.2.53/32: withdraw: an hour ago",
        f"{at(-4)} INFO    192.0.2.53/32: withdraw: now",
        *[f"{at(-3)} INFO    leaf1: said something"] * 20000,
    )  # fmt: skip
    write(lab, FRR)
    assert [seen.text for seen in noticed(lab, time.monotonic() - 10)] == ["192.0.2.53/32: withdraw: now"]


@needs_root
def test_a_nodes_clock_is_read_right_wherever_we_are(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node's time is UTC; whoever runs the drill may be elsewhere."""
    write(lab, FRR)
    monkeypatch.setenv("TZ", "XYZ+07:30")
    time.tzset()
    try:
        assert datetime.now().astimezone().utcoffset() != UTC.utcoffset(None)
        command = 'echo "$(date +%T.%3N) INFO    192.0.2.53/32: withdraw: now" > /var/log/agent.log'
        begun = time.monotonic()
        lab.nodes["a"].run(["sh", "-c", command])
        (seen,) = noticed(lab, begun - 1)
        assert begun - 0.01 <= seen.at <= time.monotonic()
    finally:
        monkeypatch.undo()
        time.tzset()


# --- traffic ---

SCENE = Scene(
    variants=("bfd",), prefixes={}, clients=("a",), steady={},
    targets={stream: "::1" if stream.endswith("6") else "127.0.0.1" for stream in STREAMS},
)  # fmt: skip


def conducted(lab: Lab, seconds: float) -> Coroutine[None, None, Story]:
    """A drill in which nothing is done: node a asks itself, and nobody answers."""
    traffic = {"dns": 50, "http": 5, "timeout": "200ms"}
    steps = [{"wait": f"{seconds}s"}]
    drill = Drill.model_validate({"title": "x", "before": 0, "after": 0, "traffic": traffic, "steps": steps})
    return Conductor(lab, SCENE, "x", drill, lambda *_: None).run()


@needs_root
def test_a_drill_ends_its_own_traffic_alone(lab: Lab) -> None:
    """Who looks on in a second terminal goes on asking, and none of it is left afterwards."""

    async def both() -> tuple[Story, Story]:
        return await asyncio.gather(conducted(lab, 0.5), conducted(lab, 2.5))

    short, long = asyncio.run(both())
    assert (short.problem, long.problem) == ("", "") and short.requests
    assert max(r.sent for r in long.requests) > short.end + 1
    assert lab.nodes["a"].processes(TRAFFIC.name) == []


@needs_root
def test_traffic_that_is_gone_before_the_drill_ends_is_a_problem(lab: Lab) -> None:
    """As by the kernel, for want of memory: nothing is lost any more, because nothing is asked."""

    async def killed() -> Story:
        drill = asyncio.create_task(conducted(lab, 1.5))
        while not (found := lab.nodes["a"].processes(TRAFFIC.name)):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return await drill

    story = asyncio.run(killed())
    assert story.problem == "a: the traffic ended before the drill, with status -9"


# --- what is asked of nodes, and what is kept as evidence ---


def drilled(lab: Lab, *steps: dict[str, object], **more: object) -> Story:
    parts = {"title": "x", "before": "100ms", "after": "100ms", "patience": "1500ms", "steps": steps, **more}
    drill = Drill.model_validate({"traffic": {"dns": 20, "http": 5, "timeout": "200ms"}, **parts})
    return asyncio.run(Conductor(lab, SCENE, "x", drill, lambda *_: None).run())


@needs_root
@pytest.mark.parametrize(
    ("script", "is_met"),
    [
        ("echo here", True),
        ("echo elsewhere", False),
        ("if [ -e /tmp/once ]; then echo gone; else touch /tmp/once; echo here; fi", False),
        ("[ -e /tmp/later ] && echo here; sleep 0.3; touch /tmp/later", True),
    ],
    ids=["always", "never", "for a moment", "after a while"],
)
def test_what_a_node_has_to_say_it_goes_on_saying(lab: Lab, script: str, is_met: bool) -> None:
    """What is so for a moment only is not as expected; each command is kept, with what it said."""
    says = {"node": "a", "command": ["sh", "-c", script], "has": ["here"], "lacks": ["elsewhere"]}
    story = drilled(lab, {"says": [says]})
    assert [(one.text, one.met) for one in story.met] == [("nodes say what is expected within 1.5 s", is_met)]
    asked = [ran for ran in story.commands if ran.command == ("sh", "-c", script)]
    assert len(asked) >= 2 and all(ran.node == "a" and ran.at >= 0 for ran in asked)
    assert all(ran.output.strip() in ("here", "gone", "elsewhere", "") for ran in asked)


@needs_root
def test_a_story_has_the_evidence_that_effects_are_judged_by(lab: Lab) -> None:
    """Processes before the fault and at the end; packets of the link and of the client from the begin to the fault; the load."""
    effects = [
        {"replaced": {"nodes": ["a"], "process": "sleep"}},
        {"carried": {"link": ["b", "a"], "client": "a", "share": [0, 1]}},
    ]
    act = {"run": {"nodes": ["a"], "command": ["sh", "-c", "pkill sleep; sleep 1000 >/dev/null 2>&1 &"]}}
    story = drilled(lab, {"fault": act}, effect=effects)
    before, after = story.running
    assert before.pids and after.pids and not set(before.pids) & set(after.pids)
    assert [(c.node, c.far) for c in story.counted] == [("a", "b")] * 4
    counts = [c.packets for c in sorted(story.counted, key=lambda c: c.at)]
    assert counts == sorted(counts)
    assert story.load is not None and story.load.cores >= 1 and 0 <= story.load.busy <= 1
    assert story.clients == ("a",) and all(story.begin <= r.sent <= story.end for r in story.requests)
    assert any(ran.command[:2] == ("sh", "-c") and ran.status == 0 for ran in story.commands)


@needs_root
def test_a_lab_in_which_something_is_wrong_is_not_drilled(lab: Lab) -> None:
    """Also where a router alone says so; its words are in the problem."""
    says = {"node": "a", "command": ["echo", "192.0.2.53/32"], "has": ["echo", "192"], "lacks": ["192.0.2.53"]}
    scene = SCENE.model_copy(update={"says": (Says.model_validate(says),)})
    drill = Drill.model_validate({"title": "x", "patience": "300ms", "steps": [{"wait": "1s"}]})
    story = asyncio.run(Conductor(lab, scene, "x", drill, lambda *_: None).run())
    assert story.problem.startswith("before the drill, the lab is not steady: a: echo 192.0.2.53/32: says 'echo'")
    assert "does not say '192.0.2.53': it does" in story.problem and story.requests == []


# --- a node that is off ---


@needs_root
def test_a_node_that_is_off_has_noticed_nothing(lab: Lab) -> None:
    """Its log went with its power, and is not that of its next life; nor does one without a log matter."""
    write(lab, AGENT, f"{at(-1)} INFO    192.0.2.53/32: withdraw: now")
    assert len(noticed(lab, time.monotonic() - 10)) == 1
    lab.power_off(["a"])
    assert noticed(lab, time.monotonic() - 10) == []
    lab.power_on(["a"])
    assert noticed(lab, time.monotonic() - 10) == []


@needs_root
def test_what_the_lab_itself_does_to_a_node_is_evidence_too(lab: Lab) -> None:
    """What nft was told, which links were set, what was frozen and killed: it is no command in the node."""
    pair = {"links": [["a", "b"]]}
    story = drilled(
        lab, {"fault": {"lossy": {**pair, "percent": 50}}}, {"recover": {"clean": pair}},
        {"fault": {"cut": pair}}, {"recover": {"mend": pair}},
        {"fault": {"freeze": {"nodes": ["b"]}}}, {"recover": {"thaw": {"nodes": ["b"]}}},
        {"fault": {"freeze": {"nodes": ["b"], "process": "sleep"}}}, {"recover": {"thaw": {"nodes": ["b"], "process": "sleep"}}},
    )  # fmt: skip
    done = [" ".join(ran.command) for ran in story.commands if ran.node == "b"]
    assert any(line.startswith("nft ") and "< 50 drop" in line for line in done)
    assert "cgroup freeze" in done and "cgroup thaw" in done
    assert any(line.startswith("kill -SIGSTOP ") for line in done)
    links = [" ".join(ran.command) for ran in story.commands if ran.command[0] == "netlink"]
    assert "netlink link set eth1 down" in links and "netlink link set eth1 up" in links
