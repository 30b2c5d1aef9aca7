"""A new head for a trained network: fitted to what the rest of it makes of the training images, nothing else learns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.data import ImageSet, normaliser
from gaprune.errors import ModelError
from gaprune.progress import SILENT, Reporter
from gaprune.training.state import reproducible

MOST_IMAGES = 20_000
"""Training images that a head is fitted to at most, drawn at random where there are more."""

_DECAY = 1e-4
_STEPS = 200
_SMALLEST_SPREAD = 1e-6


def fit_head(
    model: nn.Module,
    path: str,
    train: ImageSet,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    batch_size: int = 128,
    reporter: Reporter = SILENT,
) -> None:
    """Fit a linear head in place by multinomial logistic regression on its inputs, in one pass over the images.

    On CUDA in exact and deterministic kernels, as all trainings: a run that goes on must find the same weights.

    Args:
        model: in eval mode; only the layer at ``path`` is changed.
        path: module path of the head.
        train: images and labels to fit it to.
        mean: per channel mean of the 0..255 pixels.
        std: per channel standard deviation of the same.
        batch_size: images a forward pass.
        reporter: told how far the pass is.

    Raises:
        ModelError: the layer is not linear, or does not read one vector an image.
    """
    head = model.get_submodule(path)
    if not isinstance(head, nn.Linear):
        raise ModelError(f"a new head can be fitted where it is an nn.Linear; {path} is {type(head).__name__}")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:MOST_IMAGES]
    chosen = train.select(order.to(train.labels.device))
    with reproducible(0, head.weight.device):
        inputs = _inputs(model, head, chosen, mean, std, batch_size, reporter)
        if inputs.ndim != 2 or len(inputs) != len(chosen):
            raise ModelError(f"a new head can be fitted where it reads one vector an image; {path} does not")
        _solve(head, inputs, chosen.labels.to(inputs.device))


def _inputs(
    model: nn.Module,
    head: nn.Linear,
    images: ImageSet,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    batch_size: int,
    reporter: Reporter,
) -> Tensor:
    """(N, features) what the head reads."""
    device, found = head.weight.device, list[Tensor]()

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        found.append(given[0].detach().clone())

    handle = head.register_forward_pre_hook(note)
    normalised = normaliser(mean, std, device)
    try:
        with torch.no_grad(), reporter.task("head", len(images)) as task:
            for begin in range(0, len(images), batch_size):
                indices = torch.arange(begin, min(begin + batch_size, len(images)), device=images.labels.device)
                model(normalised(images.batch(indices)[0].to(device)))
                task.advance(len(indices))
    finally:
        handle.remove()
    return torch.cat(found)


def _solve(head: nn.Linear, inputs: Tensor, labels: Tensor) -> None:
    """Logistic regression on inputs of mean 0 and spread 1, which is folded into the layer afterwards."""
    middle, spread = inputs.mean(0), inputs.std(0).clamp_min(_SMALLEST_SPREAD)
    scaled = (inputs - middle) / spread
    weight = torch.zeros_like(head.weight, requires_grad=True)
    bias = torch.zeros(len(weight), device=weight.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(F.linear(scaled, weight, bias), labels) + _DECAY * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        head.weight.copy_(weight / spread)
        if head.bias is not None:
            head.bias.copy_(bias - head.weight @ middle)
