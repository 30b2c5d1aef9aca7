"""Image data: sources, splits with a clear view of who may see what, and augmentation on the device."""

from gaprune.data.arrays import from_arrays
from gaprune.data.augmentation import augment
from gaprune.data.cache import checksums, default_cache_dir
from gaprune.data.datasets import image_data
from gaprune.data.decode import UnlikeSizesError
from gaprune.data.folder import say_skipped
from gaprune.data.given import normalisation_line
from gaprune.data.images import ImageData, ImageSet, first, normalise, normaliser
from gaprune.data.lazy import LazyImages
from gaprune.data.origins import kind
from gaprune.data.photos import Photographs, epoch_of, stored
from gaprune.data.sources import Reading, data_names, load_data
from gaprune.data.splits import SearchFrom, Splits, pool, split
from gaprune.data.stratify import complement, interleaved, stratified

__all__ = [
    "ImageData",
    "ImageSet",
    "LazyImages",
    "Photographs",
    "Reading",
    "SearchFrom",
    "Splits",
    "UnlikeSizesError",
    "augment",
    "checksums",
    "complement",
    "data_names",
    "default_cache_dir",
    "epoch_of",
    "first",
    "from_arrays",
    "image_data",
    "interleaved",
    "kind",
    "load_data",
    "normalisation_line",
    "normalise",
    "normaliser",
    "pool",
    "say_skipped",
    "split",
    "stored",
    "stratified",
]
