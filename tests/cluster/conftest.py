"""One Ray for all tests of this folder, which run one after the other: a head that works nothing, and a node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ray_cluster import LocalCluster

from gaprune.cluster.session import Connection, Needs, connect


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    made = LocalCluster()
    made.add(cpus=4)
    yield made
    made.close()


@pytest.fixture(scope="session")
def session(cluster: LocalCluster) -> Iterator[Connection]:
    made = connect(cluster.address, Needs(1), None)
    yield made
    made.close()


@pytest.fixture
def extra_nodes(cluster: LocalCluster) -> Iterator[Any]:
    """Adds nodes, and takes those away that a test leaves."""
    before = set(cluster.nodes)
    yield cluster.add
    for node in set(cluster.nodes) - before:
        cluster.remove(node)
