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

_FAMILIES = {
    "run": "run_verb",
    "validate": "config_verbs",
    "schema": "config_verbs",
    "plan": "config_verbs",
    "probe": "probe_verb",
    "check": "check_verb",
    "status": "live_verbs",
    "why": "live_verbs",
    "changes": "live_verbs",
    "reload": "live_verbs",
    "handover": "live_verbs",
    "speaker": "speaker_verb",
    "demo": "demo_verb",
}


def parser(verbs: Sequence[str]) -> argparse.ArgumentParser:
    """A parser that knows these verbs."""
    top = argparse.ArgumentParser(
        prog="anycast-agent",
        description="Announces anycast host routes while, and only while, the service behind them really works.",
        epilog="Exit codes: 0 yes, or done; 1 no, or failed; 2 wrong usage; 3 the agent cannot be reached. "
        "`run` has its own: VERB --help.",
    )
    top.add_argument("--version", action="version", version=f"anycast-agent {__version__}")
    subparsers = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for family in dict.fromkeys(_FAMILIES[verb] for verb in verbs):
        importlib.import_module(f"anycast_agent.cli.{family}").add_verbs(subparsers)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    asked = next((word for word in arguments if not word.startswith("-")), "")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no such letter is still told the rest
    try:
        # Verbs that run often (status in a loop) do not import what they do not need.
        args = parser([asked] if asked in _FAMILIES else list(_FAMILIES)).parse_args(arguments)
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
