"""The faults: each is small, has a name, and notes in the truth what it has done. ``n`` says what of, or how long."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable

from tests.faults.driver.configs import PREFIXES, VARIANTS, Values
from tests.faults.driver.stage import Router, Stage
from tests.faults.driver.truth import FAMILIES

Fault = Callable[[Stage, int], Awaitable[None]]

SERVICES = tuple(PREFIXES)
WAITS = (0.0, 0.5, 1.5, 5.0)
"""How long something is suspended or away: less than ``dead_man``, about as long, and longer. Seconds."""
STARTS_WITHIN, STOPS_WITHIN = 20.0, 20.0


# --- services -----------------------------------------------------------------------------------------------


def _becomes(how: str) -> Fault:
    async def fault(stage: Stage, n: int) -> None:
        name = SERVICES[n % len(SERVICES)]
        await stage.services[name].become(how)
        stage.truth.services[name] = how
        stage.truth.changed()

    return fault


# --- the node -----------------------------------------------------------------------------------------------


async def address_removed(stage: Stage, n: int) -> None:
    """By somebody, and again when the agent has put it back."""
    prefix = PREFIXES[SERVICES[n % len(SERVICES)]][0]
    for _ in range(1 + n % 3):
        stage.ip("addr", "del", prefix, "dev", "lo")
        await asyncio.sleep(0.05)


async def addresses_flushed(stage: Stage, n: int) -> None:
    stage.ip("addr", "flush", "dev", "lo", "scope", "global")


async def loopback_down(stage: Stage, n: int) -> None:
    stage.ip("link", "set", "lo", "down")
    stage.truth.loopback = False
    stage.touched()


async def loopback_up(stage: Stage, n: int) -> None:
    stage.ip("link", "set", "lo", "up")
    stage.truth.loopback = True
    stage.touched()


async def default_route_removed(stage: Stage, n: int) -> None:
    family = FAMILIES[n % 2]
    stage.ip("-6" if family == "ipv6" else "-4", "route", "del", "default")
    stage.truth.default_routes[family] = False
    stage.truth.changed()


async def default_route_back(stage: Stage, n: int) -> None:
    family = FAMILIES[n % 2]
    stage.truth.default_routes[family] = True
    if stage.truth.uplinks["leaf1"]:
        stage.default_route(family)
    stage.truth.changed()


async def uplink_down(stage: Stage, n: int) -> None:
    leaf = ("leaf1", "leaf2")[n % 2]
    stage.ip("link", "set", f"up{leaf[-1]}", "down")
    stage.truth.uplinks[leaf] = False
    stage.touched()


async def uplink_up(stage: Stage, n: int) -> None:
    leaf = ("leaf1", "leaf2")[n % 2]
    stage.truth.uplinks[leaf] = True
    stage.wire_uplink(leaf)
    stage.touched()


async def disk_full(stage: Stage, n: int) -> None:
    """Of the run and the state directory."""
    file = os.open(stage.filler, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(file, b"x" * 4096):
            pass
    os.close(file)
    stage.truth.disk_full = True


async def disk_freed(stage: Stage, n: int) -> None:
    stage.filler.unlink(missing_ok=True)
    stage.truth.disk_full = False


async def netlink_overrun(stage: Stage, n: int) -> None:
    """More happens than the agent's socket holds while it sleeps, and somewhere in it, one of its addresses goes."""
    process = stage.agent.process
    if process is None or process.poll() is not None:
        return
    noise = [f"addr {verb} 203.0.113.{i % 250 + 1}/32 dev lo" for i in range(4000) for verb in ("add", "del")]
    noise.insert(len(noise) // 2, f"addr del {PREFIXES['web'][0]} dev lo")
    process.send_signal(signal.SIGSTOP)
    try:
        words = ["ip", "-n", stage.namespace, "-force", "-batch", "-"]
        flood = await asyncio.create_subprocess_exec(
            *words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        await flood.communicate("\n".join(noise).encode())
    finally:
        process.send_signal(signal.SIGCONT)
    stage.touched()


# --- routers ------------------------------------------------------------------------------------------------


async def router_drops(stage: Stage, n: int) -> None:
    """TCP ends without a NOTIFICATION."""
    _router(stage, n).drop()


async def router_notifies(stage: Stage, n: int) -> None:
    """Cease: administrative reset, or connection rejected (RFC 4486)."""
    _router(stage, n).notify(6, (4, 5)[n % 2])
    _router(stage, n).drop()


async def router_away(stage: Stage, n: int) -> None:
    router = _router(stage, n)
    if router.answers:
        await router.close()


async def router_refuses(stage: Stage, n: int) -> None:
    """It ends each connection at once."""
    router = _router(stage, n)
    router.refusing = True
    router.drop()


async def router_deaf(stage: Stage, n: int) -> None:
    """It keeps the session, and reads nothing any more."""
    _router(stage, n).go_deaf()


async def router_back(stage: Stage, n: int) -> None:
    router = _router(stage, n)
    router.hear_again()
    router.refusing = False
    if not router.answers:
        await router.listen()


def _router(stage: Stage, n: int) -> Router:
    return list(stage.routers.values())[n % len(stage.routers)]


# --- configuration ------------------------------------------------------------------------------------------


async def reload_variant(stage: Stage, n: int) -> None:
    """Another neighbor, other attributes, a service less: one of the variants, from whatever is in force."""
    values = copy.deepcopy(stage.values)
    VARIANTS[n % len(VARIANTS)](values)
    stage.agent.write(values)
    stage.truth.broken_file = False
    await reload(stage, values)


async def reload(stage: Stage, values: Values) -> bool:
    """Whether the agent says that it is in force now. Where it does not say so, either may be."""
    before = list(stage.truth.variants)
    stage.truth.variants = [*(v for v in before if v != values), values]
    stage.truth.disturbed()
    stage.truth.changed()
    try:
        answer = await asyncio.wait_for(stage.agent.ask(verb="reload", force=True), 30)
    except (OSError, ValueError, TimeoutError):
        return False
    if answer["ok"]:
        stage.truth.variants = [values]
        stage.touched()
    return bool(answer["ok"])


async def reload_broken(stage: Stage, n: int) -> None:
    """A mistake that a person makes: nothing changes, and it is said."""
    broken = ("services: {", "services: {web: {prefixes: [192.0.2.80/24]}}", "bgp: {local_as: 0}")[n % 3]
    stage.agent.config.write_text(broken + "\n")
    stage.truth.broken_file = True
    with contextlib.suppress(OSError, ValueError, TimeoutError):
        answer = await asyncio.wait_for(stage.agent.ask(verb="reload", force=True), 30)
        assert not answer["ok"], f"a broken file was taken: {answer}"


# --- the agent ----------------------------------------------------------------------------------------------


async def agent_killed(stage: Stage, n: int) -> None:
    """kill -9, and started again a while later."""
    if alive(stage):
        _absent(stage)
        stage.agent.kill()
    await _later(stage, n)


async def agent_stopped(stage: Stage, n: int) -> None:
    """SIGTERM, and started again a while later."""
    await _ended_by(stage, signal.SIGTERM)
    await _later(stage, n)


async def agent_replaced(stage: Stage, n: int) -> None:
    """SIGUSR2: it hands over to the one that is started then."""
    await _ended_by(stage, signal.SIGUSR2)
    await _later(stage, n)


async def agent_upgraded(stage: Stage, n: int) -> None:
    """The verb ``handover``, with more time than ``dead_man``; the next one comes within it."""
    if not alive(stage):
        return
    stage.truth.asked_to_end = True
    with contextlib.suppress(OSError, ValueError, TimeoutError):
        answer = await asyncio.wait_for(stage.agent.ask(verb="handover", **{"for": 15}), 30)
        if answer["ok"]:
            await stage.agent.ends(STOPS_WITHIN)
            stage.touched()
    await _later(stage, n)


async def agent_suspended(stage: Stage, n: int) -> None:
    if not alive(stage):
        return
    assert stage.agent.process is not None
    pid = stage.agent.process.pid
    stage.truth.agent_runs = False
    stage.touched()
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(WAITS[n % len(WAITS)])
    os.kill(pid, signal.SIGCONT)
    stage.truth.agent_runs = True
    stage.touched()


def alive(stage: Stage) -> bool:
    return stage.agent.process is not None and stage.agent.process.poll() is None


def _absent(stage: Stage) -> None:
    stage.truth.agent_runs = False
    stage.touched()


async def _ended_by(stage: Stage, number: signal.Signals) -> None:
    if not alive(stage):
        return
    _absent(stage)
    stage.agent.kill(number)
    try:
        await stage.agent.ends(STOPS_WITHIN)
    except TimeoutError:
        raise AssertionError(f"the agent has not ended within {STOPS_WITHIN} s of {number.name}") from None


async def _later(stage: Stage, n: int) -> None:
    await asyncio.sleep(WAITS[n % len(WAITS)])
    if not alive(stage):
        stage.start()


# --- the speaker --------------------------------------------------------------------------------------------


async def exabgp_killed(stage: Stage, n: int) -> None:
    _kill(stage.exabgp())
    stage.touched()


async def pipe_killed(stage: Stage, n: int) -> None:
    for pid in stage.pipes():
        _kill(pid)
    stage.touched()


async def exabgp_suspended(stage: Stage, n: int) -> None:
    await _suspended(stage, [stage.exabgp()], WAITS[n % len(WAITS)])


async def pipe_suspended(stage: Stage, n: int) -> None:
    await _suspended(stage, stage.pipes(), WAITS[n % len(WAITS)])


async def _suspended(stage: Stage, pids: list[int], seconds: float) -> None:
    """While it is suspended, nothing can be withdrawn: the clock begins when it is not any more."""
    _send(pids, signal.SIGSTOP)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        stage.truth.disturbed()
        await asyncio.sleep(0.05)
    _send(pids, signal.SIGCONT)
    stage.touched()


def _kill(pid: int) -> None:
    _send([pid], signal.SIGKILL)


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            if pid > 1:
                os.kill(pid, number)


# --- who asks -----------------------------------------------------------------------------------------------

PAGES = ("/", "/metrics", "/api/v1/status")


async def readers(stage: Stage, n: int) -> None:
    """Eight at once ask for every page and over the control socket, again and again, until it is lifted."""
    stage.background += [asyncio.create_task(_hammer(stage, k)) for k in range(8)]


async def _hammer(stage: Stage, k: int) -> None:
    while True:
        with contextlib.suppress(OSError, ValueError, TimeoutError):
            if k % 4 == 3:
                await stage.agent.status()
            else:
                await get(PAGES[k % len(PAGES)])
        await asyncio.sleep(0.02)


async def get(path: str) -> bytes:
    """A page, as it came, head and all."""
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", 9179), 5)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


async def slow_readers(stage: Stage, n: int) -> None:
    """They ask, and never read the answer, until it is lifted."""
    for k in range(8):
        stage.background.append(asyncio.create_task(_ask_and_never_read(PAGES[k % len(PAGES)])))


async def _ask_and_never_read(path: str) -> None:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", 9179)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 50)
            await asyncio.sleep(3600)
        finally:
            writer.transport.abort()


TABLE: dict[str, Fault] = {
    "service_dies": _becomes("gone"),
    "service_fails": _becomes("failing"),
    "service_hangs": _becomes("hanging"),
    "service_back": _becomes("well"),
    "address_removed": address_removed,
    "addresses_flushed": addresses_flushed,
    "loopback_down": loopback_down,
    "loopback_up": loopback_up,
    "default_route_removed": default_route_removed,
    "default_route_back": default_route_back,
    "uplink_down": uplink_down,
    "uplink_up": uplink_up,
    "disk_full": disk_full,
    "disk_freed": disk_freed,
    "netlink_overrun": netlink_overrun,
    "router_drops": router_drops,
    "router_notifies": router_notifies,
    "router_away": router_away,
    "router_refuses": router_refuses,
    "router_deaf": router_deaf,
    "router_back": router_back,
    "reload": reload_variant,
    "reload_broken": reload_broken,
    "agent_killed": agent_killed,
    "agent_stopped": agent_stopped,
    "agent_replaced": agent_replaced,
    "agent_upgraded": agent_upgraded,
    "agent_suspended": agent_suspended,
    "exabgp_killed": exabgp_killed,
    "exabgp_suspended": exabgp_suspended,
    "pipe_killed": pipe_killed,
    "pipe_suspended": pipe_suspended,
    "readers": readers,
    "slow_readers": slow_readers,
}


async def lift(stage: Stage) -> None:
    """No fault is left: what a person and the rest of the world would do. The agent is told nothing but its file."""
    await stage.quiet()
    await disk_freed(stage, 0)
    for n in range(len(stage.routers)):
        await router_back(stage, n)
    for n in range(2):
        stage.truth.default_routes[FAMILIES[n]] = True
    for n in range(2):
        await uplink_up(stage, n)
    await loopback_up(stage, 0)
    for n in range(len(SERVICES)):
        await _becomes("well")(stage, n)
    if not alive(stage):
        stage.start()
