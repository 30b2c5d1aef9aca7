"""What a search should look at: which fitness, on which images, ranks networks as the test loss does?

Claim: among pruned networks of one budget, divergence from the original's outputs (Kullback-Leibler, without labels)
ranks them as the test images do more surely than accuracy on the same images, and held-out images do so more surely
than as many augmented images that the original was trained on, whose outputs there are over-confident.

The networks are what a search compares: at each budget the ladder's rung, and rungs of ladders whose errors count by
random factors (log-normal). Compensated, batch norm recalibrated, no training. Each fitness on each set of images is
ranked against loss, accuracy and divergence on test images that no fitness sees (Spearman), and the interval is a
bootstrap over the networks.

    python benchmarks/fitness.py --model resnet18 --stem imagenet --data-dir DIR
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.fidelity import interval, spearman
from benchmarks.harness import Goal, run
from benchmarks.subjects import SEED, Subject, add_arguments, code_digest, fixed_sample, load_subject, study
from gaprune.data import ImageSet, augment, normaliser
from gaprune.evaluate import Evaluator, FitnessTask, resolve_objectives
from gaprune.evolve.ranked import rank
from gaprune.evolve.rungs import nearest
from gaprune.genome import Genome
from gaprune.progress import Reporter, make_reporter
from gaprune.prune import fold
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.space import PruningSpace
from gaprune.training.digest import digest_json

BUDGETS = (0.25, 0.1, 0.05)
NETWORKS = 20
SPREAD = 0.3
"""Standard deviation of the logarithms of what errors count."""

IMAGES = 2_000
OTHERS = 5_000
FEWER = (4, 2, 1)
"""The images that fitness is measured on, and parts of them."""

TEMPERATURES = (0.5, 1.0, 2.0, 4.0)
QUICK = {"networks": 5, "images": 120, "others": 200, "budgets": (0.5, 0.25)}

HELD_OUT, AUGMENTED, TEST = "held out", "augmented training images", "test"
TRUTHS = ("loss", "accuracy", "divergence, T=1")
BEST = "divergence, T=1"

GOALS = (
    Goal("divergence over accuracy, rank correlation with test loss", ">=", 0.0, "least over budgets"),
    Goal("held out over augmented, divergence, rank correlation with test loss", ">=", 0.0, "mean over budgets"),
)

Row = dict[str, Any]


def candidates(space: PruningSpace, budget: float, count: int) -> Iterator[Genome]:
    """The ladder's rung of a budget, then those of ladders tilted at random."""
    ranked, rng = rank(space), np.random.default_rng(SEED)
    for number in range(count):
        tilt = SPREAD * rng.standard_normal(len(ranked.sections)) * (number > 0)
        shares = ranked.tilted(tilt)
        yield ranked.layout.pack(nearest(ranked, budget, lambda level, s=shares: ranked.rung(level, s)))


def logits_of(network: nn.Module, images: ImageSet, subject: Subject) -> Tensor:
    """(N, classes) float32."""
    normalised = normaliser(*subject.norm, subject.device)
    with torch.inference_mode():
        return torch.cat([network(normalised(part)).float() for part in images.images.split(256)])


def kinds(logits: Tensor, original: Tensor, labels: Tensor) -> dict[str, float]:
    """Each fitness by name: accuracy, loss, and divergence at each temperature."""
    found = {
        "accuracy": float((logits.argmax(1) == labels).double().mean()),
        "loss": float(F.cross_entropy(logits, labels)),
    }
    for temperature in TEMPERATURES:
        theirs = F.log_softmax(original / temperature, 1)
        ours = F.log_softmax(logits / temperature, 1)
        apart = float(F.kl_div(ours, theirs, reduction="batchmean", log_target=True))
        found[f"divergence, T={temperature:g}"] = apart
    return found


