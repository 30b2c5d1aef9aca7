"""Does evolution earn its keep? Test accuracy of what searches hand out, against the ladder that they begin with.

Claim: at the same share of the FLOPs the networks that a search hands out are ahead of the ladder's own rungs on test
images that nobody chose by, in every seed, with compensation and polish on both sides, and after the same short
training as well.

How. Every search asks the same judge for as many candidates, judged on the same held-out images, and hands out one
network for each budget: the best by its fitness within it; or, where the method says "chosen", what gaprune hands out
(``session/handing_out.py``): a rung of the first or the tuned ladder unless another network is better on fresh images,
and of those within the budget the best on search images, polished, by the search's own fitness.
"Its ladder" are the tuned ladder's rungs alone. All are then compensated and polished, and measured on all test images
that the search does not use; differences from the ladder's rung are paired by image, with bootstrap intervals. With
``--train-images`` what is chosen and the ladder's rungs are then trained on so many images with the original as
teacher, from the same seed.
"Uniform" has the same share of every layer; GRAIL's stand-in compensates that over channels with a fixed ridge.

``--beside`` takes the rows of methods that are not asked for from the result that is there, if its settings are these;
each row names the code that made it. Seconds are a candidate's CPU time, so that methods can be compared at equal
seconds, too. Shipped weights that saw all training images are searched on other test images.

    python benchmarks/search.py --model resnet18 --stem imagenet --data-dir DIR
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import operator
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import DONE, run
from benchmarks.paired import difference, packed, unpacked
from benchmarks.search_figures import CHOSEN, GOALS, RAW, RUNGS, Row, draw, figures_of, rows_there, summary
from benchmarks.search_methods import (
    BITS,
    CLIMBING,
    CMA_LADDERS,
    ERROR,
    FITNESS,
    FLOPS,
    LADDER,
    OURS,
    PAPER,
    RANDOM,
    TUNED,
    Asked,
    Judge,
    Recorder,
    made,
    paper_rounds,
    searched,
)
from benchmarks.subjects import (
    SEED,
    Subject,
    WorkFile,
    add_arguments,
    code_digest,
    fixed_sample,
    load_subject,
    study,
    widest_within,
)
from gaprune.data import ImageSet, augment, normaliser
from gaprune.evaluate import Answers, Outcome, divergences
from gaprune.evolve import hypervolume
from gaprune.evolve.ranked import rank
from gaprune.evolve.rungs import TOLERANCE, nearest
from gaprune.genome import Bits, Genome
from gaprune.progress import Reporter, make_reporter
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.polish import Polisher
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.norms.folding import fold
from gaprune.prune.space import PruningSpace
from gaprune.session.engine import first
from gaprune.session.handing_out import FRESH, OF_LARGE, POLISHED_BELOW, Candidate, finalists, surest
from gaprune.training import Distillation, fit, gentler
from gaprune.training.subject import default_recipe

EVALUATIONS = 300
POPULATION = 24
IMAGES = 2_000
BUDGETS = (0.5, 0.25, 0.2, 0.1, 0.05)
POLISH_IMAGES = 2_048
PAPER_POPULATION = 30
"""At most; a round needs as many evaluations."""
DEAREST_COMPARED = 0.25
"""Where ways of handing out are compared and networks trained: what is dearer differs by less than the noise."""

RIDGE = 1e-3
"""GRAIL's, relative to the mean variance."""

QUICK = {
    "evaluations": 60,
    "population": 12,
    "images": 120,
    "budgets": (0.5, 0.25),
    "polish_images": 64,
    "train_images": 64,
}

UNIFORM, GRAIL = "uniform, compensated", "uniform, GRAIL's compensation"
METHODS = {
    "tuned": (TUNED, "divergence"),
    "nsga2": (OURS, "accuracy"),
    "nsga2-divergence": (OURS, "divergence"),
    "tuned-accuracy": (TUNED, "accuracy"),
    "cma": (CMA_LADDERS, "divergence"),
    "random": (RANDOM, "accuracy"),
    "climbing": (CLIMBING, "accuracy"),
    "bits": (BITS, "accuracy"),
    "paper": (PAPER, "loss"),
}

