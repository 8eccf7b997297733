"""The agent's side of the pipe: actions out, events in. Starts ExaBGP where that is ours to do.

It compares nothing: the engine decides, the pipe answers. Each action ends in exactly one event, also when the
connection breaks under it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from anycast_agent import store
from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import SpeakerConfig
from anycast_agent.speaker import trial, unread, wire
from anycast_agent.speaker.connection import MAX_LINE, Connection
from anycast_agent.speaker.exabgp import Paths, SpeakerError, render, settings
from anycast_agent.speaker.process import Process, environment, give_folder, unprivileged_user
from anycast_agent.speaker.translation import Translation
from anycast_agent.users import User

CONNECT_EVERY = 0.02
CONNECT_SLOWEST = 0.5
STARTS_WITHIN = 10.0
RELOAD_WITHIN = 15.0
QUEUES_EVERY = 2.0
"""Interval between looks at the sessions' send queues. Seconds."""
RELOAD_AGAIN = 1.0
"""ExaBGP may lose a reload. Without an effect within this time it is repeated. Seconds."""

SpeakerAction = (
    act.PutRoutes
    | act.DropRoutes
    | act.ConfirmRoutes
    | act.ConfigureSpeaker
    | act.RestartSpeaker
    | act.ExtendDeadMan
    | act.Heartbeat
    | act.Resync
)


