"""``anycast-agent``: the verbs, each imported only when it is asked for.

Exit codes, of every verb: 0 yes, or done; 1 no, or failed; 2 wrong usage; 3 the agent cannot be reached. As a shell has
it: 130 interrupted; 141 who read the output has gone.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence

from anycast_agent import __version__

EXIT_INTERRUPTED, EXIT_NOBODY_READS = 130, 141

_VERBS = {
    "run": ("run_verb", "run the agent"),
    "validate": ("config_verbs", "say what is wrong with a configuration"),
    "schema": ("config_verbs", "print the JSON Schema of the configuration"),
    "plan": ("config_verbs", "say what a new configuration would change"),
    "probe": ("probe_verb", "run a service's checks once"),
    "check": ("check_verb", "one probe of a type of check"),
    "status": ("live_verbs", "show what the agent knows and does"),
    "why": ("live_verbs", "say why prefixes are announced, or are not"),
    "changes": ("live_verbs", "show the last changes: decisions, sessions, addresses, reloads"),
    "reload": ("live_verbs", "read the configuration again; nothing changes where it is not valid"),
    "handover": ("live_verbs", "end the agent and leave every route for the next one"),
    "speaker": ("speaker_verb", "run ExaBGP for `run --speaker external`"),
    "demo": ("demo_verb", "watch it work, without root and without a router"),
}
"""The module of each verb, and what the list of verbs says of it."""


def parser(asked: str) -> argparse.ArgumentParser:
    """A parser for one verb; for anything else, one that has the list of verbs and imports none."""
    top = argparse.ArgumentParser(
        prog="anycast-agent",
        description="Announces anycast host routes while, and only while, the service behind them really works.",
        epilog="Exit codes: 0 yes, or done; 1 no, or failed; 2 wrong usage; 3 the agent cannot be reached. "
        "`run` has its own: VERB --help.",
    )
    top.add_argument("--version", action="version", version=f"anycast-agent {__version__}")
    subparsers = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    if asked in _VERBS:
        importlib.import_module(f"anycast_agent.cli.{_VERBS[asked][0]}").add_verbs(subparsers)
    else:
        for verb, (_, says) in _VERBS.items():
            subparsers.add_parser(verb, help=says)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no such letter is still told the rest
    try:
        asked = next((word for word in arguments if word != "--"), "")
        args = parser(asked).parse_args(arguments)
        func: Callable[[argparse.Namespace], int] = args.func
        code = func(args)
        if sys.stdout is not None:  # closed by who started us
            sys.stdout.flush()  # at the end of the process nobody could tell any more that this failed
        return code
    except BrokenPipeError:
        _forget_output()
        return EXIT_NOBODY_READS
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:  # a full disk below the output
        _forget_output()
        print(f"anycast-agent: {error}", file=sys.stderr)
        return 1


def _forget_output() -> None:
    """Discard the buffer: otherwise Python tries to flush it at its end, and complains."""
    if sys.stdout is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
