from __future__ import annotations

import pytest

from gaprune.cluster.backend import RayBackend
from gaprune.testing.backend_suite import BackendSuite, Evaluate


@pytest.mark.usefixtures("session")
class TestRay(BackendSuite):
    def make(self, evaluate: Evaluate, *, threads: int) -> RayBackend:
        return RayBackend(evaluate, threads=threads, workers=2)
