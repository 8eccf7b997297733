"""ExaBGP's configuration, made from ours, and its process.

The configuration carries its own revision as each neighbor's description, which ExaBGP shows and does not compare: so
a reload can be verified, and changes no session that does not differ.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import anycast_agent
from anycast_agent.core.model import Config, Neighbor

OLDEST = (5, 0)
KILL_AFTER = 3.0
"""How long ExaBGP may take to end by itself. Seconds."""


class SpeakerError(Exception):
    """What is wrong with ExaBGP or its files, where, and what to do."""


class User(NamedTuple):
    uid: int
    gid: int


def check_version() -> str:
    """ExaBGP's version. Raises SpeakerError where it is missing or too old."""
    try:
        version = importlib.metadata.version("exabgp")
    except importlib.metadata.PackageNotFoundError:
        raise SpeakerError(f"ExaBGP is not installed beside {sys.executable}: pip install 'exabgp>=5.0.15'") from None
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        raise SpeakerError(f"ExaBGP {version} is too old, 5.0 is needed: pip install 'exabgp>=5.0.15'")
    return version


@dataclass(frozen=True, slots=True)
class Paths:
    """What the agent and the speaker share in the run directory."""

    run_dir: Path

    @property
    def configuration(self) -> Path:
        return self.run_dir / "exabgp.conf"

    @property
    def settings(self) -> Path:
        return self.run_dir / "pipe.json"

    @property
    def socket(self) -> Path:
        return self.run_dir / "speaker.sock"

    @property
    def pid(self) -> Path:
        return self.run_dir / "exabgp.pid"


# --- configuration ------------------------------------------------------------------------------------------


def render(config: Config, paths: Paths) -> tuple[str, str]:
    """(ExaBGP's configuration, its revision). Raises SpeakerError where a password file cannot be read."""
    neighbors = [_neighbor(n, config) for n in config.neighbors.values()]
    revision = hashlib.sha256("\n".join(neighbors).encode()).hexdigest()[:16]
    run = f"{sys.executable} -m anycast_agent.speaker.pipe {paths.socket} {paths.settings}"
    process = f"process agent {{\n  run {run};\n  encoder json;\n}}\n"
    return process + "".join(n.replace(_REVISION, f'description "{revision}";') for n in neighbors), revision


_REVISION = "description-of-the-revision;"


def _neighbor(n: Neighbor, config: Config) -> str:
    # Graceful restart is off: with it, a router keeps the routes of a speaker that has died.
    capabilities = ["graceful-restart disable;"]
    if n.add_path_receive:
        capabilities.append("add-path receive;")
    if n.extended_next_hop:
        capabilities.append("nexthop enable;")
    lines = [
        _REVISION,
        f"router-id {n.router_id or config.router_id};" if n.router_id or config.router_id else "",
        f"local-address {n.local_address or 'auto'};",
        f"local-as {n.local_as};",
        f"peer-as {n.remote_as};",
        f"hold-time {n.hold_time};",
        f"connect {n.port};" if n.port != 179 else "",
        f"md5-password {json.dumps(_password(n))};" if n.password_file else "",
        *_ttl(n),
        f"family {{ {' '.join(f'{family} unicast;' for family in n.families)} }}",
        "nexthop { ipv4 unicast ipv6; }" if n.extended_next_hop else "",
        f"capability {{ {' '.join(capabilities)} }}",
        "api { processes [ agent ]; neighbor-changes; receive { parsed; update; notification; } "
        "send { parsed; update; } }",
    ]
    return f"neighbor {n.address} {{\n" + "".join(f"  {line}\n" for line in lines if line) + "}\n"


def _ttl(n: Neighbor) -> list[str]:
    """GTSM (RFC 5082): send with 255, and take only what was sent with 255 from as many hops away as configured."""
    if n.ttl_security is not None:
        return ["outgoing-ttl 255;", f"incoming-ttl {256 - n.ttl_security};"]
    return [f"outgoing-ttl {n.multihop};"] if n.multihop is not None else []


def _password(n: Neighbor) -> str:
    try:
        text = Path(n.password_file or "").read_text("utf-8")
    except (OSError, ValueError) as error:
        raise SpeakerError(f"the password file of neighbor {n.name} cannot be read: {error}") from error
    password = text.strip("\r\n")
    if not password or len(password) > 80 or not password.isascii() or not password.isprintable():
        raise SpeakerError(f"{n.password_file}: an MD5 password is 1 to 80 printable ASCII characters on one line")
    return password


def settings(config: Config, owned: bool) -> str:
    """The pipe's own settings, as JSON."""
    allow = sorted({p for s in config.services.values() for p in s.prefixes})
    values = {"dead_man": config.dead_man, "adopt_for": config.adopt_for, "allow": allow, "owned": owned}
    return json.dumps(values)


def write(path: Path, text: str, user: User | None = None) -> None:
    """Replace a file as a whole, readable by the speaker's user only. Raises OSError; the old file then stays."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            if user is not None:
                os.fchown(file.fileno(), user.uid, user.gid)
            file.write(text)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


# --- process ------------------------------------------------------------------------------------------------


def environment(config: Config) -> dict[str, str]:
    """What ExaBGP is told by its environment; the rest of ours is passed on."""
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
        "exabgp_tcp_bind": " ".join(sorted({n.local_address for n in listen if n.local_address})),
        "PYTHONUNBUFFERED": "1",
    }
    if listen:
        values["exabgp_tcp_port"] = str(listen[0].port)
    return {**os.environ, **values}


def user_name() -> str:
    """As whom we run. A container's user may be a number without a name, and ExaBGP wants one that exists: any will do,
    as it changes its user only where it is root."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "root"


