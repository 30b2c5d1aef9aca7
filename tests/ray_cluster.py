"""Several Ray nodes on this machine, all of which listen on 127.0.0.1 alone."""

from __future__ import annotations

import os
import warnings
from typing import Any

from gaprune.cluster.session import own_sigterm

LOOPBACK = "127.0.0.1"
STORE_BYTES = 80 * 1024 * 1024

QUICK_TO_NOTICE = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}
"""Of a node that is gone; by default it takes Ray some fifteen seconds."""


class LocalCluster:
    """A head without CPUs, and nodes that come and go."""

    def __init__(self) -> None:
        only_loopback()
        from ray.cluster_utils import Cluster

        self.nodes: list[Any] = []
        head = {
            "num_cpus": 0,
            "node_ip_address": LOOPBACK,
            "object_store_memory": STORE_BYTES,
            "_system_config": QUICK_TO_NOTICE,
        }
        with own_sigterm():
            self._cluster = Cluster(initialize_head=True, head_node_args=head)

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self, cpus: int, gpus: int = 0) -> Any:
        with own_sigterm():
            node = self._cluster.add_node(
                num_cpus=cpus, num_gpus=gpus, node_ip_address=LOOPBACK, object_store_memory=STORE_BYTES
            )
        self.nodes.append(node)
        return node

    def remove(self, node: Any) -> None:
        """Kill all processes of a node, as when its machine goes down."""
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Ray's own pipes and processes
            self._cluster.shutdown()


def only_loopback() -> None:
    """Let Ray of this process, and of those that it starts, take 127.0.0.1 for this machine's address, as on macOS."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = False
