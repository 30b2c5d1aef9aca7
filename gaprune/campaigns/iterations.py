"""Search, recover, search again: each search prunes a network that the search before found and training recovered.

Compensation fits what is left to the outputs of the network that it prunes; a smaller network that knows as much as
the original is a better one to prune deeper. The front is what is not dominated among the members of all iterations.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import replace

from gaprune.campaigns.hand_out import PartNetwork, undominated
from gaprune.campaigns.iterations_table import table_lines, told, write_tables
from gaprune.campaigns.part import Start
from gaprune.campaigns.policy import Policy, Searched
from gaprune.campaigns.records import RESULT, START, Iteration, NextStart, read_record, to_record
from gaprune.campaigns.training import STATES, TRAINED, open_network, save_trained, train_on
from gaprune.errors import TrainingError
from gaprune.front import member_row
from gaprune.options import SearchOptions
from gaprune.prune import present_kernels
from gaprune.recovery import distillation
from gaprune.runs import FrontRow, RunDirectory, best_of, read_front
from gaprune.saved import read_metrics
from gaprune.training import SEED_STRIDE, Distillation


class IterationsPolicy(Policy[Iteration]):
    """Each iteration has a front of its own; a member of it, trained on, is what the next one prunes."""

    kind = "iteration"

    @property
    def count(self) -> int:
        """Of the options."""
        return self.job.options.again.iterations

    def read(self, number: int) -> Iteration | None:
        """The iteration's front."""
        return read_record(self.path(number), RESULT, Iteration)

    def choose_start(self, done: Sequence[Iteration]) -> Start | None:
        """The best member that is small enough, trained on; ``None`` where none is."""
        last = done[-1]
        path = self.path(last.number)
        start = self._started_from(last.number + 1)
        if start is None:
            row = self._small_enough(last)
            if row is None:
                self.reporter.say(f"the iterations end after {len(done)}")
                return None
            start = self._recover(last, row)
        shutil.rmtree(path / STATES, ignore_errors=True)
        return Start(path / TRAINED, start.genome, f"what iteration {last.number} left, trained on")

    def options(self, number: int) -> SearchOptions:
        """A seed of each iteration's own."""
        return self.job.options.but(seed=self.job.options.evolution.seed + SEED_STRIDE * (number - 1))

    def finish(self, searched: Searched) -> Iteration:
        """Training waits until a next iteration is wanted."""
        return Iteration(searched.number, searched.genomes, len(searched.found.evaluated), searched.seconds)

    def report(self, done: Sequence[Iteration]) -> str:
        """What the last iteration gained."""
        starts = [self._started_from(one.number) for one in done]
        so_far = itertools.accumulate(self._members(one) for one in done)
        fronts = [undominated(members) for members in so_far]
        lines = table_lines(self.job, done, starts, fronts)
        write_tables(self.job, self.run.path, lines)
        return told(lines[-1], starts[-1], self.count)

    def networks(self, done: Sequence[Iteration]) -> list[PartNetwork]:
        """What is not dominated over all iterations."""
        return undominated([member for iteration in done for member in self._members(iteration)])

    def _started_from(self, number: int) -> NextStart | None:
        """What an iteration prunes; ``None`` for the original, or where that is not made yet."""
        return read_record(self.path(number - 1), START, NextStart)

    def _small_enough(self, last: Iteration) -> FrontRow | None:
        """The best member of an iteration within ``--iteration-share`` of what it started from itself."""
        earlier = self._started_from(last.number)
        largest = self.job.options.again.iteration_share * (1.0 if earlier is None else earlier.flops_share)
        front = read_front(self.path(last.number))
        within = [row for row in front if row.flops_share <= largest]
        if not within:
            self.reporter.say(
                f"iteration {last.number} left no member within {largest:.1%} of the FLOPs (and the constraints) "
                "to start from"
            )
            return None
        return best_of(within, front)

    def _recover(self, last: Iteration, row: FrontRow) -> NextStart:
        """Train a member with the original as teacher, and keep the better of the two networks for the next one."""
        job, path, say = self.job, self.path(last.number), self.reporter.say
        share, epochs, genome = f"{row.flops_share:.1%}", job.options.again.iteration_epochs, last.genomes[row.index]
        say(f"recovering member {row.index} of iteration {last.number}: {share} of the FLOPs, {epochs} epochs")
        untrained = (row.search_accuracy, row.test_accuracy)
        start = NextStart(genome, row.flops_share, untrained, untrained, used=False, epochs=0, seconds=0.0)
        with RunDirectory.open(path) as directory:
            kernels = present_kernels(job.space.graph, job.space.masks(genome))
            lesson = distillation(job, temperature=Distillation.temperature, weight=Distillation.weight)
            try:
                network, made = train_on(job, path / row.path, kernels, epochs, path / STATES, self.reporter, lesson)
                trained = (made.worth, made.tested)
                better = trained[0] >= untrained[0]
                start = replace(start, trained=trained, used=better, epochs=epochs, seconds=round(made.seconds, 3))
            except TrainingError as error:
                say(f"recovery failed: {error}")
            if not start.used:
                say(
                    "training made it worse on the search images, or failed: the next iteration starts from it "
                    "untrained"
                )
                network = open_network(job, path / row.path)
            metrics = {"search_accuracy": start.after[0], "test_accuracy": start.after[1]}
            save_trained(job, network, genome, path, metrics)
            directory.update_manifest(**{START: to_record(start)})
        return start

    def _members(self, iteration: Iteration) -> list[PartNetwork]:
        """The members of an iteration's own front."""
        path, number = self.path(iteration.number), iteration.number
        after = "" if number == 1 else f", from what iteration {number - 1} left, trained on"
        found = []
        for own, genome in zip(read_front(path), iteration.genomes, strict=True):
            metrics = read_metrics(path / own.path, "made", "minimised", "violation")
            made = f"in iteration {number}{after}, without training since: {metrics['made']}"
            row = member_row(self.job, genome, own.objectives, own.search_accuracy, own.test_accuracy)
            row = replace(row, attacked=own.attacked)
            minimised = tuple(metrics["minimised"][objective.name] for objective in self.job.objectives)
            found.append(PartNetwork(path / own.path, number, genome, row, made, minimised, metrics["violation"]))
        return found
