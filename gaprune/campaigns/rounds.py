"""The paper's method whole: rounds, each of which removes a share of the genes of what the round before left."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gaprune.campaigns.hand_out import PartNetwork, smallest_first
from gaprune.campaigns.part import Start
from gaprune.campaigns.policy import Policy, Searched
from gaprune.campaigns.records import RESULT, Round, read_record
from gaprune.campaigns.rounds_table import round_row, write_tables
from gaprune.campaigns.training import STATES, TRAINED, save_trained, train_on
from gaprune.errors import TrainingError
from gaprune.evolve import Algorithm, Rounds
from gaprune.options import SearchOptions
from gaprune.prune import present_kernels
from gaprune.runs import SECONDS
from gaprune.session import Job
from gaprune.training import SEED_STRIDE


class RoundsPolicy(Policy[Round]):
    """Each round searches for the one network that loses the least, and trains it where ``--round-epochs`` says so."""

    kind = "round"

    @property
    def count(self) -> int:
        """Of the options."""
        return self.job.options.paper_rounds.rounds

    def read(self, number: int) -> Round | None:
        """The round's network."""
        return read_record(self.path(number), RESULT, Round)

    def choose_start(self, done: Sequence[Round]) -> Start | None:
        """What the last round left; ``None`` where every layer is down to one neuron."""
        last = done[-1]
        neurons = self.job.space.masks(last.genome).neurons
        if all(np.count_nonzero(neurons[group.slice]) <= 1 for group in self.job.space.graph.groups):
            self.reporter.say(f"every layer is down to one neuron: the rounds end after {len(done)}")
            return None
        return Start(self.run.path / last.place, last.genome, f"what round {last.number} left")

    def announce(self, number: int) -> None:
        """Say how much goes."""
        self.reporter.say(f"round {number} of {self.count}: {self._share(number):.0%} of the genes go")

    def options(self, number: int) -> SearchOptions:
        """As many generations as a round has."""
        return self.job.options.but(generations=self.job.options.paper_rounds.round_generations)

    def algorithm(self, job: Job, number: int) -> Algorithm:
        """The paper's, for this round."""
        options = job.options
        return Rounds(
            job.space,
            objectives=len(job.objectives),
            population=options.evolution.population,
            seed=options.evolution.seed + SEED_STRIDE * (number - 1),
            share=self._share(number),
            selected=options.paper_rounds.selected,
            cut=options.paper_rounds.cut,
            mutation_rate=options.paper_rounds.mutation_rate,
        )

    def finish(self, searched: Searched) -> Round:
        """Train the network that was found, if that is wanted."""
        (row,), (genome,) = searched.rows, searched.genomes
        result = Round(
            number=searched.number,
            genome=genome,
            place=f"{searched.directory.path.name}/{row.path}",
            search_accuracy=row.search_accuracy,
            test_accuracy=row.test_accuracy,
            objectives=row.objectives,
            share=self._share(searched.number),
            evaluations=len(searched.found.evaluated),
            seconds=searched.seconds,
            wall_seconds=searched.directory.manifest.get(SECONDS),
        )
        return self._train(searched, result) if searched.job.options.paper_rounds.round_epochs else result

    def tidy(self, number: int) -> None:
        """Neither statistics nor states of training."""
        super().tidy(number)
        shutil.rmtree(self.path(number) / STATES, ignore_errors=True)

    def report(self, done: Sequence[Round]) -> str:
        """The last round's accuracy and costs."""
        job, last = self.job, done[-1]
        write_tables(job, self.run.path, done)
        row = round_row(job, last)
        return (
            f"round {last.number} of {self.count}: accuracy {last.search_accuracy:.4f} on the search images, "
            f"{row.flops / 1e6:.2f} million FLOPs ({row.flops_share:.1%}), "
            f"{row.params:,} parameters ({row.params_share:.1%})"
        )

    def networks(self, done: Sequence[Round]) -> list[PartNetwork]:
        """The rounds' networks, all of them: nothing is dominated away."""
        path = self.run.path
        rows = [round_row(self.job, one) for one in done]
        return smallest_first(
            PartNetwork(path / one.place, one.number, one.genome, row, _in_words(one))
            for one, row in zip(done, rows, strict=True)
        )

    def _share(self, number: int) -> float:
        shares = self.job.options.paper_rounds.round_share
        return shares[min(number, len(shares)) - 1]

    def _train(self, searched: Searched, result: Round) -> Round:
        """The round with the trained network in the place of the one found; as it was, if training diverged."""
        job, path, whole = searched.job, searched.directory.path, self.job.space
        kernels = present_kernels(whole.graph, whole.masks(result.genome))
        place, epochs = self.run.path / result.place, job.options.paper_rounds.round_epochs
        try:
            network, made = train_on(job, place, kernels, epochs, path / STATES, self.reporter)
        except TrainingError as error:
            self.reporter.say(f"training failed, the round keeps the network that it found: {error}")
            return result
        (genome,) = searched.found.genomes
        values, _, _ = job.evaluator.judge(genome, made.found, network)
        reached: dict[str, Any] = {
            "search_accuracy": made.worth,
            "test_accuracy": made.tested,
            "objectives": {objective.name: values[objective.name] for objective in job.objectives},
        }
        save_trained(job, network, genome, path, reached)
        trained = replace(result, epochs=made.epochs, training_seconds=made.seconds, **reached)
        return replace(trained, place=f"{path.name}/{TRAINED}")


def _in_words(result: Round) -> str:
    if result.epochs:
        return f"in {result.number} rounds, the last one trained for {result.epochs} epochs"
    return f"without training, in {result.number} rounds"
