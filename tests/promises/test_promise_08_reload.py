"""Promise 8.

A bad configuration never replaces a good one; a reload changes only what differs; one that would withdraw more than
half of what is announced is refused unless forced.
"""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import AddressMode, Attributes, Config, RouteKey
from tests.support import ends
from tests.support.agent import V4 as REAL_V4
from tests.support.agent import V6 as REAL_V6
from tests.support.agent import Scene, addresses_of, configuration, play
from tests.support.netns import needs_root
from tests.support.world import LEAF1, LEAF2, V4, V6, World, check, config, service

WWW = "192.0.2.80/32"

# --- 1. the core, in virtual time -----------------------------------------------------------------------------


def running(conf: Config | None = None) -> World:
    world = World()
    world.start(conf or config(service("dns"), service("www", (WWW,))))
    world.until(lambda w: len(w.router) == 6, 5)
    world.run(3.0)
    return world


def reload(world: World, conf: Config, force: bool = False) -> act.Reply:
    """Offer it, and give the answer."""
    request = 1 + len([a for _, a in world.actions if isinstance(a, act.Reply)])
    world.offer(conf, force, request)
    found: list[act.Reply] = []

    def answered(w: World) -> bool:
        found[:] = [a for _, a in w.actions if isinstance(a, act.Reply) and a.request == request]
        return bool(found)

    world.until(answered, 10)
    return found[0]


def test_a_configuration_that_is_not_valid_changes_nothing_and_shows() -> None:
    """The reply, the log and the status say why; the next good one clears it."""
    world = running()
    before, conf = len(world.updates), world.engine.parts.configuration.config if world.engine else None
    world.post(ev.ConfigRejected(("agent.yaml:3:5: no such key",), 1))
    assert world.engine is not None
    shown = world.engine.snapshot(world.now).config
    assert (shown.reloads_failed, shown.errors, shown.failed_at) == (1, ("agent.yaml:3:5: no such key",), world.now)
    assert world.engine.parts.configuration.config is conf
    world.run(30.0)
    assert world.updates[before:] == []
    assert reload(world, config(service("dns"), service("www", (WWW,)))).ok
    shown = world.engine.snapshot(world.now).config
    assert (shown.reloads_ok, shown.errors, shown.failed_at) == (1, (), None)


def test_the_same_configuration_again_does_nothing_at_all() -> None:
    """No UPDATE, no probe out of turn, no word to kernel or speaker."""
    world, twin = running(), running()
    assert reload(world, config(service("dns"), service("www", (WWW,)))).ok
    for one in (world, twin):
        one.run(20.0)
    assert [(t, a) for t, a in world.actions if not isinstance(a, act.Reply)] == twin.actions
    assert world.updates == twin.updates


def test_only_what_differs_changes() -> None:
    """One service's attributes, another one added: no UPDATE and no probe of the others is moved."""
    world, twin = running(), running()
    changed = config(
        service("dns"), service("www", (WWW,), attributes=Attributes(med=7)), service("ntp", ("192.0.2.9/32",))
    )
    assert reload(world, changed).ok
    for one in (world, twin):
        one.run(20.0)
    dns = [(t, a.key) for t, a in world.actions if isinstance(a, act.RunProbe) and a.key.service in ("dns", "www")]
    assert dns == [(t, a.key) for t, a in twin.actions if isinstance(a, act.RunProbe)]
    moved = {key.prefix for _, _, key in world.updates[len(twin.updates) :]}
    assert moved == {WWW, "192.0.2.9/32"}
    assert {what for _, what, _ in world.updates} == {"announce"}, "new attributes replace, and withdraw nothing"
    assert world.router[RouteKey(LEAF1, WWW)].med == 7


def test_a_check_that_is_altered_is_no_reason_to_withdraw() -> None:
    """While its first verdict is awaited the route stays as it is; where the new check fails, it goes."""
    world = running()
    before = len(world.updates)
    checks = tuple(check(prefix=p, params="new") for p in (V4, V6))
    assert reload(world, config(service("dns", checks=checks), service("www", (WWW,)))).ok
    assert world.reason(V4) == "adopted"
    world.run(30.0)
    assert world.reason(V4) == "healthy"
    assert world.updates[before:] == []
    world.outcomes["dns"] = ends.REFUSED
    checks = tuple(check(prefix=p, params="newer") for p in (V4, V6))
    assert reload(world, config(service("dns", checks=checks), service("www", (WWW,)))).ok
    world.until(lambda w: not w.announced(V4), 3.0)


