"""The shell around the core: take the inbox until the deadline, handle, settle, submit, publish.

One task owns the engine; adapters post events and execute actions. An adapter that fails is reported and restarted; an
exception of the engine's owner ends the process, and the pipe's dead-man's switch does the rest.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anycast_agent import systemd
from anycast_agent.api.control import Answer, Control
from anycast_agent.api.server import Server
from anycast_agent.api.shapes import Announced, InForce
from anycast_agent.api.turnstile import Prepared, Turnstile
from anycast_agent.checks.prober import Prober
from anycast_agent.configurations import Configurations, Start
from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.board import Standing
from anycast_agent.core.engine import Engine
from anycast_agent.core.life import Life
from anycast_agent.core.parts.aside import ADAPTER as LOCAL_CONSUMERS
from anycast_agent.core.requests import Asker, HandOver, Reload, Request
from anycast_agent.core.snapshot import Snapshot
from anycast_agent.inbox import Inbox
from anycast_agent.journal import Entry, Journal, to_log
from anycast_agent.kernel import Kernel
from anycast_agent.kernel.aside.adapter import Aside
from anycast_agent.kernel.routers import RouterWatch
from anycast_agent.lateness import Meter
from anycast_agent.metrics import Shell
from anycast_agent.speaker.client import SpeakerClient
from anycast_agent.starting import Claim

log = logging.getLogger("anycast_agent")

READY_AT_THE_LATEST = 5.0
"""systemd is told READY then even where the speaker is away: a start that fails would only be repeated. Seconds."""

EXIT_HANDED_OVER = 75
"""Exit code after a hand-over that a person asked for: that person starts the next agent, so systemd must not."""

REPLY_WITHIN = 40.0
"""Time limit for a person's request. Seconds."""

TELL_AGAIN = 1.0
"""Interval between attempts to tell systemd. Seconds."""

MEASURE = 0.25
"""Interval at which the loop's lateness is read. Seconds."""

PAGES_AGAIN = 2.0
"""Interval between attempts to open the pages' port. Seconds."""

_BACKOFF_FIRST, _MAX_BACKOFF, _BACKOFF_FORGOTTEN = 0.1, 10.0, 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """The agent's command line and environment."""

    config: Path
    external_speaker: bool = False
    """ExaBGP is a service of its own (``--speaker external``); False: it is started by this process."""
    speaker_user: str | None = None
    """The user that ExaBGP runs as if we start it as root."""
    api_descriptor: int | None = None
    """A listening socket for the pages that our parent has opened already."""


