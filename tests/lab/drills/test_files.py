"""The files that people write for the lab: each of ours is good, and what is wrong in one is said where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from anycast_agent.config.problems import ConfigError
from lab.drills import acts, exercise, scene
from lab.drills import drill as drills
from lab.drills.conduct import Request, Story
from lab.drills.drill import Drill
from lab.drills.judge import judge
from lab.drills.scene import STREAMS
from lab.net import topology
from lab.net.tables import Change
from tests.lab.drills.stories import Answers, asked, change, fault, lost, recovery, seen, story

CLAB = Path(__file__).parents[3] / "containerlab"
TOP = topology.load(CLAB / "anycast.clab.yml", {})
SCENE = scene.load(CLAB / "lab.yaml", TOP)
DRILLS = sorted((CLAB / "drills").glob("*.yaml"))
EXERCISES = sorted((CLAB / "exercises").glob("*.yaml"))
RUNS = [(path.stem, variant) for path in DRILLS for variant in SCENE.variants]


def drill(name: str) -> Drill:
    return drills.load(CLAB / "drills" / f"{name}.yaml", TOP, SCENE)


def problems(tmp_path: Path, error: pytest.ExceptionInfo[ConfigError]) -> list[str]:
    """As they are told, without the folder."""
    return [str(problem).removeprefix(str(tmp_path) + "/") for problem in error.value.problems]


# --- ours ---


@pytest.mark.parametrize("path", DRILLS, ids=lambda path: path.stem)
def test_every_drill_is_good(path: Path) -> None:
    """It loads, does something, and expects something of each variant that it is for."""
    found = drills.load(path, TOP, SCENE)
    assert found.about.strip() and any(step.fault for step in found.steps)
    for variant in found.variants or SCENE.variants:
        assert judge(story(variant=variant), found).expectations


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_every_exercise_is_good(path: Path) -> None:
    """It loads; `load_all` finds it by its name."""
    assert exercise.load(path, TOP, SCENE) == exercise.load_all(CLAB / "exercises", TOP, SCENE)[path.stem]


def test_every_verb_of_a_drill_can_be_done() -> None:
    """And whatever can be done can be written."""
    assert set(acts.VERBS) == set(drills.Act.model_fields)


def test_a_process_that_can_be_stopped_is_one_that_an_edge_keeps() -> None:
    """By the names that its start-up gives them."""
    text = (CLAB / "edge" / "start").read_text()
    kept = [line.split()[1] for line in text.splitlines() if line.startswith("keep ")]
    assert kept and set(kept) == set(drills.KEPT)


def test_no_node_writes_into_the_repository() -> None:
    """`write memory` on a router would, and under containerlab an image that gives its files to a user of its own."""
    assert [bind for node in TOP.nodes.values() for bind in node.binds if not bind[2]] == []


def test_unbound_reads_and_writes_where_the_distributions_let_it() -> None:
    """Where AppArmor is on, as on Debian and Ubuntu by default, their profile of unbound holds in a node as well."""
    text = (CLAB / "edge" / "unbound.conf").read_text()
    included = re.findall(r'^ *include: "(.*)"', text, re.M)
    assert included and all(path.startswith("/etc/unbound/") for path in included)
    assert re.findall(r"^ *control-interface: (.*)", text, re.M) == ["/run/unbound.ctl"]
    assert all(path in (CLAB / "edge" / "start").read_text() for path in included)


# --- what our drills expect can fail, and can be met ---


def of_everyone(answers: Answers) -> Iterator[Request]:
    for client in SCENE.clients:
        for stream in STREAMS:
            yield from asked(answers, client, stream, rate=10, seconds=70)


def disaster(variant: str) -> Story:
    """From the fault on everything is lost, nobody notices, tables move late, and there and back."""
    moves: list[Change] = [change(2 + 20 + n, *(("a", "b") if n % 2 == 0 else ("b", "a"))) for n in range(10)]
    return story(of_everyone(lost((2, 62))), [fault(2), recovery(65)], moves, variant=variant, settled=[10], seconds=70)


@pytest.mark.parametrize(("name", "variant"), RUNS)
def test_nothing_that_a_drill_expects_is_met_while_all_is_lost(name: str, variant: str) -> None:
    """A check that cannot fail checks nothing: of each, none holds when the site is gone for a minute."""
    result = judge(disaster(variant), drill(name))
    assert not result.passed
    assert [e.text for e in result.expectations if e.met] == []


@pytest.mark.parametrize(("name", "variant"), RUNS)
def test_nothing_that_a_drill_expects_is_met_while_nobody_asks(name: str, variant: str) -> None:
    """A lab whose clients are silent loses nothing."""
    result = judge(story((), [fault(2), recovery(8)], variant=variant), drill(name))
    assert [e.text for e in result.expectations if e.met and "flap" not in e.text] == []


@pytest.mark.parametrize(("name", "variant"), RUNS)
def test_what_a_drill_expects_is_met_when_all_goes_well(name: str, variant: str) -> None:
    """And whatever fails, fails for a reason: one table moves at once, and who should answer does."""
    found = drill(name)
    requests = []
    for client in SCENE.clients:
        for stream in STREAMS:
            protocol, family = stream.split()
            who = next(
                (
                    e.answered_by.only[0]
                    for e in found.expect
                    if e.answered_by
                    and e.answered_by.client in ("", client)
                    and e.answered_by.protocol in ("", protocol)
                    and e.answered_by.family in ("", family)
                ),
                "somebody",
            )
            requests += asked(lost(who=who), client, stream, rate=10)
    told = story(
        requests, [fault(2), recovery(8)], [change(2.05, "ab", "b")], [seen(2.02)], variant=variant, settled=[2.1]
    )
    assert [e.text for e in judge(told, found).expectations if not e.met] == []


# --- drills ---

STEPS = "steps: [{wait: 1s}]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"titel: x\n{STEPS}", ["1:1: 'title' is missing", "1:1: unknown key 'titel' (did you mean 'title'?)"]),
        ("title: x", ["1:1: 'steps' is missing"]),
        ("title: x\nsteps: []", ["2:1: steps: at least one"]),
        ("- a\n- b", ["1:1: here go keys, each with what belongs to it"]),
        ("title: x\nsteps:\n  - wiat: 3s", ["3:5: unknown key 'wiat' (did you mean 'wait'?)"]),
        ("title: x\nsteps:\n  - wait: soon", ["3:5: a duration reads 500ms, 2s or 5m, not 'soon'"]),
        ("title: x\nsteps:\n  - wait: 3 s", ["3:5: a duration reads 500ms, 2s or 5m, not '3 s'"]),
        ("title: x\nsteps:\n  - wait: -1", ["3:5: a duration is 0 to 7 days"]),
        ("title: x\nsteps:\n  - wait: 1s\n    steady: 2s", ["3:5: one of: fault, recover, wait, tables, steady"]),
        ("title: x\nsteps:\n  - wait: 1s\n  - {}", ["4:5: one of: fault, recover, wait, tables, steady"]),
        ("title: x\nsteps:\n  - wait: 1s\n  - fault:", ["4:5: fault: nothing stands under it"]),
        ("title: x\nsteps:\n  - fault: {power_off: }", ["3:5: power_off: nothing stands under it"]),
        ("title: x\nsteps:\n  - fault: {cut: {links: [[isp1, isp2]]}, mend: {links: [[isp1, isp2]]}}", ["3:5: one of: power_off, "]),
        ("title: x\nsteps:\n  - fault: {power_of: {site: ams}}", ["3:13: unknown key 'power_of' (did you mean 'power_off'?)"]),
        ("title: x\nsteps:\n  - fault: {power_off: {nodes: [ams-leaf9]}}", ["3:5: there is no node 'ams-leaf9' (did you mean 'ams-leaf"]),
        ("title: x\nsteps:\n  - recover: {power_on: {site: asm}}", ["3:5: no node fits"]),
        ("title: x\nsteps:\n  - recover: {power_on: {site: ams, group: core}}", ["3:5: no node fits"]),
        ("title: x\nsteps:\n  - fault: {power_off: {}}", ["3:13: say which: nodes, site or group"]),
        ("title: x\nsteps:\n  - fault: {power_off: {nodes: [isp1], site: ams}}", ["3:13: nodes by name, or all of a site and group: not both"]),
        ("title: x\nsteps:\n  - fault: {power_off: {site: ams, links: cut}}", ["3:36: links: input should be 'up' or 'down'"]),
        ("title: x\nsteps:\n  - fault: {cut: {links: [[ams-leaf1, isp1]]}}", ["3:5: there is no link between 'ams-leaf1' and 'isp1'"]),
        ("title: x\nsteps:\n  - fault: {cut: {links: []}}", ["links: at least one"]),
        ("title: x\nsteps:\n  - fault: {lossy: {links: [[isp1, isp2]], percent: 101}}", ["percent: input should be less than or equal to 100"]),
        ("title: x\nsteps:\n  - fault: {kill: {nodes: [isp1], process: bgpd, signal: STOP}}", ["signal: input should be 'KILL', 'TERM', 'HUP' or 'USR2'"]),
        ("title: x\nsteps:\n  - fault: {kill: {nodes: [isp1]}}", ["'process' is missing"]),
        ("title: x\nsteps:\n  - fault: {stop: {group: edge, process: ngnix}}", ["an edge does not keep 'ngnix' running (did you mean 'nginx'?); it keeps agent, "]),
        ("title: x\nsteps:\n  - recover: {start: {group: edge, process: exabgp}}", ["an edge does not keep 'exabgp' running; it keeps agent, "]),
        ("title: x\nsteps:\n  - fault: {run: {group: edge, command: []}}", ["command: at least one"]),
        ("title: x\nsteps:\n  - tables: {isp9: {dns: [here]}}", ["3:5: there is no node 'isp9' (did you mean 'isp"]),
        ("title: x\nsteps:\n  - tables: {isp1: {dsn: []}}", ["3:5: there are no prefixes 'dsn' (did you mean 'dns'?)"]),
        ("title: x\nsteps:\n  - tables: {isp1: {dns: [heer]}}", ["3:5: there is no node 'heer'"]),
        ("title: x\nsteps:\n  - tables: {isp1: {}}", ["3:14: isp1: at least one"]),
        ("title: x\nsteps:\n  - tables: {}", ["3:5: tables: at least one"]),
        (f"title: x\nvariants: [bdf]\n{STEPS}", ["2:1: there is no variant 'bdf' (did you mean 'bfd'?)"]),
        (f"title: x\nci: [bfd, both]\n{STEPS}", ["2:1: there is no variant 'both'"]),
        (f"title: x\n{STEPS}\nexpect:\n  - los: {{within: 1s}}", ["4:5: unknown key 'los' (did you mean 'loss'?)"]),
        (f"title: x\n{STEPS}\nexpect:\n  - loss: {{}}", ["4:5: 'within' is missing"]),
        (f"title: x\n{STEPS}\nexpect:\n  - loss: {{within: 1s, share: 2}}", ["share: input should be less than or equal to 1"]),
        (f"title: x\n{STEPS}\nexpect:\n  - loss: {{within: {{bdf: 1s}}}}", ["4:5: there is no variant 'bdf' (did you mean 'bfd'?)"]),
        (f"title: x\n{STEPS}\nexpect:\n  - table: {{bfd: 1s, hdol: 9s}}", ["4:5: there is no variant 'hdol' (did you mean 'hold'?)"]),
        (f"title: x\n{STEPS}\nexpect:\n  - table: {{}}", ["4:5: table: at least one"]),
        (f"title: x\n{STEPS}\nexpect:\n  - table: never", ["a duration reads 500ms, 2s or 5m, not 'never'"]),
        (f"title: x\n{STEPS}\nexpect:\n  - no_loss:", ["4:5: no_loss: nothing stands under it"]),
        (f"title: x\n{STEPS}\nexpect:\n  - {{no_loss: {{}}, flaps: 0}}", ["4:5: one of: no_loss, loss, answered_by, "]),
        (f"title: x\n{STEPS}\nexpect:\n  - flaps: -1", ["flaps: input should be greater than or equal to 0"]),
        (f"title: x\n{STEPS}\nexpect:\n  - no_loss: {{client: clinet1}}", ["4:5: there is no client 'clinet1' (did you mean 'client1'?)"]),
        (f"title: x\n{STEPS}\nexpect:\n  - no_loss: {{client: isp1}}", ["4:5: there is no client 'isp1'"]),
        (f"title: x\n{STEPS}\nexpect:\n  - no_loss: {{protocol: tcp}}", ["protocol: input should be '', 'dns' or 'http'"]),
        (f"title: x\n{STEPS}\nexpect:\n  - answered_by: {{only: [ams-egde1]}}", ["4:5: there is no node 'ams-egde1' (did you mean 'ams-edge1'?)"]),
        (f"title: x\n{STEPS}\nexpect:\n  - answered_by: {{only: []}}", ["only: at least one"]),
        (f"title: x\n{STEPS}\nobjective: {{restore: {{bdf: 1s}}}}", ["3:1: there is no variant 'bdf' (did you mean 'bfd'?)"]),
        (f"title: x\n{STEPS}\ntraffic: {{dns: 5000}}", ["3:11: dns: input should be less than or equal to 1000"]),
        (f"title: x\n{STEPS}\ntraffic: {{timeout: 0s}}", ["3:11: timeout: input should be greater than 0"]),
        (f"title: x\n{STEPS}\ntraffic: {{timeout: 1m}}", ["3:11: timeout: input should be less than or equal to 10"]),
        (f"title: x\n{STEPS}\nsteps: []", ["3:1: 'steps' stands here again; first on line 2"]),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_drill_is_said_where_it_stands(tmp_path: Path, text: str, said: list[str]) -> None:
    """With its line and column, what was likely meant, and nothing else."""
    path = tmp_path / "d.yaml"
    path.write_text(text + "\n")
    with pytest.raises(ConfigError) as error:
        drills.load(path, TOP, SCENE)
    found = problems(tmp_path, error)
    assert len(found) == len(said), found
    for part, line in zip(said, found, strict=True):
        assert line.startswith("d.yaml:") and part in line, found


def test_all_that_is_wrong_in_a_drill_is_told_at_once(tmp_path: Path) -> None:
    """In the order of its lines."""
    path = tmp_path / "d.yaml"
    path.write_text(
        "title: x\nci: [x]\nsteps:\n  - fault: {power_off: {nodes: [isp3]}}\n  - tables: {isp1: {dsn: []}}\nexpect:\n"
        "  - no_loss: {client: nobody}\n  - answered_by: {only: [nobody]}\n"
    )
    with pytest.raises(ConfigError) as error:
        drills.load(path, TOP, SCENE)
    assert [line.split(":")[1] for line in problems(tmp_path, error)] == ["2", "4", "5", "7", "8"]
    with pytest.raises(ConfigError, match="none.yaml:1:1: there is no such file"):
        drills.load(tmp_path / "none.yaml", TOP, SCENE)


def test_a_bound_is_one_for_all_or_one_for_each_variant(tmp_path: Path) -> None:
    """What is not named has none."""
    path = tmp_path / "d.yaml"
    path.write_text(f"title: x\n{STEPS}\nexpect: [{{table: 300ms}}, {{table: {{bfd: 1s}}}}]\n")
    one, other = (e.table or {} for e in drills.load(path, TOP, SCENE).expect)
    assert [drills.bound(b, v) for b in (one, other) for v in ("bfd", "hold")] == [0.3, 0.3, 1.0, None]


# --- one act ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "one of: power_off, power_on, "),
        ("power_off", "here go keys, each with what belongs to it"),
        ("power_off:", "power_off: nothing stands under it"),
        ("power_off: ams", "power_off: here go keys, each with what belongs to it"),
        ("power_off: {site: asm}", "no node fits"),
        ("power_off: {nodes: [isp3]}", "there is no node 'isp3' (did you mean 'isp"),
        ("explode: {site: ams}", "unknown key 'explode'"),
        ("power_off: {site: ams}\npower_on: {site: ams}", "one of: power_off, power_on, "),
        ("cut: {links: [[isp1, isp1]]}", "there is no link between 'isp1' and 'isp1'"),
        ("cut: {links: [[isp1]]}", "ACT:1:15: links: too few"),
        ("cut: {links: [isp1, isp2]}", "links: "),
        ("cut: {links: [[isp1, isp2]", "ACT:"),
        ("!!python/object:os.system {}", "ACT:1:"),
    ],
)  # fmt: skip
def test_an_act_that_is_none_is_refused(text: str, said: str) -> None:
    """As a drill's step would be."""
    with pytest.raises(ConfigError) as error:
        drills.act(text, TOP)
    assert said in str(error.value) and str(error.value).startswith("ACT:")


