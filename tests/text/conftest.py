from __future__ import annotations

from pathlib import Path

import pytest
import torch
from text_searches import search
from tiny_texts import write_encoder, write_tsv

from gaprune.progress import SILENT
from gaprune.text.data import TextData, load_texts
from gaprune.text.encoder import load_encoder
from gaprune.text.task import Settings, Teacher, TextTask
from gaprune.text.tokens import BertTokens
from gaprune.text.training import TextRecipe

CPU = torch.device("cpu")
SETTINGS = Settings(
    encoder=TextRecipe(epochs=4, batch_size=16, lr=5e-3),
    student=TextRecipe(epochs=8, batch_size=16, lr=2e-2),
    limit=16,
    vocabulary=60,
    width=8,
    hidden=8,
    units=8,
    copies=2,
)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def review_data(tmp_path_factory: pytest.TempPathFactory) -> TextData:
    return load_texts(str(write_tsv(tmp_path_factory.mktemp("texts") / "reviews.tsv")))


@pytest.fixture(scope="session")
def trained_task(encoder_folder: Path, review_data: TextData) -> TextTask:
    """A task whose teacher has learnt the reviews."""
    model, tokenizer = load_encoder(str(encoder_folder))
    tokens = BertTokens(tokenizer, SETTINGS.limit)
    task = TextTask(review_data, tokens, SETTINGS, CPU)
    task.fit(model, fresh=False, share=1.0, directory=None, reporter=SILENT)
    return TextTask(review_data, tokens, SETTINGS, CPU, teacher=Teacher(model, tokens))


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder and reviews, for searches."""
    folder = tmp_path_factory.mktemp("searched")
    write_encoder(folder / "encoder")
    write_tsv(folder / "reviews.tsv")
    return folder


@pytest.fixture(scope="session")
def finished(place: Path) -> Path:
    """A finished search of them."""
    assert search(place, place / "run", "--generations", "2") == 0
    return place / "run"
