"""Image data: sources, splits with a clear view of who may see what, and augmentation on the device."""

from gaprune.data.arrays import from_arrays
from gaprune.data.augmentation import augment
from gaprune.data.cache import default_cache_dir
from gaprune.data.datasets import image_data
from gaprune.data.images import ImageData, ImageSet, normalise
from gaprune.data.sources import data_names, load_data
from gaprune.data.splits import Splits, split

__all__ = [
    "ImageData",
    "ImageSet",
    "Splits",
    "augment",
    "data_names",
    "default_cache_dir",
    "from_arrays",
    "image_data",
    "load_data",
    "normalise",
    "split",
]
