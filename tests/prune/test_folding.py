from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import PRUNABLE, SHAPE, Net, apart, chain, conv, images, pooled, prepared, random_masks, space_of
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.models import build
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.grouped import GroupedConvolution
from gaprune.prune.graph.graph import Norm, build_graph
from gaprune.prune.norms.folding import fold

PRECISION = {torch.float64: 1e-10, torch.float32: 1e-5}


def norms_left(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def plain_norms() -> nn.Module:
    """A convolution without bias, a norm that is not affine; then a strided grouped one."""
    return Net(
        lambda s, x: pooled(s, F.relu(s.n2(s.c2(F.relu(s.n1(s.c1(x))))))),
        c1=conv(3, 6, bias=False),
        n1=nn.BatchNorm2d(6, affine=False, eps=0.1),
        c2=conv(6, 8, stride=2, groups=2, bias=False),
        n2=nn.BatchNorm2d(8),
        head=nn.Linear(8, 3),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {"chain": chain, "plain": plain_norms, "depth": PRUNABLE["depthwise"]}


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_computes_the_same_without_batch_norm(name: str, dtype: torch.dtype) -> None:
    model = prepared(NETWORKS[name]()).to(dtype)
    norms = build_graph(model, SHAPE).norms
    x = images().to(dtype)
    with torch.no_grad():
        wanted = model(x)
        fold(model, norms)
        assert apart(model(x), wanted) < PRECISION[dtype]
    assert norms
    assert norms_left(model) == 0


def test_the_built_in_networks_fold_whole() -> None:
    for name in ("vgg16", "resnet18"):
        model = prepared(build(name, 10))
        x = images((3, 32, 32), 2)
        norms = build_graph(model, (3, 32, 32)).norms
        with torch.no_grad():
            wanted = model(x)
            fold(model, norms)
            assert apart(model(x), wanted) < 1e-10
        assert norms_left(model) == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["neurons", "both"]), st.sampled_from(sorted(NETWORKS)))
def test_whatever_was_cut_folds_to_the_same(seed: int, genes: str, name: str) -> None:
    model = prepared(NETWORKS[name]())
    graph = build_graph(model, SHAPE)
    network = Compactor(model, graph)(random_masks(space_of(model, graph, genes=genes), seed))
    with torch.no_grad():
        wanted = network(images())
        fold(network, graph.norms)
        assert apart(network(images()), wanted) < 1e-10
    assert norms_left(network) == 0


def test_folding_a_cut_network_leaves_the_original_as_it_was() -> None:
    model = prepared(chain())
    graph = build_graph(model, SHAPE)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fold(Compactor(model, graph)(random_masks(space_of(model, graph), 0)), graph.norms)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert norms_left(model) == 2


def test_a_convolution_that_became_a_grouped_one_keeps_its_norm() -> None:
    model = prepared(chain())
    graph = build_graph(model, SHAPE)
    space = space_of(model, graph, genes="connections", connection_groups=2)
    bits = space.repair(np.zeros(space.layout.size, dtype=np.bool_))
    network = Compactor(model, graph)(space.masks(space.layout.pack(bits)))
    assert isinstance(network.conv2, GroupedConvolution)
    with torch.no_grad():
        wanted = network(images())
        fold(network, graph.norms)
        assert apart(network(images()), wanted) < 1e-10
    assert isinstance(network.norm2, nn.BatchNorm2d)
    assert isinstance(network.norm1, nn.Identity)


class NormAndMore(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


def hooked() -> nn.Module:
    model = chain()
    model.norm1.register_forward_hook(lambda module, args, out: out * 2)
    return model


def with_norm(norm: nn.Module) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model = chain()
        model.norm1 = norm
        return model

    return make


@pytest.mark.parametrize(
    "make",
    [hooked, with_norm(NormAndMore(6)), with_norm(nn.BatchNorm2d(6, track_running_stats=False))],
    ids=["hooks", "a subclass", "no running statistics"],
)
def test_a_norm_that_does_something_else_is_passed_over(make: Callable[[], nn.Module]) -> None:
    model = prepared(make())
    with torch.no_grad():
        wanted = model(images())
        fold(model, [Norm("conv1", "norm1", True), Norm("conv2", "norm2", True), Norm("gone", "norm2", True)])
        assert apart(model(images()), wanted) < 1e-10
    assert norms_left(model) == 1


def test_a_norm_with_two_names_goes_under_both() -> None:
    model = prepared(chain())
    model.again = model.norm1
    fold(model, [Norm("conv1", "norm1", True)])
    assert isinstance(model.again, nn.Identity)
    assert model.again is model.norm1


def test_a_folded_parameter_learns_if_it_did_before() -> None:
    model = prepared(chain())
    model.conv1.weight.requires_grad_(False)
    norms = build_graph(model, SHAPE).norms
    fold(model, [replace(norm, rectified=False) for norm in norms])
    assert not model.conv1.weight.requires_grad
    assert model.conv2.weight.requires_grad
