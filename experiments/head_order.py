"""Which heads of a BERT go first: by the norm of their weights, by the removal order, or drawn at random?

Claim: with half of the heads of each layer gone, compensated, the removal order leaves at most two thirds of the
divergence from the original's answers that the norm leaves, and its loss on held-out texts is no higher.

How. An encoder is fine-tuned on some training texts. In every layer as many heads stay, feed-forward layers are whole,
and what is removed is compensated from training texts. Divergence and cross-entropy are of test texts that chose
nothing; differences are paired by text, with their standard error.

    python experiments/head_order.py --data-dir DIR --encoder FOLDER
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness import Goal, at_least, run
from benchmarks.subjects import SEED
from gaprune.data import stratified
from gaprune.device import pinned
from gaprune.errors import OptionError
from gaprune.genome import Floats
from gaprune.progress import Reporter, make_reporter
from gaprune.prune import (
    Compactor,
    Compensator,
    Graph,
    Masks,
    Statistics,
    checked_graph,
    collect_over,
    importance_function,
)
from gaprune.text.data import Texts, load_texts
from gaprune.text.networks import BertClassifier
from gaprune.text.options import PAPER
from gaprune.text.original import fine_tuned, load_original
from gaprune.text.searching import task_of
from gaprune.text.task import Settings, TextTask, logits_of
from gaprune.text.training import TextRecipe

CPU = torch.device("cpu")
KEPT = (5 / 6, 2 / 3, 1 / 2, 1 / 3)
NORM, ORDER, RANDOM = "l2", "obs", "random"
HALF = 1 / 2
GOALS = (
    Goal("divergence at half of the heads, as a share of the norm's", "<=", 2 / 3, ""),
    Goal("cross-entropy at half of the heads, above the norm's, upper end of 95%", "<=", 0.0, "nats"),
)
QUICK = {"train_texts": 40, "test_texts": 20, "calibration_texts": 40}

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A fine-tuned BERT, its graph, and the texts that it is judged by."""

    network: BertClassifier
    task: TextTask
    judged: Texts
    graph: Graph
    statistics: Statistics

    def told(self, network: nn.Module) -> Tensor:
        """(N, classes) log-probabilities of the judged texts."""
        encoded = self.task.tokens(self.judged.texts)
        with torch.no_grad():
            return F.log_softmax(logits_of(encoded, lambda inputs: network(*inputs), CPU), 1)

    def without(self, worth: Floats, kept: float) -> nn.Module:
        """The compensated network with this share of the heads of each layer, those of most worth."""
        masks, count = Masks.full(self.graph), self.network.bert.config.num_attention_heads
        for group in self.graph.groups:
            if group.size == count and any("attention" in name for name in group.producers):
                gone = np.argsort(worth[group.slice], kind="stable")[: count - max(round(kept * count), 1)]
                masks.neurons[group.start + gone] = False
        tensors = Compensator(self.network, self.graph, self.statistics)(masks)
        with torch.no_grad():
            return Compactor(self.network, self.graph)(masks, tensors)


def load_subject(options: argparse.Namespace, reporter: Reporter) -> Subject:
    """The original, fine-tuned or found so."""
    data = load_texts(options.data, data_dir=options.data_dir, seed=SEED, reporter=reporter)
    for name, part in (("train-texts", data.train), ("test-texts", data.test)):
        count = getattr(options, name.replace("-", "_"))
        if count > len(part):
            raise OptionError(f"{name} must be at most {len(part)}, as many as there are, got {count}")
    learnt = data.train.select(stratified(data.train.labels, options.train_texts, purpose="search", seed=SEED))
    judged = data.test.select(stratified(data.test.labels, options.test_texts, purpose="test", seed=SEED))
    recipe = TextRecipe(epochs=options.epochs, lr=options.lr, seed=SEED)
    settings = Settings(encoder=recipe, limit=options.max_length)
    original = load_original(options.encoder, dataclasses.replace(data, train=learnt), settings, CPU)
    work = fine_tuned(original, options.work / "original", reporter)
    task, network = work.task, work.network.eval()
    assert isinstance(task, TextTask)
    assert isinstance(network, BertClassifier)
    example = task_of(task, network, judged.select(torch.arange(2)), calibration=options.calibration_texts, length=32)
    graph = checked_graph(network, example.example)
    statistics = collect_over(network, graph, example.batches, reporter=reporter)
    return Subject(network, task, judged, graph, statistics)