def test_a_check_that_is_altered_after_flaps_does_not_start_a_hold_down() -> None:
    """It is announced, and was not down: there is nothing to wait for."""
    world = running()
    for _ in range(3):
        world.outcomes["dns"] = ends.REFUSED
        world.until(lambda w: not w.announced(V4), 5.0)
        world.outcomes.clear()
        world.until(lambda w: len(w.router) == 6, 60.0)
    before = len(world.updates)
    checks = tuple(check(prefix=p, params="new") for p in (V4, V6))
    assert reload(world, config(service("dns", checks=checks), service("www", (WWW,)))).ok
    world.run(60.0)
    assert world.updates[before:] == []


def test_a_check_that_is_altered_while_its_probe_is_open_starts_anew() -> None:
    """The old probe's end is not taken for the new check's."""
    world = running()
    world.probe_delay = 0.4
    world.run(1.2)
    checks = tuple(check(prefix=p, params="new", rise=1) for p in (V4, V6))
    world.outcomes["dns"] = ends.REFUSED
    assert reload(world, config(service("dns", checks=checks), service("www", (WWW,)))).ok
    assert world.engine is not None
    runs = [c.runs for c in world.engine.snapshot(world.now).services["dns"].checks]
    assert runs == [{}, {}]
    world.until(lambda w: not w.announced(V4), 3.0)


def test_a_service_may_be_renamed_and_a_prefix_may_move_without_an_update() -> None:
    """What goes to the routers is the same."""
    world = running()
    before = len(world.updates)
    assert reload(world, config(service("resolver", (V4,)), service("web", (WWW, V6)))).ok
    world.run(30.0)
    assert world.updates[before:] == []
    assert world.engine is not None
    assert set(world.engine.snapshot(world.now).services) == {"resolver", "web"}


def test_disabled_is_withdrawn_and_enabled_is_announced_from_what_is_known() -> None:
    """Its checks go on meanwhile, so that it need not rise again."""
    world = running()
    off = config(service("dns"), replace(service("www", (WWW,)), enabled=False))
    assert reload(world, off).ok
    world.until(lambda w: not w.announced(WWW), 0.1)
    world.run(5.0)
    assert world.address_there(WWW)
    assert reload(world, config(service("dns"), service("www", (WWW,)))).ok
    world.until(lambda w: w.announced(WWW) == {LEAF1, LEAF2}, 0.1)


def test_a_removed_service_is_withdrawn_lingers_and_loses_its_address() -> None:
    """In that order; nothing of it is shown or remembered after."""
    world = running()
    assert reload(world, config(service("dns"))).ok
    world.until(lambda w: not w.announced(WWW), 0.1)
    world.run(0.8)
    assert world.address_there(WWW)
    world.until(lambda w: not w.address_there(WWW), 0.5)
    assert reload(world, config(service("dns"))).ok
    assert world.engine is not None
    assert not world.engine.parts.routes.table.of_prefix(WWW)


def test_a_neighbor_goes_after_its_routes_were_withdrawn_and_another_comes() -> None:
    """In one reload: the old one gets its withdrawals, the new one its routes, the third nothing."""
    world = running()
    at = len(world.updates)
    names = (LEAF2, "leaf3")
    assert reload(
        world, config(service("dns", neighbors=names), service("www", (WWW,), neighbors=names), neighbors=names)
    ).ok
    world.run(5.0)
    assert {key.neighbor for key in world.router} == {LEAF2, "leaf3"}
    assert {(what, key.neighbor) for _, what, key in world.updates[at:]} == {("withdraw", LEAF1), ("announce", "leaf3")}
    configured = [t for t, a in world.actions if isinstance(a, act.ConfigureSpeaker)][-1]
    gone = [t for t, what, key in world.updates[at:] if key.neighbor == LEAF1]
    assert max(gone) <= configured
    assert world.engine is not None
    shown = {r.neighbor for p in world.engine.snapshot(world.now).services["dns"].prefixes for r in p.routes}
    assert LEAF1 not in shown


def test_a_change_of_address_mode_wakes_the_checks_that_waited_for_an_address() -> None:
    """They need none any more."""
    world = World(kernel_errors={"192.0.2.53"})
    world.start(config())
    world.run(5.0)
    assert not world.announced(V4)
    assert reload(world, config(address_mode=AddressMode.UNMANAGED)).ok
    world.until(lambda w: w.announced(V4) == {LEAF1, LEAF2}, 2.0)


