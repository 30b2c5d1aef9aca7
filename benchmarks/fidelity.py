"""Does the fast fitness rank candidates as slower judges do? Rank correlations at a fixed budget.

Claim: among candidates of equal cost, the fitness that a search sees (compensated, batch norm recalibrated and folded,
half precision where the hardware has it, 2,000 search images) ranks them (a) as the whole held-out set does, in single
precision and unfolded, and (b) as a short training of each would; and compensation is what makes the second so: the
same candidates judged with recalibrated batch norm alone are ranked worse.

Per budget, 32 genomes within 5% of it: informed ones whose layers' shares are bent away from the ladder, from not at
all to strongly, then mutated up to 12 times by the search's own operators. They differ as a young population does;
between networks that are a fraction of a point apart no judge on some thousand images can tell. For (a)
the whole held-out set is the search images and 4,000 others; the correlation with the others alone, where chance errors
are independent, is reported beside it. For (b) each compensated network is trained for a short one-cycle run and
measured on those 4,000. Intervals: 95%, bootstrap over genomes. No figure decides anything about the networks, so test
images may serve as the other ones.

    python benchmarks/fidelity.py --data-dir DIR

With ``--rungs`` it is asked instead how each rung of a longer judging ranks candidates beside the next one: more
images, polishing, a training of a second (``benchmarks/rungs.py``).

    python benchmarks/fidelity.py --rungs all --model resnet18 --stem imagenet --data-dir DIR
"""

from __future__ import annotations

import argparse
import functools
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import rungs
from benchmarks.harness import DONE, Goal, run
from benchmarks.subjects import SEED, Subject, WorkFile, add_arguments, code_digest, fixed_sample, load_subject, study
from gaprune.data import ImageSet
from gaprune.evaluate import Evaluator, resolve_objectives
from gaprune.evaluate import FitnessTask as Judged
from gaprune.evaluate.measurement import measure as top1
from gaprune.evolve.initial import informed_member
from gaprune.evolve.ranked import RankedSpace, rank
from gaprune.evolve.variation import Variation
from gaprune.genome import Bits, Floats, Genome, Layout, Shares, Space
from gaprune.progress import make_reporter
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.space import PruningSpace
from gaprune.training import Recipe, bfloat16_pays, fit

BUDGETS = (0.25, 0.10)
GENOMES = 32
NEAR = 0.05
MOST_BENT = 0.6
MOST_MUTATIONS = 12
TRIES = 20
OTHERS = 4_000
TRAIN_IMAGES = 6_400
RECIPE = Recipe(epochs=1, batch_size=64, lr=0.005, ema_decay=0.98)
RESAMPLES = 2_000
QUICK = {"genomes": 6, "others": 200, "train": 256}

GOALS = (
    Goal("held-out set, 25%", ">=", 0.95, "Spearman"),
    Goal("held-out set, 10%", ">=", 0.95, "Spearman"),
    Goal("after training, 25%", ">=", 0.7, "Spearman"),
    Goal("after training, 10%", ">=", 0.7, "Spearman"),
    Goal("gain over BN only, 25%", ">=", 0.01, "Spearman"),
    Goal("gain over BN only, 10%", ">=", 0.01, "Spearman"),
    *(
        Goal(f"{lower} with {upper}, {budget:.0%}", ">=", least, "Spearman")
        for budget in BUDGETS
        for lower, upper, least in (
            ("256 images", "1,000 images", 0.8),
            ("1,000 images", "4,000 images", 0.95),
            ("4,000 images", "polished", 0.9),
            ("polished", "trained", 0.9),
        )
    ),
)

Row = dict[str, Any]


