"""The files that people write for the lab: each of ours is good, and what is wrong in one is said where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from anycast_agent.config.problems import ConfigError
from lab.drills import acts, exercise, scene
from lab.drills import drill as drills
from lab.drills import expect as drills_expect
from lab.drills.conduct import Counted, Request, Running, Story
from lab.drills.drill import Drill
from lab.drills.judge import judge
from lab.drills.scene import STREAMS
from lab.net import topology
from tests.lab.drills.stories import BEGIN, Answers, asked, change, fault, lost, recovery, seen, story

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
    assert found.effect and found.objective and (found.back or not any(step.recover for step in found.steps))
    for variant in found.variants or SCENE.variants:
        texts = [e.text for e in judge(told((), [fault(2)], variant=variant), found).expectations]
        assert any(text.startswith("effect: ") for text in texts)
        assert any(text.startswith("objective: ") for text in texts)


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


def told(requests: Iterable[Request], *more: Any, asking: tuple[str, ...] = (), **named: Any) -> Story:
    return story(requests, *more, clients=(*SCENE.clients, *asking), prefixes=SCENE.prefixes, **named)


def disaster(variant: str) -> Story:
    """From the fault on everything is lost, nobody notices, tables move late, and there and back."""
    moves = [change(2 + 20 + n, *(("a", "b") if n % 2 == 0 else ("b", "a"))) for n in range(10)]
    return told(of_everyone(lost((2, 62))), [fault(2), recovery(65)], moves, variant=variant, settled=[10], seconds=70)


NOT_OF_THE_FAULT = ("effect: the fault costs", "on the way back", "each flow asks", "before the fault")
"""What is met while all is lost in the fault alone: it did cost something, and what was before and after it was well."""


@pytest.mark.parametrize(("name", "variant"), RUNS)
def test_nothing_that_a_drill_expects_of_its_fault_is_met_while_all_is_lost(name: str, variant: str) -> None:
    """A check that cannot fail checks nothing: of each, none holds when the site is gone for a minute."""
    result = judge(disaster(variant), slowly(drill(name)))
    assert not result.passed
    met = [e.text for e in result.expectations if e.met]
    assert [text for text in met if not text.startswith(NOT_OF_THE_FAULT) and " 0% to " not in text] == []


@pytest.mark.parametrize(("name", "variant"), RUNS)
def test_nothing_that_a_drill_expects_of_its_way_back_is_met_while_all_is_lost_on_it(name: str, variant: str) -> None:
    """Nor does a drill without one pass when all is lost before its fault."""
    dark = told(of_everyone(lost((8.05, 99))), [fault(2), recovery(8)], variant=variant, seconds=70)
    met = [e.text for e in judge(dark, slowly(drill(name))).expectations if e.met]
    assert not any(text.startswith("on the way back") for text in met)
    early = told(of_everyone(lost((0, 1))), [fault(2), recovery(8)], variant=variant, seconds=70)
    assert "before the fault, nothing is lost" not in [e.text for e in judge(early, drill(name)).expectations if e.met]


@pytest.mark.parametrize(("name", "variant"), RUNS)
def test_nothing_that_a_drill_expects_is_met_while_nobody_asks(name: str, variant: str) -> None:
    """A lab whose clients are silent loses nothing."""
    result = judge(told((), [fault(2), recovery(8)], variant=variant), drill(name))
    assert [e.text for e in result.expectations if e.met and "flap" not in e.text] == []


def slowly(found: Drill) -> Drill:
    """With traffic at the rate at which these stories' clients ask."""
    return found.model_copy(update={"traffic": found.traffic.model_copy(update={"dns": 10, "http": 10})})