def test_an_act_is_what_a_step_says() -> None:
    """By site and group, all that fit."""
    act = drills.act("stop: {site: ams, group: edge, process: agent}", TOP)
    assert (act.verb, act.what.of(TOP)) == ("stop", ["ams-edge1", "ams-edge2"])
    assert drills.act("power_off: {nodes: [isp2, isp1]}", TOP).what.of(TOP) == ["isp2", "isp1"]
    assert len(drills.act("power_off: {site: ams}", TOP).what.of(TOP)) == 5


# --- exercises ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title: x", ["1:1: an exercise whose check asks for nothing cannot fail"]),
        ("title: x\nsteady: false\ntables: {}", ["1:1: an exercise whose check asks for nothing cannot fail"]),
        ("title: x\ntables: {isp1: {}}", ["2:10: isp1: at least one"]),
        ("title: x\nstaedy: true", ["unknown key 'staedy' (did you mean 'steady'?)"]),
        ("title: x\nwithin: long\nsteady: true", ["2:1: a duration reads 500ms, 2s or 5m, not 'long'"]),
        ("title: x\nsteady: true\ntables:\n  isp1: {dns: [isp3]}", ["3:1: there is no node 'isp3' (did you mean 'isp"]),
        ("title: x\nsteady: true\ntables:\n  isp1: {ddns: [isp2]}", ["3:1: there are no prefixes 'ddns' (did you mean 'dns'?)"]),
        ("title: x\nanswered_by:\n  - {only: [isp1]}\n  - {only: [egde]}", ["4:5: there is no node 'egde'"]),
        ("title: x\nanswered_by:\n  - {client: client3, only: [isp1]}", ["3:5: there is no client 'client3' (did you mean 'client"]),
        ("title: x\nsays:\n  - {node: isp3, command: [x], has: [y]}", ["3:5: there is no node 'isp3' (did you mean 'isp"]),
        ("title: x\nsays:\n  - {node: isp1, command: [x]}", ["3:5: say what it has, or lacks"]),
        ("title: x\nsays:\n  - {node: isp1, command: [], has: [y]}", ["command: at least one"]),
        ("title: x\nsays:\n  - {node: isp1, command: [x], has: ['']}", ["has: string should have at least 1 character"]),
    ],
)  # fmt: skip
def test_what_is_wrong_in_an_exercise_is_said_where_it_stands(tmp_path: Path, text: str, said: list[str]) -> None:
    """One that asks for nothing is wrong as well."""
    path = tmp_path / "e.yaml"
    path.write_text(text + "\n")
    with pytest.raises(ConfigError) as error:
        exercise.load(path, TOP, SCENE)
    found = problems(tmp_path, error)
    assert len(found) == len(said), found
    for part, line in zip(said, found, strict=True):
        assert line.startswith("e.yaml:") and part in line, found


