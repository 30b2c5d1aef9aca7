from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from gaprune.data.images import ImageSet
from gaprune.training import Recipe
from gaprune.training.state import Course, start, train_step

MEAN, STD = (64.0,) * 3, (60.0,) * 3
NewNet = Callable[..., nn.Module]


def test_batch_norm_and_biases_do_not_decay(new_net: NewNet) -> None:
    model = new_net()
    decay = {
        id(parameter): group["weight_decay"]
        for group in start(model, Recipe(weight_decay=0.01)).optimizer.param_groups
        for parameter in group["params"]
    }
    found = {name: decay[id(parameter)] for name, parameter in model.named_parameters()}
    assert found == {
        "conv.weight": 0.01,
        "conv.bias": 0.0,
        "bn.weight": 0.0,
        "bn.bias": 0.0,
        "head.weight": 0.01,
        "head.bias": 0.0,
    }


def test_frozen_parameters_stay(new_net: NewNet, train_images: ImageSet) -> None:
    model = new_net()
    model.conv.requires_grad_(False)  # type: ignore[union-attr]
    before = model.conv.weight.clone()  # type: ignore[union-attr, operator]
    state = start(model, Recipe())
    train_step(state, course(train_images), torch.arange(8), torch.Generator().manual_seed(0))
    assert torch.equal(model.conv.weight, before)  # type: ignore[union-attr, arg-type]


def test_the_first_average_is_nine_tenths_of_the_first_step(new_net: NewNet, train_images: ImageSet) -> None:
    model = new_net()
    initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = start(model, Recipe())
    train_step(state, course(train_images), torch.arange(8), torch.Generator().manual_seed(0))
    averaged, stepped = state.averaged.state_dict(), model.state_dict()
    for name in ("conv.weight", "bn.running_mean", "bn.running_var", "head.bias"):
        torch.testing.assert_close(averaged[name], 0.1 * initial[name] + 0.9 * stepped[name])
    assert averaged["bn.num_batches_tracked"] == 1


def course(images: ImageSet) -> Course:
    return Course(images, images, MEAN, STD, flip=False, recipe=Recipe(epochs=2, batch_size=8, pad=1))
