"""Batch-norm statistics measured anew on the compact network."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gaprune.data.images import ImageSet, normaliser


def recalibrate(
    model: nn.Module,
    images: ImageSet,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    batch_size: int = 256,
) -> None:
    """Replace running means and variances by their cumulative average over ``images`` in fixed batches.

    The batches are as few as ``batch_size`` allows and, but for one image, equally large: each counts the
    same, and a last batch of a single image would have no variance. The source of the idea is EagleEye (Li et
    al., ECCV 2020, adaptive batch normalisation). Only batch norms are in training mode meanwhile; the
    network is left in eval mode. Labels are not read.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    normalised = normaliser(mean, std, images.images.device)
    with torch.no_grad():
        for number, batch in enumerate(images.images.tensor_split(-(-len(images) // batch_size)), start=1):
            for norm in norms:
                norm.momentum = 1 / number  # a cumulative average; torch's own would stop the host to read its count
            model(normalised(batch))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
