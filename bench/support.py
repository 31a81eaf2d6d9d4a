"""Lets benchmarks import what the tests share: import this before that."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests" / "support"))
