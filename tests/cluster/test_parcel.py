from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from tiny_networks import SHAPE, chain
from torch import nn

from gaprune.cluster.parcel import pack, unpack
from gaprune.data import ImageSet
from gaprune.prune import Compactor, Masks, Polisher
from gaprune.prune.graph.graph import build_graph


def sent(thing: Any, *private: torch.Tensor) -> Any:
    """What arrives, over a message of bytes."""
    return unpack(pickle.loads(pickle.dumps(pack(thing, private))))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0),
        torch.arange(24.0).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last),
        torch.arange(12.0).reshape(3, 4)[1:, ::2],
        torch.arange(6.0).expand(2, 6),
        torch.arange(12).reshape(3, 4).T,
        torch.empty(0),
        torch.empty(3, 0, dtype=torch.uint8),
        torch.tensor(2.5, dtype=torch.bfloat16),
        torch.tensor([True, False]),
        torch.empty(2, 3, device="meta"),
    ],
    ids=lambda tensor: f"{tuple(tensor.shape)}-{tensor.stride()}-{tensor.dtype}",
)
def test_tensors_arrive_as_they_were_strides_included(tensor: torch.Tensor) -> None:
    found = sent(tensor)
    assert (found.shape, found.stride(), found.dtype, found.device) == (
        tensor.shape,
        tensor.stride(),
        tensor.dtype,
        tensor.device,
    )
    if tensor.device.type != "meta":
        assert torch.equal(found, tensor)


def test_tensors_that_shared_memory_share_it_again() -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    found = sent({"whole": whole, "row": whole[1], "column": whole[:, 2]}, whole)
    found["whole"][1, 2] = -1.0
    assert found["row"][2] == found["column"][1] == -1.0
    assert whole[1, 2] == 6.0


def test_networks_arrive_with_tied_weights_and_gradients_wanted_or_not() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    first.bias.requires_grad_(False)
    found = sent(nn.Sequential(first, second))
    assert found[0].weight is found[1].weight
    assert isinstance(found[0].weight, nn.Parameter)
    assert [p.requires_grad for p in found.parameters()] == [True, False, True]


def test_lambdas_and_what_they_close_over_arrive() -> None:
    factor = torch.tensor(3.0)
    assert sent(lambda x: x * factor)(2) == 6.0


def test_only_private_memory_is_copied_by_the_receiver() -> None:
    shared, private = torch.zeros(5), torch.zeros(5)
    parcel = pack((shared, private, private[2:]), [private])
    assert parcel.private == (False, True)
    found = unpack(parcel)
    addresses = [buffer.ctypes.data for buffer in parcel.buffers]
    assert found[0].data_ptr() == addresses[0]
    assert found[1].data_ptr() != addresses[1]
    assert found[2].data_ptr() == found[1].data_ptr() + 8


def test_memory_travels_once_and_beside_the_pickle() -> None:
    big = torch.zeros(1000)
    parcel = pack([big, big[:500], big.view(10, 100)])
    assert len(parcel.buffers) == 1
    assert len(parcel.body) < 2000
    assert parcel.bytes == len(parcel.body) + 4000


def test_a_polisher_arrives_and_polishes_as_before() -> None:
    torch.manual_seed(0)
    model = chain().eval()
    graph = build_graph(model, SHAPE)
    images = ImageSet(torch.randint(0, 256, (12, *SHAPE), dtype=torch.uint8), torch.zeros(12, dtype=torch.int64))
    polisher = Polisher(model, graph, images, (120.0,) * 3, (60.0,) * 3)
    masks = Masks.full(graph)
    masks.neurons[[1, 4, 8]] = False
    ours, theirs, untouched = (Compactor(model, graph)(masks) for _ in range(3))
    polisher(ours, masks)
    sent(polisher)(theirs, masks)
    for mine, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(mine, other)
    before = untouched.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in ours.state_dict().items())
