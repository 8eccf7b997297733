"""What a machine needs for the tests that run a lab."""

from __future__ import annotations

import pytest

from lab.net.lab import LabError, check_host


def _lacking() -> str:
    try:
        check_host()
    except LabError as error:
        return str(error)
    return ""


needs_lab = pytest.mark.skipif(bool(_lacking()), reason=_lacking() or "the lab runs here")
