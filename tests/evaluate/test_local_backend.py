from __future__ import annotations

from gaprune.evaluate import LocalBackend
from gaprune.testing.backend_suite import BackendSuite, Evaluate


class TestLocal(BackendSuite):
    def make(self, evaluate: Evaluate, *, threads: int) -> LocalBackend:
        return LocalBackend(evaluate, threads=threads)
