"""The result of loading a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from anycast_agent.config.problems import Problem
from anycast_agent.core import model as core


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """Settings that a process is started with. A reload does not change them."""

    api_host: str
    api_port: int
    allowed_hosts: tuple[str, ...]
    control_socket: Path
    run_dir: Path
    state_dir: Path
    exec_slots: int


@dataclass(frozen=True, slots=True)
class Loaded:
    config: core.Config
    process: ProcessSettings
    files: tuple[Path, ...]
    texts: Mapping[Path, str]
    """The text of each file."""
    warnings: tuple[Problem, ...] = ()
    """The configuration can be run, but its author may not have meant this."""
    missing: tuple[Problem, ...] = ()
    """Checks name files that this machine does not have or cannot use. Only these checks suffer for it."""
