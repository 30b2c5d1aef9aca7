"""Ray: candidates carried to the processes of one machine or a cluster, and their numbers back."""

from gaprune.cluster.backend import RayBackend
from gaprune.cluster.session import Connection

__all__ = [
    "Connection",
    "RayBackend",
]
