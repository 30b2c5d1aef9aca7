from __future__ import annotations

import pytest
import torch
from tiny_texts import tiny_config
from torch import Tensor

from gaprune.errors import MethodError
from gaprune.text.heads import Structures, importance, keep_parts, layers_of, pruned_bert, shapes
from gaprune.text.networks import BertClassifier, bert_base, build_network
from gaprune.text.sizes import factor_encoder

IDS, LABELS = torch.randint(5, 20, (24, 6), generator=torch.Generator().manual_seed(0)), torch.arange(24) % 2
BATCHES = [((IDS, torch.ones_like(IDS)), LABELS)]


def _bert() -> BertClassifier:
    torch.manual_seed(0)
    network = build_network(bert_base(tiny_config()))
    assert isinstance(network, BertClassifier)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2)
    return network


def test_a_removed_head_or_neuron_contributes_nothing_more() -> None:
    network = _bert()
    heads, neurons = torch.tensor([0, 3]), torch.tensor([1, 5, 31])
    masked = _bert()
    layer = layers_of(masked)[1]
    gone_heads = torch.tensor([i for i in range(16) if i // 4 not in heads.tolist()])
    gone_neurons = torch.tensor([i for i in range(32) if i not in neurons.tolist()])
    with torch.no_grad():
        layer.attention.output.dense.weight[:, gone_heads] = 0
        layer.output.dense.weight[:, gone_neurons] = 0
    keep_parts(layers_of(network)[1], heads=heads, neurons=neurons)
    mask = (IDS != 7).long()
    torch.testing.assert_close(network(IDS, mask), masked(IDS, mask), atol=1e-5, rtol=1e-4)
    assert shapes(network) == [{"heads": 4, "neurons": 32}, {"heads": 2, "neurons": 3}]


def test_importance_is_what_a_gates_gradient_says() -> None:
    network = _bert().double()
    heads, _ = importance(network, BATCHES)
    scale = 1e-4
    changes = []
    for head in range(4):
        gated = _bert().double()
        with torch.no_grad():
            layers_of(gated)[0].attention.output.dense.weight[:, 4 * head : 4 * head + 4] *= 1 - scale
        changes.append((_losses(gated) - _losses(network)).abs().sum())
    expected = torch.stack(changes)
    torch.testing.assert_close(heads.scores[0].double(), expected / expected.norm(), atol=1e-3, rtol=1e-3)


@torch.no_grad()
def _losses(network: BertClassifier) -> Tensor:
    return torch.nn.functional.cross_entropy(network(*BATCHES[0][0]), LABELS, reduction="none")


@pytest.mark.parametrize("scope", ["uniform", "global"])
@pytest.mark.parametrize("keep", [0.5, 0.7, 0.01])
def test_the_share_asked_for_is_kept_and_no_layer_dies(scope: str, keep: float) -> None:
    original = _bert()
    before = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    found = shapes(pruned_bert(original, BATCHES, keep, scope))
    heads, neurons = (sum(layer[part] for layer in found) for part in ("heads", "neurons"))
    assert abs(heads - max(2, 8 * keep)) <= 1
    assert abs(neurons - max(2, 64 * keep)) <= 1
    assert min(min(layer.values()) for layer in found) >= 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in original.state_dict().items())


def test_global_ranking_makes_layers_uneven() -> None:
    scores = Structures([torch.tensor([9.0, 8.0, 7.0]), torch.tensor([1.0, 3.0, 2.0])])
    assert [kept.tolist() for kept in scores.kept(2 / 3, "global")] == [[0, 1, 2], [1]]
    assert [kept.tolist() for kept in scores.kept(2 / 3, "uniform")] == [[0, 1], [1, 2]]


def test_factored_layers_are_not_pruned() -> None:
    network = _bert()
    factor_encoder(network, 2)
    with pytest.raises(MethodError, match="write prune before tucker"):
        pruned_bert(network, BATCHES, 0.5, "global")
