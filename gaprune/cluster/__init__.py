"""Candidates carried to other processes, of this machine or of a Ray cluster, and their numbers back."""

from gaprune.cluster.backend import IsolatedBackend, RayBackend, given_up
from gaprune.cluster.session import Connection

__all__ = [
    "Connection",
    "IsolatedBackend",
    "RayBackend",
    "given_up",
]