def well(found: Drill, variant: str) -> Story:
    """All goes well: what the effects want has been so, what may be lost once is, tables move at once, and who should answer does."""
    requests = []
    for client in (*SCENE.clients, *found.consumers):
        for stream in STREAMS:
            before, after, cost = (
                _who(found, client, stream),
                _answers(found, client, stream),
                _costs(found, client, stream),
            )

            everything = any(e.lost and e.lost.at_least >= 100 for e in found.effect)

            def answers(at: float, before=before, after=after, cost=cost, everything=everything) -> str | None:  # type: ignore[no-untyped-def]
                turn = round(at * 100)
                if 2 <= at < 2 + cost and (everything or turn % 4 == 0):
                    return None
                return before[turn % len(before)] if at < 2 else after[turn // 2 % len(after)]

            requests += asked(answers, client, stream)
    moves = [
        change(2 + n / 1000, "ab" if n % 2 == 0 else "b", "b" if n % 2 == 0 else "ac", node, prefix)
        for effect in found.effect
        if effect.changed
        for node in effect.changed.nodes
        for name in effect.changed.prefixes
        for prefix in SCENE.prefixes[name]
        for n in range(2 * effect.changed.times)
    ]
    hosts = {p for prefixes in SCENE.prefixes.values() for p in prefixes if p.endswith(("/32", "/128"))}
    moves += [change(2.002, "ab", "b", "r", prefix) for prefix in sorted(hosts)]
    return _with_evidence(
        told(
            requests, [fault(2), recovery(8)], moves, [seen(2.02)], variant=variant, settled=[7], asking=found.consumers
        ),
        found,
    )


def _who(found: Drill, client: str, stream: str) -> list[str]:
    protocol, family = stream.split()
    for effect in found.effect:
        if effect.carried and effect.carried.by and _about(effect.carried, client, protocol, family):
            low, _ = effect.carried.share
            return list(effect.carried.by) if low > 0.5 else [*effect.carried.by, "somebody"]
    return ["somebody"]


def _answers(found: Drill, client: str, stream: str) -> list[str]:
    asked_for = [
        e.answered_by for e in found.expect if e.answered_by and _about(e.answered_by, client, *stream.split())
    ]
    return list(asked_for[0].only) if asked_for else ["somebody"]


def _costs(found: Drill, client: str, stream: str) -> float:
    """Seconds without an answer, where a loss is an effect that has to be seen."""
    wanted = [e.lost for e in found.effect if e.lost and _about(e.lost, client, *stream.split())]
    if not wanted or not any(e.loss and _about(e.loss, client, *stream.split()) for e in found.expect):
        return 0.0
    flows = 2 if wanted[0].protocol or wanted[0].family else 4
    return wanted[0].at_least / flows / (25 if wanted[0].at_least < 100 else 100) + 0.05


def _about(who: drills_expect.Who, client: str, protocol: str, family: str) -> bool:
    return who.client in ("", client) and who.protocol in ("", protocol) and who.family in ("", family)


def _with_evidence(one: Story, found: Drill) -> Story:
    for effect in found.effect:
        if effect.replaced:
            for node in effect.replaced.nodes:
                one.running += [Running(BEGIN + n, node, effect.replaced.process, (n + 1,)) for n in (2, 9)]
        if effect.carried and effect.carried.link:
            (a, b), (low, high) = effect.carried.link, effect.carried.share
            share = 500 * (low + high)
            one.counted += [Counted(BEGIN + n, a, b, int(n * share)) for n in (0, 2)]
            one.counted += [Counted(BEGIN + n, effect.carried.client, "x", n * 1000) for n in (0, 2)]
    return one


@pytest.mark.parametrize(("name", "variant"), RUNS)
def test_what_a_drill_expects_is_met_when_all_goes_well(name: str, variant: str) -> None:
    """Whatever fails, fails for a reason."""
    found = drill(name)
    found = found.model_copy(update={"traffic": found.traffic.model_copy(update={"dns": 100, "http": 100})})
    assert [f"{e.text}: {e.found}" for e in judge(well(found, variant), found).expectations if not e.met] == []


# --- drills ---

STEPS = "steps: [{wait: 1s}]"
FAULT = "steps: [{fault: {power_off: {site: ams}}}]"
PARTS = (
    "a drill with a fault has an effect, an expect and an objective",
    "a drill with a recovery says in back what the way back may cost",
)
WHOLE = "effect: [{lost: {at_least: 1}}]\nexpect: [{no_loss: {}}]\nobjective: {restore: 1s}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"title: x\n{FAULT}", PARTS[:1]),
        (f"title: x\n{FAULT}\n{WHOLE}", ()),
        *((f"title: x\n{FAULT}\n" + "\n".join(WHOLE.split("\n")[:n] + WHOLE.split("\n")[n + 1 :]), PARTS[:1]) for n in range(3)),
        ("title: x\nsteps: [{recover: {power_on: {site: ams}}}]", PARTS[1:]),
        ("title: x\nsteps: [{recover: {power_on: {site: ams}}}]\nback: [{no_loss: {}}]", ()),
    ],
)  # fmt: skip
def test_a_drill_that_leaves_out_a_part_is_refused(tmp_path: Path, text: str, said: tuple[str, ...]) -> None:
    """Whoever writes one says how the fault shows, what it may cost, and what the way back may cost."""
    path = tmp_path / "d.yaml"
    path.write_text(text + "\n")
    if not said:
        assert drills.load(path, TOP, SCENE)
        return
    with pytest.raises(ConfigError) as error:
        drills.load(path, TOP, SCENE)
    assert [line.split(": ", 1)[1] for line in problems(tmp_path, error)] == list(said)


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
        ("title: x\nsteps:\n  - wait: -1", ["3:5: a duration reads 500ms, 2s or 5m, not -1"]),
        ("title: x\nsteps:\n  - wait: 1s\n    steady: 2s", ["3:5: one of: fault, recover, wait, tables, says, steady"]),
        ("title: x\nsteps:\n  - wait: 1s\n  - {}", ["4:5: one of: fault, recover, wait, tables, says, steady"]),
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
        (f"title: x\n{STEPS}\nexpect:\n  - los: {{within: 1s}}", ["4:5: unknown key 'los' (did you mean 'los"]),
        (f"title: x\n{STEPS}\nexpect:\n  - loss: {{}}", ["4:5: 'within' is missing"]),
        (f"title: x\n{STEPS}\nexpect:\n  - loss: {{within: 1s, share: 2}}", ["share: input should be less than or equal to 1"]),
        (f"title: x\n{STEPS}\nexpect:\n  - loss: {{within: {{bdf: 1s}}}}", ["4:5: there is no variant 'bdf' (did you mean 'bfd'?)"]),
        (f"title: x\n{STEPS}\nexpect:\n  - table: {{bfd: 1s, hdol: 9s}}", ["4:5: there is no variant 'hdol' (did you mean 'hold'?)"]),
        (f"title: x\n{STEPS}\nexpect:\n  - table: {{}}", ["4:5: table: at least one"]),
        (f"title: x\n{STEPS}\nexpect:\n  - table: never", ["a duration reads 500ms, 2s or 5m, not 'never'"]),
        (f"title: x\n{STEPS}\nexpect:\n  - no_loss:", ["4:5: no_loss: nothing stands under it"]),
        (f"title: x\n{STEPS}\nexpect:\n  - {{no_loss: {{}}, flaps: 0}}", ["4:5: one of: no_loss, loss, answered_by, "]),
        (f"title: x\n{STEPS}\nexpect:\n  - withdrawn: {{within: 1s, prefixes: [dsn]}}", ["there are no prefixes 'dsn' (did you mean 'dns"]),
        (f"title: x\n{STEPS}\nexpect:\n  - withdrawn: {{bdf: 1s}}", ["there is no variant 'bdf' (did you mean 'bfd'?)"]),
        (f"title: x\n{STEPS}\nexpect:\n  - loss: {{within: 1s, total: {{bdf: 1s}}}}", ["there is no variant 'bdf' (did you mean 'bfd'?)"]),
        (f"title: x\n{STEPS}\nback:\n  - loss: {{within: 1s, client: cleint1}}", ["there is no client 'cleint1'"]),
        (f"title: x\n{STEPS}\nback:\n  - table: 1s", ["4:5: unknown key 'table'"]),
        (f"title: x\n{STEPS}\neffect:\n  - carried: {{share: [0, 1]}}", ["say who carried it: nodes that answer (by), or a link"]),
        (f"title: x\n{STEPS}\neffect:\n  - carried: {{by: [ams-edge1], share: [1, 0.5]}}", ["the lower share first, then the higher one"]),
        (f"title: x\n{STEPS}\neffect:\n  - carried: {{by: [ams-egde1], share: [0, 1]}}", ["there is no node 'ams-egde1'"]),
        (f"title: x\n{STEPS}\neffect:\n  - carried: {{link: [isp1, isp2], share: [0, 1]}}", ["name the client, and no more"]),
        (f"title: x\n{STEPS}\neffect:\n  - carried: {{link: [isp1, ams-leaf1], client: client1, share: [0, 1]}}", ["there is no link between 'isp1' and 'ams-leaf1'"]),
        (f"title: x\n{STEPS}\neffect:\n  - changed: {{nodes: [isp1], prefixes: [dsn]}}", ["there are no prefixes 'dsn' (did you mean 'dns"]),
        (f"title: x\n{STEPS}\neffect:\n  - replaced: {{nodes: [isp9], process: bgpd}}", ["there is no node 'isp9'"]),
        (f"title: x\n{STEPS}\neffect:\n  - lost: {{at_least: 0}}", ["at_least: input should be greater than or equal to 1"]),
        (f"title: x\n{STEPS}\nexpect:\n  - flaps: -1", ["flaps: input should be greater than or equal to 0"]),
        (f"title: x\n{STEPS}\nexpect:\n  - no_loss: {{client: clinet1}}", ["4:5: there is no client 'clinet1' (did you mean 'client1'?)"]),
        (f"title: x\n{STEPS}\nexpect:\n  - no_loss: {{client: isp1}}", ["4:5: there is no client 'isp1'"]),
        (f"title: x\n{STEPS}\nconsumers: [isp1, isp3]\nexpect:\n  - no_loss: {{client: isp1}}", ["3:1: there is no node 'isp3'"]),
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
    found = [line for line in problems(tmp_path, error) if not line.endswith(PARTS)]
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
    assert [line.split(":")[1] for line in problems(tmp_path, error)] == ["1", "2", "4", "5", "7", "8"]
    with pytest.raises(ConfigError, match="none.yaml:1:1: there is no such file"):
        drills.load(tmp_path / "none.yaml", TOP, SCENE)


