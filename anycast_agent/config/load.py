"""From files to the core's configuration: read, merge, validate, translate. All problems are reported together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from anycast_agent.checks import table
from anycast_agent.config.loaded import Loaded
from anycast_agent.config.merge import drop_ins, merged
from anycast_agent.config.report import Report
from anycast_agent.config.source import read
from anycast_agent.config.translate import translated


def load(path: Path, *, elsewhere: bool = False) -> Loaded:
    """Read a configuration and its conf.d. Blocks for file reads; raises ConfigError with every problem.

    ``elsewhere``: it is for another machine, and the other files that it names are not looked at.
    """
    texts: dict[Path, str] = {}

    def text(file: Path) -> str:
        return texts.setdefault(file, read(file))

    return _loaded((path, *drop_ins(path)), text, texts, elsewhere)


def load_texts(texts: Mapping[Path, str], *, elsewhere: bool = False) -> Loaded:
    """The configuration in these texts, the main file first. The files themselves are not read."""
    return _loaded(tuple(texts), texts.__getitem__, texts, elsewhere)


def _loaded(files: tuple[Path, ...], text: Callable[[Path], str], texts: Mapping[Path, str], elsewhere: bool) -> Loaded:
    table.look_again()
    values, places = merged(files, text)
    report = Report(places, str(files[0]))
    config, process = translated(values, report, elsewhere)
    warnings, missing = (tuple(sorted(set(found))) for found in (report.warnings, report.missing))
    return Loaded(config, process, files, texts, warnings, missing)