Out = dict[float, Genome]
"""What is handed out, by budget."""


@dataclass(frozen=True)
class Bench:
    """What all methods share.

    Attributes:
        subject: the network.
        space: its genomes.
        judge: of candidates.
        polisher: of what is handed out.
        fresh: images that what is handed out is chosen on.
        answers: the original's, of these.
        test: images that only report.
        work: rows of an earlier, killed run.
        settings: numbers of the run.
        reporter: told how far it is.
    """

    subject: Subject
    space: PruningSpace
    judge: Judge
    polisher: Polisher
    fresh: ImageSet
    answers: Answers
    test: ImageSet
    work: WorkFile
    settings: Row
    reporter: Reporter

    @property
    def budgets(self) -> tuple[float, ...]:
        """Shares of the FLOPs, the dearest first."""
        return tuple(self.settings["budgets"])

    def rung(self, budget: float) -> Genome:
        """The ladder's, just within a budget: a genome that searches begin with, too."""
        ranked = rank(self.space)
        wanted = budget * (1 - TOLERANCE / 2)
        bits = nearest(
            ranked, wanted, lambda level: ranked.rung(level, self.space.shares), tolerance=0.001, within=True
        )
        return self.space.layout.pack(bits)

    def apart(self, genome: Genome) -> Tensor:
        """(N,) divergence of a candidate's network on each of the fresh images, as ``handing_out.py`` has it."""
        with torch.no_grad():
            networks, fresh = [self.judge.evaluator.network(genome)], first(self.fresh, OF_LARGE)
            if self.judge(genome)[FLOPS] < POLISHED_BELOW:
                networks.append(self.polished(genome))
                fresh = self.fresh
        found = [divergences(one, fresh, *self.subject.norm, answers=self.answers) for one in networks]
        return min(found, key=lambda apart: float(apart.mean()))

    def polished(self, genome: Genome) -> nn.Module:
        """The network as it is handed out."""
        with torch.no_grad():
            masks = self.space.masks(genome)
            network = self.judge.evaluator.compacted(masks)
            self.polisher(network, masks)
        return network

    def tested(self, genome: Genome) -> Row:
        """The polished network: accuracy on search images, and which test images it gets right."""

        def measured() -> Row:
            network, evaluator = self.polished(genome), self.judge.evaluator
            fold(network, self.subject.graph.norms)
            found = evaluator.searched(network, evaluator.images.answers)
            row = {"search": found.accuracy, "divergence": found.divergence, "loss": found.loss}
            return row | {"right": right(network, self.test, self.subject)}

        row: Row = self.work.row(f"polished {genome.key}", measured)
        return row

    def trained(self, genome: Genome) -> Row:
        """The same after a short training with the original as teacher."""

        def measured() -> Row:
            subject, count = self.subject, self.settings["train_images"]
            usual = default_recipe(subject.model, subject.data, subject.device)
            recipe = dataclasses.replace(usual, epochs=1, epoch_images=count, lr=gentler(subject.model) * usual.lr)
            network = self.polished(genome).requires_grad_(True)
            few = first(subject.splits.search, 64)  # watched by nobody
            images, norm = subject.splits.train, subject.norm
            lesson = Distillation(subject.model)
            fit(
                network,
                images,
                few,
                mean=norm[0],
                std=norm[1],
                flip=subject.data.flip,
                recipe=recipe,
                lesson=lesson,
                reporter=self.reporter,
            )
            return {"right": right(network.eval(), self.test, subject)}

        row: Row = self.work.row(f"trained {self.settings['train_images']} {genome.key}", measured)
        return row