def test_a_bound_is_one_for_all_or_one_for_each_variant(tmp_path: Path) -> None:
    """What is not named has none."""
    path = tmp_path / "d.yaml"
    path.write_text(f"title: x\n{STEPS}\nexpect: [{{table: 300ms}}, {{table: {{bfd: 1s}}}}]\n")
    one, other = (e.table or {} for e in drills.load(path, TOP, SCENE).expect)
    assert [drills_expect.bound(b, v) for b in (one, other) for v in ("bfd", "hold")] == [0.3, 0.3, 1.0, None]


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
        ("title: x\nsays:\n  - {node: isp1, command: [x]}", ["3:5: say what it has; what it lacks is asked beside that"]),
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
        ("[default, default6]", "[]", "13:3: default: at least one"),
        ("clients: [client1, client2]", "clients: [client1, clinet2]", "23:1: there is no node 'clinet2' (did you mean 'client"),
        ("clients: [client1, client2]", "clients: []", "23:1: clients: at least one"),
        ("dns IPv4: 192.0.2.53", "dns IPv4: here", "'here' does not appear to be an IPv4 or IPv6 address"),
        ("  dns IPv4: 192.0.2.53\n", "", "25:1: targets are: dns IPv4, dns IPv6, http IPv4, http IPv6"),
        ("dns IPv4:", "dns IPv5:", "25:1: targets are: dns IPv4, dns IPv6, http IPv4, http IPv6"),
        ("isp1: {healthy: [ams-border], aggregate: [ams-border],", "isp3: {healthy: [ams-border], aggregate: [ams-border],", "32:1: there is no node 'isp3' (did you mean 'isp"),
        ("isp1: {healthy: [ams-border], aggregate: [ams-border],", "isp1: {healthy: [ams-border], aggregates: [ams-border],", "32:1: there are no prefixes 'aggregates' (did you mean 'aggregate'?)"),
        ("isp1: {healthy: [ams-border], aggregate: [ams-border],", "isp1: {healthy: [ams-border], aggregate: [asm-border],", "32:1: there is no node 'asm-border' (did you mean 'ams-border'?)"),
        ("users: {client1: users", "users: {cleint1: users", "24:1: there is no client 'cleint1' (did you mean 'client"),
        ("  - node: isp1", "  - node: isp9", "there is no node 'isp9' (did you mean 'isp"),
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
        len(SCENE.prefixes[name]) for sets in SCENE.steady.values() for name, hops in sets.items() if hops
    )


def test_what_can_be_looked_at_is_what_the_drills_are_about() -> None:
    """A protocol and a family of an expectation are those that clients ask with."""
    protocols = {p for p in get_args(drills_expect.Who.model_fields["protocol"].annotation) if p}
    families = {f for f in get_args(drills_expect.Who.model_fields["family"].annotation) if f}
    assert set(STREAMS) == {f"{p} {f}" for p in protocols for f in families}
