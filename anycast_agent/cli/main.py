"""``anycast-agent``: the verbs, each imported only when it is asked for.

Exit codes, of every verb: 0 yes, or done; 1 no, or failed; 2 wrong usage; 3 the agent cannot be reached.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence

from anycast_agent import __version__

_FAMILIES = {
    "run": "run_verb",
    "validate": "config_verbs",
    "schema": "config_verbs",
    "plan": "config_verbs",
    "probe": "probe_verb",
    "status": "live_verbs",
    "why": "live_verbs",
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
        epilog="Exit codes: 0 yes, or done; 1 no, or failed; 2 wrong usage; 3 the agent cannot be reached.",
    )
    top.add_argument("--version", action="version", version=f"anycast-agent {__version__}")
    subparsers = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for family in dict.fromkeys(_FAMILIES[verb] for verb in verbs):
        importlib.import_module(f"anycast_agent.cli.{family}").add_verbs(subparsers)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    asked = next((word for word in arguments if not word.startswith("-")), "")
    # What is asked for often (status in a loop) does not wait for what it does not need.
    args = parser([asked] if asked in _FAMILIES else list(_FAMILIES)).parse_args(arguments)
    func: Callable[[argparse.Namespace], int] = args.func
    try:
        return func(args)
    except BrokenPipeError:
        return 1  # who read our output has gone
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
