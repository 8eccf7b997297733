"""What a machine needs for the tests that run a lab."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lab.net.lab import NEEDED, LabError, check_host


def _lacking(more: Mapping[str, str] | None = None) -> str:
    try:
        check_host(NEEDED | (more or {}))
    except LabError as error:
        return str(error)
    return ""


ENGINE = {"dockerd": "docker.io", "docker": "docker.io", "runc": "runc", "curl": "curl"}

needs_engine = pytest.mark.skipif(bool(_lacking(ENGINE)), reason=_lacking(ENGINE) or "an engine can be started here")
needs_lab = pytest.mark.skipif(bool(_lacking()), reason=_lacking() or "the lab runs here")
