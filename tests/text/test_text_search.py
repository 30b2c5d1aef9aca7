"""``gaprune search --model bert``: heads and feed-forward neurons by F1 and FLOPs, start to end."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from text_searches import search

import gaprune
from gaprune.compress import load_runner
from gaprune.runs import read_csv, read_manifest
from gaprune.search import main
from gaprune.text.data import load_texts
from gaprune.text.encoder import load_encoder
from gaprune.text.heads import shapes
from gaprune.text.metrics import scores
from gaprune.text.searching import LastAsked, held_out
from gaprune.text.task import logits_of
from gaprune.text.tokens import BertTokens


def test_members_have_fewer_heads_and_neurons_and_the_f1_that_the_table_says(place: Path, finished: Path) -> None:
    rows = read_csv(finished / "front.csv")
    assert rows
    assert rows[0].flops_share < 0.7
    _, texts = held_out(load_texts(str(place / "reviews.tsv")), 40, 0)
    tokenizer = load_encoder(str(place / "encoder"))[1]
    encoded = BertTokens(tokenizer, 16)(texts.texts)
    for row in rows:
        member = gaprune.load(finished / row.path)  # no network object is needed
        logits = logits_of(encoded, lambda inputs, net=member: net(*inputs), torch.device("cpu"))
        found = scores(texts.labels.numpy(), logits.argmax(1).numpy())["f1_positive"]
        assert found == pytest.approx(row.search_accuracy, abs=1e-9)
        assert row.test_accuracy is not None
    parts = shapes(gaprune.load(finished / rows[0].path))
    assert sum(part["heads"] for part in parts) < 8
    assert sum(part["neurons"] for part in parts) < 64


def test_the_original_learns_no_text_that_it_is_judged_by(place: Path) -> None:
    data = load_texts(str(place / "reviews.tsv"))
    rest, texts = held_out(data, 40, 0)
    assert len(texts) == 40
    assert set(rest.train.texts).isdisjoint(texts.texts)
    assert set(rest.train.texts) | set(texts.texts) == set(data.train.texts)


def test_the_table_says_f1(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = read_manifest(finished)
    assert manifest["task"]["score"] == "F1"
    assert manifest["original"]["search_accuracy"] > 0.7
    assert manifest["model"]["name"] == "bert"
    assert manifest["data"]["name"] == "reviews"
    page = (finished / "report.html").read_text()
    assert "bert on reviews" in page
    assert "python -m gaprune.search --model bert" in page
    assert f"python -m gaprune.search --resume {finished}" in page


def test_it_goes_on_where_it_stopped(place: Path, finished: Path) -> None:
    assert search(place, place / "whole", "--generations", "3") == 0
    assert search(place, place / "part", "--generations", "2") == 0
    assert main(["--resume", str(place / "part"), "--generations", "3"]) == 0
    whole, again = (read_csv(place / name / "front.csv") for name in ("whole", "part"))
    assert [(row.key, row.search_accuracy) for row in again] == [(row.key, row.search_accuracy) for row in whole]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--search-texts", "1000"], "which --search-texts holds out 1,000"),
        (["--flops-length", "64"], "flops-length must be at most max-length, 16, got 64"),
        (["--polish"], "polish is not there for a task of your own yet"),
        (["--objectives", "accuracy,flops"], "objective 'accuracy' is not there"),
        (["--encoder", "./nowhere"], "--encoder ./nowhere: no such folder"),
        (["--stem", "cifar"], "--stem"),
    ],
)
def test_what_cannot_be_searched_is_one_line(
    place: Path, more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(place, tmp_path / "run", "--generations", "2", *more) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert message in told[-1]
    assert not (tmp_path / "run").exists()


def test_a_fine_tuned_original_is_found_again(place: Path, finished: Path) -> None:
    (folder,) = (place / "cache" / "texts").iterdir()
    assert shapes(load_runner(folder).model) == [{"heads": 4, "neurons": 32}] * 2  # type: ignore[union-attr]


def test_a_network_is_asked_once_for_its_f1_and_its_divergence(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, tokenizer = load_encoder(str(place / "encoder"))
    asked = LastAsked(BertTokens(tokenizer, 16)(load_texts(str(place / "reviews.tsv")).test.texts))
    calls = []
    monkeypatch.setattr("gaprune.text.searching.logits_of", lambda *told: calls.append(1) or logits_of(*told))
    with torch.no_grad():
        first = asked(network.eval())
        assert asked(network) is first
        network.bert.classifier.bias += 1
        assert torch.allclose(asked(network), first + 1, atol=1e-6), "other weights are asked anew"
        other = copy.deepcopy(network)
        other.bert.classifier.bias += 1
        assert torch.allclose(asked(other), first + 2, atol=1e-6)
    assert len(calls) == 3
    again = pickle.loads(pickle.dumps(asked))
    assert torch.equal(again(other), asked(other)), "it goes to other processes"
