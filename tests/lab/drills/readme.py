"""The exercises as containerlab/README.md writes them: by the name of their check, or their title, the blocks to type."""

from __future__ import annotations

import re
from pathlib import Path

REPO = Path(__file__).parents[3]
README = (REPO / "containerlab" / "README.md").read_text(encoding="utf-8")

SECTIONS = re.findall(r"^### \d+\. ([^\n`(]+?)(?: \(`([^`]+)`\))?\n(.*?)(?=^##+ |\Z)", README, re.M | re.S)
EXERCISES = {check or title: re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) for title, check, text in SECTIONS}