class Runner:
    """Owns the loop's one writer. ``run`` returns the exit code."""

    def __init__(self, options: Options, start: Start, meter: Meter) -> None:
        """``meter``: the selector of the loop that ``run`` runs in."""
        self._settings = settings = start.loaded.process
        self._meter, self._measured = meter, (time.monotonic(), meter.lost())
        self._inbox = Inbox()
        self._engine = Engine(time.monotonic(), owns_speaker=not options.external_speaker)
        self._prober = Prober(self._inbox.post, exec_slots=settings.exec_slots, lost=meter.lost)
        self._kernel = Kernel(self._inbox.post, settings.state_dir)
        self._aside = Aside(self._inbox.post)
        self._routers = RouterWatch(self._inbox.post)
        self._speaker = SpeakerClient(
            self._inbox.post, settings.run_dir, owned=not options.external_speaker, user=options.speaker_user
        )
        self._files = Configurations(options.config, start, self._inbox.post, self._speaker.try_out)
        self._journal = Journal(to_log)
        prepared = Prepared(Turnstile(self.turn_due))
        self._server = Server(
            settings.api_host,
            settings.api_port,
            self.snapshot,
            self.shell,
            settings.allowed_hosts,
            options.api_descriptor,
            prepared,
            self._journal.entries,
        )
        self._control = Control(settings.control_socket, self, prepared=prepared)
        self._standing = Standing(Life.STARTING, False, (), ())
        self._turns, self._turn_seconds, self._turn_at = 0, 0.0, time.monotonic()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        """The futures of those who wait for a reply, by ticket."""
        self._last_ticket = 0
        self._exit: act.Exit | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready_by = time.monotonic() + READY_AT_THE_LATEST
        self._said_ready, self._said_status = False, ""
        self._watchdog = systemd.watchdog_interval()
        self._fed_at = self._tell_at = float("-inf")
        self._deaf = False

    # --- the life of the process ---

    async def run(self) -> int:
        """Run until the engine says Exit. Raises the error of the engine or of a surface's start."""
        claim = Claim(self._settings)
        self._inbox.post(ev.Warned("run directory", claim.warning))
        try:
            await self._control.start()
            return await self._run()
        finally:
            claim.give_up()

    async def _run(self) -> int:
        self._handle_signals()
        self._files.begin()
        adapters = [
            asyncio.create_task(self._supervise(ev.Source.KERNEL, self._kernel.run)),
            asyncio.create_task(self._supervise(ev.Source.SPEAKER, self._speaker.run)),
            asyncio.create_task(self._supervise(LOCAL_CONSUMERS, self._aside.run)),
            asyncio.create_task(self._supervise("routers", self._routers.run)),
        ]
        pages = asyncio.create_task(self._open_pages())
        try:
            await self._turn_until_exit()
        finally:
            self._notify("STOPPING=1")
            pages.cancel()
            await asyncio.gather(pages, return_exceptions=True)
            await self._close(adapters)
        if self._exit is None:
            return 1
        return EXIT_HANDED_OVER if self._exit.asked and self._exit.code == 0 else self._exit.code

    async def _open_pages(self) -> None:
        """A port in use is no reason to leave the routes to the dead-man's switch: the agent tries again."""
        failed = False
        while True:
            try:
                await self._server.start()
            except OSError as error:
                failed = True
                self._inbox.post(ev.Warned("pages", f"{error}; tried again every {PAGES_AGAIN:g} s"))
                await asyncio.sleep(PAGES_AGAIN)
            else:
                if failed:
                    self._inbox.post(ev.Warned("pages", ""))
                return

    async def _close(self, adapters: list[asyncio.Task[None]]) -> None:
        """Surfaces first, the speaker last: while it ends, nothing may ask or change anything any more."""
        hand_over = self._exit is not None and self._exit.hand_over
        await asyncio.sleep(0)  # the last replies leave
        for close in (self._control.close, self._server.close, self._prober.close):
            await close()
        for task in [*adapters, *self._tasks]:
            task.cancel()
        await asyncio.gather(*adapters, *self._tasks, return_exceptions=True)
        await self._files.close()
        await self._kernel.close()
        await self._aside.close()
        await self._speaker.close(hand_over=hand_over)

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._inbox.post, ev.StopAsked(number.name))
        for number, request in ((signal.SIGUSR2, HandOver()), (signal.SIGHUP, Reload())):
            loop.add_signal_handler(number, self._inbox.post, ev.Asked(request, Asker(number.name)))

    async def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run an adapter; when it fails, say so and start it again, later each time it fails soon."""
        backoff = _BACKOFF_FIRST
        while True:
            began = time.monotonic()
            try:
                await run()
                error = "it ended by itself"
            except Exception as problem:
                log.debug("adapter %s", name, exc_info=True)
                error = f"{type(problem).__name__}: {problem}"
            self._inbox.post(ev.AdapterFailed(name, error[:500]))
            if time.monotonic() - began > _BACKOFF_FORGOTTEN:
                backoff = _BACKOFF_FIRST
            await asyncio.sleep(backoff)
            backoff = min(_MAX_BACKOFF, 2 * backoff)

    # --- the engine's turn ---

    async def _turn_until_exit(self) -> None:
        self._measured = time.monotonic(), self._meter.lost()  # not what it took to come so far
        while self._exit is None:
            await self._inbox.wait(self._next_turn())
            began = time.monotonic()
            self._measure(began)
            for event in self._inbox.take():
                self._engine.handle(event, began)
            output = self._engine.settle(began)
            self._standing = output.standing
            for action in output.actions:
                self._submit(action)
            for change in output.changes:
                self._journal.add(change, began)
            self._turns += 1
            self._turn_seconds += time.monotonic() - began
            self._turn_at = began
            self._files.keep(self._standing.in_force, began)
            self._tell_systemd(began)

    def _measure(self, now: float) -> None:
        """Before all else that happened: the engine is to know whether this process was late for it."""
        at, before = self._measured
        if now - at >= MEASURE:
            lost = self._meter.lost()
            self._measured = now, lost
            if lost > before:
                self._engine.handle(ev.LoopWasLate(lost - before, now - at), now)

    def _next_turn(self) -> float | None:
        times = [at for at in (self._engine.deadline(),) if at is not None]
        if self._watchdog is not None:
            times.append(max(self._tell_at, self._fed_at + self._watchdog / 3))
        if not self._said_ready:
            times.append(max(self._tell_at, self._ready_by))
        return min(times) if times else None

    def turn_due(self) -> bool:
        """True if the engine is due: readers wait for its turn."""
        at = self._next_turn()
        return self._inbox.waits or (at is not None and at <= time.monotonic())

    def _submit(self, action: act.Action) -> None:
        match action:
            case act.RunProbe():
                self._prober.execute(action)
            case act.AddAddresses() | act.RemoveAddresses() | act.AddBlackholes() | act.RemoveBlackholes():
                self._kernel.execute(action)
            case act.WatchKernel() | act.Resync(source=ev.Source.KERNEL):
                self._kernel.execute(action)
            case act.WatchRouters():
                self._routers.execute(action)
            case act.SetAside() | act.WatchAside():
                self._aside.execute(action)
            case act.ReadConfig():
                self._spawn(self._files.reload(action.force, action.request))
            case act.CheckFiles():
                self._spawn(self._check_files(action))
            case act.Reply():
                self._reply(action)
            case act.Exit():
                self._exit = action
            case _:
                self._speaker.execute(action)

    def _tell_systemd(self, now: float) -> None:
        """The watchdog is fed by the engine's own turn: it proves that deciding works."""
        if now < self._tell_at:
            return
        ready = not self._said_ready and (self._standing.ready or now >= self._ready_by)
        feed = self._watchdog is not None and now >= self._fed_at + self._watchdog / 3
        status = self._status()
        news = status != self._said_status
        said = [*["READY=1"] * ready, *["WATCHDOG=1"] * feed, *[f"STATUS={status}"] * news]
        if said and not self._notify(*said):
            self._tell_at = now + TELL_AGAIN
            return
        self._said_ready, self._said_status = self._said_ready or ready, status
        self._fed_at = now if feed else self._fed_at

    def _notify(self, *said: str) -> bool:
        """A systemd that is deaf is no reason to leave the routes to the dead-man's switch."""
        try:
            systemd.notify(*said)
        except OSError as error:
            if not self._deaf:
                log.warning("systemd cannot be told (%s); tried again every second: who reads NOTIFY_SOCKET?", error)
            self._deaf = True
            return False
        self._deaf = False
        return True

    def _status(self) -> str:
        """The line that ``systemctl status`` shows."""
        waits, refused = self._standing.not_ready, self._standing.refused
        text = str(self._standing.life) + (f"; waits for {', '.join(waits)}" if waits else "")
        text += f"; the last reload was refused: {refused[0]}" if refused else ""
        return " ".join(text.split())[:200]  # one line: the next would be an assignment of its own

    # --- people's requests ---

    def snapshot(self) -> Snapshot:
        return self._engine.snapshot(time.monotonic())

    def journal(self) -> tuple[Entry, ...]:
        return self._journal.entries()

    def configuration(self) -> InForce:
        """The files in force as they were read, not as they are now, and the announced routes."""
        shown = self.snapshot()
        routes = [(p.prefix, r) for s in shown.services.values() for p in s.prefixes for r in p.routes]
        routes += [(c.prefix, r) for s in shown.services.values() for c in s.covers for r in c.routes]
        announced = tuple(Announced(r.neighbor, prefix) for prefix, r in routes if r.acknowledged is not None)
        return InForce(dict(shown.config.files), announced)

    def shell(self) -> Shell:
        """Facts of the process itself, for the metrics."""
        age = time.monotonic() - self._turn_at
        return Shell(self._turns, self._turn_seconds, age, self._inbox.lost_total, self._meter.lost())

    async def ask(self, request: Request, who: str) -> Answer:
        """Ask the core, and wait for its reply."""
        self._last_ticket += 1
        ticket = self._last_ticket
        self._waiting[ticket] = reply = asyncio.get_running_loop().create_future()
        self._inbox.post(ev.Asked(request, Asker(who, ticket)))
        try:
            return await asyncio.wait_for(reply, REPLY_WITHIN)
        except TimeoutError:
            return Answer(False, (f"no answer within {REPLY_WITHIN:.0f} s; see `anycast-agent status`",), {})
        finally:
            self._waiting.pop(ticket, None)

    def _reply(self, reply: act.Reply) -> None:
        future = self._waiting.get(reply.request)
        if future is not None and not future.done():
            future.set_result(Answer(reply.ok, reply.lines))

    async def _check_files(self, action: act.CheckFiles) -> None:
        refused = await self._files.refusal()
        self._inbox.post(ev.FilesChecked(action.id, refused, self._files.is_kept(self._standing.in_force)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
