"""Training after a round: the network that the round found, trained on; what is masked stays masked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from gaprune.device import pinned
from gaprune.driver.members import member_config
from gaprune.driver.round_result import RoundResult
from gaprune.driver.setup import Job
from gaprune.progress import Reporter
from gaprune.prune.genome import Bits, Genome
from gaprune.runs import RunDirectory
from gaprune.saved import load, save_compact, save_genome
from gaprune.training import Recipe, fit
from gaprune.training.subject import default_recipe

TRAINED = "trained"
STATES = "training"

GENTLER = 0.2
"""Peak learning rate, of that which a network is trained from scratch with."""


def retrain(
    job: Job,
    result: RoundResult,
    genome: Genome,
    kernels: Mapping[str, Bits],
    directory: RunDirectory,
    reporter: Reporter,
) -> RoundResult:
    """Train the network of a round on the training images; never on the search or the test set.

    A training that was stopped goes on from its last whole epoch.

    Args:
        job: of the round.
        result: of the round's search.
        genome: the network's, in the round's space.
        kernels: by weight name, (out, in) kernels that the network has where some are masked; the others stay zero.
        directory: of the round.
        reporter: told how it goes.

    Returns:
        The result with the trained network in the place of the one that was found.
    """
    device = job.splits.search.images.device
    network = load(directory.path.parent / result.place, model=job.own.model).to(device)
    with pinned(job.threads), masked_gradients(network, kernels):
        records = fit(
            network,
            job.splits.train.to(device),
            job.splits.search,
            mean=job.data.mean,
            std=job.data.std,
            flip=job.data.flip,
            recipe=recipe(job),
            directory=directory.path / STATES,
            reporter=reporter,
        )
    with pinned(job.threads), torch.no_grad():
        found = job.evaluator.measure(network, job.splits.search)
        tested = job.evaluator.measure(network, job.splits.test).accuracy
    values, _, _ = job.evaluator.judge(genome, found)
    trained = replace(
        result,
        place=f"{directory.path.name}/{TRAINED}",
        search_accuracy=found.accuracy,
        test_accuracy=tested,
        objectives={objective.name: values[objective.name] for objective in job.objectives},
        epochs=len(records),
        training_seconds=sum(record.seconds for record in records),
    )
    metrics = {"search_accuracy": found.accuracy, "test_accuracy": tested, "objectives": trained.objectives}
    save_compact(directory.path / TRAINED, network, member_config(job), metrics)
    save_genome(directory.path / TRAINED, genome, job.space.layout)
    shutil.rmtree(directory.path / STATES, ignore_errors=True)
    return trained


def recipe(job: Job) -> Recipe:
    """The default recipe for the data, gentler and as long as ``--round-epochs`` says."""
    usual = default_recipe(job.model_name, job.data, job.splits.search.images.device, seed=job.options.seed)
    return replace(usual, epochs=job.options.round_epochs, lr=GENTLER * usual.lr)


@contextmanager
def masked_gradients(network: nn.Module, kernels: Mapping[str, Bits]) -> Iterator[None]:
    """Meanwhile kernels that are not there get no gradient: zero weights stay zero under SGD and weight decay."""
    handles = []
    for name, present in kernels.items():
        weight = network.get_parameter(name)
        mask = torch.from_numpy(present).to(weight.device, weight.dtype)[(..., *[None] * (weight.ndim - 2))]
        handles.append(weight.register_hook(_multiplied(mask)))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _multiplied(mask: Tensor) -> object:
    return lambda gradient: gradient * mask