class Judges:
    """All judges of a genome: the fast fitness, the same without compensation, and the slow ones.

    Args:
        subject: the network.
        space: its genomes.
        compensator: of the fast fitness and of the networks that are trained.
        others: images that neither the search nor a training looks at.
        train: images that each candidate is trained on.
    """

    def __init__(
        self, subject: Subject, space: PruningSpace, compensator: Compensator, others: ImageSet, train: ImageSet
    ) -> None:
        task = Judged(
            search=subject.splits.search,
            calibration=subject.recalibration,
            mean=subject.data.mean,
            std=subject.data.std,
            classes=len(subject.data.classes),
            half=bfloat16_pays(subject.device),
        )
        objectives = resolve_objectives(("accuracy", "flops"))
        self._fast = Evaluator(subject.model, space, task, objectives, compensator, anchors=subject.anchors)
        self._plain = Evaluator(subject.model, space, task, objectives, None, anchors=subject.anchors)
        self._subject = subject
        self._others = others
        self._train = train

    def __call__(self, genome: Genome) -> Row:
        """Accuracies of one genome by judge, and its cost."""
        subject, network = self._subject, self._fast.network(genome)
        fast, plain = (evaluator(genome) for evaluator in (self._fast, self._plain))
        search, others = (top1(network, images, *subject.norm) for images in (subject.splits.search, self._others))
        recipe = Recipe(**{**asdict(RECIPE), "amp": bfloat16_pays(subject.device), "seed": SEED})
        network.requires_grad_(True)
        trained = fit(
            network,
            self._train,
            self._others,
            mean=subject.data.mean,
            std=subject.data.std,
            flip=subject.data.flip,
            recipe=recipe,
        )
        return {
            "key": genome.key,
            "flops_share": fast.values["flops"] / subject.flops(),
            "fast": fast.values["accuracy"],
            "bn_only": plain.values["accuracy"],
            "search_set": search.accuracy,
            "others": others.accuracy,
            "held_out_set": (search.correct + others.correct) / (search.total + others.total),
            "trained": trained[-1].accuracy,
            "seconds": {"fast": fast.seconds, "trained": trained[-1].seconds},
        }


@dataclass(frozen=True)
class _Bent:
    """A space whose layers keep shares that no longer suit each other.

    Attributes:
        space: the space as it is.
        exponents: (sections,) of the shares.
    """

    space: Space
    exponents: Floats

    @property
    def layout(self) -> Layout:
        return self.space.layout

    @property
    def importance(self) -> Floats:
        return self.space.importance

    def repair(self, bits: Bits) -> Bits:
        return self.space.repair(bits)

    def live(self, bits: Bits) -> Bits:
        return self.space.live(bits)

    def shares(self, level: float) -> Floats:
        bent: Floats = self.space.shares(level) ** self.exponents
        return bent

    def tilted(self, tilt: Floats) -> Shares:
        shares = self.space.tilted(tilt)
        return lambda level: shares(level) ** self.exponents

    def cost(self, bits: Bits) -> float:
        return self.space.cost(bits)


def candidates(space: RankedSpace, budget: float, count: int, seed: int) -> list[Genome]:
    """``count`` different genomes within 5% of a budget: informed, bent, mutated.

    Raises:
        ValueError: the space has not so many there.
    """
    rng = np.random.default_rng(seed)
    variation = Variation()
    found: dict[str, Genome] = {}
    for _ in range(TRIES * count):
        if len(found) == count:
            return list(found.values())
        bent = rng.uniform(0.0, MOST_BENT) * rng.standard_normal(len(space.sections))
        bits = informed_member(replace(space, space=_Bent(space.space, np.exp(bent))), budget, rng)
        for _ in range(int(rng.integers(MOST_MUTATIONS + 1))):
            mutated = space.repair(variation.mutate(bits, space=space, rng=rng))
            if abs(space.cost(mutated) / budget - 1) <= NEAR:
                bits = mutated
        if abs(space.cost(bits) / budget - 1) <= NEAR:
            genome = space.layout.pack(bits)
            found[genome.key] = genome
    raise ValueError(f"found only {len(found)} of {count} genomes at {budget:.0%} of the FLOPs")


def ranks(values: Floats) -> Floats:
    """(..., n) ranks of the last axis, equal values sharing their mean."""
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    found: Floats = below + (equal - 1) / 2
    return found


def spearman(a: Floats, b: Floats) -> Floats:
    """(...) rank correlation over the last axis; 0 where one side is constant."""
    x, y = (r - r.mean(-1, keepdims=True) for r in (ranks(a), ranks(b)))
    scale = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    found: Floats = np.divide((x * y).sum(-1), scale, out=np.zeros_like(scale), where=scale > 0)
    return found


def interval(a: Floats, b: Floats, seed: int = SEED) -> list[float]:
    """The middle 95% of the rank correlation over bootstrap resamples of the pairs."""
    drawn = np.random.default_rng(seed).integers(len(a), size=(RESAMPLES, len(a)))
    return [round(float(q), 4) for q in np.quantile(spearman(a[drawn], b[drawn]), (0.025, 0.975))]


