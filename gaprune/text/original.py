"""The original of a comparison: a BERT fine-tuned on the data, or found so in a folder."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import torch

from gaprune.cli import differences
from gaprune.compress.method import Work
from gaprune.compress.storage import load_runner, save_work
from gaprune.errors import RunError
from gaprune.progress import SILENT, Reporter
from gaprune.runs.files import atomic_write, read_json_object, write_json
from gaprune.text.data import TextData
from gaprune.text.encoder import load_encoder
from gaprune.text.networks import bert_base
from gaprune.text.task import Settings, Teacher, TextTask
from gaprune.text.tokens import BertTokens, StudentTokens
from gaprune.training.digest import digest_json, digest_tensors

IDENTITY, TRAINING, TOKENIZER, STUDENT_TOKENIZER = "identity.json", "training", "tokenizer", "student-tokenizer.json"


def fine_tuned(
    encoder: str,
    data: TextData,
    settings: Settings,
    device: torch.device,
    folder: Path,
    reporter: Reporter = SILENT,
) -> Work:
    """The encoder, fine-tuned on the training texts, as the work that chains begin with; its task is a ``TextTask``.

    What is in ``folder`` is gone on with, or taken as it is when it is finished: the network as ``storage`` saves
    it, its tokenizer and the student's.

    Args:
        encoder: a folder, or a name on the hub.
        data: what it is fine-tuned on.
        settings: how.
        device: where.
        folder: of this original alone.
        reporter: told how it goes.

    Raises:
        CheckpointError, OptionError: the encoder cannot be loaded.
        RunError: the folder holds another original, or cannot be written.
    """
    model, tokenizer = load_encoder(encoder, classes=len(data.classes), seed=settings.encoder.seed)
    tokens = BertTokens(tokenizer, _limit(settings, tokenizer, model.bert.config))
    task = TextTask(data, tokens, settings, device)
    _tell(data, task, settings, reporter)
    identity = _identity(model, data, settings)
    base = bert_base(model.bert.config)
    if not _is_finished(folder, identity):
        report = task.fit(model, fresh=False, share=1.0, directory=folder / TRAINING, reporter=reporter)
        save_work(folder, Work.of(model, task, base))
        tokenizer.save_pretrained(folder / TOKENIZER)
        student = StudentTokens(data.train.texts, settings.vocabulary, settings.limit)
        atomic_write(folder / STUDENT_TOKENIZER, student.tokenizer.to_str().encode())
        write_json(folder / IDENTITY, {"identity": identity, "training": report})
        shutil.rmtree(folder / TRAINING, ignore_errors=True)
    runner: Any = load_runner(folder)
    taught = TextTask(data, tokens, settings, device, teacher=Teacher(runner.model.to(device), tokens))
    return Work.of(runner.model, taught, base)


def _tell(data: TextData, task: TextTask, settings: Settings, reporter: Reporter) -> None:
    reporter.say(f"data: {data.name}: {data.source}; {len(data.train):,} to train on, {len(data.test):,} to test on")
    reporter.say(f"positive class: {data.classes[1]} (the other: {data.classes[0]})")
    if task.cut:
        total = len(data.train) + len(data.test)
        reporter.say(f"{task.cut:,} of {total:,} texts are longer than {settings.limit} tokens and were cut")


def _limit(settings: Settings, tokenizer: Any, config: Any) -> int:
    return int(min(settings.limit, tokenizer.model_max_length, config.max_position_embeddings))


def _identity(model: torch.nn.Module, data: TextData, settings: Settings) -> dict[str, Any]:
    """What must be the same for an original to be taken from a folder."""
    parts = (data.train, data.test)
    return {
        "encoder": digest_tensors(model.state_dict()),
        "texts": digest_json([[list(part.texts), part.labels.tolist()] for part in parts]),
        "recipe": dataclasses.asdict(settings.encoder),
        "limit": settings.limit,
        "vocabulary": settings.vocabulary,
    }


def _is_finished(folder: Path, identity: dict[str, Any]) -> bool:
    file = folder / IDENTITY
    if not file.exists():
        return False
    try:
        found = read_json_object(file)["identity"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{file} is damaged: {error}") from error
    apart = differences(found, identity)
    if apart:
        what = ", ".join(line.split(":")[0] for line in apart)
        raise RunError(f"{folder} holds an original of another {what}: choose another directory")
    return True
