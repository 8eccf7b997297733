"""What holds for all tests: how long hypothesis searches.

``HYPOTHESIS_PROFILE=long`` searches longer, and elsewhere each time; by default the examples are the same in each run,
so that a failure on one machine is one on every machine.
"""

from __future__ import annotations

import os

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