def correlations(rows: list[Row]) -> Row:
    """Rank correlations of the fast judges with the slow ones over the genomes of one budget."""
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0] if isinstance(rows[0][name], float)}
    pairs = {
        "held-out set": ("fast", "held_out_set"),
        "other images": ("fast", "others"),
        "same images, single precision": ("fast", "search_set"),
        "after training": ("fast", "trained"),
        "after training, BN only": ("bn_only", "trained"),
    }
    found: Row = {
        name: {"spearman": round(float(spearman(columns[a], columns[b])), 4), "95%": interval(columns[a], columns[b])}
        for name, (a, b) in pairs.items()
    }
    judges = ("fast", "bn_only", "others", "trained")
    found["spread"] = {name: round(statistics.pstdev(columns[name].tolist()), 4) for name in judges}
    return found


def figures_of(found: dict[float, Row]) -> dict[str, float]:
    """The figures that goals speak of."""
    figures = {}
    for budget, row in found.items():
        with_, without = row["after training"]["spearman"], row["after training, BN only"]["spearman"]
        figures[f"held-out set, {budget:.0%}"] = row["held-out set"]["spearman"]
        figures[f"after training, {budget:.0%}"] = with_
        figures[f"gain over BN only, {budget:.0%}"] = round(with_ - without, 4)
    return figures


def draw(path: Path, rows: dict[float, list[Row]], title: str) -> None:
    """Accuracy after training against what was seen before it, with and without compensation."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(rows), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (budget, found) in enumerate(rows.items(), start=1):
        axes = figure.add_subplot(1, len(rows), number)
        for name, label, mark in (("fast", "fast fitness", "o"), ("bn_only", "BN only", "x")):
            x, y = ([100 * row[judge] for row in found] for judge in (name, "trained"))
            axes.scatter(x, y, marker=mark, s=22, label=label)
        axes.set(xlabel="accuracy before training, %", title=f"{budget:.0%} of the FLOPs")
        axes.grid(alpha=0.3)
        if number == 1:
            axes.set_ylabel("after a short training, %")
            axes.legend(fontsize=8)
    figure.suptitle(title)
    figure.savefig(path, dpi=130)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All genomes of both budgets before all judges."""
    reporter = make_reporter()
    subject = load_subject(options, reporter)
    count, size, images = QUICK.values() if options.quick else (GENOMES, OTHERS, TRAIN_IMAGES)
    settings = {"genomes": count, "others": size, "train_images": images, "recipe": asdict(RECIPE)}
    work = WorkFile(
        options.output / f".fidelity-{subject.name}.jsonl", subject.identity | settings | {"code": code_digest()}
    )
    statistics_, space = study(subject, reporter)
    compensator = Compensator(subject.model, subject.graph, statistics_)
    others, train = fixed_sample(subject.splits.test, size), fixed_sample(subject.splits.train, images)
    judges = Judges(subject, space, compensator, others, train)
    ranked, rows = rank(space), dict[float, list[Row]]()
    with reporter.task("genomes", count * len(BUDGETS)) as task:
        for number, budget in enumerate(BUDGETS):
            rows[budget] = []
            for genome in candidates(ranked, budget, count, SEED + number):
                row = work.row(f"{budget} {genome.key}", functools.partial(judges, genome))
                rows[budget].append(row)
                task.advance(1, fast=f"{row['fast']:.3f}", trained=f"{row['trained']:.3f}")
    found = {budget: correlations(here) for budget, here in rows.items()}
    suffix = "-quick" if options.quick else ""
    picture = options.output / f"fidelity-{subject.name}-{subject.device.type}{suffix}.png"
    draw(picture, rows, f"{subject.name}: what a candidate's fitness tells")
    return {
        "data": subject.name,
        "device": subject.device.type,
        DONE: work.remove,
        "threads": torch.get_num_threads(),
        "settings": settings | {"network": subject.identity, "precision": subject.precision, "resamples": RESAMPLES},
        "figures": figures_of(found),
        "correlations": {f"{budget:.0%}": row for budget, row in found.items()},
        "rows": [{"budget": budget, **row} for budget, here in rows.items() for row in here],
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """The subject's options, and what is asked."""
    add_arguments(parser)
    parser.add_argument(
        "--rungs", choices=("images", "all"), help="each rung of a longer judging beside the next: images alone, or all"
    )


def measure_asked(options: argparse.Namespace) -> dict[str, Any]:
    """The fast fitness beside slow judges, or the rungs."""
    return rungs.measure(options) if options.rungs else measure(options)


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure_asked, arguments=arguments))