def handed_out(bench: Bench, asked: Asked, rungs: list[Genome], fitness: str) -> dict[str, Out]:
    """What a search hands out by budget, in every way of handing out that it allows."""
    best = {genome.key: (genome, told) for genome, told in asked}
    found = [_candidate(genome, told, FITNESS[fitness]) for genome, told in best.values()]
    ways = {RAW: _by_budget(bench, found)}
    if rungs:
        known = {one.genome: one for one in found}
        trusted = [known[genome] for genome in rungs if genome in known]
        chosen = [
            place.candidates[0] if len(place.candidates) == 1 else surest(place, lambda one: bench.apart(one.genome))
            for place in finalists(_efficient(found), trusted)
            if any(place.candidates[0].cost <= budget < 1.3 * place.candidates[0].cost for budget in bench.budgets)
        ]
        ways[CHOSEN] = _by_budget(bench, chosen, lambda one: _polished_fitness(bench.tested(one.genome), fitness))
        later = set(rungs[bench.settings["population"] :])
        if later:
            ways[RUNGS] = _by_budget(bench, [one for one in trusted if one.genome in later])
    return ways


def _candidate(genome: Genome, told: Any, fitness: int) -> Candidate:
    outcome = Outcome(genome.key, {}, {}, 0.0)
    return Candidate(genome, outcome, float(told[fitness]), float(told[FLOPS]))


def _polished_fitness(tested: Row, fitness: str) -> float:
    """What ``gaprune.pick`` goes by, minimised."""
    return -float(tested["search"]) if fitness == "accuracy" else float(tested[fitness])


def _efficient(found: list[Candidate]) -> list[Candidate]:
    kept: list[Candidate] = []
    for one in sorted(found, key=lambda one: (one.cost, one.fitness)):
        if not kept or one.fitness < kept[-1].fitness:
            kept.append(one)
    return kept


def _by_budget(
    bench: Bench, found: list[Candidate], worse: Callable[[Candidate], float] = operator.attrgetter("fitness")
) -> Out:
    """The best within each budget: by fitness, or, as who picks from a front, by the networks that are handed out."""
    out = {}
    for budget in bench.budgets:
        within = [one for one in found if one.cost <= budget]
        if within:
            out[budget] = min(within, key=worse).genome
    return out


