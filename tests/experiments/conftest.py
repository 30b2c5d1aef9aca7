"""Experiments are scripts: their folder is put on the path, as Python does when it runs one, and that of benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("experiments", "benchmarks")]
