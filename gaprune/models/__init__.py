"""Networks by name, and their weights from files."""

from gaprune.models.alike import network_of
from gaprune.models.attention import open_attention
from gaprune.models.checkpoint import Loaded, fill_weights, load_weights
from gaprune.models.fitting import not_finite
from gaprune.models.head import HeadRule
from gaprune.models.preprocessing import Preprocessing, of_metadata, of_model
from gaprune.models.reading import StoredWeights, read_stored, read_weights
from gaprune.models.registry import build, check_name, model_names, stem_of
from gaprune.models.shipped import ShippedWeights, shipped_weights, why_none_shipped
from gaprune.models.zoo import PRETRAINED, of_zoo, pretrained, trained_on

__all__ = [
    "PRETRAINED",
    "HeadRule",
    "Loaded",
    "Preprocessing",
    "ShippedWeights",
    "StoredWeights",
    "build",
    "check_name",
    "fill_weights",
    "load_weights",
    "model_names",
    "network_of",
    "not_finite",
    "of_metadata",
    "of_model",
    "of_zoo",
    "open_attention",
    "pretrained",
    "read_stored",
    "read_weights",
    "shipped_weights",
    "stem_of",
    "trained_on",
    "why_none_shipped",
]
