from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import (
    PRUNABLE,
    SHAPE,
    Net,
    chain,
    conv,
    images,
    pooled,
    prepared,
    random_masks,
    space_of,
    warnings_of,
)
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.errors import ModelError
from gaprune.prune import checking
from gaprune.prune.checking import checked_graph
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.costs import cost_model, count_flops
from gaprune.prune.cut.masked import masked_network
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import build_graph
from gaprune.prune.graph.inputs import Inputs
from gaprune.prune.graph.tensors import state_tensors


def hard_coded() -> nn.Module:
    """A forward that has the second convolution's width written into it."""
    return Net(
        lambda s, x: s.head(s.conv2(F.relu(s.conv1(x))).view(-1, 6 * 64)),
        conv1=conv(3, 4),
        conv2=conv(4, 6),
        head=nn.Linear(6 * 64, 3),
    )


def stubborn(s: Any, x: Tensor) -> Tensor:
    x = s.conv2(F.relu(s.conv1(x)))
    if x.shape[1] != 6:
        raise NotImplementedError
    return pooled(s, x)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            hard_coded(),
            "it fails without some of its channels (",
        ),  # torch words the rest differently from version to version
        (
            Net(stubborn, conv1=conv(3, 4), conv2=conv(4, 6), head=nn.Linear(6, 3)),
            "it fails without some of its channels (NotImplementedError)",
        ),
    ],
)
def test_a_width_written_into_the_forward_leaves_that_group_whole_with_a_warning(
    model: nn.Module, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = prepared(model)
    assert build_graph(model, SHAPE).neurons == 10
    with caplog.at_level("WARNING", logger="gaprune"):
        graph = checked_graph(model, SHAPE)
    assert [(group.name, group.start, group.size) for group in graph.groups] == [("conv1", 0, 4)]
    ((layer, why),) = graph.unpruned
    assert layer == "conv2"
    assert why.startswith(reason)
    assert warnings_of(caplog) == [f"left unpruned: conv2: {why}"]
    assert "conv2.bias" not in graph.axes
    assert graph.layers[1].outputs.tolist() == [-1] * 6


def test_a_silent_use_of_the_width_leaves_the_group_whole() -> None:
    """It runs at any width, but divides by the width that it finds."""
    model = prepared(
        Net(
            lambda s, x: pooled(s, s.conv2(s.conv1(x) / s.conv1.out_channels)),
            conv1=conv(3, 6),
            conv2=conv(6, 4),
            head=nn.Linear(4, 3),
        )
    )
    graph = checked_graph(model, SHAPE)
    assert [group.name for group in graph.groups] == ["conv2"]
    assert graph.unpruned == (("conv1", "compact and masked networks differ"),)


def test_groups_of_one_name_are_told_apart_when_one_stays_whole() -> None:
    """Of the wide convolution's two halves only the first is joined to a forward with a width in it."""
    model = prepared(
        Net(
            lambda s, x: pooled(s, s.wide(x) + torch.cat([s.c(s.a(x).reshape(-1, 4, 8, 8)), s.b(x)], 1)),
            wide=conv(3, 8),
            a=conv(3, 4),
            b=conv(3, 4),
            c=conv(4, 4),
            head=nn.Linear(8, 3),
        )
    )
    assert [group.name for group in checked_graph(model, SHAPE).groups] == ["wide", "wide (2)"]


class Block(nn.Module):
    """A block of which one width is written into the forward, and another is not."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed, self.free, self.back = conv(4, 6), conv(6, 5), conv(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.back(F.relu(self.free(self.fixed(x).reshape(-1, 6, 8, 8))))
        return out


def test_like_blocks_are_tried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = prepared(nn.Sequential(conv(3, 4), *(Block() for _ in range(12)), nn.Flatten(), nn.Linear(256, 3)))
    tried = []
    check = checking._Check.__call__

    def counted(self: Any, groups: Any) -> str | None:
        tried.append(len(groups))
        return check(self, groups)

    monkeypatch.setattr(checking._Check, "__call__", counted)
    graph = checked_graph(model, SHAPE)
    assert [layer for layer, _ in graph.unpruned] == [f"{number}.fixed" for number in range(1, 13)]
    assert len(tried) < 12
    assert {group.name for group in graph.groups} == {"0", *(f"{number}.free" for number in range(1, 13))}


def test_of_like_blocks_only_those_stay_that_go_wrong() -> None:
    def forward(s: Any, x: Tensor) -> Tensor:
        for number, layer in enumerate(s.layers):
            x = F.relu(layer(x) if number != 3 else layer(x).reshape(-1, 6, 8, 8))
        return pooled(s, x)

    layers = nn.ModuleList([conv(3, 6), *(conv(6, 6) for _ in range(6))])
    model = prepared(Net(forward, layers=layers, head=nn.Linear(6, 3)))
    graph = checked_graph(model, SHAPE)
    assert [layer for layer, _ in graph.unpruned] == ["layers.3"]
    assert [len(kind) for kind in checking._kinds(build_graph(model, SHAPE))] == [1] * 7


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Net(lambda s, x: s.b(s.a(x)).argmax(1), a=conv(3, 4), b=conv(4, 3)), "its output holds no floating tensor"),
        (
            Net(lambda s, x: s.head(s.a(x).view(-1, 256)), a=conv(3, 4), head=nn.Linear(256, 3)),
            "it fails without some of its channels",
        ),
    ],
)
def test_a_network_that_cannot_be_pruned_is_refused_in_one_line(model: nn.Module, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        checked_graph(model, SHAPE)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_that_draws_at_random_is_told_so() -> None:
    model = prepared(Net(lambda s, x: pooled(s, F.dropout(F.relu(s.conv1(x)))), conv1=conv(3, 6), head=nn.Linear(6, 3)))
    with pytest.raises(ModelError, match=r"other outputs for the same images each time.*F\.dropout without training="):
        checked_graph(model, SHAPE)


def test_noise_is_told_from_dropout() -> None:
    model = prepared(
        Net(
            lambda s, x: pooled(s, s.conv2(F.relu(s.conv1(x + torch.randn_like(x))))),
            conv1=conv(3, 6),
            conv2=conv(6, 4),
            head=nn.Linear(4, 3),
        )
    )
    with pytest.raises(ModelError, match=r"it draws noise \(aten\.randn_like\): draw only where self\.training"):
        checked_graph(model, SHAPE)


def residual_if_it_fits(s: Any, x: Tensor) -> Tensor:
    x = F.relu(s.a(x))
    y = s.b(x)
    return pooled(s, s.c(F.relu(y + x if y.shape == x.shape else y)))


def test_a_forward_that_compares_widths_keeps_them_apart(caplog: pytest.LogCaptureFixture) -> None:
    """Its halves differ, as the whole does; a genome that makes them equal would turn a residual on."""
    model = prepared(
        Net(residual_if_it_fits, a=conv(3, 8), b=conv(8, 12), c=conv(12, 4), head=nn.Linear(4, 3)),
    )
    graph = checked_graph(model, SHAPE)
    assert [group.name for group in graph.groups] == ["a", "c"]
    why = "compact and masked networks differ, where widths are equal: does its forward compare shapes?"
    assert graph.unpruned == (("b", why),)
    for seed in range(20):
        masks = random_masks(space_of(model, graph), seed, 0.4)
        found = Compactor(model, graph)(masks)(images())
        assert torch.allclose(found, masked_network(model, graph, masks)(images()), atol=1e-9)


def alone_is_another_way(s: Any, x: Tensor) -> Tensor:
    x = s.conv1(x)
    return pooled(s, F.relu(x if x.shape[1] == 1 else -x))


def test_a_forward_that_knows_one_channel_from_several_keeps_several() -> None:
    model = prepared(Net(alone_is_another_way, conv1=conv(3, 8), conv2=conv(3, 2), head=nn.Linear(8, 3)))
    with pytest.raises(ModelError, match="compact and masked networks differ, where one channel is left"):
        checked_graph(model, SHAPE)


def with_side_head(s: Any, x: Tensor) -> Tensor:
    x = F.relu(s.conv1(x))
    out = pooled(s, F.relu(s.conv2(x)))
    return out + s.side(x.mean((2, 3))) if s.training else out


def scaled_in_training(s: Any, x: Tensor) -> Tensor:
    x = s.conv1(x)
    if s.training:
        x = x * torch.arange(x.shape[1]).view(1, -1, 1, 1) / x.shape[1]
    return pooled(s, F.relu(s.conv2(F.relu(x))))


@pytest.mark.parametrize("forward", [with_side_head, scaled_in_training])
@pytest.mark.parametrize("training", [False, True])
def test_what_training_mode_alone_reads_is_left_whole(forward: Any, training: bool) -> None:
    parts = {"conv1": conv(3, 6), "drop": nn.Dropout(), "conv2": conv(6, 4), "head": nn.Linear(4, 3)}
    model = prepared(Net(forward, **parts, side=nn.Linear(6, 3))).train(training)
    graph = checked_graph(model, SHAPE)
    assert model.training is training
    assert [group.name for group in graph.groups] == ["conv2"]
    ((layer, why),) = graph.unpruned
    assert layer == "conv1"
    assert why.startswith("training mode uses it otherwise: ")
    masks = random_masks(space_of(model, graph), 0)
    assert Compactor(model, graph)(masks).train()(images()).shape == (3, 3)


def test_chance_in_training_is_no_reason_to_leave_anything_whole() -> None:
    def forward(s: Any, x: Tensor) -> Tensor:
        x = F.dropout(F.relu(s.norm(s.conv1(x))), training=s.training)
        return pooled(s, F.relu(s.conv2(x)))

    parts = {"conv1": conv(3, 6), "norm": nn.BatchNorm2d(6), "conv2": conv(6, 4), "head": nn.Linear(4, 3)}
    graph = checked_graph(prepared(Net(forward, **parts)), SHAPE)
    assert [group.name for group in graph.groups] == ["conv1", "conv2"]


def test_a_network_that_cannot_train_is_pruned_all_the_same() -> None:
    def forward(s: Any, x: Tensor) -> Tensor:
        if s.training:
            raise RuntimeError("for inference only")
        return pooled(s, F.relu(s.conv1(x)))

    graph = checked_graph(prepared(Net(forward, conv1=conv(3, 6), head=nn.Linear(6, 3))), SHAPE)
    assert [group.name for group in graph.groups] == ["conv1"]


def test_a_network_that_writes_to_its_input_is_no_network_of_chance() -> None:
    model = prepared(Net(lambda s, x: pooled(s, F.relu(s.conv1(x.mul_(2)))), conv1=conv(3, 6), head=nn.Linear(6, 3)))
    assert [group.name for group in checked_graph(model, SHAPE).groups] == ["conv1"]


def test_a_network_without_convolutions_is_pruned_by_its_linear_layers_or_told_so() -> None:
    model = prepared(nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 3)))
    assert [(group.name, group.size) for group in checked_graph(model, SHAPE).groups] == [("1", 8)]
    with pytest.raises(ModelError, match="Sequential has no convolution, and what --layers conv removes is channels"):
        checked_graph(model, SHAPE, layers="conv")


def test_a_network_without_layers_is_told_so() -> None:
    model = Net(lambda s, x: x.mean((2, 3)) * s.scale, scale=nn.Parameter(torch.ones(3)))
    with pytest.raises(ModelError, match="Net has no convolution and no linear layer"):
        checked_graph(prepared(model), SHAPE)


def test_of_many_groups_that_fail_each_is_found(caplog: pytest.LogCaptureFixture) -> None:
    """Two widths of seven are written into the forward."""

    def run(s: Any, x: Tensor) -> Tensor:
        for index in range(7):
            x = s.get_submodule(f"c{index}")(x)
            if index in (2, 5):
                x = x.reshape(-1, 4, 8, 8)
        return pooled(s, x)

    parts = {f"c{index}": conv(4 if index else 3, 4) for index in range(7)}
    with caplog.at_level("WARNING", logger="gaprune"):
        graph = checked_graph(prepared(Net(run, **parts, head=nn.Linear(4, 3))), SHAPE)
    assert [group.name for group in graph.groups] == ["c0", "c1", "c3", "c4", "c6"]
    assert dict(graph.unpruned).keys() == {"c2", "c5"}


def test_a_plain_tensor_is_named_with_its_remedy() -> None:
    model = prepared(Net(lambda s, x: pooled(s, s.conv1(x) * s.scale), conv1=conv(3, 6), head=nn.Linear(6, 3)))
    model.scale = torch.ones(1, 6, 1, 1, dtype=torch.float64)  # type: ignore[assignment]
    with pytest.raises(ModelError, match=r"scale is a plain tensor, .*: self\.register_buffer\('scale', \.\.\.\)"):
        checked_graph(model, SHAPE)


@pytest.mark.parametrize("name", ["chain", "two names", "tied weights", "used twice"])
def test_checking_leaves_the_callers_network_as_it_was(name: str) -> None:
    model = PRUNABLE[name]().train()
    next(module for module in model.modules() if isinstance(module, nn.Conv2d)).eval()
    parameters = dict(model.named_parameters(remove_duplicate=False))
    before = {key: tensor.clone() for key, tensor in state_tensors(model).items()}
    modes = [module.training for module in model.modules()]
    checked_graph(model, SHAPE)
    assert [module.training for module in model.modules()] == modes
    assert all(parameters[key] is p for key, p in model.named_parameters(remove_duplicate=False))
    assert all(torch.equal(before[key], tensor) for key, tensor in state_tensors(model).items())


def test_a_network_that_is_understood_gives_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="gaprune"):
        graph = checked_graph(chain(), SHAPE)
    assert warnings_of(caplog) == []
    assert graph.neurons == 14
    assert chain()(images().float()).shape == (3, 3)


def test_an_output_that_a_later_layer_reads_is_told_to_stay(caplog: pytest.LogCaptureFixture) -> None:
    model = prepared(
        Net(
            lambda s, x: {"features": (y := s.b(s.a(x))), "out": pooled(s, s.c(y))},
            a=conv(3, 6),
            b=conv(6, 5),
            c=conv(5, 4),
            head=nn.Linear(4, 3),
        )
    )
    with caplog.at_level("WARNING"):
        graph = checked_graph(model, SHAPE)
    assert [group.name for group in graph.groups] == ["a", "c"]
    assert [record.getMessage() for record in caplog.records] == [
        "left unpruned: b: a later layer reads it, but it is also an output of the network: leave it out of forward's "
        "if nobody needs it"
    ]


def test_every_floating_output_is_compared() -> None:
    """The first output is right; the second tells how many channels there are."""
    model = prepared(
        Net(
            lambda s, x: (pooled(s, y := s.b(s.a(x))), [torch.full((len(x), 1), float(y.shape[1]))]),
            a=conv(3, 6),
            b=conv(6, 5),
            head=nn.Linear(5, 3),
        )
    )
    graph = checked_graph(model, SHAPE)
    assert [group.name for group in graph.groups] == ["a"]
    assert graph.unpruned == (("b", "compact and masked networks differ"),)


def test_several_inputs_by_position_and_keyword_are_traced_in_double_precision() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.out = conv(3, 6), nn.Linear(4, 6), conv(6, 2)

        def forward(self, x: Tensor, *, at: dict[str, Tensor], times: int = 1) -> list[Tensor]:
            y = torch.relu(self.left(x) * times + self.right(at["place"])[:, :, None, None])
            return [self.out(y), at["ids"]]

    generator = torch.Generator().manual_seed(0)
    x, place = torch.randn(3, 3, 4, 4, generator=generator), torch.randn(3, 4, generator=generator)
    inputs = Inputs((x,), {"at": {"place": place, "ids": torch.arange(3)}, "times": 2})
    model = Two().double().eval()
    graph = checked_graph(model, inputs)
    assert [(group.name, group.size, group.consumers) for group in graph.groups] == [("left", 6, ("out",))]
    masks = replace(Masks.full(graph), neurons=np.array([True, False, True, True, False, False]))
    compact, masked = Compactor(model, graph)(masks), masked_network(model, graph, masks)
    given = inputs.like(place.double())
    torch.testing.assert_close(given(compact)[0], given(masked)[0], rtol=1e-12, atol=1e-12)
    costs = cost_model(model, graph, inputs)
    assert costs(masks).flops == count_flops(compact, inputs)
    assert costs(masks).flops < costs(Masks.full(graph)).flops == count_flops(model, inputs)
