from __future__ import annotations

import pytest
import torch
from safetensors.torch import save
from tiny_texts import tiny_config
from transformers import BertConfig

from gaprune.saved import stored_tensors
from gaprune.text.heads import keep_parts, layers_of
from gaprune.text.networks import bert_base, build_network
from gaprune.text.sizes import PAPER_RANK, PAPER_SHAPE, factor_encoder, megabytes, skeleton

PAPER = bert_base(BertConfig(**PAPER_SHAPE))


def test_the_papers_shape_has_its_parameters() -> None:
    assert sum(parameter.numel() for parameter in skeleton(PAPER).parameters()) == 177_854_978


@pytest.mark.parametrize(
    ("bytes_of", "expected"), [({}, 711), ({"linear": 1}, 454), ({"linear": 1, "embedding": 1}, 179)]
)
def test_quantized_sizes_are_the_papers(bytes_of: dict[str, int], expected: float) -> None:
    assert megabytes(skeleton(PAPER), **bytes_of) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(("embedding", "expected"), [(4, 385), (1, 109)])
def test_tucker_of_one_rank_for_the_encoder_has_the_papers_sizes(embedding: int, expected: float) -> None:
    network = skeleton(PAPER)
    factor_encoder(network, PAPER_RANK)
    assert megabytes(network, embedding=embedding) == pytest.approx(expected, abs=1)


def test_a_third_of_heads_and_neurons_removed_gives_the_papers_size() -> None:
    network = skeleton(PAPER)
    for layer in layers_of(network):
        keep_parts(layer, heads=torch.arange(8), neurons=torch.arange(2048))
    assert megabytes(network) == pytest.approx(598, abs=1)


def test_the_computed_size_is_the_files() -> None:
    network = build_network(bert_base(tiny_config()))
    content = save(stored_tensors(network))
    header = 8 + int.from_bytes(content[:8], "little")
    buffers = sum(buffer.nbytes for buffer in network.buffers())
    assert len(content) - header - buffers == round(megabytes(network) * 1e6)
