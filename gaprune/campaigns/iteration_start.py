"""The member of an iteration that the next one starts from: chosen, trained on, and the better of both kept."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import nn

from gaprune.campaigns.iteration_result import START, Figures, Iteration, NextStart, read_start
from gaprune.campaigns.part import STATES, TRAINED
from gaprune.errors import TrainingError
from gaprune.front.members import CSV, member_config
from gaprune.progress import Reporter
from gaprune.prune.lineage import present_kernels
from gaprune.recovery.recover import distillation, gentle_recipe, recover
from gaprune.runs import FrontRow, RunDirectory, read_csv
from gaprune.saved import load, save_compact, save_genome
from gaprune.session.job import Job
from gaprune.training import Distillation


def next_start(
    job: Job, path: Path, iteration: Iteration, earlier: NextStart | None, reporter: Reporter
) -> NextStart | None:
    """The most accurate member that is small enough, trained on; ``None`` where none is.

    Args:
        job: of the true original, which is the teacher.
        path: of the iteration's directory.
        iteration: what it found.
        earlier: what it started from itself; ``None`` for the original.
        reporter: told how it goes.
    """
    start = read_start(path)
    if start is None:
        largest = job.options.iteration_share * (1.0 if earlier is None else earlier.figures.flops_share)
        within = [row for row in read_csv(path / CSV) if row.flops_share <= largest]
        if not within:
            reporter.say(
                f"iteration {iteration.number} left no member within {largest:.1%} of the FLOPs (and the constraints) "
                "to start from"
            )
            return None
        row = max(within, key=lambda row: row.search_accuracy)
        start = _made(job, path, iteration, row, reporter)
    shutil.rmtree(path / STATES, ignore_errors=True)
    return start


def _made(job: Job, path: Path, iteration: Iteration, row: FrontRow, reporter: Reporter) -> NextStart:
    epochs, genome = job.options.iteration_epochs, iteration.genomes[row.index]
    reporter.say(
        f"recovering member {row.index} of iteration {iteration.number}: {row.flops_share:.1%} of the FLOPs, "
        f"{epochs} epochs"
    )
    untrained = (row.search_accuracy, row.test_accuracy)
    with RunDirectory.open(path) as directory:
        network = _opened(job, path / row.path)
        kernels = present_kernels(job.space.graph, job.space.masks(genome))
        lesson = distillation(job, temperature=Distillation.temperature, weight=Distillation.weight)
        try:
            recipe = gentle_recipe(job, epochs, job.options.epoch_images)
            made = recover(job, network, kernels, recipe, path / STATES, reporter, lesson=lesson)
            trained = (made.found.accuracy, made.tested)
            figures = Figures(
                row.flops_share, untrained, trained, trained[0] >= untrained[0], epochs, round(made.seconds, 3)
            )
        except TrainingError as error:
            reporter.say(f"recovery failed: {error}")
            figures = Figures(row.flops_share, untrained, untrained, used=False, epochs=0, seconds=0.0)
        if not figures.used:
            reporter.say(
                "training made it worse on the search images, or failed: the next iteration starts from it untrained"
            )
            network = _opened(job, path / row.path)
        metrics = {"search_accuracy": figures.after[0], "test_accuracy": figures.after[1]}
        save_compact(path / TRAINED, network, member_config(job), metrics)
        save_genome(path / TRAINED, genome, job.space.layout)
        start = NextStart(genome, figures)
        directory.update_manifest(**{START: start.record()})
    return start


def _opened(job: Job, place: Path) -> nn.Module:
    return load(place, model=job.own.model).to(job.splits.search.images.device)
