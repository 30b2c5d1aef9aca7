"""One look at a network: what it gives for two images and for one, in either mode, or one line on what is wrong."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import PRUNABLE, Net, chain, conv, pooled
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.errors import ModelError
from gaprune.prune.probing import Probe, probe

WANTED = Probe("mine", (3, 8, 8), 3, "my images")
Aux = namedtuple("Aux", "logits aux")


def with_head(run: Callable[[Any, Tensor], Any]) -> nn.Module:
    """A convolution and a head of three outputs, and a forward over them."""
    return Net(run, conv=conv(3, 4), head=nn.Linear(4, 3)).eval()


def features(s: Any, x: Tensor) -> Tensor:
    return F.relu(s.conv(x))


class Wrapped(nn.Module):
    """A tensor that moves with nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.net = chain()
        self.scale = torch.ones(1, 3, 1, 1, device="meta")

    def forward(self, x: Tensor) -> Any:
        return self.net(x * self.scale)


MISTAKES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "tuple": (
        lambda: with_head(lambda s, x: (pooled(s, features(s, x)), x)),
        r"gives tuple of 2, expected one tensor \(2, 3\): wrap it in a module whose forward returns net\(x\)\[0\]",
    ),
    "dict": (
        lambda: with_head(lambda s, x: OrderedDict(out=pooled(s, features(s, x)), aux=x)),
        r"gives OrderedDict with out, aux, expected one tensor .* returns net\(x\)\['out'\]",
    ),
    "nothing": (lambda: with_head(lambda s, x: None), "gives NoneType, expected one tensor .*must return the logits"),
    "labels": (
        lambda: with_head(lambda s, x: pooled(s, features(s, x)).argmax(1)),
        r"gives \(2,\) for 2 images, expected \(2, 3\)",
    ),
    "maps": (
        lambda: with_head(features),
        r"gives \(2, 4, 8, 8\) for 2 images, expected \(2, 3\): my images has 3 classes",
    ),
    "other classes": (
        lambda: Net(lambda s, x: pooled(s, s.conv(x)), conv=conv(3, 4), head=nn.Linear(4, 1000)).eval(),
        r"gives \(2, 1000\) .* my images has 3 classes, and the network 1000 outputs: see --head",
    ),
    "whole numbers": (
        lambda: with_head(lambda s, x: pooled(s, features(s, x)).long()),
        "gives int64 numbers, expected logits: leave argmax to the caller",
    ),
    "NaN": (
        lambda: with_head(lambda s, x: (-1 - pooled(s, features(s, x)).abs()).log()),
        "gives NaN or infinity for random images",
    ),
    "squeeze": (
        lambda: with_head(lambda s, x: s.head(F.adaptive_avg_pool2d(features(s, x), 1).squeeze())),
        r"gives \(3,\) for one image, expected \(1, 3\): squeeze\(\) drops the batch's axis, too: name the axes",
    ),
    "squeeze that fails": (
        lambda: with_head(lambda s, x: s.head(F.adaptive_avg_pool2d(features(s, x), 1).squeeze().flatten(1))),
        r"fails on a batch of one image \(Dimension out of range.*\): squeeze\(\) drops",
    ),
    "noise": (
        lambda: with_head(lambda s, x: pooled(s, features(s, x) + torch.randn_like(s.conv(x)))),
        r"other outputs for the same images each time, .*it draws noise \(aten.randn_like\): draw only where",
    ),
    "dropout": (
        lambda: with_head(lambda s, x: pooled(s, F.dropout(features(s, x)))),
        r"other outputs for the same images each time, .*F.dropout without training=self.training",
    ),
    "no convolution": (
        lambda: Net(lambda s, x: x.mean((2, 3)) * s.scale, scale=nn.Parameter(torch.ones(3))).eval(),
        "has no convolution and no linear layer, and what gaprune removes is outputs of these",
    ),
    "another size": (
        lambda: nn.Sequential(conv(3, 4), nn.Flatten(), nn.Linear(4 * 81, 3)).eval(),
        "cannot take images of 3x8x8: mat1 and mat2 shapes cannot be multiplied",
    ),
    "grey": (lambda: nn.Sequential(conv(1, 4), nn.Flatten(), nn.Linear(256, 3)).eval(), "cannot take images of 3x8x8"),
    "a tensor elsewhere": (Wrapped, r"cannot take images .*; scale is a plain tensor, which does not move with it"),
    "auxiliary heads": (
        lambda: with_head(lambda s, x: Aux(pooled(s, s.conv(x)), x) if s.training else pooled(s, s.conv(x))),
        r"gives Aux of 2 in training mode, where logits are expected: switch its auxiliary heads off \(aux_logits=",
    ),
    "no parameters": (lambda: nn.Flatten(), "has no parameters"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_every_mistake_is_one_line_that_names_the_remedy(kind: str) -> None:
    make, message = MISTAKES[kind]
    with pytest.raises(ModelError, match=message) as caught:
        probe(make(), WANTED)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", PRUNABLE)
@pytest.mark.parametrize("training", [False, True])
def test_a_sound_network_is_left_as_it_was(name: str, training: bool) -> None:
    model = PRUNABLE[name]().train(training)
    shape = (1, 8, 8) if name == "single channels" else (3, 8, 8)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    assert probe(model, Probe(name, shape, 3, "images")) == ()
    assert model.training is training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def in_place(s: Any, x: Tensor) -> Tensor:
    return pooled(s, s.conv(x.sub_(1.0).relu_()))


def test_a_network_that_writes_to_its_input_gets_its_own_copy() -> None:
    model = with_head(in_place)
    images = torch.randn(4, 3, 8, 8)
    before = images.clone()
    (line,) = probe(model, WANTED)
    assert line == "mine changes its input in place: it is given a copy each time"
    assert torch.equal(model(images), model(images))
    assert torch.equal(images, before)


def test_answers_that_depend_on_the_batch_are_said() -> None:
    model = Net(
        lambda s, x: pooled(s, s.norm(s.conv(x))),
        conv=conv(3, 4),
        norm=nn.BatchNorm2d(4, track_running_stats=False),
        head=nn.Linear(4, 3),
    ).eval()
    (line,) = probe(model, WANTED)
    assert "depends on the others of its batch (batch norm without running statistics?)" in line


def test_a_network_that_cannot_train_can_be_probed() -> None:
    def run(s: Any, x: Tensor) -> Tensor:
        if s.training:
            raise RuntimeError("for inference only")
        return pooled(s, s.conv(x))

    assert probe(with_head(run), WANTED) == ()


outputs = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=2),
    st.builds(torch.zeros, st.lists(st.integers(0, 4), max_size=3).map(tuple)),
)


@settings(deadline=None, max_examples=60)
@given(given_back=st.recursive(outputs, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner)))
def test_whatever_a_forward_gives_back_is_logits_or_one_line(given_back: Any) -> None:
    model = with_head(lambda s, x: (s.conv(x), given_back)[1])
    with pytest.raises(ModelError) as caught:
        probe(model, WANTED)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=30)
@given(error=st.sampled_from([ValueError, IndexError, KeyError, RuntimeError, ZeroDivisionError]), text=st.text())
def test_whatever_a_forward_raises_is_one_line(error: type[Exception], text: str) -> None:
    def run(s: Any, x: Tensor) -> Tensor:
        raise error(text)

    with pytest.raises(ModelError, match="mine cannot take images of 3x8x8: ") as caught:
        probe(with_head(run), WANTED)
    assert "\n" not in str(caught.value)
