"""Accuracy under attack: images changed by little, along the network's own gradient, until it errs.

Goodfellow et al. 2015 ("Explaining and harnessing adversarial examples"): the fast gradient sign method, one step.
Madry et al. 2018 ("Towards deep learning models resistant to adversarial attacks"): projected gradient descent from a
random start. Both within a largest change of every pixel, in units of pixels from 0 to 1, before normalisation.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.data import ImageSet, normaliser
from gaprune.options import UNDER_ATTACK

ATTACKED = 256
"""Images that a search attacks for each candidate: an attack in ten steps costs as much as 30 measurements."""

STEPS = 10
STRETCH = 2.5
"""The steps of PGD together are so many times as long as the largest change, so that they reach it from anywhere."""

PIXEL = 255.0


@dataclass(frozen=True)
class Attack:
    """How images are attacked.

    Attributes:
        name: in logs and tables.
        epsilon: the largest change of a pixel, of its range.
        steps: 1 without a random start is FGSM; more are PGD, from a random start.
    """

    name: str
    epsilon: float
    steps: int = 1


ATTACKS = tuple(
    Attack(name, int(name.rpartition("_")[2]) / 255, STEPS if name.startswith("pgd") else 1) for name in UNDER_ATTACK
)
"""FGSM and PGD-10, at 2/255 and 8/255."""


@dataclass(frozen=True)
class Robustness:
    """What is left of a network's accuracy.

    Attributes:
        right: by attack, for each image whether the network is right in spite of it; (N,) bool on the CPU.
    """

    right: dict[str, Tensor]

    @property
    def accuracies(self) -> dict[str, float]:
        """Top-1 by attack, 0 to 1."""
        return {name: float(right.double().mean()) for name, right in self.right.items()}

    @property
    def mean(self) -> float:
        """The mean of the accuracies, 0 to 1."""
        return math.fsum(self.accuracies.values()) / len(self.right)


def robustness(
    model: nn.Module,
    images: ImageSet,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    attacks: tuple[Attack, ...] = ATTACKS,
    batch_size: int = 256,
    seed: int = 0,
    advance: Callable[[int], object] = lambda images: None,
) -> Robustness:
    """Accuracy of ``model`` under attacks that know all its weights.

    An image that the network has wrong anyway counts as wrong: an attack may leave it as it is. Random starts are drawn
    by the image's place and the seed, on the CPU: every network is attacked from the same ones, on every machine.

    Args:
        model: gives (N, classes) logits, on the images' device; it is run in eval mode and left as it was.
        images: whose pixels lie between 0 and 255.
        mean: per channel mean of the pixels, for normalisation.
        std: per channel standard deviation of the same.
        attacks: one or more.
        batch_size: images a pass.
        seed: of the random starts.
        advance: told of the images done.

    >>> import torch
    >>> torch.manual_seed(0) and None
    >>> images = ImageSet(torch.randint(0, 256, (4, 3, 2, 2), dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    >>> list(robustness(network, images, (127.0,) * 3, (64.0,) * 3).right)
    ['fgsm_2', 'fgsm_8', 'pgd_2', 'pgd_8']
    """
    device, draw = images.images.device, torch.Generator().manual_seed(seed)
    right: dict[str, list[Tensor]] = {attack.name: [] for attack in attacks}
    with _differentiable(model) as network:
        normalised = normaliser(mean, std, device)

        def logits(pixels: Tensor) -> Tensor:
            found: Tensor = network(normalised(pixels * PIXEL)).float()
            return found

        for start in range(0, len(images), batch_size):
            labels = images.labels[start : start + batch_size]
            clean = images.images[start : start + batch_size].to(torch.float32) / PIXEL
            noise = (2 * torch.rand(clean.shape, generator=draw) - 1).to(device)
            able = _right(logits, clean, labels)
            for attack in attacks:
                left = able.clone()
                if bool(able.any()):
                    found = attacked(logits, clean[able], labels[able], attack, noise[able])
                    left[able] = _right(logits, found, labels[able])
                right[attack.name].append(left.cpu())
            advance(len(labels))
    return Robustness({name: torch.cat(parts) for name, parts in right.items()})


def attacked(
    logits: Callable[[Tensor], Tensor], clean: Tensor, labels: Tensor, attack: Attack, noise: Tensor
) -> Tensor:
    """Images within ``epsilon`` of the clean ones, and within 0 and 1, that the network is likelier to have wrong.

    Args:
        logits: of images; differentiable.
        clean: (N, C, H, W) pixels, 0 to 1.
        labels: (N,) classes.
        attack: how.
        noise: (N, C, H, W), -1 to 1: where PGD starts, in units of ``epsilon``; FGSM starts at the clean image.

    Returns:
        (N, C, H, W) pixels, 0 to 1.

    >>> import torch
    >>> grey = torch.full((1, 1, 1, 1), 0.5)
    >>> slope = lambda pixels: torch.cat([pixels.flatten(1), 1 - pixels.flatten(1)], 1)
    >>> round(float(attacked(slope, grey, torch.tensor([0]), Attack("one", 0.1), torch.zeros(1, 1, 1, 1))), 4)
    0.4
    """
    low, high = (clean - attack.epsilon).clamp(0, 1), (clean + attack.epsilon).clamp(0, 1)
    one = attack.steps == 1
    step = attack.epsilon * (1 if one else STRETCH / attack.steps)
    found = clean if one else torch.clamp(clean + attack.epsilon * noise, low, high)
    for _ in range(attack.steps):
        with torch.inference_mode(False), torch.enable_grad():
            pixels = found.clone().requires_grad_()
            loss = F.cross_entropy(logits(pixels), labels.clone(), reduction="sum")
            (slope,) = torch.autograd.grad(loss, pixels)
        found = torch.clamp(found + step * slope.sign(), low, high)
    return found


def _right(logits: Callable[[Tensor], Tensor], pixels: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return logits(pixels).argmax(1) == labels


def under_attack(values: Mapping[str, float]) -> dict[str, float]:
    """The accuracies under attack among a candidate's values, by attack; none where nobody asked.

    >>> under_attack({"accuracy": 0.9, "fgsm_2": 0.4})
    {'fgsm_2': 0.4}
    """
    return {attack.name: values[attack.name] for attack in ATTACKS if attack.name in values}


@contextmanager
def _differentiable(model: nn.Module) -> Iterator[nn.Module]:
    """A copy in eval mode whose inputs have gradients and whose weights have none.

    Tensors that were made in inference mode, such as folded batch norms may be, let no gradient through: the copy's
    are plain ones. The caller's autocast is off meanwhile: signs of small gradients need float32.
    """
    with torch.inference_mode(False):
        network = copy.deepcopy(model).eval()
        for module in network.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and parameter.is_inference():
                    module._parameters[name] = nn.Parameter(parameter.clone(), requires_grad=False)
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.is_inference():
                    module._buffers[name] = buffer.clone()
        network.requires_grad_(False)
        with torch.autocast(next(iter(_devices(network))), enabled=False):
            yield network


def _devices(network: nn.Module) -> Iterator[str]:
    yield from (tensor.device.type for tensor in network.parameters())
    yield "cpu"
