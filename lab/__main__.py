"""``python -m lab`` from the checkout; ``scripts/anycast-lab`` does that from anywhere."""

import sys

from lab.cli import main

sys.exit(main())