# --- lab.yaml ---

GOOD = (CLAB / "lab.yaml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("variants: [bfd, hold]", "varinats: [bfd, hold]", "2:1: unknown key 'varinats' (did you mean 'variants'?)"),
        ("variants: [bfd, hold]", "variants: []", "2:1: variants: at least one"),
        ("192.0.2.53/32", "192.0.2.53/24", "192.0.2.53/24 has host bits set"),
        ("192.0.2.53/32", "dns.example", "'dns.example' does not appear to be an IPv4 or IPv6 network"),
        ("[default, default6]", "[]", "9:3: default: at least one"),
        ("clients: [client1, client2]", "clients: [client1, clinet2]", "12:1: there is no node 'clinet2' (did you mean 'client"),
        ("clients: [client1, client2]", "clients: []", "12:1: clients: at least one"),
        ("dns IPv4: 192.0.2.53", "dns IPv4: here", "'here' does not appear to be an IPv4 or IPv6 address"),
        ("  dns IPv4: 192.0.2.53\n", "", "13:1: targets are: dns IPv4, dns IPv6, http IPv4, http IPv6"),
        ("dns IPv4:", "dns IPv5:", "13:1: targets are: dns IPv4, dns IPv6, http IPv4, http IPv6"),
        ("isp1: {aggregate: [ams-border]}", "isp3: {aggregate: [ams-border]}", "20:1: there is no node 'isp3' (did you mean 'isp"),
        ("isp1: {aggregate: [ams-border]}", "isp1: {aggregates: [ams-border]}", "20:1: there are no prefixes 'aggregates' (did you mean 'aggregate'?)"),
        ("isp1: {aggregate: [ams-border]}", "isp1: {aggregate: [asm-border]}", "20:1: there is no node 'asm-border' (did you mean 'ams-border'?)"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_lab_yaml_is_said_where_it_stands(tmp_path: Path, old: str, new: str, said: str) -> None:
    """It is what every drill is read against."""
    assert old in GOOD
    path = tmp_path / "lab.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        scene.load(path, TOP)
    found = problems(tmp_path, error)
    assert any(line.startswith("lab.yaml:") and said in line for line in found), found


def test_differences_are_told_by_node_and_prefix() -> None:
    """Nobody, somebody, and somebody else."""
    expected = {"isp1": {"dns": ("b", "a")}, "isp2": {"dns": ()}}
    dns = SCENE.prefixes["dns"]
    assert SCENE.differences(expected, {"isp1": dict.fromkeys(dns, ("a", "b")), "isp2": {}}) == []
    assert SCENE.differences(expected, {"isp1": {dns[0]: ("a",), dns[1]: ("a", "b")}, "isp2": {dns[0]: ("here",)}}) == [
        f"isp1: {dns[0]} goes to a, not to a and b",
        f"isp2: {dns[0]} goes to here, not to nobody",
    ]
    assert len(SCENE.differences(SCENE.steady, {})) == sum(
        len(SCENE.prefixes[name]) for sets in SCENE.steady.values() for name in sets
    )


def test_what_can_be_looked_at_is_what_the_drills_are_about() -> None:
    """A protocol and a family of an expectation are those that clients ask with."""
    protocols = {p for p in get_args(drills.Who.model_fields["protocol"].annotation) if p}
    families = {f for f in get_args(drills.Who.model_fields["family"].annotation) if f}
    assert set(STREAMS) == {f"{p} {f}" for p in protocols for f in families}
