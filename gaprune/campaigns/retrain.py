"""Training after a round: the network that the round found, trained on; what is masked stays masked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gaprune.campaigns.part import STATES, TRAINED
from gaprune.campaigns.round_result import RoundResult
from gaprune.errors import TrainingError
from gaprune.front.members import member_config
from gaprune.progress import Reporter
from gaprune.prune.genome import Bits, Genome
from gaprune.recovery.recover import gentle_recipe, recover
from gaprune.runs import RunDirectory
from gaprune.saved import load, save_compact, save_genome
from gaprune.session.job import Job


def retrain(
    job: Job,
    result: RoundResult,
    genome: Genome,
    kernels: Mapping[str, Bits],
    directory: RunDirectory,
    reporter: Reporter,
) -> RoundResult:
    """Train the network of a round on the labels of the training images, for ``--round-epochs``.

    Args:
        job: of the round.
        result: of the round's search.
        genome: the network's, in the round's space.
        kernels: by weight name, (out, in) kernels that the network has where some are masked; the others stay zero.
        directory: of the round.
        reporter: told how it goes.

    Returns:
        The result with the trained network in the place of the one that was found; as it was, if training diverged.
    """
    network = load(directory.path.parent / result.place, model=job.own.model).to(job.splits.search.images.device)
    recipe = gentle_recipe(job, job.options.round_epochs, job.options.epoch_images)
    try:
        made = recover(job, network, kernels, recipe, directory.path / STATES, reporter)
    except TrainingError as error:
        reporter.say(f"training failed, the round keeps the network that it found: {error}")
        return result
    values, _, _ = job.evaluator.judge(genome, made.found)
    trained = replace(
        result,
        place=f"{directory.path.name}/{TRAINED}",
        search_accuracy=made.found.accuracy,
        test_accuracy=made.tested,
        objectives={objective.name: values[objective.name] for objective in job.objectives},
        epochs=len(made.records),
        training_seconds=made.seconds,
    )
    metrics = {
        "search_accuracy": made.found.accuracy,
        "test_accuracy": made.tested,
        "objectives": trained.objectives,
    }
    save_compact(directory.path / TRAINED, network, member_config(job), metrics)
    save_genome(directory.path / TRAINED, genome, job.space.layout)
    return trained
