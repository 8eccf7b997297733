"""Where mutants are made: a copy of the checkout with a virtual environment of its own, so that its agents run the copy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lab.net.namespaces.lab import take_down
from tests.lab.mutants.known import Mutant

REPO = Path(__file__).parents[3]
COPIED = ("anycast_agent", "lab", "containerlab")
LONGEST = 400.0
"""No drill of a mutant takes longer. Seconds."""


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a mutant."""

    name: str
    drill: str
    caught: bool
    missed: tuple[str, ...]
    """Every expectation that its drill missed, or why it did not run."""
    took: float


def mutated(*mutants: Mutant, root: Path = REPO) -> dict[str, str]:
    """The text of each file that mutants change. Raises ValueError where one no longer applies."""
    texts: dict[str, str] = {}
    for mutant in mutants:
        for edit in mutant.edits:
            text = texts.get(edit.file) or (root / edit.file).read_text(encoding="utf-8")
            if text.count(edit.old) != 1:
                raise ValueError(f"{mutant.name}: {edit.old!r} stands {text.count(edit.old)} times in {edit.file}")
            texts[edit.file] = text.replace(edit.old, edit.new)
    return texts


class Workshop:
    def __init__(self, folder: Path, name: str) -> None:
        """``name``: of the labs that are started in it."""
        self._folder, self._name = folder, name
        self._python = folder / ".venv" / "bin" / "python"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._restore()
        shutil.copytree(sys.prefix, folder / ".venv", symlinks=True)
        for path in (folder / ".venv" / "bin").iterdir():
            if path.is_file() and not path.is_symlink():
                _say_here(path, Path(sys.prefix), folder / ".venv")
        for path in (folder / ".venv" / "lib").glob("*/site-packages/__editable__*"):
            _say_here(path, REPO, folder)

    def _restore(self) -> None:
        for name in COPIED:
            shutil.rmtree(self._folder / name, ignore_errors=True)
            shutil.copytree(REPO / name, self._folder / name, ignore=shutil.ignore_patterns("__pycache__"))

    def run(self, *mutants: Mutant) -> list[Found]:
        """One drill in a lab of its own, which is gone afterwards. Several mutants are of one drill: it has to catch each."""
        (drill,) = {mutant.drill for mutant in mutants}
        self._restore()
        for file, text in mutated(*mutants, root=self._folder).items():
            (self._folder / file).write_text(text, encoding="utf-8")
        report, begun = self._folder / "report", time.monotonic()
        shutil.rmtree(report, ignore_errors=True)
        self._call("containerlab.generate")
        try:
            done = self._call("lab", "--name", self._name, "drill", drill, "--report", str(report))
        finally:
            take_down(self._name)
        missed = _missed(report / "results.json") or tuple(done.stderr.strip().splitlines()[-1:])
        took = round(time.monotonic() - begun, 1)
        return [Found(m.name, drill, _catches(m, done.returncode, missed), missed, took) for m in mutants]

    def _call(self, module: str, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("PYTHONPATH", None)
        return subprocess.run(
            [str(self._python), "-m", module, *words], cwd=self._folder, env=environment, capture_output=True, text=True,
            timeout=LONGEST, check=module != "lab",
        )  # fmt: skip


def _catches(mutant: Mutant, status: int, missed: tuple[str, ...]) -> bool:
    return status != 0 and any(mutant.caught in text for text in missed)


def _say_here(path: Path, there: Path, here: Path) -> None:
    text = path.read_bytes()
    path.write_bytes(text.replace(os.fsencode(there), os.fsencode(here)))


def _missed(path: Path) -> tuple[str, ...]:
    if not path.exists():
        return ()
    (result,) = json.loads(path.read_text(encoding="utf-8"))["results"]
    missed = [f"{e['text']}: {e['found']}" for e in result["expectations"] if not e["met"]]
    return tuple(missed + [result["problem"]] * bool(result["problem"]))
