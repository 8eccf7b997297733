"""``make lab-mutants``: breaks the lab in every known way, one after the other, and says which drill caught it.

As root. With arguments, the mutants whose names contain one of them. It ends with 1 where one was not caught.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from tests.lab.mutants.known import MUTANTS
from tests.lab.mutants.workshop import REPO, Workshop

FOLDER = REPO / "build" / "mutants"


def main(words: list[str]) -> int:
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    if not chosen:
        print(f"no mutant is called that; there are: {', '.join(m.name for m in MUTANTS)}", file=sys.stderr)
        return 2
    workshop = Workshop(FOLDER / "tree", f"mutants-{os.getpid()}")
    found = []
    for mutant in chosen:
        (one,) = workshop.run(mutant)
        found.append(one)
        print(f"{'caught  ' if one.caught else 'SURVIVED'}  {one.name}, by {one.drill} ({one.took:.0f} s)", flush=True)
        for text in one.missed:
            print(f"            {text[:240]}", flush=True)
        _write(FOLDER / "results.json", [asdict(one) for one in found])
    survived = [one.name for one in found if not one.caught]
    print(
        f"{len(found) - len(survived)} of {len(found)} caught" + (f"; not: {'; '.join(survived)}" if survived else "")
    )
    return 1 if survived else 0


def _write(path: Path, found: list[dict[str, object]]) -> None:
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
