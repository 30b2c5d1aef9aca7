"""Benchmarks are scripts: their folder is put on the path, as Python does when it runs one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from gaprune.progress import SILENT

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from subjects import Subject, load_subject  # noqa: E402


@pytest.fixture(scope="session")
def subject() -> Subject:
    """The small network of a smoke run."""
    return load_subject(argparse.Namespace(quick=True), SILENT)
