"""One training step of a convolution of every small width, beside the same step without oneDNN: run as a script.

A kernel that writes beyond its memory kills the process, so this is no test but what a test starts. Its argument is the
widths, such as ``1-20``; it prints, as JSON, a list of what went wrong and the number of cases.
"""

from __future__ import annotations

import itertools
import json
import sys
import warnings

import torch
from torch import Tensor, nn

from gaprune.data.images import ImageSet
from gaprune.training import Recipe
from gaprune.training.state import Course, TrainingState, start, train_step

KERNELS, STRIDES = (1, 3), (1, 2)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
PRECISIONS = {"float32": 2e-4, "bfloat16": 5e-2}
"""How far gradients may lie apart, as a share of the largest."""
IMAGES = ((30, 8), (2, 64))
"""Number and side of the images: what overruns how far depends on both."""
OUTPUTS = {8: 4, 64: 16}
CLASSES = 3

Network = tuple[int, int, int, int, str]
"""Width, side of the images, kernel, stride and layout."""


class Convolved(nn.Module):
    """A convolution in a memory format, and a head."""

    def __init__(self, width: int, outputs: int, kernel: int, stride: int, layout: torch.memory_format) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, outputs, kernel, stride=stride, padding=kernel // 2)
        self.head = nn.Linear(outputs, CLASSES)
        self.layout = layout

    def forward(self, x: Tensor) -> Tensor:
        convolved = self.conv(x.contiguous(memory_format=self.layout))
        logits: Tensor = self.head(torch.tanh(convolved).mean((2, 3)))
        return logits


def begun(width: int, side: int, kernel: int, stride: int, layout: str, recipe: Recipe) -> TrainingState:
    """A training before its first step, always of the same weights."""
    torch.manual_seed(0)
    begun = start(Convolved(width, OUTPUTS[side], kernel, stride, LAYOUTS[layout]), recipe)
    if layout == "contiguous":
        with torch.no_grad():
            for parameter in begun.model.parameters():
                parameter.data = parameter.data.reshape(-1).view(parameter.shape)
    return begun


def apart(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest distance, as a share of the largest entry of its tensor."""
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-6)) for a, b in zip(found, wanted, strict=True))


def after_a_step(course: Course, network: Network, onednn: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of a training step, and the logits that inference then gives."""
    training = begun(*network, course.recipe)
    with torch.backends.mkldnn.flags(enabled=onednn):
        train_step(training, course, torch.arange(len(course.train)), torch.Generator().manual_seed(0))
        gradients = [parameter.grad.clone() for parameter in training.model.parameters() if parameter.grad is not None]
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=course.recipe.amp):
            logits = training.averaged(course.train.images.float() / 255).float()
    return gradients, [logits]


def wrongs(widths: range) -> tuple[list[str], int]:
    """What differs from the same without oneDNN, and the number of cases."""
    found, count = [], 0
    for width, (number, side), precision in itertools.product(widths, IMAGES, PRECISIONS):
        generator = torch.Generator().manual_seed(width)
        pixels = torch.randint(0, 256, (number, width, side, side), dtype=torch.uint8, generator=generator)
        images = ImageSet(pixels, torch.arange(number) % CLASSES)
        recipe = Recipe(epochs=1, batch_size=number, pad=0, amp=precision == "bfloat16")
        course = Course(images, images, (127.0,) * width, (70.0,) * width, False, recipe)
        for kernel, stride in itertools.product(KERNELS, STRIDES):
            wanted = after_a_step(course, (width, side, kernel, stride, "contiguous"), onednn=False)
            for layout in LAYOUTS:
                ours = after_a_step(course, (width, side, kernel, stride, layout), onednn=True)
                for what, a, b in zip(("gradients", "logits"), ours, wanted, strict=True):
                    if not (distance := apart(a, b)) < PRECISIONS[precision]:
                        case = f"width {width}, {side}x{side}, kernel {kernel}, stride {stride}, {layout}, {precision}"
                        found.append(f"{what} of {case}: {distance:.2g} apart")
                count += 1
    return found, count


if __name__ == "__main__":
    first, last = sys.argv[1].split("-")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    json.dump(wrongs(range(int(first), int(last) + 1)), sys.stdout)
