"""What the methods that ``search.py`` compares share: network, images, judges, and how a genome is handed out."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.paired import packed
from benchmarks.search_figures import Row
from benchmarks.search_methods import FLOPS, Judge
from benchmarks.subjects import SEED, Subject, WorkFile, code_digest, fixed_sample, study
from gaprune.data import ImageSet, augment, first, normaliser
from gaprune.evaluate import Answers, Polish, divergences
from gaprune.evolve.ranked import rank
from gaprune.evolve.rungs import TOLERANCE, nearest
from gaprune.genome import Genome
from gaprune.options.groups import POLISHED_BELOW
from gaprune.progress import Reporter
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.polish import Polisher
from gaprune.prune.norms.folding import fold
from gaprune.prune.space import PruningSpace
from gaprune.session.handing_out import FRESH, OF_LARGE, SMALL
from gaprune.session.polishing import OF_CANDIDATES
from gaprune.training import Distillation, fit, gentler
from gaprune.training.subject import default_recipe

RIDGE = 1e-3
"""GRAIL's, relative to the mean variance."""


@dataclass(frozen=True)
class Bench:
    """What all methods share.

    Attributes:
        subject: the network.
        space: its genomes.
        judge: of candidates.
        polishing: the same, which polishes small ones first.
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
    polishing: Judge
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
            if self.judge(genome)[FLOPS] < SMALL:
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
    few = first(subject.splits.calibration, min(OF_CANDIDATES, settings["polish_images"]))
    small = Polish(POLISHED_BELOW, Polisher(subject.model, subject.graph, few, *subject.norm))
    polishing = Judge(
        subject,
        space,
        compensator,
        images,
        subject.splits.test,
        work,
        name=f"polished {POLISHED_BELOW} {OF_CANDIDATES} ",
        temperature=temperature,
        polish=small,
    )
    fresh = fresh_images(subject)
    bench = Bench(
        subject=subject,
        space=space,
        judge=judge,
        polishing=polishing,
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


def right(network: nn.Module, images: ImageSet, subject: Subject) -> str:
    """Which of the images a network gets right, packed as text."""
    normalised = normaliser(*subject.norm, subject.device)
    with torch.inference_mode():
        hits = [
            network(normalised(images.images[start : start + 256])).argmax(1) == images.labels[start : start + 256]
            for start in range(0, len(images), 256)
        ]
    return packed(torch.cat(hits))
