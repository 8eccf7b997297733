"""What holds for all tests: how long hypothesis searches.

``HYPOTHESIS_PROFILE=long`` searches longer, and elsewhere each time; by default the examples are the same in each run,
so that a failure on one machine is one on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "stable", deadline=None, derandomize=True, database=None, print_blob=True, suppress_health_check=_SLOW_IS_FINE
)
settings.register_profile(
    "long", deadline=None, max_examples=5000, database=None, print_blob=True, suppress_health_check=_SLOW_IS_FINE
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "stable"))


def examples(stable: int) -> int:
    """How many examples a property gets: few in the stable profile, its full number in the long one."""
    return stable if settings.get_current_profile_name() == "stable" else settings().max_examples


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """On CI, as root, everything is there: a test that is skipped is a test that is missing."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and os.environ.get("CI") == "true" and os.geteuid() == 0:
        report.outcome = "failed"
        report.longrepr = f"skipped on CI as root: {item.nodeid}: {report.longrepr}"
