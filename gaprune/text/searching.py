"""A text classifier as a task of a search: F1 on texts that it has not learnt, FLOPs of one text of a fixed length."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.data import complement, stratified
from gaprune.errors import DataError, RunError
from gaprune.options import differences
from gaprune.progress import Reporter
from gaprune.runs import fact
from gaprune.tasks import Task
from gaprune.text.data import TextData, Texts
from gaprune.text.metrics import scores
from gaprune.text.networks import BertClassifier
from gaprune.text.options import TextSearchOptions
from gaprune.text.original import Original, fine_tuned, load_original
from gaprune.text.task import BATCH, Settings, TextTask, logits_of
from gaprune.text.tokens import Encoded
from gaprune.text.training import TextRecipe
from gaprune.training import bfloat16_pays, digest_json

F1 = "F1"
ORIGINAL = "original"
"""Of what a manifest says that a search was made from: what its original was fine-tuned from."""

FOLDER = "texts"
"""Of the cache: fine-tuned originals."""
FEWEST = 2
"""Texts of a class that must be left to learn from."""


@dataclass(frozen=True)
class Searched:
    """A fine-tuned BERT and what it is searched by.

    Attributes:
        network: on the CPU, in eval mode.
        task: of its search texts.
        taught: how it was fine-tuned, with it as the teacher of what it becomes.
    """

    network: BertClassifier
    task: Task
    taught: TextTask

    def trained_by(self, numbers: Mapping[str, Any], reporter: Reporter) -> Task:
        """The task with a training of members: as the original's, with its logits as a second aim.

        Args:
            numbers: of the recipe that are others than the original's.
            reporter: told how it goes.
        """
        return dataclasses.replace(self.task, train=TextTraining(self.taught, numbers, reporter))


@dataclass(frozen=True)
class TextTraining:
    """Trains a member as its original was trained, with the original's logits as a second aim.

    Attributes:
        taught: how the original was trained, with it as the teacher.
        numbers: of the recipe that are others.
        reporter: told how it goes.
    """

    taught: TextTask
    numbers: Mapping[str, Any]
    reporter: Reporter

    def __call__(self, network: nn.Module) -> int:
        """Train a network in place; passes over the texts."""
        taught, settings = self.taught, self.taught.settings
        settings = dataclasses.replace(settings, encoder=dataclasses.replace(settings.encoder, **self.numbers))
        lessons = TextTask(taught.data, taught.tokens, settings, taught.device, teacher=taught.teacher)
        report = lessons.fit(network, fresh=False, share=1.0, directory=None, reporter=self.reporter)
        return max(1, round(float(report["passes"])))

    def at(self, share: float) -> TextTraining:
        """The same at a share of the learning rate."""
        rate = self.numbers.get("lr", self.taught.settings.encoder.lr)
        return dataclasses.replace(self, numbers={**self.numbers, "lr": share * rate})


def held_out(data: TextData, count: int, seed: int) -> tuple[TextData, Texts]:
    """The data without so many of its training texts, and these, the classes in proportion.

    Raises:
        DataError: too few would be left to learn from.
    """
    labels = data.train.labels
    if count > len(labels) - FEWEST * len(data.classes):
        raise DataError(f"{data.name} has {len(labels):,} training texts, of which --search-texts holds out {count:,}")
    drawn = stratified(labels, count, purpose="search", seed=seed, leave=FEWEST)
    rest = data.train.select(complement(drawn, len(labels)))
    return dataclasses.replace(data, train=rest), data.train.select(drawn)


def original_of(
    options: TextSearchOptions, learnt: TextData, device: torch.device, theirs: dict[str, Any] | None = None
) -> Original:
    """The original of a search, before it is fine-tuned.

    Args:
        options: of the search.
        learnt: its data without the texts that are held out.
        device: where it will be fine-tuned.
        theirs: of a run that is there what its original was made from, as the manifest has it; ``None`` is a new one.

    Raises:
        CheckpointError, OptionError: the encoder cannot be loaded.
        RunError: the run's original was another.
    """
    asked = options.tuning
    known = fact(theirs, "settings", "encoder", "amp", kind=bool) if theirs else None
    amp = bfloat16_pays(device) if known is None else known
    recipe = TextRecipe(epochs=asked.epochs, lr=asked.lr, seed=options.evolution.seed, amp=amp)
    original = load_original(options.network.encoder, learnt, Settings(encoder=recipe, limit=asked.max_length), device)
    apart = differences(theirs, original.identity) if theirs else []
    if apart:
        raise RunError(f"the run searched another original ({'; '.join(apart)}): give its encoder and texts")
    return original


def kept_in(original: Original, cache: Path) -> Path:
    """The folder of a cache that a fine-tuned original has for itself."""
    return cache / FOLDER / digest_json(original.identity)[:16]


def searched(
    original: Original, texts: Texts, cache: Path, *, calibration: int, length: int, reporter: Reporter
) -> Searched:
    """The original, fine-tuned, and its task.

    Args:
        original: an encoder and the texts that it is to learn.
        texts: that it does not learn, and that F1 is measured on.
        cache: where fine-tuned originals are kept, each in a folder of its own.
        calibration: how many training texts covariances are of.
        length: tokens of the text whose FLOPs are counted.
        reporter: told how the training goes.

    Raises:
        RunError: the folder cannot be written.
        TrainingError: the training diverged.
    """
    work = fine_tuned(original, kept_in(original, cache), reporter)
    network, taught = work.network, work.task
    assert isinstance(network, BertClassifier)
    assert isinstance(taught, TextTask)
    network = network.cpu().eval()
    task = task_of(original.task, network, texts, calibration=calibration, length=length)
    return Searched(network, task, taught)


def task_of(task: TextTask, network: BertClassifier, texts: Texts, *, calibration: int, length: int) -> Task:
    """What a search judges prunings of a fine-tuned BERT by.

    Args:
        task: of the original, whose training texts the covariances are of.
        network: the original.
        texts: that it has not learnt.
        calibration: see ``searched``.
        length: see ``searched``.
    """
    tested, learnt = task.test_ids, task.train_ids
    asked = LastAsked(task.tokens(texts.texts))
    with torch.no_grad():
        answers = F.log_softmax(asked(network), 1)

    def divergence(net: nn.Module) -> float:
        return float(F.kl_div(F.log_softmax(asked(net), 1), answers, reduction="batchmean", log_target=True))

    return Task(
        inputs=_example(learnt, length),
        calibration=[inputs for _, inputs in learnt.batches(BATCH, _even(task.drawn(calibration)))],
        score=lambda net: _f1(asked(net), texts.labels),
        name=F1,
        test=lambda net: _f1(_logits(net, tested), task.data.test.labels),
        divergence=divergence,
    )


class LastAsked:
    """Logits of texts by the network that is asked, remembered until another is, or its weights have changed.

    A candidate's F1 and its divergence are of one pass.

    Args:
        encoded: the texts.
    """

    def __init__(self, encoded: Encoded) -> None:
        self._encoded = encoded
        self._known: tuple[weakref.ref[nn.Module], tuple[int, ...], Tensor] | None = None

    def __call__(self, network: nn.Module) -> Tensor:
        """(N, classes) float32 on the CPU."""
        tensors = [*network.parameters(), *network.buffers()]
        if any(tensor.is_inference() for tensor in tensors):  # nobody counts their changes
            return _logits(network, self._encoded)
        versions = tuple(tensor._version for tensor in tensors)
        if self._known is None or self._known[0]() is not network or self._known[1] != versions:
            self._known = (weakref.ref(network), versions, _logits(network, self._encoded))
        return self._known[2]

    def __getstate__(self) -> dict[str, Any]:
        """Nothing remembered: it is of this process."""
        return {"_encoded": self._encoded, "_known": None}


def _f1(logits: Tensor, labels: Tensor) -> float:
    return scores(labels.numpy(), logits.argmax(1).numpy())["f1_positive"]


def _logits(network: nn.Module, encoded: Encoded) -> Tensor:
    """(N, classes) float32 on the CPU."""
    return logits_of(encoded, lambda inputs: network(*inputs), next(network.parameters()).device)


def _even(indices: list[int]) -> list[int]:
    """Without the one that a last batch would hold alone."""
    return indices[:-1] if len(indices) % BATCH == 1 else indices


def _example(encoded: Encoded, length: int) -> tuple[Tensor, Tensor]:
    """Two texts of ``length`` tokens, none of them padding: the ids of training texts one after the other."""
    ids: list[int] = []
    for text in encoded.ids:
        ids += text
        if len(ids) >= 2 * length:
            break
    row = torch.tensor((ids * (2 * length // len(ids) + 1))[: 2 * length]).reshape(2, length)
    return row, torch.ones_like(row)
