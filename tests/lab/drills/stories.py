"""Stories of drills that nobody ran: what the judge is asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from lab.drills.conduct import Request, Seen, Story
from lab.drills.drill import Drill
from lab.drills.result import Mark
from lab.net.tables import Change

BEGIN = 5000.0
"""Monotonic: a judge that mixes it up with the drill's own time is far off."""

Answers = Callable[[float], str | None]
"""Who answers what is sent at a second of the drill; None: it is lost."""

STREAMS = ("dns IPv4", "dns IPv6", "http IPv4", "http IPv6")


def asked(
    answers: Answers, client: str = "c1", stream: str = "dns IPv4", *, rate: float = 100, seconds: float = 10.0
) -> list[Request]:
    """A request every ``1 / rate`` seconds, from the drill's start."""
    found = []
    for number in range(round(seconds * rate)):
        who = answers(number / rate)
        found.append(
            Request(BEGIN + number / rate, client, stream, who, 0.002 if who else 0.0, "" if who else "timeout")
        )
    return found


def lost(*spans: tuple[float, float], who: str = "a") -> Answers:
    """``who`` answers, but for what is sent in these spans."""
    return lambda at: None if any(begin <= at < end for begin, end in spans) else who


def half_lost(begin: float, end: float, rate: float = 100) -> Answers:
    """Every second request of a span is lost: one of two flows goes nowhere."""
    return lambda at: None if begin <= at < end and round(at * rate) % 2 == 0 else "b"


def fault(at: float) -> Mark:
    return Mark(BEGIN + at, "fault", "something breaks")


def recovery(at: float) -> Mark:
    return Mark(BEGIN + at, "recovery", "it is mended")


def change(
    at: float, before: Sequence[str] | None, after: Sequence[str] | None, node: str = "r", prefix: str = "192.0.2.53/32"
) -> Change:
    return Change(BEGIN + at, node, prefix, tuple(before) if before else None, tuple(after) if after else None)


def seen(at: float, text: str = "BFD session down") -> Seen:
    return Seen(BEGIN + at, "r", text)


def story(
    requests: Iterable[Request] = (),
    marks: Iterable[Mark] = (),
    changes: Iterable[Change] = (),
    noticed: Iterable[Seen] = (),
    *,
    variant: str = "bfd",
    settled: Iterable[float] = (),
    seconds: float = 10.0,
    clients: Iterable[str] = (),
    prefixes: Mapping[str, tuple[str, ...]] | None = None,
) -> Story:
    return Story(
        "made-up", variant, "2025-11-20T14:03:22+00:00", BEGIN, BEGIN + seconds, list(marks), list(requests),
        list(changes), list(noticed), settled=[BEGIN + at for at in settled],
        clients=tuple(clients), prefixes={"p": ("192.0.2.53/32",)} if prefixes is None else prefixes,
    )  # fmt: skip


def drill(*expect: dict[str, object], **more: object) -> Drill:
    """A drill that expects this; its traffic is as ``asked`` asks."""
    return Drill.model_validate(
        {"title": "made up", "traffic": {"dns": 100, "http": 100}, "steps": [{"wait": "1s"}], "expect": expect, **more}
    )
