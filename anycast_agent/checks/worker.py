"""A process for slow work on a service's answer. It can be killed.

It runs by its path, without the package and without site-packages, so that it starts at once: standard library only.
A job is an operation, its argument, and the bytes of the service's answer. The result is its length and JSON.
"""

from __future__ import annotations

import json
import re
import signal
import struct
import sys
from typing import Any, BinaryIO

HEAD, LENGTH = struct.Struct("!cII"), struct.Struct("!I")
MATCH_TEXT, MATCH_BYTES, JSON_AT = b"t", b"b", b"j"

MAX_VALUE = 65_536
"""A value in JSON that is longer is answered by its beginning: nobody compares with so much."""

_LONGEST = 60
"""Time after which the caller has gone. Seconds."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")


def at(value: Any, pointer: str) -> Any:
    """The value that a JSON pointer (RFC 6901) names. Raises LookupError."""
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and _INDEX.fullmatch(part):
            value = value[int(part)]
        elif isinstance(value, dict):
            value = value[part]
        else:
            raise LookupError(part)
    return value


def json_at(pointer: str, text: str) -> dict[str, Any]:
    """One of: the ``value``; the beginning of a ``large`` value; ``nothing`` there; the ``error`` if it is not JSON."""
    try:
        found = at(json.loads(text), pointer)
    except (ValueError, RecursionError) as error:
        return {"error": str(error)}
    except LookupError:
        return {"nothing": True}
    said = json.dumps(found)
    return {"value": found} if len(said) <= MAX_VALUE else {"large": said[:100]}


def _work(operation: bytes, asked: bytes, said: bytes) -> object:
    if operation == JSON_AT:
        return json_at(asked.decode(), said.decode("utf-8", "replace"))
    if operation == MATCH_TEXT:
        return re.search(asked.decode(), said.decode("utf-8", "replace")) is not None
    return re.search(asked, said) is not None


def main(jobs: BinaryIO, answers: BinaryIO) -> None:
    while len(head := jobs.read(HEAD.size)) == HEAD.size:
        operation, asked, said = HEAD.unpack(head)
        job = operation, jobs.read(asked), jobs.read(said)
        signal.alarm(_LONGEST)
        answer = json.dumps(_work(*job)).encode()
        signal.alarm(0)
        answers.write(LENGTH.pack(len(answer)) + answer)
        answers.flush()


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
