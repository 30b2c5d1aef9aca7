"""Networks by name, and their weights from files."""

from gaprune.models.checkpoint import load_weights, read_weights
from gaprune.models.registry import build, model_names
from gaprune.models.shipped import ShippedWeights, shipped_weights

__all__ = ["ShippedWeights", "build", "load_weights", "model_names", "read_weights", "shipped_weights"]
