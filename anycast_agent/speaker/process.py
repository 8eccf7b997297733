"""ExaBGP's process: its user, its environment, and its identity.

It belongs to the run directory by a lock that it holds on a file there (``anycast_agent.holding``). So there is never a
second one, whoever starts it, and a later agent finds it, whatever happened to the earlier one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import anycast_agent
from anycast_agent import holding
from anycast_agent.core.model import SpeakerConfig
from anycast_agent.speaker.exabgp import Paths, SpeakerError, check_version
from anycast_agent.users import User, exists, free_number, only_root_exists

KILL_AFTER = 3.0
"""Time limit for ExaBGP to end by itself. Seconds."""

OPEN_WITHIN = 15
"""Time limit for a router that has accepted the connection to send its OPEN; ExaBGP's default is 60. Seconds."""

_PASSED_ON = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHOME",
              "PYTHONPATH", "TZ")  # fmt: skip
"""The variables that ExaBGP inherits: enough to find the same Python and packages, and to write a readable log."""
_SYSTEMD = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


# --- how it is started --------------------------------------------------------------------------------------


def environment(config: SpeakerConfig, *, unit: bool = False) -> dict[str, str]:
    """ExaBGP's environment: built, and not inherited, since ExaBGP takes each of its settings from there as well.

    ``unit``: systemd started us to become ExaBGP. Only then does the pipe report to systemd; beside an agent, it would
    feed the watchdog of an agent that hangs.
    """
    passed_on = _PASSED_ON + (_SYSTEMD if unit else ())
    listen = [n for n in config.neighbors.values() if n.listen]
    values = {
        # ExaBGP drops to this user by itself, after it has started its helper the first time: then it could neither
        # start it again nor read its configuration again. We start it as whom it is to be; this keeps it that.
        "exabgp_daemon_user": user_name(),
        "exabgp_daemon_daemonize": "false",
        "exabgp_log_level": "WARNING",
        "exabgp_log_destination": "stderr",
        "exabgp_api_ack": "true",
        "exabgp_api_cli": "false",
        "exabgp_api_respawn": "true",
        "exabgp_reactor_speed": "0.1",
        "exabgp_bgp_openwait": str(OPEN_WITHIN),
        "exabgp_tcp_bind": " ".join(sorted({n.local_address for n in listen if n.local_address})),
        "PYTHONUNBUFFERED": "1",
    }
    if listen:
        values["exabgp_tcp_port"] = str(listen[0].port)
    return {name: os.environ[name] for name in passed_on if name in os.environ} | values