def search_rows(bench: Bench, name: str, seed: int, advance: Callable[[], object]) -> list[Row]:
    """One search, and a row for each way of handing out what it found."""
    method, fitness = METHODS[name]
    settings, recorder = bench.settings, Recorder(bench.judge)
    rungs: list[Genome] = []
    if method == PAPER:
        steps = paper_rounds(
            bench.space, recorder, settings["evaluations"], min(PAPER_POPULATION, settings["evaluations"] // 10), seed
        )
    else:
        algorithm = made(method, bench.space, settings["population"], seed)
        steps = searched(algorithm, recorder, settings["evaluations"], FITNESS[fitness])
    for _ in steps:
        advance()
    if method in (TUNED, CMA_LADDERS, OURS):
        rungs = algorithm.rungs()
    asked = recorder.asked
    told = np.array([values for _, values in asked])
    curve = [round(hypervolume(told[:count, [ERROR, FLOPS]], (1.0, 1.0)), 5) for count in range(1, len(told) + 1)]
    shared = {
        "seed": seed,
        "code": code_digest(),
        "evaluations": len(asked),
        "seconds": round(sum(bench.judge.seconds(genome) for genome in {genome for genome, _ in asked}), 1),
        "hypervolume": curve,
    }
    ways = bench.work.row(
        f"handed out {name} {seed} {settings['evaluations']} {code_digest('evolve')} {code_digest('session')}",
        lambda: {
            way: {f"{budget}": genome.text for budget, genome in out.items()}
            for way, out in handed_out(bench, asked, rungs, fitness).items()
        },
    )
    return [
        {
            "method": f"{method}, {fitness}: {way}",
            **shared,
            "out": {float(b): Genome.of_text(t) for b, t in out.items()},
        }
        for way, out in ways.items()
    ]


def ladder_row(bench: Bench) -> Row:
    """The ladder's own rungs."""
    out = {budget: bench.rung(budget) for budget in bench.budgets}
    return {"method": LADDER, "seed": 0, "evaluations": 0, "out": out}


def uniform_rows(bench: Bench, grail: Compensator) -> list[Row]:
    """The same share of every layer, by norm of the weights; no search and no polish, compensated in two ways."""
    subject, space = bench.subject, bench.space
    plain = Compactor(subject.model, subject.graph)
    rows = []
    for name in (UNIFORM, GRAIL):
        budgets = {}
        for budget in bench.budgets:
            masks = widest_within(
                subject, budget, space.worth.neurons, lambda level: np.full(len(subject.graph.groups), level)
            )

            def measured(masks: Any = masks, name: str = name) -> Row:
                evaluator = bench.judge.evaluator
                with torch.no_grad():
                    network = evaluator.compacted(masks) if name == UNIFORM else plain(masks, grail(masks))
                    evaluator.recalibrate(network, masks)
                return {"right": right(network, bench.test, subject)}

            found = bench.work.row(f"{name} {budget}", measured)
            share = subject.flops(masks) / subject.flops()
            hits = unpacked(found["right"], len(bench.test))
            budgets[f"{budget:.0%}"] = {"flops_share": round(share, 4), "test": round(float(hits.mean()), 4)}
        rows.append({"method": name, "seed": 0, "evaluations": 0, "budgets": budgets})
    return rows


def finished(bench: Bench, row: Row) -> Row:
    """A row with what its networks reach on test images, and how far they are ahead of the ladder's."""
    out: Out = row.pop("out")
    budgets = {}
    for budget, genome in out.items():
        is_way = row["method"].endswith((RAW, RUNGS))
        if is_way and budget > DEAREST_COMPARED:
            continue
        entry: Row = {"genome": genome.key, "flops_share": round(float(bench.judge(genome)[FLOPS]), 4)}
        entry |= _compared(bench, genome, budget, bench.tested)
        entry["search"] = round(bench.tested(genome)["search"], 4)
        if bench.settings["train_images"] and budget <= DEAREST_COMPARED and not is_way:
            entry["trained"] = _compared(bench, genome, budget, bench.trained)
        budgets[f"{budget:.0%}"] = entry
    return row | {"budgets": budgets}


def right(network: nn.Module, images: ImageSet, subject: Subject) -> str:
    """Which of the images a network gets right, packed as text."""
    normalised = normaliser(*subject.norm, subject.device)
    with torch.inference_mode():
        hits = [
            network(normalised(images.images[start : start + 256])).argmax(1) == images.labels[start : start + 256]
            for start in range(0, len(images), 256)
        ]
    return packed(torch.cat(hits))


def points_apart(ours: Bits, theirs: Bits) -> Row:
    """By how many points ``ours`` is ahead, with the 95% interval of a bootstrap over images."""
    found = difference(ours, theirs)
    return {"points": found["points"], "interval": found["95%"]}


def _compared(bench: Bench, genome: Genome, budget: float, measured: Callable[[Genome], Row]) -> Row:
    count = len(bench.test)
    ours, theirs = (unpacked(measured(one)["right"], count) for one in (genome, bench.rung(budget)))
    return {"test": round(float(ours.mean()), 4), "over the ladder": points_apart(ours, theirs)}


def run_all(bench: Bench, grail: Compensator, plan: list[tuple[str, int]], until: float) -> list[Row]:
    """The ladder, all searches seed by seed, of which none begins after ``until``, and what knows of no ladder."""
    rows = [finished(bench, ladder_row(bench))]
    with bench.reporter.task("evaluations", bench.settings["evaluations"] * len(plan)) as task:
        for name, seed in plan:
            if time.monotonic() > until:
                break
            shown = f"{name}, seed {seed}"
            found = search_rows(bench, name, seed, functools.partial(task.advance, 1, search=shown))
            rows += [finished(bench, row) for row in found]
    return rows + uniform_rows(bench, grail)


def made_bench(
    options: argparse.Namespace, subject: Subject, settings: Row, reporter: Reporter
) -> tuple[Bench, Compensator]:
    """The shared parts, and GRAIL's compensation."""
    code = "-".join(code_digest(package)[:6] for package in ("prune", "evaluate"))
    numbers = {name: settings[name] for name in ("images", "polish_images", "temperature")}
    work = WorkFile(options.output / f".search-{subject.name}.jsonl", subject.identity | numbers | {"code": code})
    kept = options.output / f".statistics-{subject.name}.safetensors"
    moments, space = study(subject, reporter, None if options.quick else kept)
    images = fixed_sample(subject.splits.search, settings["images"])
    compensator = Compensator(subject.model, subject.graph, moments)
    temperature = settings["temperature"]
    judge = Judge(subject, space, compensator, images, subject.splits.test, work, temperature=temperature)
    fresh = fresh_images(subject)
    bench = Bench(
        subject=subject,
        space=space,
        judge=judge,
        polisher=Polisher(
            subject.model, subject.graph, first(subject.splits.calibration, settings["polish_images"]), *subject.norm
        ),
        fresh=fresh,
        answers=Answers.of(subject.model, fresh, *subject.norm, temperature=temperature),
        test=subject.splits.test,
        work=work,
        settings=settings,
        reporter=reporter,
    )
    return bench, Compensator(subject.model, subject.graph, moments, form="channels", damping=RIDGE)


def fresh_images(subject: Subject) -> ImageSet:
    """The last calibration images, shifted and mirrored, as ``session/handing_out.py`` has them."""
    images = subject.splits.calibration
    last = images.select(torch.arange(max(0, len(images) - FRESH), len(images), device=subject.device))
    _, height, width = subject.data.image_shape
    generator = torch.Generator(subject.device).manual_seed(SEED)
    pad = min(4, height // 8, width // 8)
    return dataclasses.replace(
        last, images=augment(last.images[:], generator=generator, pad=pad, flip=subject.data.flip)
    )


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All searches."""
    reporter, began = make_reporter(), time.monotonic()
    subject = load_subject(options, reporter)
    asked = (options.evaluations, POPULATION, options.images, BUDGETS, POLISH_IMAGES, options.train_images)
    settings: Row = dict(zip(QUICK, QUICK.values() if options.quick else asked, strict=True))
    settings |= {"seeds": options.seeds, "temperature": options.temperature}
    bench, grail = made_bench(options, subject, settings, reporter)
    plan = [(name, seed) for seed in range(options.seeds) for name in options.methods]
    rows = run_all(bench, grail, plan, began + 60 * options.minutes)
    name = f"search-{subject.name}-{subject.device.type}{'-quick' if options.quick else ''}"
    everything = settings | {"network": subject.identity, "precision": subject.precision}
    if options.beside:
        rows += rows_there(options.output / f"{name}.json", everything, rows)
    original = subject.accuracy(subject.model, subject.splits.test)
    draw(options.output / f"{name}.png", rows, f"{subject.name}: {settings['evaluations']} evaluations, polished")
    return {
        "data": subject.name,
        "device": subject.device.type,
        DONE: bench.work.remove,
        "threads": torch.get_num_threads(),
        "settings": everything,
        "original_test_accuracy": original,
        "test_images": len(bench.test),
        "figures": figures_of(subject.variant, rows, original),
        "summary": summary(rows),
        "rows": rows,
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which network, which methods, how many seeds, how long."""
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=tuple(METHODS))
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS, help="of each search")
    parser.add_argument("--images", type=int, default=IMAGES, help="that candidates are judged on")
    parser.add_argument("--train-images", type=int, default=0, help="of the short training; 0 leaves it out")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which no search begins")
    parser.add_argument(
        "--beside", action="store_true", help="keep the other methods' rows of the result that is there"
    )
    parser.add_argument("--temperature", type=float, default=1.0, help="of the divergence")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
