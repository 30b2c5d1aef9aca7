"""The original of a comparison: a BERT fine-tuned on the data, or found so in a folder."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gaprune.compress import Work, load_runner, save_work
from gaprune.errors import RunError
from gaprune.options import differences
from gaprune.progress import SILENT, Reporter
from gaprune.runs import read_json_object, write_json
from gaprune.text.data import TextData
from gaprune.text.encoder import encoder_name, load_encoder
from gaprune.text.networks import BertClassifier, bert_base
from gaprune.text.task import STUDENT, Settings, Teacher, TextTask
from gaprune.text.tokens import BertTokens
from gaprune.training import digest_json, digest_tensors

IDENTITY, TRAINING, TOKENIZER, STUDENT_TOKENIZER = "identity.json", "training", "tokenizer", "student-tokenizer"


@dataclass(frozen=True)
class Original:
    """An encoder and the texts that it is to learn.

    Attributes:
        model: with an untrained classifier.
        tokenizer: of the library.
        task: without a teacher.
        encoder: what it is called in tables.
        identity: what must be the same for a fine-tuned network to be taken from a folder; of the weights before it.
    """

    model: BertClassifier
    tokenizer: Any
    task: TextTask
    encoder: str
    identity: dict[str, Any]

    def described(self) -> list[str]:
        """The data and the encoder in a few lines: counts, the positive class, what was cut."""
        data, task = self.task.data, self.task
        lines = [
            f"data: {data.name}: {data.source}; {len(data.train):,} to train on, {len(data.test):,} to test on",
            f"positive class: {data.classes[1]} (the other: {data.classes[0]})",
            f"encoder: {self.encoder}",
        ]
        if task.cut:
            lines.append(task.told_cut())
        return lines


def load_original(encoder: str, data: TextData, settings: Settings, device: torch.device) -> Original:
    """The encoder and the texts; nothing is trained and nothing written.

    Raises:
        CheckpointError, OptionError: the encoder cannot be loaded.
    """
    model, tokenizer = load_encoder(encoder, classes=len(data.classes), seed=settings.encoder.seed)
    limit = int(min(settings.limit, tokenizer.model_max_length, model.bert.config.max_position_embeddings))
    settings = dataclasses.replace(settings, limit=limit)
    task = TextTask(data, BertTokens(tokenizer, limit), settings, device)
    return Original(model, tokenizer, task, encoder_name(encoder, model), _identity(model, task))


def fine_tuned(original: Original, folder: Path, reporter: Reporter = SILENT, *, source: Path | None = None) -> Work:
    """The original, fine-tuned on the training texts, as the work that chains begin with; its task has a teacher.

    A training that stopped in ``folder`` is resumed, and a finished one is read: the network as ``storage`` saves
    it, its tokenizer and the default student's.

    Args:
        original: trained in place.
        folder: of this original alone.
        reporter: told how it goes.
        source: a folder where the same original may lie finished: it is taken from there, not trained again.

    Raises:
        RunError: the folder holds another original, or cannot be written.
        TrainingError: the training diverged.
    """
    task, identity = original.task, original.identity
    base = bert_base(original.model.bert.config)
    if not _is_finished(folder, identity):
        if source is not None and _is_finished(source, identity):
            found: Any = load_runner(source)
            original.model.load_state_dict(found.model.state_dict())
            report = read_json_object(source / IDENTITY)["training"]
        else:
            report = task.fit(original.model, fresh=False, share=1.0, directory=folder / TRAINING, reporter=reporter)
        save_work(folder, Work.of(original.model, task, base))
        _save_tokenizers(original, folder)
        write_json(folder / IDENTITY, {"identity": identity, "training": report})
        shutil.rmtree(folder / TRAINING, ignore_errors=True)
    runner: Any = load_runner(folder)
    teacher = Teacher(runner.model.to(task.device), task.tokens)
    taught = TextTask(task.data, task.tokens, task.settings, task.device, teacher=teacher)
    return Work.of(runner.model, taught, base)


def _identity(model: BertClassifier, task: TextTask) -> dict[str, Any]:
    data = task.data
    return {
        "encoder": digest_tensors(model.state_dict()),
        "texts": digest_json([[list(part.texts), part.labels.tolist()] for part in (data.train, data.test)]),
        "settings": dataclasses.asdict(task.settings),
    }


def _save_tokenizers(original: Original, folder: Path) -> None:
    try:
        original.tokenizer.save_pretrained(folder / TOKENIZER)
        student: Any = original.task.student(STUDENT).task
        (folder / STUDENT_TOKENIZER).mkdir(exist_ok=True)
        student.tokens.tokenizer.save(str(folder / STUDENT_TOKENIZER / "tokenizer.json"))
    except OSError as error:
        raise RunError(f"cannot write in {folder}: {error.strerror or error}") from error


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