class Bench:
    """Networks to their fitness on every set of images; logits are kept on disk, so that a killed run goes on.

    Args:
        subject: the network.
        space: its genomes.
        compensator: of all candidates.
        parts: the sets of images, by name.
        folder: where logits are kept.
    """

    def __init__(
        self, subject: Subject, space: PruningSpace, compensator: Compensator, parts: dict[str, ImageSet], folder: Path
    ) -> None:
        task = FitnessTask(
            search=parts[HELD_OUT],
            calibration=subject.recalibration,
            mean=subject.data.mean,
            std=subject.data.std,
            classes=len(subject.data.classes),
        )
        named = resolve_objectives(("accuracy", "flops"))
        self._evaluator = Evaluator(subject.model, space, task, named, compensator, anchors=subject.anchors)
        self._subject, self._space, self._parts, self._folder = subject, space, parts, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._original = self._logits("original", subject.model)

    def __call__(self, genome: Genome, budget: float) -> Row:
        """What each fitness says of a network, on each set of images and on parts of it."""
        logits = self._logits(genome.key, genome)
        row: Row = {"key": genome.key, "budget": budget, "flops_share": self._space.cost(self._bits(genome))}
        for name, images in self._parts.items():
            for part in FEWER if name != TEST else (1,):
                count = len(images) // part
                both = logits[name][:count], self._original[name][:count]
                row[f"{name}, {count}"] = kinds(*both, images.labels[:count])
        return row

    def _bits(self, genome: Genome) -> Any:
        return self._space.layout.unpack(genome)

    def _logits(self, key: str, network: nn.Module | Genome) -> dict[str, Tensor]:
        path = self._folder / f"{key}.pt"
        if not path.exists():
            made = network if isinstance(network, nn.Module) else self._network(network)
            found = {name: logits_of(made, images, self._subject) for name, images in self._parts.items()}
            torch.save(found, path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
        found = torch.load(path, weights_only=True)
        return found

    def _network(self, genome: Genome) -> nn.Module:
        with torch.no_grad():
            network = self._evaluator.network(genome)
            fold(network, self._subject.graph.norms)
        return network


def correlations(rows: list[Row]) -> list[Row]:
    """Spearman of every fitness on every set of images with every truth, by budget, with 95% intervals."""
    truth_part = next(name for name in rows[0] if name.startswith(TEST))
    parts = [name for name in rows[0] if name.startswith((HELD_OUT, AUGMENTED))]
    found = []
    for budget in sorted({row["budget"] for row in rows}, reverse=True):
        here = [row for row in rows if row["budget"] == budget]
        for part in parts:
            for kind in here[0][part]:
                line: Row = {"budget": budget, "images": part, "fitness": kind}
                for truth in TRUTHS:
                    ours = np.array([_less(row[part], kind) for row in here])
                    theirs = np.array([_less(row[truth_part], truth) for row in here])
                    line[f"with test {truth}"] = round(float(spearman(ours, theirs)), 4)
                    if truth == "loss":
                        line["interval"] = [round(end, 3) for end in interval(ours, theirs)]
                found.append(line)
    return found


def _less(values: dict[str, float], kind: str) -> float:
    """A fitness, smaller is better."""
    return -values[kind] if kind == "accuracy" else values[kind]


def figures_of(lines: list[Row], images: int) -> dict[str, float]:
    """The figures that goals speak of."""
    by = {(line["budget"], line["images"], line["fitness"]): line["with test loss"] for line in lines}
    budgets = sorted({line["budget"] for line in lines})
    held, augmented = f"{HELD_OUT}, {images}", f"{AUGMENTED}, {images}"
    least = min(by[budget, held, BEST] - by[budget, held, "accuracy"] for budget in budgets)
    mean = statistics.mean(by[budget, held, BEST] - by[budget, augmented, BEST] for budget in budgets)
    return {GOALS[0].name: round(least, 4), GOALS[1].name: round(mean, 4)}


def augmented(subject: Subject, count: int) -> ImageSet:
    """Training images as training sees them: shifted and mirrored."""
    images = fixed_sample(subject.splits.train, count)
    generator = torch.Generator(subject.device).manual_seed(SEED)
    pad = subject.data.image_shape[1] // 8
    pixels = images.images[:]
    return ImageSet(augment(pixels, generator=generator, pad=pad, flip=subject.data.flip), images.labels)


def measured_rows(bench: Bench, space: PruningSpace, settings: Row, reporter: Reporter) -> list[Row]:
    """Every network at every budget."""
    rows = []
    with reporter.task("networks", settings["networks"] * len(settings["budgets"])) as task:
        for budget in settings["budgets"]:
            for genome in candidates(space, budget, settings["networks"]):
                rows.append(bench(genome, budget))
                task.advance(1, budget=f"{budget:.0%}")
    return rows


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All networks, and what their fitnesses are worth."""
    reporter = make_reporter()
    subject = load_subject(options, reporter)
    full = (options.networks, IMAGES, OTHERS, BUDGETS)
    settings: Row = dict(zip(QUICK, QUICK.values() if options.quick else full, strict=True))
    parts = {
        HELD_OUT: fixed_sample(subject.splits.search, settings["images"]),
        AUGMENTED: augmented(subject, settings["images"]),
        TEST: fixed_sample(subject.splits.test, settings["others"]),
    }
    identity = subject.identity | settings | {"code": code_digest("prune"), "spread": SPREAD}
    kept = options.output / f".statistics-{subject.name}.safetensors"
    moments, space = study(subject, reporter, None if options.quick else kept)
    compensator = Compensator(subject.model, subject.graph, moments)
    folder = options.output / f".fitness-{subject.name}-{digest_json(identity)[:12]}"
    rows = measured_rows(Bench(subject, space, compensator, parts, folder), space, settings, reporter)
    lines = correlations(rows)
    return {
        "data": subject.name,
        "device": subject.device.type,
        "threads": torch.get_num_threads(),
        "settings": settings | {"network": subject.identity, "spread": SPREAD, "precision": "float32"},
        "figures": figures_of(lines, settings["images"]),
        "summary": lines,
        "rows": rows,
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which network, and how many of its prunings."""
    add_arguments(parser)
    parser.add_argument("--networks", type=int, default=NETWORKS, help="at each budget")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