def user_name() -> str:
    """Our own user. In a container it may be a number without a name, and ExaBGP wants a name that exists: any will do,
    because ExaBGP changes its user only if it is root."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "root"


def command(paths: Paths, lock: int) -> list[str]:
    """``lock``: the inherited descriptor of the file that ExaBGP holds."""
    # -P: by -m alone, modules would first be looked for where the agent was started, be that /tmp.
    return [sys.executable, "-P", "-m", "anycast_agent.speaker.launch", str(paths.configuration), str(lock)]


# --- its user -----------------------------------------------------------------------------------------------


def unprivileged_user(name: str | None, config: SpeakerConfig, run_dir: Path) -> tuple[User | None, str]:
    """The user for ExaBGP if we are root, or the reason why it stays root. Raises SpeakerError for an unknown user.

    If no user is named, ExaBGP gets a number of its own, and not ``nobody``: every process with the same number may
    talk to the pipe. The group is its own in any case: it lets ExaBGP read its configuration, which holds passwords.
    """
    if os.geteuid() != 0 or only_root_exists():
        return None, ""
    if any(n.listen for n in config.neighbors.values()):
        return None, "ExaBGP runs as root because a neighbor has listen: true, and port 179 needs it"
    closed = _closed_to_others(run_dir)
    if closed is not None:
        return None, f"ExaBGP runs as root because no other user can enter {closed}"
    number = free_number(str(run_dir.absolute()))
    if not exists(number, "gid") or (name is None and not exists(number)):
        return None, f"ExaBGP runs as root because this user namespace has no user or group {number}"
    if name is None:
        return User(number, number), ""
    try:
        return User(pwd.getpwnam(name).pw_uid, number), ""
    except KeyError:
        raise SpeakerError(f"there is no user {name!r} to run ExaBGP as") from None


def _closed_to_others(run_dir: Path) -> Path | None:
    """A directory on the way to our Python, our package or the run directory that other users cannot enter."""
    python = Path(sys.executable)
    homes = [python, python.resolve(), Path(anycast_agent.__file__), Path(sys.prefix), run_dir / "any"]
    for folder in sorted({parent for home in homes for parent in home.absolute().parents}):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


# --- which one it is ----------------------------------------------------------------------------------------


class Process:
    """An ExaBGP that we started, or that an earlier agent of this run directory did."""

    def __init__(self, run_dir: Path) -> None:
        self._lock = Paths(run_dir).lock
        self._child: subprocess.Popen[bytes] | None = None
        self._pidfd: int | None = None
        """The handle for signals: a pid could belong to another process by now."""
        self._pid = 0
        self._helpers: list[int] = []
        """Handles of the processes that it started: a pipe that was stopped does not notice that ExaBGP has ended."""
        self.user: User | None = None
        """The user that it runs as, if not our own."""

    def start(self, paths: Paths, config: SpeakerConfig, user: User | None) -> None:
        """Raises OSError where it cannot be started."""
        check_version()
        self._end_helpers()
        lock = holding.open_file(self._lock, make=True)
        try:
            # A session of its own: a terminal's Ctrl-C is for the agent, which withdraws first. Not asyncio's: from
            # Python 3.12 on, that kills what still runs when the loop ends, and ExaBGP must go on after a hand-over.
            self._child = subprocess.Popen(
                command(paths, lock),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment(config),
                pass_fds=[lock],
                start_new_session=True,
                user=None if user is None else user.uid,
                group=None if user is None else user.gid,
                extra_groups=None if user is None else [],
            )
        finally:
            os.close(lock)
        self._is(self._child.pid, os.pidfd_open(self._child.pid), user)

    def attach(self) -> bool:
        """Take over the ExaBGP that holds the run directory; False where there is none.

        Raises SpeakerError for one that cannot be reached from here, and OSError.
        """
        try:
            lock = holding.open_file(self._lock, make=False)
        except FileNotFoundError:
            return False
        try:
            return self._attach(lock)
        finally:
            os.close(lock)

    def _attach(self, lock: int) -> bool:
        pid = holding.holder(lock)
        if pid is None:
            return False
        if pid == 0:
            raise SpeakerError(f"{self._lock} is held by an ExaBGP in another process namespace: end that one there")
        try:
            pidfd = os.pidfd_open(pid)
            user = _user_of(pid)
        except OSError:
            return False  # it has just ended
        if holding.holder(lock) != pid:  # the number was another process's by the time it was opened
            os.close(pidfd)
            return False
        self._is(pid, pidfd, user)
        return True

    def _is(self, pid: int, pidfd: int, user: User | None) -> None:
        self._forget_pidfd()
        self._pid, self._pidfd, self.user = pid, pidfd, user

    def _forget_pidfd(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
        self._pidfd = None

    @property
    def alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return self._pidfd is not None and not select.select([self._pidfd], [], [], 0)[0]

    def describe_end(self) -> str:
        code = self._child.poll() if self._child is not None else None
        return "ExaBGP has ended" + (f" with status {code}" if code is not None else "")

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL; a frozen one goes too. Bounded by twice ``KILL_AFTER``."""
        self.note_helpers()
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        if not await self._gone_within(KILL_AFTER):
            await self.kill()
        self._end_helpers()
        self._forget()

    async def kill(self) -> None:
        """For one that does not answer."""
        self.note_helpers()
        self._signal(signal.SIGKILL)
        await self._gone_within(KILL_AFTER)
        self._end_helpers()
        self._forget()

    def note_helpers(self) -> None:
        """Remember the processes that it has started. Called while it lives: nobody knows them afterwards."""
        if not self.alive:
            return
        noted, self._helpers = self._helpers, [h for pid in _children(self._pid) for h in self._handle_of_helper(pid)]
        for handle in noted:
            os.close(handle)

    def _handle_of_helper(self, pid: int) -> list[int]:
        """Empty where it has ended, and its number may be another process's."""
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            return []
        if pid in _children(self._pid) and self.alive:
            return [handle]
        os.close(handle)
        return []

    def _end_helpers(self) -> None:
        """After ExaBGP has ended. They have nothing left to do, and one that was stopped would stay for ever."""
        for handle in self._helpers:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended; or become another user's
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)
        self._helpers = []

    def remove_lock(self) -> None:
        """After the last one has ended. Raises OSError."""
        holding.remove(self._lock)

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd is None or not self.alive:
            return
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass  # it has ended already

    def _forget(self) -> None:
        self._forget_pidfd()
        self._child, self.user = None, None

    async def _gone_within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while self.alive and time.monotonic() < end:  # noqa: ASYNC110  # an adopted process is no child: nobody tells
            await asyncio.sleep(0.01)
        return not self.alive


def _children(pid: int) -> list[int]:
    """Empty also on a kernel without CONFIG_PROC_CHILDREN."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def _user_of(pid: int) -> User | None:
    found = Path(f"/proc/{pid}").stat()
    return None if found.st_uid == os.geteuid() else User(found.st_uid, found.st_gid)


def give_folder(folder: Path, user: User) -> None:
    """A folder in ours in which another user makes the pipe's socket. Raises OSError.

    That user may write there and nowhere else. Nothing in it is read, changed or believed here.
    """
    folder.mkdir(exist_ok=True, mode=0o700)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(descriptor, user.uid, user.gid)
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
