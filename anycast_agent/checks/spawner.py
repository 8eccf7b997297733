"""The processes that start the programs of exec checks, and end everything that those started.

A program may start others that leave its session and its parent ("daemons"). They cannot leave their subreaper
(prctl(2), PR_SET_CHILD_SUBREAPER): the kernel gives it every process that loses its parent. So each program runs below
a supervisor of its own, which is a subreaper. When the program has ended, or the agent asks for its end, the supervisor
kills everything below it. A supervisor is used again, because making one costs more than a program.

    agent ── "supervise" ──────── spawner ── fork ── supervisors ── a program each ── whatever it starts
      └── requests and answers, one socket each ──────────┘

The agent itself is no subreaper, so its own children, such as ExaBGP, are not affected. If the agent dies, the sockets
close, and the supervisors end their programs.

This file runs by its path, without the package: it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

MAX_REQUEST = 1 << 17
"""Bytes of a request."""
END = b"end"
"""The request to a supervisor to end its program."""
STARTED, EXITED, FAILED, GONE = range(4)
ANSWER = struct.Struct("!Bi")
"""A supervisor's messages: STARTED; EXITED and the exit code, negative for a signal; or FAILED and the errno of the
start. The last one is always GONE: nothing is left, and it is free for the next program."""

PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


# --- the spawner --------------------------------------------------------------------------------------------


class Spawner:
    """Forks supervisors, and kills the leftovers of one that was killed."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._supervisors: set[int] = set()
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Until the agent closes its end."""
        poll = select.poll()
        for descriptor in (self._channel.fileno(), self._woken):
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)
                self._reap()
            if self._channel.fileno() in ready and not self._serve():
                return

    def _serve(self) -> bool:
        """Handle one request. False: there are no more."""
        request, descriptors = receive(self._channel)
        for descriptor in descriptors:
            with contextlib.suppress(OSError):  # no process can be made: the agent sees its socket closed
                self._fork(descriptor)
            os.close(descriptor)
        return bool(request)

    def _fork(self, descriptor: int) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                # The channel was there; it is the spawner's alone.
                os.dup2(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), 0)
                become_subreaper()
                Supervisor(socket.socket(fileno=descriptor)).run()
            except Exception:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(0)
        self._supervisors.add(pid)

    def _reap(self) -> None:
        strange = False
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                strange = strange or ended[0] not in self._supervisors or os.WIFSIGNALED(ended[1])
                self._supervisors.discard(ended[0])
        if strange:
            for pid in children_of(os.getpid()):
                if pid not in self._supervisors:
                    kill(pid, *descendants_of(pid))


# --- a supervisor -------------------------------------------------------------------------------------------


class Supervisor:
    """Runs one program after the other, and leaves nothing of any."""

    def __init__(self, agent: socket.socket) -> None:
        self._agent = agent

    def run(self) -> None:
        """Until the agent closes its end."""
        while (received := receive(self._agent))[0]:
            request, descriptors = received
            if request != END:  # else it came too late: its program had ended
                self._supervise(json.loads(request), *descriptors)

    def _supervise(self, request: dict[str, Any], output: int | None = None) -> None:
        try:
            if output is None:
                raise OSError(errno.EMFILE, "no descriptor for its output")
            program = start(request, output)
        except (OSError, ValueError) as error:
            self._say(FAILED, getattr(error, "errno", errno.EINVAL))
        else:
            self._say(STARTED, program)
            self._watch(program)
        finally:
            if output is not None:
                os.close(output)
        end_tree()
        self._say(GONE)

    def _watch(self, program: int) -> None:
        """Until it has ended, or is to end."""
        pidfd = os.pidfd_open(program)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(self._agent, select.POLLIN)
        if any(descriptor == pidfd for descriptor, _ in poll.poll()):
            self._say(EXITED, os.waitstatus_to_exitcode(os.waitpid(program, 0)[1]))
        os.close(pidfd)

    def _say(self, kind: int, value: int = 0) -> None:
        with contextlib.suppress(OSError):  # nobody waits for it any more
            self._agent.send(ANSWER.pack(kind, value))


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """The next message and its descriptors; nothing at the end."""
    try:
        message, descriptors, _, _ = socket.recv_fds(sock, MAX_REQUEST, 1)
    except ConnectionResetError:
        return b"", []
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # recv_fds does not know MSG_CMSG_CLOEXEC
    return message, descriptors


def start(request: dict[str, Any], output: int) -> int:
    """The program inherits only these arguments, the working directory ``/`` and the umask. Raises OSError."""
    command: list[str] = request["command"]
    return os.posix_spawn(
        command[0],
        command,
        request["environment"],
        file_actions=[(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)],
        setsid=True,
        setsigmask=[],
        setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
    )


def end_tree() -> None:
    """Kill all our descendants, and those that become ours by that, until none is left."""
    pause = 0.0
    while _has_children():
        kill(*descendants_of(os.getpid()))
        time.sleep(pause)
        pause = min(0.1, pause + 0.001)


def _has_children() -> bool:
    """True if one lives. Dead ones are reaped."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


# --- processes ----------------------------------------------------------------------------------------------


def kill(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone; or become another user's
            os.kill(pid, signal.SIGKILL)


def descendants_of(pid: int) -> list[int]:
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children_of(todo.pop())
        found += below
        todo += below
    return found


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    except FileNotFoundError:
        if pid == os.getpid():  # a kernel without CONFIG_PROC_CHILDREN; any other has ended
            processes = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
            return [process for process in processes if _parent_of(process) == pid]
    except ProcessLookupError:
        pass
    return found


def _parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def main() -> None:
    os.umask(0o077)
    become_subreaper()
    Spawner(socket.socket(fileno=0)).run()


if __name__ == "__main__":
    main()
