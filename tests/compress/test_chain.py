from __future__ import annotations

import pytest

from gaprune.compress import Outline, parse_chain
from gaprune.compress.chain import parse_chains
from gaprune.errors import GapruneError, MethodError, OptionError


@pytest.mark.parametrize(
    "text",
    [
        "none",
        "onnx",
        "quantize",
        "quantize:linear",
        "tucker:size=0.5:raw",
        "tucker:energy=0.9",
        "distill+tucker+quantize",
        "distill:thin=0.1+prune:magnitude:keep=0.2+sparse",
        "prune:l1-global:keep=0.25+tucker:size=0.5+quantize:embeddings",
    ],
)
def test_a_chain_is_written_as_it_was_read(text: str) -> None:
    assert parse_chain(text).text == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quantize+tucker", "tucker cannot follow quantize: after quantize the weights are 8-bit integers"),
        ("quantize+prune", "write prune before quantize"),
        ("quantize+quantize", "quantize cannot follow quantize"),
        ("onnx+tucker", "tucker cannot follow onnx: after onnx the network is a file"),
        ("tucker+distill", "distill cannot follow tucker: it starts from another network"),
        ("tucker+tucker", "the layers are factors already"),
        ("prune:magnitude+tucker", "factors of layers with zeros have none"),
        ("sparse", "sparse leaves zeros out of the file, and nothing made any"),
        ("prune:magnitude+sparse+quantize", "write sparse last"),
    ],
)
def test_an_impossible_order_is_refused_with_the_reason(text: str, expected: str) -> None:
    with pytest.raises(MethodError) as caught:
        parse_chain(text)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shrink", "unknown method 'shrink': choose one of none, quantize, tucker, distill, prune, sparse, onnx"),
        ("quantize:int4", "unknown setting of quantize 'int4': choose one of everything, linear, embeddings"),
        ("tucker:size=2", "size must be a share above 0 and up to 1, got 'size=2'"),
        ("tucker:energy=much", "energy must be a share above 0 and up to 1, got 'energy=much'"),
        ("tucker:size=0.5:energy=0.9", "tucker takes a size or an energy, not both"),
        ("prune:l2", "unknown setting of prune 'l2'"),
        ("ours", "unknown method 'ours'"),
        ("distill+", "unknown method ''"),
        ("none+quantize", "none+quantize: none is the original, which no chain needs to name: leave it out"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_ones(text: str, expected: str) -> None:
    with pytest.raises(GapruneError) as caught:
        parse_chain(text)
    assert isinstance(caught.value, (OptionError, MethodError))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "criterion", "valid"),
    [
        ("distill+prune:taylor", "l1", "prune:l1 or prune:l1-global"),
        ("prune:taylor", "l1", "prune:l1 or prune:l1-global"),
        ("prune", "taylor", "prune:taylor or prune:taylor-global"),
    ],
)
def test_structures_are_ranked_by_what_the_task_ranks_them_by(text: str, criterion: str, valid: str) -> None:
    with pytest.raises(MethodError, match=f"has no meaning for this network: write {valid}$"):
        parse_chain(text, outline=Outline(criterion=criterion))
    for word in valid.split(" or "):
        parse_chain(word, outline=Outline(criterion=criterion))
    parse_chain("prune:magnitude", outline=Outline(criterion=criterion))


def test_a_method_without_layers_to_apply_to_is_refused_before_it_runs() -> None:
    convolutions = Outline(layers=frozenset({"convolutions", "linear layers"}))
    parse_chain("quantize").check(convolutions)
    with pytest.raises(MethodError, match="quantize:embeddings applies to embeddings, and the network has none"):
        parse_chain("quantize:embeddings").check(convolutions)
    parse_chain("distill+quantize:embeddings").check(convolutions)  # the student may have some


def test_training_steps_share_a_rows_passes() -> None:
    shares = {text: parse_chain(text).share for text in ("none", "quantize", "tucker", "distill+tucker+quantize")}
    assert shares == {"none": 1, "quantize": 1, "tucker": 1, "distill+tucker+quantize": 0.5}
    assert parse_chain("distill+tucker:raw").share == 1


def test_a_chain_that_is_named_twice_is_made_once() -> None:
    assert [chain.text for chain in parse_chains(["none", "tucker", "none"])] == ["none", "tucker"]
