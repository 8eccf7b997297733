"""``anycast-agent run``: the agent itself."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import logging
import os
import select
import sys
from pathlib import Path
from typing import Any, TextIO

EXIT_FAILED, EXIT_CONFIG = 1, 2

PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, CAP_NET_ADMIN = 47, 3, 12

MAX_MESSAGE = 2000
"""Bytes of a message in the log: a pipe that takes anything takes 4096, and the one before this may be told as well."""

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def add_verbs(subparsers: Any) -> None:
    verb = subparsers.add_parser(
        "run",
        description="Check, decide and announce until SIGTERM (withdraws) or SIGUSR2 (hands over). "
        "Exit: 0 stopped or handed over; 1 something was left behind or failed; 2 the configuration is not valid, and "
        "none is known that was in force before; "
        "75 handed over by the verb `handover`, to an agent that somebody starts.",
    )
    verb.add_argument("--config", type=Path, default=Path("/etc/anycast-agent/agent.yaml"), metavar="PATH",
                      help="/etc/anycast-agent/agent.yaml")  # fmt: skip
    verb.add_argument(
        "--speaker",
        choices=("child", "external"),
        default="child",
        help="child: start ExaBGP (default); external: attach to the one that another service runs",
    )
    verb.add_argument("--speaker-user", metavar="USER", help="whom ExaBGP runs as, where the agent is root")
    verb.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info", help="info")
    verb.add_argument("--api-fd", type=int, metavar="N", help="serve the pages on this inherited, listening socket")
    verb.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from anycast_agent.config import ConfigError
    from anycast_agent.configurations import start_from

    set_up_logging(args.log_level)
    keep_net_admin()
    try:
        start = start_from(args.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED if error.may_pass else EXIT_CONFIG
    # Imported late: the other verbs need none of it, and a wrong configuration is said sooner.
    from anycast_agent.lateness import Meter
    from anycast_agent.runner import Options, Runner

    options = Options(args.config, args.speaker == "external", args.speaker_user, args.api_fd)

    meter = Meter()

    async def main() -> int:
        return await Runner(options, start, meter).run()

    try:
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(meter)) as loop:
            return loop.run(main())
    except OSError as error:
        print(f"anycast-agent: {error}", file=sys.stderr)
        return EXIT_FAILED


def keep_net_admin() -> None:
    """Not hand on the capability for the addresses: programs of exec checks, and ExaBGP, have no use for it.

    systemd gives it as an ambient one, which every program that we start would have (capabilities(7)).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, CAP_NET_ADMIN, 0, 0) != 0:
        reason = os.strerror(ctypes.get_errno())
        logging.getLogger(__name__).warning("programs of checks keep CAP_NET_ADMIN, where we have it: %s", reason)


class _Handler(logging.StreamHandler[TextIO]):
    """To standard error, and waits for nobody: a terminal that was stopped (Ctrl-S), or a logger that stands still,
    would hold up the agent until the dead-man's switch takes its routes."""

    _lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        if not _takes_more(self.stream):
            self._lost += 1
            return
        if self._lost:
            text, self._lost = f"{self._lost} messages before this one were lost: nobody read them", 0
            super().emit(logging.makeLogRecord({"levelno": logging.WARNING, "levelname": "WARNING", "msg": text}))
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if len(text) <= 1000 else text.encode()[:MAX_MESSAGE].decode(errors="ignore")


def _takes_more(stream: TextIO) -> bool:
    poll = select.poll()
    try:
        poll.register(stream.fileno(), select.POLLOUT)
    except (AttributeError, ValueError, OSError):
        return True  # closed by our parent: logging then writes nothing
    return bool(poll.poll(0))


class _JournalFormatter(logging.Formatter):
    """systemd reads the priority from the front of the line, and knows the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{super().format(record)}"


def set_up_logging(level: str) -> None:
    handler = _Handler(sys.stderr)
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)-7s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("asyncio").setLevel(logging.WARNING)
