"""The set-up scripts, with a package manager that only writes down what it is asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.netns import needs_root

NEEDS = Path(__file__).parents[1] / "scripts" / "needs"

APT = """#!/bin/sh
echo "$(basename "$0") $*" >> "$SAID"
[ "$1" = policy ] && echo "  Candidate: 1.0"
exit 0
"""


@needs_root
@pytest.mark.root
def test_a_fresh_image_learns_of_its_packages_before_it_installs_one(tmp_path: Path) -> None:
    """Its lists are empty, and `apt-get install` finds nothing before `apt-get update`."""
    for name in ("apt-get", "apt-cache"):
        (tmp_path / name).write_text(APT)
        (tmp_path / name).chmod(0o755)
    for name in ("bash", "sh", "env", "id", "chmod", "rm", "basename"):
        (tmp_path / name).symlink_to(f"/bin/{name}")
    said = tmp_path / "said"
    # A mount namespace in which no program of the distribution is found, as in an image that has none of ours.
    hidden = 'mount -t tmpfs none /usr/sbin; PATH="$FAKES" exec bash "$NEEDS" demo'
    environment = {**os.environ, "FAKES": str(tmp_path), "NEEDS": str(NEEDS), "SAID": str(said)}
    subprocess.run(["unshare", "-m", "bash", "-c", hidden], env=environment, check=True, timeout=30)
    asked = said.read_text().splitlines()
    assert asked[0] == "apt-get update -q"
    assert asked[-1].startswith("apt-get install ")
    assert asked[-1].endswith("iproute2")
