from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gaprune.compress.factoring import factored, place
from gaprune.text.networks import BiLstm, Recurrent, bilstm_base, build_network

SHAPE = {"vocabulary": 12, "embedding": 5, "hidden": 4, "units": 6, "classes": 2}


def _student() -> BiLstm:
    torch.manual_seed(0)
    return BiLstm(**SHAPE).eval()


def test_a_recurrent_layer_is_torchs_lstm() -> None:
    torch.manual_seed(0)
    layer, reference = Recurrent(5, 4), nn.LSTM(5, 4, batch_first=True)
    ours = (layer.inputs.weight, layer.recurrent.weight, layer.inputs.bias, layer.recurrent.bias)
    with torch.no_grad():
        for tensor, source in zip(reference.parameters(), ours, strict=True):
            tensor.copy_(source)
    words, last = torch.randn(3, 6, 5), torch.tensor([5, 2, 0])
    expected = reference(words)[0][torch.arange(3), last]
    torch.testing.assert_close(layer(words, last), expected)


def test_padding_changes_no_answer_and_both_directions_are_read() -> None:
    student = _student()
    ids = torch.tensor([[3, 4, 5, 0, 0], [3, 4, 5, 6, 7]])
    mask = (ids > 0).long()
    alone = student(ids[:1, :3], mask[:1, :3])
    torch.testing.assert_close(student(ids, mask)[:1], alone)
    for changed in ([8, 4, 5], [3, 4, 8]):
        assert not torch.allclose(student(torch.tensor([changed]), mask[:1, :3]), alone)


@pytest.mark.parametrize("path", ["forwards.inputs", "forwards.recurrent", "backwards.recurrent", "hidden", "words"])
def test_factors_of_full_rank_give_the_same_answers(path: str) -> None:
    student = _student()
    factors = copy.deepcopy(student)
    layer = student.get_submodule(path)
    rank = min(layer.weight.shape)  # type: ignore[arg-type]
    made = factored(layer, (rank, rank))
    u, s, v = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
    first, second = (u * s, v) if isinstance(layer, nn.Embedding) else (s[:, None] * v, u)
    with torch.no_grad():
        made[0].weight.copy_(first)
        made[1].weight.copy_(second.T if isinstance(layer, nn.Embedding) else second)
        if not isinstance(layer, nn.Embedding):
            made[1].bias.copy_(layer.bias)
    place(factors, path, made)
    ids = torch.tensor([[3, 4, 5, 6]])
    torch.testing.assert_close(factors(ids, torch.ones_like(ids)), student(ids, torch.ones_like(ids)))


def test_an_untrained_twin_has_the_same_shapes() -> None:
    twin = build_network(bilstm_base("bilstm", **SHAPE))
    assert {n: t.shape for n, t in twin.state_dict().items()} == {
        n: t.shape for n, t in _student().state_dict().items()
    }