def test_reloads_that_overtake_each_other_end_with_the_last() -> None:
    """The speaker is busy with one when the next comes; each request is answered, and all can be shown meanwhile."""
    world = running()
    world.speaker_delay = 0.5
    names = (LEAF1, LEAF2, "leaf3")
    world.offer(config(service("dns"), service("www", (WWW,)), service("ntp", ("192.0.2.9/32",))), request=1)
    world.run(0.1)
    world.offer(config(service("dns"), service("www", (WWW,), neighbors=names), neighbors=names), request=2)
    assert world.engine is not None
    for _ in range(40):
        world.run(0.1)
        world.engine.snapshot(world.now)
    replies = [a for _, a in world.actions if isinstance(a, act.Reply)]
    assert [(r.request, r.ok) for r in replies] == [(1, False), (2, True)]
    assert world.announced(WWW) == set(names)


@pytest.mark.parametrize(("keep", "refused"), [(3, False), (2, False), (1, True), (0, True)])
def test_one_that_would_withdraw_more_than_half_is_refused_unless_forced(keep: int, refused: bool) -> None:
    """Half is not more than half. The reply lists every route that would go."""
    prefixes = [f"192.0.2.{n}/32" for n in range(4)]
    world = World()
    world.start(config(*[service(f"s{n}", (p,), neighbors=(LEAF1,)) for n, p in enumerate(prefixes)]))
    world.until(lambda w: len(w.router) == 4, 5)
    less = [replace(service(f"s{n}", (p,), neighbors=(LEAF1,)), enabled=n < keep) for n, p in enumerate(prefixes)]
    answer = reload(world, config(*less))
    world.run(3.0)
    assert answer.ok is not refused
    assert len(world.router) == (4 if refused else keep)
    if refused:
        assert answer.lines[0].startswith(f"it would withdraw {4 - keep} of 4")
        assert answer.lines[1:] == tuple(f"withdraws {p} from leaf1" for p in prefixes[keep:])
        assert reload(world, config(*less), force=True).ok
        world.until(lambda w: len(w.router) == keep, 3.0)


# --- 2. the real parts: a process, ExaBGP, netlink, a router --------------------------------------------------


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    """SIGHUP and reload: refused with file, line and column; shown; the good one goes on; mended, it is taken."""

    async def story(s: Scene) -> None:
        await s.announced()
        updates = len(s.peer.updates)
        good = s.agent.config.read_text()
        s.agent.config.write_text(good.replace("local_as", "locla_as"))
        answer = await s.agent.ask(verb="reload")
        assert not answer["ok"]
        assert any("unknown key 'locla_as' (did you mean 'local_as'?)" in line for line in answer["lines"])
        s.agent.kill(signal.SIGHUP)
        await s.agent.until(lambda status: status["configuration"]["reloads_failed"] == 2)
        assert (await s.agent.status())["configuration"]["errors"]
        s.agent.config.write_text(good)
        assert (await s.agent.ask(verb="reload"))["ok"]
        assert not (await s.agent.status())["configuration"]["errors"]
        assert len(s.peer.updates) == updates

    play(tmp_path, story)


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_a_reload_changes_only_what_differs(tmp_path: Path) -> None:
    """A second service comes, the first one's routes, checks and session do not notice; then it goes again."""
    third = "192.0.2.81/32"

    async def story(s: Scene) -> None:
        await s.announced()
        updates = len(s.peer.updates)
        probes = (await s.agent.status())["services"]["web"]["checks"][0]["probes"]["ok"]
        values = configuration(tmp_path)
        values["services"]["two"] = {**values["services"]["web"], "prefixes": [third]}
        s.agent.write(values)
        assert (await s.agent.ask(verb="reload"))["ok"]
        await s.peer.has(REAL_V4, REAL_V6, third)
        assert [u.announced for u in s.peer.updates[updates:]] == [(third,)]
        assert (await s.agent.status())["services"]["web"]["checks"][0]["probes"]["ok"] >= probes
        s.agent.write(configuration(tmp_path))
        assert (await s.agent.ask(verb="reload"))["ok"]
        await s.peer.has(REAL_V4, REAL_V6)
        assert len(s.peer.opened_at) == 1
        await s.agent.until(lambda _: third.partition("/")[0] not in addresses_of(s))

    play(tmp_path, story)
