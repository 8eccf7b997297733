"""file: a file is there, young enough, and holds what it must; or it is not there."""

from __future__ import annotations

import errno
import os
import stat
import time
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from anycast_agent.checks.aside import Aside
from anycast_agent.checks.durations import Duration
from anycast_agent.checks.kind import Kind, Params, Target
from anycast_agent.checks.outcomes import NOT_RUN, OK, OK_CODE, Code, Finding
from anycast_agent.checks.shared import Shared
from anycast_agent.core.outcome import Evidence, Measure

MAX_READ = 65_536
"""So much of a file is searched. Bytes."""

MISSING = Code("missing", Evidence.DEFINITE, "The file is not there.")
PRESENT = Code("present", Evidence.DEFINITE, "The file is there, and must not be.")
OLD = Code("old", Evidence.DEFINITE, "The file was written too long ago.")
BAD_CONTENT = Code("bad_content", Evidence.DEFINITE, "The file does not hold what it must.")
AGE = Measure("age", "seconds", "Since the file was written, by the clock of the node.")
SIZE = Measure("size", "bytes", "The size of the file.")

_GONE = (errno.ENOENT, errno.ENOTDIR)


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ValueError("write the absolute path of a file")
    return path


class FileParams(Params):
    """Parameters of a file check.

    The file is read as the agent's user. One that this user may not read says nothing of the service.
    """

    path: Annotated[str, AfterValidator(_absolute)] = Field(max_length=4000, description="The absolute path.")
    state: Literal["present", "absent"] = Field("present", description="absent: the service is down while it is there.")
    younger_than: Duration | None = Field(None, description="It was written at most so long ago.")
    contains: str | None = Field(
        None, min_length=1, max_length=1000, description="Text that its first 64 KiB must hold."
    )

    @model_validator(mode="after")
    def _whole(self) -> FileParams:
        if self.state == "absent" and (self.younger_than is not None or self.contains is not None):
            raise ValueError("state: absent goes with neither younger_than nor contains")
        return self


@dataclass(frozen=True, slots=True)
class _Seen:
    age: float
    size: int
    text: bytes


class FileAsker:
    """A file may be on a file system that hangs: it is looked at in a thread."""

    def __init__(self, shared: Shared) -> None:
        self._aside: Aside = shared.aside

    async def probe(self, params: FileParams, target: Target) -> Finding:
        try:
            seen = await self._aside.run(target.service, lambda: _look(params.path, params.contains is not None))
        except OSError as error:
            if error.errno not in _GONE:
                return Finding(NOT_RUN, f"{params.path} cannot be read: {(error.strerror or str(error)).lower()}")
            return OK if params.state == "absent" else Finding(MISSING, f"{params.path} is not there")
        return judge(params, seen)

    async def close(self) -> None:
        """Nothing is kept open."""


def _look(path: str, read: bool) -> _Seen:
    """Raises OSError. A named pipe, which would wait for a writer, is not opened for reading."""
    found = os.stat(path)  # noqa: PTH116
    text = b""
    if read:
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            text = file.read(MAX_READ)
    return _Seen(max(0.0, time.time() - found.st_mtime), found.st_size, text)


def judge(params: FileParams, seen: _Seen) -> Finding:
    numbers = (AGE.of(seen.age), SIZE.of(float(seen.size)))
    if params.state == "absent":
        return Finding(PRESENT, f"{params.path} is there", numbers)
    if params.younger_than is not None and seen.age > params.younger_than:
        return Finding(OLD, f"{params.path} is {seen.age:.0f} s old, not {params.younger_than:g} s at most", numbers)
    if params.contains is not None and params.contains.encode() not in seen.text:
        cut = f" in its first {MAX_READ} bytes" if seen.size > MAX_READ else ""
        return Finding(BAD_CONTENT, f"{params.path} without {params.contains[:60]!r}{cut}", numbers)
    return Finding(OK_CODE, f"{params.path} is {seen.age:.0f} s old", numbers)


KIND = Kind(
    name="file",
    params=FileParams,
    own_target=lambda params: True,
    outcomes=(MISSING, PRESENT, OLD, BAD_CONTENT),
    numbers=(AGE, SIZE),
    open=FileAsker,
    aliases=("trackfile", "flag", "exists", "checkfile"),
)
