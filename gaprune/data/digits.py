"""The built-in digits: 1,797 real handwritten digits that come with scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from gaprune.data.arrays import assemble
from gaprune.data.images import ImageData, ImageSet
from gaprune.data.stratify import complement, stratified

_SIZE = 32
_GREY_LEVELS = 16
_TEST_SHARE = 0.2


def load_digits(seed: int = 0) -> ImageData:
    """The digits as 32x32 RGB images, four fifths to train on and one fifth to test, stratified.

    The 8x8 originals with grey levels 0 to 16 are enlarged bilinearly and scaled to 0..255.
    """
    from sklearn import datasets  # slow to import, and only wanted here

    bunch = datasets.load_digits()
    grey = torch.from_numpy(bunch.images.astype(np.float32))[:, None] * (255 / _GREY_LEVELS)
    enlarged = F.interpolate(grey, size=(_SIZE, _SIZE), mode="bilinear", align_corners=False)
    images = enlarged.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    whole = ImageSet(images, torch.from_numpy(bunch.target.astype(np.int64)))
    test = stratified(whole.labels, round(len(whole) * _TEST_SHARE), purpose="test", seed=seed, leave=1)
    source = (
        f"the {len(whole):,} handwritten digits built into scikit-learn, 8x8 enlarged to {_SIZE}x{_SIZE}, "
        f"one fifth split off as test images (stratified, seed {seed})"
    )
    train = whole.select(complement(test, len(whole)))
    return assemble("digits", source, tuple("0123456789"), train, whole.select(test), flip=False)
