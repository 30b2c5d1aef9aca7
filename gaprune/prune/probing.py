"""One look at a network before anything slow: two images, then one, under a guard; every surprise is one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gaprune.errors import ModelError, first_line, one_line
from gaprune.prune.graph.foreign import plain_tensors
from gaprune.prune.graph.graph import NO_LAYER
from gaprune.prune.graph.modes import evaluating

TOLERANCE = 1e-3
"""Largest relative difference between an image's logits alone and beside another: rounding, and no more."""

_DROPOUT = ("bernoulli", "dropout")
_LAYERS = ("convolution", "mm")
"""Parts of the names of what layers with weights run: linear ones are products of matrices."""


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which operators run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()
        self.random: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.random.add(str(func).removesuffix(".default"))
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Probe:
    """What is looked at, and what it is called in messages.

    Attributes:
        name: of the network.
        image_shape: (C, H, W) of an image.
        classes: how many logits are expected.
        data: name of the data set.
        objects: whether the network came as an object, so that advice is Python, not an option.
    """

    name: str
    image_shape: tuple[int, int, int]
    classes: int
    data: str
    objects: bool = False


def probe(model: nn.Module, wanted: Probe) -> tuple[str, ...]:
    """Run a network on two images and on one, in eval and in training mode.

    A network that writes to its input is given a copy of it from then on.

    Args:
        model: of the engine's own (see ``foreign.plain``), on the device that it will run on; its tensors are left as
            they are.
        wanted: what it must take and give.

    Returns:
        What should be known of it, a line each.

    Raises:
        ModelError: it cannot be used; the line names the remedy.
    """
    images = _images(model, wanted.image_shape)
    with evaluating(model), torch.no_grad():
        seen = _Seen()
        with seen:
            two = _run(model, images, wanted, "images of")
        _check_output(two, 2, wanted)
        _check_operators(seen, wanted)
        notes = _given_copies(model, images, wanted)
        if seen.random:
            _check_repeats(model, images, seen, wanted)
        one = _alone(model, images[:1], wanted)
    if not torch.allclose(one, two[:1], rtol=TOLERANCE, atol=TOLERANCE * float(two.abs().max().clamp_min(1e-12))):
        notes.append(
            f"{wanted.name} answers for an image what depends on the others of its batch (batch norm without running "
            "statistics?): accuracies depend on --batch-size"
        )
    _check_training(model, images, wanted)
    return tuple(notes)


def random_advice(name: str, drawn: Sequence[str]) -> str:
    """The line for a network that answers differently each time, though in eval mode.

    Args:
        name: of the network.
        drawn: the random operators that it runs, as far as they are known.
    """
    noise = [one for one in drawn if not any(part in one for part in _DROPOUT)]
    cause = "F.dropout without training=self.training?"
    if noise:
        cause = f"it draws noise ({noise[0]}): draw only where self.training is true"
    return f"{name} gives other outputs for the same images each time, though in eval mode: {cause}"


def random_operators(run: Callable[[], object]) -> list[str]:
    """The random operators that a function runs."""
    seen = _Seen()
    with seen:
        run()
    return sorted(seen.random)


