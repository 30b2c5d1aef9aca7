from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny_texts import write_encoder

from gaprune.compress import Work
from gaprune.errors import RunError
from gaprune.progress import make_reporter
from gaprune.text import training
from gaprune.text.data import TextData
from gaprune.text.original import fine_tuned, load_original
from gaprune.text.task import Settings, TextTask
from gaprune.text.training import TextRecipe

CPU = torch.device("cpu")


def _made(encoder: Path, data: TextData, folder: Path, settings: Settings | None = None) -> Work:
    return fine_tuned(load_original(str(encoder), data, settings or SETTINGS, CPU), folder, make_reporter())


SETTINGS = Settings(encoder=TextRecipe(epochs=1, batch_size=16, lr=5e-3), limit=6, vocabulary=60)


def test_an_original_is_fine_tuned_once_and_then_found(
    encoder_folder: Path, review_data: TextData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = _made(encoder_folder, review_data, tmp_path / "original")
    assert "training the encoder: 10 of 10, done" in capsys.readouterr().out
    again = _made(encoder_folder, review_data, tmp_path / "original")
    assert capsys.readouterr().out == ""
    inputs = first.task.inputs(4)
    assert torch.equal(first.network(*inputs), again.network(*inputs))
    assert isinstance(again.task, TextTask)
    assert again.task.teacher is not None
    files = {path.name for path in (tmp_path / "original").rglob("*") if path.is_file()}
    assert {"model.safetensors", "network.json", "tokenizer.json", "tokenizer_config.json"} <= files
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pth", ".pkl"))]


def test_a_folder_of_another_original_is_refused(encoder_folder: Path, review_data: TextData, tmp_path: Path) -> None:
    _made(encoder_folder, review_data, tmp_path)
    other = dataclasses.replace(SETTINGS, encoder=dataclasses.replace(SETTINGS.encoder, epochs=2))
    with pytest.raises(RunError, match=r"holds an original of another settings.encoder.epochs: choose another"):
        _made(encoder_folder, review_data, tmp_path, other)
    changed = write_encoder(tmp_path / "encoder", seed=1)
    with pytest.raises(RunError, match=r"holds an original of another encoder: choose another"):
        _made(changed, review_data, tmp_path)


def test_an_interrupted_fine_tuning_goes_on(
    encoder_folder: Path, review_data: TextData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "LEAST_STEPS", 4)
    real, calls = training._stretch, []

    def interrupted(*arguments: object) -> float:
        calls.append(arguments[2])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "_stretch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _made(encoder_folder, review_data, tmp_path)
    _made(encoder_folder, review_data, tmp_path)
    assert calls == [range(0, 4), range(4, 8), range(4, 8), range(8, 10)]


def test_the_data_is_described(encoder_folder: Path, review_data: TextData) -> None:
    lines = load_original(str(encoder_folder), review_data, SETTINGS, CPU).described()
    assert "160 to train on, 40 to test on" in lines[0]
    assert lines[1] == "positive class: pos (the other: neg)"
    assert lines[2].startswith("encoder: bert (weights ")
    assert "of 200 texts are longer than 6 tokens and were cut" in lines[3]
