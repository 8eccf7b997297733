"""What holds for all tests: how long hypothesis searches, and what runs beside what.

``HYPOTHESIS_PROFILE=long`` searches longer, and elsewhere each time; by default the examples are the same in each run,
so that a failure on one machine is one on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

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


BESIDE = ("tests/core/", "tests/config/", "tests/adapters/checks/", "tests/adapters/speaker/")
"""These files may run beside anything: they only compute, or use loopback with ports that the kernel chose."""


class Beside(LoadScopeScheduling):
    """With ``-n 2``: what uses the whole machine runs one by one, in order; each other file beside it."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file.startswith(BESIDE) else "the machine"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Beside:
    return Beside(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """The path of a Unix socket has 107 characters at most: a worker's folder has a short name."""
    if os.environ.get("PYTEST_XDIST_WORKER") and config.option.basetemp:
        folder = Path(config.option.basetemp)
        config.option.basetemp = str(folder.with_name(folder.name.removeprefix("popen-gw")))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """On CI, as root, everything is there: a test that is skipped is a test that is missing."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and os.environ.get("CI") == "true" and os.geteuid() == 0:
        report.outcome = "failed"
        report.longrepr = f"skipped on CI as root: {item.nodeid}: {report.longrepr}"