def _images(model: nn.Module, image_shape: tuple[int, int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((2, *image_shape), generator=generator)
    parameter = next(model.parameters(), None)
    if parameter is None:
        raise ModelError(f"{type(model).__name__} has no parameters, so there is nothing to prune")
    return images.to(parameter.device, parameter.dtype)


def _run(model: nn.Module, images: Tensor, wanted: Probe, what: str) -> Any:
    try:
        return model(images.clone())
    except Exception as error:  # a stranger's network may raise anything
        size = "x".join(map(str, wanted.image_shape))
        held = [name for name, tensor in plain_tensors(model).items() if tensor.device != images.device]
        advice = f"; {held[0]} is a plain tensor, which does not move with it: use register_buffer" if held else ""
        raise ModelError(f"{wanted.name} cannot take {what} {size}: {first_line(error)}{advice}") from error


def _check_output(found: Any, count: int, wanted: Probe) -> None:
    expected = (count, wanted.classes)
    if not isinstance(found, Tensor):
        raise ModelError(f"{wanted.name} gives {in_words(found)}, expected one tensor {expected}: {_wrap(found)}")
    if tuple(found.shape) != expected:
        advice = ""
        if found.ndim == 2 and len(found) == count:
            how = "give its last layer as many outputs" if wanted.objects else "see --head"
            advice = f", and the network {found.shape[1]} outputs: {how}"
        reason = f"{wanted.data} has {wanted.classes} classes{advice}"
        raise ModelError(f"{wanted.name} gives {tuple(found.shape)} for {count} images, expected {expected}: {reason}")
    if not found.is_floating_point():
        kind = str(found.dtype).removeprefix("torch.")
        raise ModelError(f"{wanted.name} gives {kind} numbers, expected logits: leave argmax to the caller")
    if not torch.isfinite(found).all():
        raise ModelError(f"{wanted.name} gives NaN or infinity for random images: its weights or statistics are broken")


def in_words(found: Any) -> str:
    """What a network gave that is no tensor."""
    if isinstance(found, Mapping):
        return f"{type(found).__name__} with {one_line(', '.join(map(str, list(found)[:4])))}"
    if isinstance(found, tuple | list):
        return f"{type(found).__name__} of {len(found)}"
    return type(found).__name__


def _wrap(found: Any) -> str:
    if isinstance(found, Mapping):
        names = [name for name, value in found.items() if isinstance(value, Tensor)]
        key = next((name for name in ("logits", "out", "output") if name in names), names[0] if names else "logits")
        return f"wrap it in a module whose forward returns net(x)[{key!r}]"
    if isinstance(found, tuple | list):
        return "wrap it in a module whose forward returns net(x)[0]"
    return "its forward must return the logits"


def _check_operators(seen: _Seen, wanted: Probe) -> None:
    if not any(part in name for name in seen.names for part in _LAYERS):
        raise ModelError(NO_LAYER.format(wanted.name))


def _given_copies(model: nn.Module, images: Tensor, wanted: Probe) -> list[str]:
    """A network that writes to its input gets a copy at each call, so that it reads the same images as others do."""
    given = images.clone()
    model(given)
    if torch.equal(given, images):
        return []
    model.register_forward_pre_hook(copy_input)
    return [f"{wanted.name} changes its input in place: it is given a copy each time"]


def copy_input(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """A hook that gives a module its own copy of what it is called with."""
    return tuple(one.clone() if isinstance(one, Tensor) else one for one in given)


def _check_repeats(model: nn.Module, images: Tensor, seen: _Seen, wanted: Probe) -> None:
    first, second = model(images.clone()), model(images.clone())
    if not torch.equal(first, second):
        raise ModelError(random_advice(wanted.name, sorted(seen.random)))


def _alone(model: nn.Module, image: Tensor, wanted: Probe) -> Tensor:
    advice = "squeeze() drops the batch's axis, too: name the axes, as in squeeze((2, 3)) or flatten(1)"
    try:
        found = model(image.clone())
    except Exception as error:
        raise ModelError(
            f"{wanted.name} fails on a batch of one image ({first_line(error)[:120]}): {advice}"
        ) from error
    shape = tuple(getattr(found, "shape", ()))
    if shape != (1, wanted.classes):
        raise ModelError(f"{wanted.name} gives {shape} for one image, expected {(1, wanted.classes)}: {advice}")
    alone: Tensor = found
    return alone


def _check_training(model: nn.Module, images: Tensor, wanted: Probe) -> None:
    """Training mode must give logits, too, where it works at all; a network for inference alone need not be trained."""
    found = in_training(model, images)
    if found is not None and not isinstance(found, Tensor):
        raise ModelError(
            f"{wanted.name} gives {in_words(found)} in training mode, where logits are expected: switch its auxiliary "
            "heads off (aux_logits=False, or model.aux_logits = False)"
        )


def in_training(model: nn.Module, images: Tensor) -> Any:
    """What a network gives in training mode, from a fixed seed; ``None`` where it fails. Its buffers are put back."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = [images.device] if images.device.type == "cuda" else []
    try:
        with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(0)
            model.train()
            return model(images.clone())
    except Exception:  # whatever it is, eval mode works
        return None
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
