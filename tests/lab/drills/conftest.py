"""One lab for all drills and exercises of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.net.namespaces.lab import take_down
from tests.lab.drills.running import NAME, lab


@pytest.fixture(scope="package")
def up() -> Iterator[str]:
    """Its name. It is steady at the start; who changes it puts it back."""
    try:
        done = lab("up")
        assert done.returncode == 0, done.stderr
        yield NAME
    finally:
        take_down(NAME)
