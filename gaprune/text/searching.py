"""A text classifier as a task of a search: F1 on texts that it has not learnt, FLOPs of one text of a fixed length."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.data import complement, stratified
from gaprune.errors import DataError
from gaprune.progress import Reporter
from gaprune.tasks import Task
from gaprune.text.data import TextData, Texts
from gaprune.text.metrics import scores
from gaprune.text.networks import BertClassifier
from gaprune.text.original import Original, fine_tuned
from gaprune.text.task import BATCH, logits_of
from gaprune.text.tokens import Encoded
from gaprune.training import digest_json

F1 = "F1"
FEWEST = 2
"""Texts of a class that must be left to learn from."""


@dataclass(frozen=True)
class Searched:
    """A fine-tuned BERT and what it is searched by.

    Attributes:
        network: on the CPU, in eval mode.
        task: of its search texts.
    """

    network: BertClassifier
    task: Task


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


def searched(
    original: Original, texts: Texts, folder: Path, *, calibration: int, length: int, reporter: Reporter
) -> Searched:
    """The original, fine-tuned, and its task.

    Args:
        original: an encoder and the texts that it is to learn.
        texts: that it does not learn, and that F1 is measured on.
        folder: where fine-tuned originals are kept, each in a folder of its own.
        calibration: how many training texts covariances are of.
        length: tokens of the text whose FLOPs are counted.
        reporter: told how the training goes.

    Raises:
        RunError: the folder cannot be written.
        TrainingError: the training diverged.
    """
    work = fine_tuned(original, folder / digest_json(original.identity)[:16], reporter)
    network = work.network
    assert isinstance(network, BertClassifier)
    network = network.cpu().eval()
    return Searched(network, _task(original, network, texts, calibration, length))


def _task(original: Original, network: BertClassifier, texts: Texts, calibration: int, length: int) -> Task:
    task = original.task
    encoded, tested, learnt = task.tokens(texts.texts), task.test_ids, task.train_ids
    with torch.no_grad():
        answers = F.log_softmax(_logits(network, encoded), 1)

    def f1(of: Encoded, labels: Tensor, net: nn.Module) -> float:
        return scores(labels.numpy(), _logits(net, of).argmax(1).numpy())["f1_positive"]

    def divergence(net: nn.Module) -> float:
        return float(F.kl_div(F.log_softmax(_logits(net, encoded), 1), answers, reduction="batchmean", log_target=True))

    return Task(
        inputs=_example(learnt, length),
        calibration=[inputs for _, inputs in learnt.batches(BATCH, _even(task.drawn(calibration)))],
        score=lambda net: f1(encoded, texts.labels, net),
        name=F1,
        test=lambda net: f1(tested, task.data.test.labels, net),
        divergence=divergence,
    )


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
