"""Waits of a probe that are not for the service.

If one of these takes too long, the service is not to blame: such a probe counts as not made.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_waits_for: ContextVar[str] = ContextVar("waits_for", default="")


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """The reason that is given if the probe's time is over inside; in the probe's own task. Empty: the service."""
    token = _waits_for.set(what)
    try:
        yield
    except CancelledError:
        raise  # whoever has cancelled it asks what it waited for
    except BaseException:
        _waits_for.reset(token)
        raise
    else:
        _waits_for.reset(token)


def waited_for() -> str:
    """What a probe that was cancelled had waited for; empty: the service."""
    return _waits_for.get()
