"""The subject that benchmarks measure."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.subjects import Subject, load_subject
from gaprune.progress import SILENT


@pytest.fixture(scope="session")
def subject() -> Subject:
    """The small network of a smoke run."""
    return load_subject(argparse.Namespace(quick=True), SILENT)