class SpeakerClient:
    def __init__(
        self, post: Callable[[ev.Event], None], run_dir: Path, *, owned: bool, user: str | None = None
    ) -> None:
        """``owned``: this client starts and ends ExaBGP. ``user``: the user that ExaBGP runs as if we are root."""
        self._post = post
        self._paths = Paths(run_dir)
        self._owned = owned
        self._user_name = user
        self._user: User | None = None
        self._id = uuid.uuid4().hex
        self._began = time.monotonic()
        self._process = Process(run_dir)
        self._config: SpeakerConfig | None = None
        self._translation = Translation()
        self._connection = Connection()
        self._configured = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        """Held until ExaBGP's pipe is there, so that a caller that connects to it does not wait for this one."""
        self._starting = asyncio.Lock()
        self._heartbeats = 0
        self._tried = ""
        """The last configuration that ExaBGP's parser took."""

    # --- the connection ---

    async def run(self) -> None:
        """Keep a connection to the pipe, and keep ExaBGP alive if it is ours. Raises the error that ended it."""
        await self._configured.wait()
        tasks = [asyncio.create_task(self._keep_connected()), asyncio.create_task(self._watch_queues())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch_queues(self) -> None:
        """Report the bytes that routers have not read yet."""
        while True:
            await asyncio.sleep(QUEUES_EVERY)
            neighbors = self._config.neighbors.values() if self._config is not None else ()
            for neighbor in [n for n in neighbors if n.name in self._translation.up]:
                octets = await asyncio.to_thread(unread.octets, neighbor.address, neighbor.port)
                if octets is not None:
                    self._post(ev.SendQueueSeen(neighbor.name, octets))

    async def _keep_connected(self) -> None:
        while True:
            if self._owned:
                await self._start()
            reader = await self._connect()
            if reader is None:
                raise SpeakerError(self._process.describe_end())
            try:
                await self._read(reader)
            finally:
                self._disconnected(self._process.describe_end() if self._died() else "the connection to the pipe broke")
            if self._died() and not self._starting.locked():  # else it was ended here, to be started again
                raise SpeakerError(self._process.describe_end())

    def _died(self) -> bool:
        return self._owned and not self._process.alive

    async def _connect(self) -> asyncio.StreamReader | None:
        """A connection to the pipe; None where ExaBGP has died, or been ended because it does not start one."""
        pause, end = CONNECT_EVERY, asyncio.get_running_loop().time() + STARTS_WITHIN
        while not self._died():
            try:
                reader, writer = await self._open()
            except OSError:
                if self._owned and asyncio.get_running_loop().time() > end:
                    await self._process.kill()
                    break
                await asyncio.sleep(pause)
                pause = min(CONNECT_SLOWEST, 1.2 * pause)
                continue
            if self._owned:
                self._process.note_helpers()
            self._connection.begin(writer, wire.Hello((wire.VERSION,), self._id, self._began))
            return reader
        return None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._user is None:
            return await asyncio.open_unix_connection(str(self._paths.socket), limit=MAX_LINE)
        with store.socket_of(self._paths.socket, self._user.uid) as path:
            reader, writer = await asyncio.open_unix_connection(path, limit=MAX_LINE)
        if store.peer_of(writer.get_extra_info("socket")) != self._user.uid:
            writer.transport.abort()
            raise store.UntrustedError(f"{self._paths.socket} is not the pipe's: another user listens there")
        return reader, writer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        async for message in self._connection.messages(reader):
            if isinstance(message, wire.Replaced):
                raise SpeakerError("a newer agent has taken over the speaker")
            if isinstance(message, wire.Done) and message.error is not None:
                raise SpeakerError(message.error)
            for event in self._translation.events(message):
                self._post(event)

    def _disconnected(self, why: str) -> None:
        if self._connection.end(why):
            self._post(ev.SpeakerLost(why))

    # --- actions ---

    def execute(self, action: SpeakerAction) -> None:
        """Begin an action; returns at once."""
        match action:
            case act.Heartbeat():
                self._heartbeats += 1
                self._connection.send(wire.Heartbeat(self._heartbeats))
            case act.Resync():
                self._connection.send(wire.Resync())
            case act.ConfigureSpeaker():
                self._begin(self._configure(action), action.id)
            case act.RestartSpeaker():
                self._begin(self._restart(), action.id)
            case _:
                self._connection.ask(
                    lambda number: self._translation.request(action, number),
                    lambda done: self._post(self._translation.ended(action, done)),
                )

    def _begin(self, work: Any, action_id: int) -> None:
        task = asyncio.create_task(self._configured_by(work, action_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _configured_by(self, work: Any, action_id: int) -> None:
        error: str | None = None
        try:
            async with self._changing:
                await work
        except (OSError, SpeakerError) as problem:
            error = str(problem)
        except Exception as problem:  # the engine waits for the end of its action, whatever the error
            error = f"{type(problem).__name__}: {problem}"
        self._post(ev.SpeakerConfigured(action_id, error))

    # --- ExaBGP's configuration ---

    async def _configure(self, action: act.ConfigureSpeaker) -> None:
        self._config = action.config
        self._translation.begin(action.config)
        if self._owned and not self._process.alive:
            self._process.attach()
        if not self._owned or self._process.alive:
            self._configured.set()  # an ExaBGP that runs is not left alone: its routes would go by the dead man
            await self._try_first(action.config)
        revision = self._write(action.config)
        if self._owned:
            await self._start()
        self._configured.set()
        try:
            await asyncio.wait_for(self._connection.agreed.wait(), STARTS_WITHIN)
        except TimeoutError:
            raise SpeakerError(self._absent()) from None
        try:
            await asyncio.wait_for(self._reload_until(revision, action.config), RELOAD_WITHIN)
        except TimeoutError:
            raise SpeakerError(f"ExaBGP has not accepted the configuration within {RELOAD_WITHIN:g} s") from None
        for event in self._translation.configured():
            self._post(event)

    async def _try_first(self, config: SpeakerConfig) -> None:
        """A configuration that the running ExaBGP would refuse does not replace the one it has."""
        if why := await self.try_out(config):
            raise SpeakerError(why)

    async def try_out(self, config: SpeakerConfig) -> str:
        """Why ExaBGP would refuse the configuration; empty where it would not, or it would change nothing for it."""
        try:
            text, _ = await asyncio.to_thread(render, config, self._paths)
            if text == self._tried or text == await asyncio.to_thread(self._written):
                return ""
            why = await trial.refusal(text, self._paths.trial, environment(config))
        except (OSError, SpeakerError) as error:
            return f"what ExaBGP is to read cannot be tried: {error}"
        self._tried = self._tried if why else text
        return f"ExaBGP would refuse this: {why}" if why else ""

    def _written(self) -> str:
        try:
            return self._paths.configuration.read_text("utf-8")
        except (OSError, ValueError):
            return ""

    def _absent(self) -> str:
        if self._owned:
            return f"no pipe at {self._paths.socket} within {STARTS_WITHIN:g} s; see ExaBGP's messages above"
        return f"no speaker at {self._paths.socket}; systemctl status anycast-speaker"

    def _write(self, config: SpeakerConfig) -> str:
        """Write the files that ExaBGP and the pipe read. Returns the revision. Raises OSError or SpeakerError."""
        store.make_folder(self._paths.run_dir)
        self._user = self._whom(config) if self._owned else None
        self._paths = Paths(self._paths.run_dir, apart=self._user is not None)
        text, revision = render(config, self._paths)
        if self._user is not None:
            give_folder(self._paths.socket.parent, self._user)
        group = None if self._user is None else self._user.gid
        store.replace(self._paths.settings, settings(config, self._owned), group=group, durable=False)
        store.replace(self._paths.configuration, text, group=group, durable=False)
        return revision

    def _whom(self, config: SpeakerConfig) -> User | None:
        """The user that ExaBGP runs as, or is to be started as."""
        user, why = unprivileged_user(self._user_name, config, self._paths.run_dir)
        if self._process.alive and self._process.user != user:
            user = self._process.user
            as_whom = "root" if user is None else f"user {user.uid}"
            why = f"ExaBGP goes on as {as_whom}, as it was started, until it is started again" + (why and f"; {why}")
        self._post(ev.Warned("speaker user", why))
        return user

    async def _reload_until(self, revision: str, config: SpeakerConfig) -> None:
        """Reload, and look whether it was; ExaBGP can lose the signal while a neighbor is down.

        ExaBGP has the revision with each of its neighbors. Without any, it has none to show.
        """
        expected = (revision,) if any(n.address for n in config.neighbors.values()) else ()
        exabgp = False  # the pipe's own settings first: where ExaBGP has the revision already, nothing else is new
        while True:
            answer = await self._connection.answer(partial(wire.Reload, exabgp=exabgp))
            if answer.error is None:
                answer = await self._has_within(expected, RELOAD_AGAIN if exabgp else 0.0)
            if answer.error is not None:
                raise SpeakerError(answer.error)
            if answer.revisions == expected:
                return
            exabgp = True

    async def _has_within(self, revisions: tuple[str, ...], seconds: float) -> wire.Done:
        end = asyncio.get_running_loop().time() + seconds
        while True:
            answer = await self._connection.answer(wire.AskRevision)
            reached = answer.error is not None or answer.revisions == revisions
            if reached or asyncio.get_running_loop().time() >= end:
                return answer
            await asyncio.sleep(0.02)

    # --- ExaBGP's process ---

    async def _start(self) -> None:
        """Start one if none is alive."""
        async with self._starting:
            self._start_one()

    def _start_one(self) -> None:
        if self._config is None or self._process.alive or self._process.attach():
            return
        if self._owned and self._whom(self._config) != self._user:
            self._write(self._config)
        self._process.start(self._paths, self._config, self._user)

    async def _restart(self) -> None:
        """End an ExaBGP that does not answer, and start another; done when that one's pipe is there."""
        if not self._owned:
            raise SpeakerError("the speaker is not ours to restart; its own watchdog does it")
        async with self._starting:
            await self._process.kill()
            self._disconnected("ExaBGP did not answer and was ended")
            self._start_one()
        try:
            await asyncio.wait_for(self._connection.agreed.wait(), STARTS_WITHIN)
        except TimeoutError:
            raise SpeakerError(self._absent()) from None

    async def close(self, *, hand_over: bool) -> None:
        """Leave the pipe; ``hand_over``: and leave ExaBGP running."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connection.drain()
        self._disconnected("the agent has ended")
        if self._owned and not hand_over:
            await self._process.stop()
            for path in (self._paths.socket, self._paths.settings, self._paths.configuration):
                path.unlink(missing_ok=True)
            if self._user is not None:
                with contextlib.suppress(OSError):  # that user may have put something into it
                    self._paths.socket.parent.rmdir()
            self._process.remove_lock()
