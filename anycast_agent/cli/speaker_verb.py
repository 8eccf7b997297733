"""``speaker``: ExaBGP as a service of its own, with the configuration that the agent attaches to."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from anycast_agent import holding, store
from anycast_agent.config import ConfigError, load
from anycast_agent.speaker.exabgp import Paths, SpeakerError, check_version, render, settings
from anycast_agent.speaker.process import command, environment


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
        store.make_folder(paths.run_dir)
        lock = holding.open_file(paths.lock, make=True)
        os.set_inheritable(lock, True)
        store.replace(paths.settings, settings(loaded.config, owned=False), durable=False)
        store.replace(paths.configuration, text, durable=False)
    except (ConfigError, SpeakerError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    words = command(paths, lock)
    # The words are ours, and no shell reads them.
    return os.execve(words[0], words, environment(loaded.config, unit=True))  # noqa: S606