def compared(subject: Subject, reporter: Reporter) -> tuple[float, list[Row]]:
    """The original's cross-entropy, and all rankings at all shares."""
    original, labels, rows = subject.told(subject.network), subject.judged.labels, list[Row]()
    ranked = {
        name: importance_function(name)(subject.network, subject.graph, subject.statistics).neurons
        for name in (NORM, ORDER, RANDOM)
    }
    with reporter.task("networks", len(KEPT) * len(ranked)) as task:
        for kept in KEPT:
            norm: dict[str, Tensor] = {}
            for name, worth in ranked.items():
                found = subject.told(subject.without(worth, kept))
                values = {
                    "divergence": F.kl_div(found, original, reduction="none", log_target=True).sum(1),
                    "cross_entropy": F.nll_loss(found, labels, reduction="none"),
                }
                norm = norm or values
                row: Row = {"heads": round(kept, 3), "ranking": name}
                for what, value in values.items():
                    apart = (value - norm[what]).double()
                    error = float(apart.std()) / math.sqrt(len(apart))
                    row |= {what: float(value.mean()), f"{what} above {NORM}": [float(apart.mean()), error]}
                rows.append(row | {"accuracy": float((found.argmax(1) == labels).float().mean())})
                task.advance(1, ranking=name, divergence=f"{rows[-1]['divergence']:.4f}")
    return float(F.nll_loss(original, labels)), rows


def figures_of(rows: list[Row]) -> dict[str, float]:
    """What the goals speak of."""
    norm, order = (next(r for r in rows if (r["heads"], r["ranking"]) == (HALF, name)) for name in (NORM, ORDER))
    mean, error = order[f"cross_entropy above {NORM}"]
    return {GOALS[0].name: order["divergence"] / max(norm["divergence"], 1e-12), GOALS[1].name: mean + 1.96 * error}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All of it."""
    at_least(options, train_texts=8, test_texts=8, calibration_texts=8, epochs=1, threads=1)
    reporter = make_reporter()
    for name, value in QUICK.items() if options.quick else ():
        setattr(options, name, value)
    with pinned(options.threads):
        loss, rows = compared(load_subject(options, reporter), reporter)
    names = ("train_texts", "test_texts", "calibration_texts", "epochs", "lr", "max_length", "threads")
    return {
        "data": Path(options.data).stem,
        "device": "cpu",
        "settings": {name: getattr(options, name) for name in names} | {"encoder": Path(options.encoder).name},
        "figures": figures_of(rows),
        "original_cross_entropy": loss,
        "rows": rows,
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which texts and encoder."""
    parser.add_argument("--data", default="sst2", help="sst2, sms-spam or a file of labelled texts")
    parser.add_argument("--data-dir", type=Path, help="folder with the files of sst2 or sms-spam")
    parser.add_argument("--encoder", default=PAPER, help="a BERT: a folder or a name on the hub")
    parser.add_argument("--train-texts", type=int, default=1500, help="that the original learns")
    parser.add_argument("--test-texts", type=int, default=600, help="that networks are compared on")
    parser.add_argument("--calibration-texts", type=int, default=512, help="training texts for covariances")
    parser.add_argument("--epochs", type=int, default=3, help="of the original's fine-tuning")
    parser.add_argument("--lr", type=float, default=1e-4, help="its peak learning rate")
    parser.add_argument("--max-length", type=int, default=64, help="tokens that a text keeps")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--work", type=Path, default=Path("runs/head_order"), help="keeps the fine-tuned original")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
