"""The adapter that sends local consumers aside: reports the rules of ours, and changes them. It decides nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Mapping

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.consumers import AsideConfig, AsideState
from anycast_agent.core.model import Address
from anycast_agent.kernel import netlink as nl
from anycast_agent.kernel.aside import steps
from anycast_agent.kernel.aside.steps import Setting
from anycast_agent.kernel.threads import to_its_end

SETTLE = 0.05
"""Changes to rules within this time are looked at together. Seconds."""

LOOK_EVERY = 60.0
RECEIVE_BUFFER = 1 << 18
HEARD_IN_A_ROW = 100

AsideAction = act.SetAside | act.WatchAside


class Aside:
    def __init__(self, post: Callable[[ev.Event], None], *, look_every: float = LOOK_EVERY) -> None:
        self._post = post
        self._look_every = look_every
        self._config: AsideConfig | None = None
        self._watched = asyncio.Event()
        self._wake = asyncio.Event()
        self._seen: Mapping[Address, AsideState] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def _setting(self) -> Setting:
        """Programs of exec checks run as the agent's user, and cannot be told from others where that is root."""
        config, user = self._config or AsideConfig(), os.geteuid()
        return Setting(config.table, config.interfaces, (user,) if user else (), config.mark)

    # --- watching ---

    async def run(self) -> None:
        """Report, until something fails, which raises. The next call reports in full."""
        await self._watched.wait()
        self._seen = None
        # Heard of before it is read: nothing that happens between the two is missed.
        with nl.monitor(RECEIVE_BUFFER, nl.RULE_GROUPS | nl.ROUTE_GROUPS) as sock:
            parts = {asyncio.create_task(self._hear(sock)), asyncio.create_task(self._look())}
            try:
                done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                raise RuntimeError("the monitor of policy rules has ended")
            finally:
                for task in parts:
                    task.cancel()
                await asyncio.gather(*parts, return_exceptions=True)

    async def _hear(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for _ in range(HEARD_IN_A_ROW):
                try:
                    data = await loop.sock_recv(sock, 1 << 16)
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    self._wake.set()  # more happened than the socket holds
                    continue
                if not data:
                    raise ConnectionError("the monitor of policy rules was closed")
                if self._concerns(data):
                    self._wake.set()
            await asyncio.sleep(0)

    def _concerns(self, data: bytes) -> bool:
        """A full table's churn is of no interest: only rules, and routes of our table."""
        table = self._setting.table
        return any(
            kind in (nl.RTM_NEWRULE, nl.RTM_DELRULE) or message[16 + 4] == table
            for kind, _, message in nl.messages(data)
            if len(message) > 16 + 4
        )

    async def _look(self) -> None:
        while True:
            self._wake.clear()
            async with self._one_at_a_time:
                await self._report()
            try:
                async with asyncio.timeout(self._look_every):
                    await self._wake.wait()
                    await asyncio.sleep(SETTLE)
            except TimeoutError:
                pass  # it is due

    async def _report(self) -> None:
        found = await to_its_end(steps.look, self._setting)
        if found != self._seen:
            self._seen = found
            self._post(ev.AsideSeen(dict(found)))

    # --- actions ---

    def execute(self, action: AsideAction) -> None:
        """Begin an action; returns at once."""
        match action:
            case act.WatchAside():
                self._config, self._seen = action.config, None
                self._watched.set()
                self._wake.set()
                self._warn(action.config)
            case act.SetAside():
                task = asyncio.create_task(self._set(action))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _warn(self, config: AsideConfig) -> None:
        text = ""
        if config.programs and os.geteuid() == 0:
            text = (
                f"exec checks of {', '.join(config.programs[:3])} run as root: while local consumers are aside, they "
                "ask another replica, unless they send from the service's address; run the agent as a user of its own"
            )
        self._post(ev.Warned("local consumers", text))

    async def _set(self, action: act.SetAside) -> None:
        """An action ends in exactly one event, also on failure. The state that it led to is reported before."""
        error: str | None = None
        try:
            async with self._one_at_a_time:
                try:
                    await to_its_end(_change, action, self._setting, (self._config or AsideConfig()).anycast)
                finally:
                    await self._report()
        except Exception as problem:
            error = (str(problem) or type(problem).__name__)[:300]
        self._post(ev.AsideSet(action.id, error))

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _change(action: act.SetAside, setting: Setting, anycast: frozenset[Address]) -> None:
    match action.state:
        case AsideState.ASIDE:
            steps.go_aside(action.address, action.gateways, setting, anycast)
        case AsideState.RETURNING:
            steps.begin_return(action.address, setting)
        case _:
            steps.go_home(action.address, setting)
