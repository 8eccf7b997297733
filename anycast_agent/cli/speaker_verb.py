"""``speaker``: ExaBGP as a service of its own, with the configuration that the agent attaches to."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from anycast_agent.config import ConfigError, load
from anycast_agent.speaker.exabgp import (
    Paths,
    SpeakerError,
    check_version,
    command,
    environment,
    render,
    settings,
    write,
)


def add_verbs(subparsers: Any) -> None:
    verb = subparsers.add_parser("speaker", help="run ExaBGP for `run --speaker external`", description=speaker.__doc__)
    verb.add_argument("--config", type=Path, default=Path("/etc/anycast-agent/agent.yaml"), metavar="PATH",
                      help="/etc/anycast-agent/agent.yaml")  # fmt: skip
    verb.set_defaults(func=speaker)


def speaker(args: argparse.Namespace) -> int:
    """Write ExaBGP's configuration into the run directory, and become ExaBGP. Exit 1: one of them cannot be done."""
    try:
        loaded = load(args.config)
        check_version()
        paths = Paths(loaded.process.run_dir)
        text, _ = render(loaded.config, paths)
        paths.run_dir.mkdir(parents=True, exist_ok=True)
        write(paths.settings, settings(loaded.config, owned=False))
        write(paths.configuration, text)
    except (ConfigError, SpeakerError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    words = command(paths)
    # The words are ours, and no shell reads them.
    return os.execve(words[0], words, environment(loaded.config))  # noqa: S606