def command(paths: Paths) -> list[str]:
    # -P: by -m alone, modules would first be looked for where the agent was started, be that /tmp.
    return [sys.executable, "-P", "-m", "anycast_agent.speaker.launch", str(paths.configuration)]


_DYNAMIC = range(61184, 65520)
"""Where systemd takes the users of its DynamicUser= services from; nobody else does."""


def unprivileged_user(name: str | None, config: Config, run_dir: Path) -> tuple[User | None, str]:
    """Whom to run ExaBGP as where we are root, and else why as root. Raises SpeakerError for a user that is none.

    Where no user is named, ExaBGP gets a number of its own, and not ``nobody``: whoever has the same number may talk to
    the pipe and read the passwords. It hangs on the run directory, so that a later agent finds what it left.
    """
    if os.geteuid() != 0 or _only_root_is_mapped():
        return None, ""
    if any(n.listen for n in config.neighbors.values()):
        return None, "ExaBGP runs as root because a neighbor has listen: true, and port 179 needs it"
    closed = _closed_to_others(run_dir)
    if closed is not None:
        return None, f"ExaBGP runs as root because no other user can enter {closed}"
    if name is None:
        number = _free_number(str(run_dir.absolute()))
        if not any(number in numbers for numbers in _mapped()):
            return None, f"ExaBGP runs as root because this user namespace has no user {number}"
        return User(number, number), ""
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise SpeakerError(f"there is no user {name!r} to run ExaBGP as") from None
    return User(user.pw_uid, user.pw_gid), ""


def _free_number(seed: str) -> int:
    taken = {user.pw_uid for user in pwd.getpwall()}
    first = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
    numbers = (_DYNAMIC[(first + n) % len(_DYNAMIC)] for n in range(len(_DYNAMIC)))
    return next(number for number in numbers if number not in taken)


def _only_root_is_mapped() -> bool:
    """In a user namespace of one user there is nobody else to be, and root has no rights outside of it."""
    return [len(numbers) for numbers in _mapped()] == [1]


def _mapped() -> list[range]:
    """The user numbers that exist in our user namespace."""
    lines = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return [range(int(inside), int(inside) + int(count)) for inside, _, count in lines]


def _closed_to_others(run_dir: Path) -> Path | None:
    """A directory on the way to our Python, our package or the run directory that other users cannot enter."""
    python = Path(sys.executable)
    homes = [python, python.resolve(), Path(anycast_agent.__file__), Path(sys.prefix), run_dir]
    for folder in {parent for home in homes for parent in home.absolute().parents}:
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


class Process:
    """An ExaBGP that we started, or that an earlier agent of this run directory did."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._child: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._since = ""
        """When it started: another process may have its number later."""

    def start(self, config: Config, user: User | None) -> None:
        """Raises OSError where it cannot be started."""
        check_version()
        # A session of its own: a terminal's Ctrl-C is for the agent, which withdraws first. Not asyncio's: from Python
        # 3.12 on, that kills what still runs when the loop ends, and ExaBGP must go on after a hand-over.
        self._child = subprocess.Popen(
            command(self._paths),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment(config),
            start_new_session=True,
            user=None if user is None else user.uid,
            group=None if user is None else user.gid,
            extra_groups=None if user is None else [],
        )
        self._pid = self._child.pid
        self._since = _started(self._pid)
        write(self._paths.pid, f"{self._pid} {self._since}\n")

    def attach(self) -> bool:
        """Take over the ExaBGP that an earlier agent left; False where there is none alive."""
        try:
            pid, started = self._paths.pid.read_text().split()
        except (OSError, ValueError):
            return False
        if _started(int(pid)) != started:
            return False  # the number is another process's by now
        self._pid, self._since = int(pid), started
        return True

    @property
    def alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return self._pid is not None and _started(self._pid) == self._since

    @property
    def _is_another(self) -> bool:
        """Its number is another process's by now: that one is not ours to end."""
        return self._pid is not None and _started(self._pid) not in ("", self._since)

    def describe_end(self) -> str:
        code = self._child.poll() if self._child is not None else None
        return "ExaBGP has ended" + (f" with status {code}" if code is not None else "")

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL for all of its group; a frozen one goes too. Bounded by ``KILL_AFTER``."""
        if self._pid is None:
            return
        if self._is_another:
            self._forget()
            return
        _signal(self._pid, signal.SIGTERM)
        _signal(self._pid, signal.SIGCONT)
        if not await self._gone_within(KILL_AFTER):
            await self.kill()
            return
        _signal_group(self._pid, signal.SIGKILL)
        self._forget()

    async def kill(self) -> None:
        """For one that does not answer."""
        if self._pid is None:
            return
        if not self._is_another:
            _signal_group(self._pid, signal.SIGKILL)
        await self._gone_within(KILL_AFTER)
        self._forget()

    def _forget(self) -> None:
        self._paths.pid.unlink(missing_ok=True)
        self._pid, self._child = None, None

    async def _gone_within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while self.alive and time.monotonic() < end:  # noqa: ASYNC110  # an adopted process is no child: nobody tells
            await asyncio.sleep(0.01)
        return not self.alive


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty for one that is not, or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has gone: that is what was wanted


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass
