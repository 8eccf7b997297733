"""The queue of commands for ExaBGP, and the one command that it works on. Pure: the pipe reads and writes.

ExaBGP's answers carry no number, it answers some commands ahead of others, and of a batch it does not keep the order:
so it has one command at a time. There is no timeout: the answer to a command that was given up could not be told from
the next one's. An ExaBGP that does not answer is ended by the agent, by its age, or by systemd's watchdog.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from anycast_agent.speaker.wire import Key

OVERTAKEN = "overtaken by a withdrawal"


def _nothing(_: str | None = None) -> None:
    pass


@dataclass(slots=True, eq=False)
class Command:
    line: str
    begins: Callable[[], None] = lambda: None
    """Called just before the line is written."""
    ends: Callable[[str | None], None] = _nothing
    """Called once, with ExaBGP's error or None."""


@dataclass(slots=True, eq=False)
class Job:
    """Commands, and the callback for when all are answered or the rest is given up."""

    make: Callable[[], Iterable[Command]]
    """Called when its turn comes: a withdrawal reads the ledger as it is then."""
    finish: Callable[[str | None], None]
    """Called once, with the first error or None."""
    on_text: Callable[[str], None] | None = None
    """For each line that ExaBGP answers before its ``done``."""
    owner: int | None = None
    """The connection of the agent that asked for it; None: the pipe itself."""
    announces: frozenset[Key] = frozenset()
    """The routes for which a withdrawal overtakes this job."""
    commands: deque[Command] | None = field(default=None, init=False)
    error: str | None = field(default=None, init=False)


class Exchange:
    def __init__(self) -> None:
        self._urgent: deque[Job] = deque()
        self._jobs: deque[Job] = deque()
        self._with_exabgp: tuple[Job, Command] | None = None

    def __len__(self) -> int:
        return len(self._urgent) + len(self._jobs)

    @property
    def waits(self) -> bool:
        """True if ExaBGP owes an answer."""
        return self._with_exabgp is not None

    def add(self, job: Job, *, urgent: bool = False) -> None:
        """``urgent``: before every job that is not, and between two commands of one that has begun."""
        (self._urgent if urgent else self._jobs).append(job)

    def next_line(self) -> str | None:
        """The line to write to ExaBGP now; None while one is with it, or nothing waits."""
        while self._with_exabgp is None and (queue := self._urgent or self._jobs):
            job = queue[0]
            if job.commands is None:
                job.commands = deque(job.make())
            if job.commands:
                command = job.commands.popleft()
                self._with_exabgp = job, command
                command.begins()
                return command.line
            queue.popleft()
            job.finish(job.error)
        return None

    def text(self, line: str) -> None:
        if self._with_exabgp is not None and (on_text := self._with_exabgp[0].on_text) is not None:
            on_text(line)

    def answered(self, error: str | None) -> None:
        """ExaBGP said ``done`` (None) or ``error``."""
        if self._with_exabgp is None:
            return
        (job, command), self._with_exabgp = self._with_exabgp, None
        job.error = job.error or error
        command.ends(error)
        if not job.commands:
            self._remove(job)
            job.finish(job.error)

    def overtake(self, keys: frozenset[Key] | None = None) -> None:
        """Give up the commands that have not begun of jobs that announce one of the keys; None: of all that announce.

        A put that was overtaken would announce again what has just been withdrawn.
        """
        for job in [j for j in self._jobs if j.announces and (keys is None or not keys.isdisjoint(j.announces))]:
            self._give_up(job, OVERTAKEN)

    def forget(self, owner: int) -> None:
        """Drop the jobs that have not begun of a client that has gone."""
        for job in [j for j in (*self._urgent, *self._jobs) if j.owner == owner]:
            self._give_up(job, "the agent has gone")

    def _give_up(self, job: Job, why: str) -> None:
        job.error = job.error or why
        if job.commands is not None:
            job.commands.clear()
        if self._with_exabgp is not None and self._with_exabgp[0] is job:
            return  # its last command is answered yet
        self._remove(job)
        job.finish(job.error)

    def _remove(self, job: Job) -> None:
        (self._urgent if job in self._urgent else self._jobs).remove(job)
