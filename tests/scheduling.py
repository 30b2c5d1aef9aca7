"""Which tests run on one xdist worker, one after the other."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

WITH_RAY = (
    "tests/cluster/test_ray_",
    "tests/benchmarks/test_scaling.py",
    "tests/experiments/test_gpu_plan.py::test_every_step_runs_at_toy_scale",
)


class RayTogether(LoadScopeScheduling):
    """Tests that start Ray on one worker, because two Rays would take each other's CPUs; all others anywhere.

    It goes by paths: xdist's own groups rest on an attribute of test items that newer versions of pytest lack.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "ray" if nodeid.startswith(WITH_RAY) else nodeid
