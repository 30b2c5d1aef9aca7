from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_networks import PRUNABLE, SHAPE, Net, chain, conv, pooled
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.models import build
from gaprune.prune.graph.graph import Norm, build_graph, without_groups

IMAGE = (3, 32, 32)


def net(run: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> nn.Module:
    """A convolution ``c``, a norm ``n`` and a head; ``run`` gives the maps that are pooled."""
    return Net(
        lambda s, x: pooled(s, run(s, x)),
        **{"c": conv(3, 4), "n": nn.BatchNorm2d(4), "head": nn.Linear(4, 3)} | parts,
    )


def beside_another(run: Callable[[Any, Tensor], Tensor]) -> nn.Module:
    """The same, added to a branch of its own with channels that may go."""
    return net(lambda s, x: run(s, x) + s.e(F.relu(s.d(x))), d=conv(3, 4), e=conv(4, 4))


def one_weight_in_two() -> nn.Module:
    model = net(lambda s, x: s.n(s.c(x)) + s.d(x), d=conv(3, 4, bias=False))
    model.d.weight = model.c.weight
    return model


PAIRS: dict[str, tuple[Callable[[], nn.Module], tuple[Norm, ...]]] = {
    "a chain": (chain, (Norm("conv1", "norm1", True), Norm("conv2", "norm2", True))),
    "a norm with other readers": (PRUNABLE["dense block"], ()),
    "a depthwise one, then ReLU6": (PRUNABLE["depthwise"], (Norm("depth", "norm", False),)),
    "modules in a list": (
        lambda: nn.Sequential(
            nn.Sequential(conv(3, 4), nn.BatchNorm2d(4), nn.ReLU(inplace=True)), conv(4, 2), nn.Flatten()
        ),
        (Norm("0.0", "0.1", True),),
    ),
    "two readers of the norm": (lambda: net(lambda s, x: (y := s.n(s.c(x))) + F.relu(y)), (Norm("c", "n", False),)),
    "an addition behind the norm": (lambda: net(lambda s, x: F.relu(s.n(s.c(x)) + 1)), (Norm("c", "n", False),)),
    "the convolution has another reader": (lambda: net(lambda s, x: s.n(y := s.c(x)) + y), ()),
    "something between": (lambda: net(lambda s, x: s.n(F.relu(s.c(x)))), ()),
    "the norm comes first": (lambda: net(lambda s, x: s.c(s.n(x)), n=nn.BatchNorm2d(3)), ()),
    "a convolution used twice": (lambda: net(lambda s, x: s.n(s.d(s.d(s.c(x)))), d=conv(4, 4)), ()),
    "a norm used twice": (lambda: net(lambda s, x: s.n(s.d(F.relu(s.n(s.c(x))))), d=conv(4, 4)), ()),
    "a weight in two modules": (one_weight_in_two, ()),
    "a weight that is read elsewhere": (lambda: beside_another(lambda s, x: s.n(s.c(x)) * s.c.weight.mean()), ()),
    "a bias that is read elsewhere": (lambda: beside_another(lambda s, x: s.n(s.c(x)) * s.c.bias.mean()), ()),
    "nothing is read elsewhere": (lambda: beside_another(lambda s, x: s.n(s.c(x))), (Norm("c", "n", False),)),
    "a functional call with a module's weight": (lambda: net(lambda s, x: s.n(F.conv2d(x, s.c.weight))), ()),
    "a norm without anything of its own": (
        lambda: net(lambda s, x: s.n(s.c(x)), n=nn.BatchNorm2d(4, affine=False, track_running_stats=False)),
        (),
    ),
}


@pytest.mark.parametrize("case", PAIRS)
def test_a_norm_pairs_with_the_convolution_that_it_alone_reads(case: str) -> None:
    build_model, wanted = PAIRS[case]
    assert build_graph(build_model(), SHAPE).norms == wanted


def test_a_module_with_two_names_is_still_one() -> None:
    model = chain()
    model.body = nn.Sequential(model.conv1, model.norm1)
    norms = build_graph(model, SHAPE).norms
    assert [(model.get_submodule(n.convolution), model.get_submodule(n.norm)) for n in norms] == [
        (model.conv1, model.norm1),
        (model.conv2, model.norm2),
    ]


def test_every_norm_of_the_built_in_networks_has_its_convolution() -> None:
    vgg = build_graph(build("vgg16", 10), IMAGE).norms
    assert len(vgg) == 13
    assert all(norm.rectified for norm in vgg)
    resnet = build_graph(build("resnet18", 10), IMAGE).norms
    assert len(resnet) == 20
    assert {norm.norm for norm in resnet if norm.rectified} == {"bn1"} | {
        f"layer{stage}.{block}.bn1" for stage in (1, 2, 3, 4) for block in (0, 1)
    }


def test_groups_left_whole_do_not_change_the_norms() -> None:
    graph = build_graph(chain(), SHAPE)
    assert without_groups(graph, {"conv1": "a test"}).norms == graph.norms


def test_tracing_in_training_mode_finds_the_same() -> None:
    assert build_graph(chain().train(), SHAPE).norms == build_graph(chain().eval(), SHAPE).norms
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("activation", "bounds"),
    [
        (nn.ReLU(), (0.0, float("inf"))),
        (nn.ReLU6(inplace=True), (0.0, 6.0)),
        (nn.Hardtanh(-2.0, 3.0), (-2.0, 3.0)),
        (nn.Hardswish(), (-3.0, float("inf"))),
        (nn.SiLU(), None),
        (nn.Identity(), None),
    ],
)
def test_where_an_activation_behind_a_norm_is_flat_is_known(
    activation: nn.Module, bounds: tuple[float, float] | None
) -> None:
    (pair,) = build_graph(net(lambda s, x: s.d(s.a(s.n(s.c(x)))), a=activation, d=conv(4, 4)), SHAPE).norms
    assert pair.bounds == bounds
    assert pair.rectified == isinstance(activation, nn.ReLU)
