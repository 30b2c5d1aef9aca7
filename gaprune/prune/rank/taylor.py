"""What the loss would lose with each neuron, to first order, from gradients at the consumers' inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.data import ImageSet, normaliser
from gaprune.genome import Floats
from gaprune.prune.graph.calls import Keywords, Positional, input_of, with_input
from gaprune.prune.graph.graph import Graph, Layer
from gaprune.prune.graph.modes import evaluating

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


def neuron_taylor(
    model: nn.Module,
    graph: Graph,
    images: ImageSet,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    batch_size: int = 128,
    seed: int = 0,
) -> Floats:
    """E over images of (sum over consumers and positions of x g)^2, for every neuron.

    x is what a consumer reads of the neuron and g the gradient there of the cross-entropy, so the sum is the change of
    the loss, to first order, when the neuron goes (Molchanov et al. 2017, 2019). With labels drawn from the network's
    own prediction its square is the diagonal of the Fisher information for a gate on the neuron (Theis et al. 2018).

    Args:
        model: the original network; modes, gradients and what requires them are left as they were.
        graph: its pruning graph.
        images: calibration images; labels unused.
        mean: normalisation.
        std: normalisation.
        batch_size: images a backward pass; the result does not depend on it but for rounding.
        seed: of the labels that are drawn.

    Returns:
        (neurons,) float64; zero for a neuron that is read by functional calls only.
    """
    watch = _Watch(model, graph)
    normalised = normaliser(mean, std, images.images.device)
    generator = torch.Generator().manual_seed(seed)  # on the CPU, so that the draw does not depend on the device
    total = torch.zeros(graph.neurons, dtype=torch.float64, device=images.images.device)
    with evaluating(model), torch.inference_mode(False), torch.enable_grad(), watch.hooked():
        for start in range(0, len(images), batch_size):
            batch = images.images[start : start + batch_size]
            loss = _drawn_loss(model(normalised(batch)).float(), generator)
            total += watch.changes(loss, len(batch)).square().sum(0)
    found: Floats = (total / max(len(images), 1)).cpu().numpy()
    return found


def _drawn_loss(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Cross-entropy summed over images, each with a label drawn from what the network predicts for it."""
    chances = logits.detach().double().softmax(1).cpu()
    labels = torch.multinomial(chances, 1, generator=generator)[:, 0]
    return F.cross_entropy(logits, labels.to(logits.device), reduction="sum")


class _Watch:
    """What the consumers of neurons read in one forward pass, call by call."""

    def __init__(self, model: nn.Module, graph: Graph) -> None:
        modules = dict(model.named_modules(remove_duplicate=False))
        weights = dict(model.named_parameters(remove_duplicate=False))
        self._uses: dict[nn.Module, list[Layer]] = {}
        for layer in graph.layers:
            module = modules.get(layer.name)
            if isinstance(module, LAYERS) and module.weight is weights[layer.weight]:
                self._uses.setdefault(module, []).append(layer)
        self._neurons = graph.neurons
        self._calls: dict[nn.Module, int] = {}
        self._read: list[tuple[Layer, Tensor]] = []

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Let every consumer read a copy of its own, so that its gradient is its own, too."""
        reading = [module for module, uses in self._uses.items() if any(bool((use.inputs >= 0).any()) for use in uses)]
        handles = [module.register_forward_pre_hook(self._hook(), with_kwargs=True) for module in reading]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def changes(self, loss: Tensor, images: int) -> Tensor:
        """(images, neurons) float64: sum of x g over the pass that led to ``loss``; the next pass starts anew."""
        found = torch.zeros((images, self._neurons), dtype=torch.float64, device=loss.device)
        gradients = torch.autograd.grad(loss, [x for _, x in self._read], allow_unused=True)
        for (layer, x), gradient in zip(self._read, gradients, strict=True):
            if gradient is not None:
                products = (x.detach() * gradient).double()
                shaped = products.flatten(2).sum(2) if layer.convolution else _by_image(products, images)
                for column in layer.inputs.reshape(len(layer.inputs), -1).T:
                    ours = torch.from_numpy(column >= 0).to(loss.device)
                    places = torch.from_numpy(column).to(loss.device)[ours]
                    added = shaped[:, ours]
                    found.T.index_put_((places,), added.T, accumulate=True)  # in one order on CUDA, too
        self._read.clear()
        self._calls.clear()
        return found

    def _hook(self) -> Callable[[nn.Module, Positional, Keywords], tuple[Positional, Keywords]]:
        def read(module: nn.Module, inputs: Positional, keywords: Keywords) -> tuple[Positional, Keywords]:
            call = self._calls.get(module, 0)
            self._calls[module] = call + 1
            x = input_of(inputs, keywords)
            own = x.clone() if x.requires_grad else x.detach().clone().requires_grad_()
            self._read.append((self._uses[module][call], own))
            return with_input(inputs, keywords, own)

        return read


def _by_image(products: Tensor, images: int) -> Tensor:
    """(images, features): sums of (images x ..., features), or of (positions, images, features), as transformers go."""
    if products.ndim > 2 and len(products) % images and products.shape[1] == images:
        products = products.transpose(0, 1)
    return products.reshape(images, -1, products.shape[-1]).sum(1)
