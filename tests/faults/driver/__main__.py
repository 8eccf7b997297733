"""Random faults against the real parts, for as long as one likes: ``make soak ARGS="--minutes 60"``. As root."""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults.driver.faults import TABLE
from tests.faults.driver.story import Story, failure_of, shorter, stories_of

MAX_SHRINK = 40
"""Replays of a story that fails, to find a shorter one."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, help="begin with this one; by default, with a fresh one")
    parser.add_argument("--once", action="store_true", help="the stories of one seed only")
    parser.add_argument("--story", help="play this one, as a failure has printed it, once")
    parser.add_argument("--no-shrink", action="store_true", help="do not look for a shorter story that fails")
    parser.add_argument("--log", type=Path, help="where the log of the agent is to go, of the story played last")
    args = parser.parse_args()
    tally: Counter[str] = Counter()
    played = failed = 0
    for name, story in _stories(args):
        failed += _one(name, story, tally, args)
        played += 1
    return _report(played, failed, tally)


def _stories(args: argparse.Namespace) -> Iterator[tuple[str, Story]]:
    if args.story:
        yield "the story", Story.parse(args.story)
        return
    first = random.SystemRandom().randrange(10**6) if args.seed is None else args.seed
    end = time.monotonic() + 60 * args.minutes
    for seed in itertools.count(first):
        for n, story in enumerate(stories_of(seed)):
            if time.monotonic() > end or (args.once and seed > first):
                return
            yield f"seed {seed}, story {n}", story


def _one(name: str, story: Story, tally: Counter[str], args: argparse.Namespace) -> int:
    began = time.monotonic()
    failure = failure_of(story, tally, args.log)
    seconds = time.monotonic() - began
    if not failure:
        print(f"{name}: well, {seconds:.0f} s", flush=True)
        return 0
    print(f"{name}: FAILED after {seconds:.0f} s\n  {story}\n{failure}", flush=True)
    if not args.no_shrink:
        print(f"{name}: the shortest found that fails: --story '{_shrunk(story)}'", flush=True)
    return 1


def _shrunk(story: Story) -> Story:
    left = [MAX_SHRINK]

    def fails(shorter_one: Story) -> bool:
        left[0] -= 1
        return left[0] >= 0 and bool(failure_of(shorter_one, Counter()))

    return shorter(story, fails)


def _report(played: int, failed: int, tally: Counter[str]) -> int:
    print(f"\n{played} stories, {failed} failed; how often each was reached:")
    for name in sorted({*tally, *(f"fault: {fault}" for fault in TABLE)}):
        print(f"  {tally[name]:6}  {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
