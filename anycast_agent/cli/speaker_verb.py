"""``speaker``: ExaBGP as a service of its own, with the configuration that the agent attaches to."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from anycast_agent import holding, store
from anycast_agent.cli.run_verb import EXIT_CONFIG, EXIT_FAILED
from anycast_agent.config import ConfigError
from anycast_agent.configurations import start_from
from anycast_agent.speaker.exabgp import Paths, SpeakerError, check_version, render, settings
from anycast_agent.speaker.process import command, environment


def add_verbs(subparsers: Any) -> None:
    verb = subparsers.add_parser("speaker", description=speaker.__doc__)
    verb.add_argument("--config", type=Path, default=Path("/etc/anycast-agent/agent.yaml"), metavar="PATH",
                      help="/etc/anycast-agent/agent.yaml")  # fmt: skip
    verb.set_defaults(func=speaker)


def speaker(args: argparse.Namespace) -> int:
    """Write ExaBGP's configuration into the run directory, and become ExaBGP.

    Exit: 1 one of them cannot be done; 2 the configuration is not valid, and none is known that was in force before."""
    try:
        start = start_from(args.config)
        check_version()
        loaded = start.loaded
        paths = Paths(loaded.process.run_dir)
        text, _ = render(loaded.config.speaker, paths)
        store.make_folder(paths.run_dir)
        lock = holding.open_file(paths.lock, make=True)
        os.set_inheritable(lock, True)
        store.replace(paths.settings, settings(loaded.config.speaker, owned=False), durable=False)
        store.replace(paths.configuration, text, durable=False)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED if error.may_pass else EXIT_CONFIG
    except (SpeakerError, OSError) as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    for problem in start.refused:
        print(f"started with what was in force last ({start.kept_at}): {problem}", file=sys.stderr)
    words = command(paths, lock)
    # The words are ours, and no shell reads them.
    return os.execve(words[0], words, environment(loaded.config.speaker, unit=True))  # noqa: S606
