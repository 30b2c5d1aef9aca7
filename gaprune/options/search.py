"""Everything that a search can be told, with defaults and checks; one place for the command and for Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from gaprune.errors import OptionError
from gaprune.options.choices import check_groups, check_objectives
from gaprune.options.fields import Options, check_fields, group, names_of
from gaprune.options.groups import (
    POLISHED_BELOW,
    ClusterOptions,
    EvolutionOptions,
    FitnessOptions,
    GenomeOptions,
    ImageOptions,
    IterationOptions,
    LatencyOptions,
    MachineOptions,
    NetworkOptions,
    ReadingOptions,
    RecordOptions,
    RoundOptions,
    RunOptions,
    ScreenOptions,
)
from gaprune.options.limits import check_latency, check_limits
from gaprune.options.models import check_model

ROUNDS = "rounds"
"""The algorithm that searches again and again, on the network that the search before left."""

AUTO = "auto"
"""A choice that is left to the other options."""

TUNED = "tuned"
"""The algorithm that tunes whole ladders, and goes on with NSGA-II around the best."""

BY_DIVERGENCE = ("cma", TUNED)
"""Algorithms that search ladders, which differ by less than top-1 of a thousand images can tell."""

LATENCY = "latency"
"""The objective that is timed."""

SCORE, TASK = "score", "task"
"""The objective of a task of one's own, and what a manifest says of that task."""

ONLY_WITH_ITERATIONS = ("iteration_share", "iteration_epochs")

LIMITS_OF_ROUNDS = "--round-share says how much goes, and the loss decides what"

NEVER_WITH_ROUNDS = {
    "generations": "use --rounds and --round-generations",
    "iterations": "rounds search again and again by themselves, see --rounds and --round-epochs",
    "recover": "rounds train by themselves, see --round-epochs",
    "connection_groups": "rounds mask connections one by one",
    "racing": "rounds have one objective, and rank all candidates by it",
    "max_flops": LIMITS_OF_ROUNDS,
    "max_params": LIMITS_OF_ROUNDS,
    "max_size": LIMITS_OF_ROUNDS,
    "min_accuracy": LIMITS_OF_ROUNDS,
    **dict.fromkeys(names_of(LatencyOptions), LIMITS_OF_ROUNDS),
}
"""Options that say nothing to rounds, each with what would be right."""

POPULATION_OF_ROUNDS = 30
"""The paper's N."""


@dataclass(frozen=True)
class SearchOptions(Options):
    """Search for the accuracy/FLOPs front of a trained network and save it as compact networks."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "python -m gaprune.search --model vgg16",
        "python -m gaprune.search --model my_package.nets:make --checkpoint trained.pth --data-dir photographs",
        "python -m gaprune.search --model resnet18 --max-flops 0.5 --min-accuracy 0.9 --output runs/half",
        "python -m gaprune.search --resume runs/half --generations 20",
    )

    network: NetworkOptions = group(NetworkOptions, "network")
    images: ImageOptions = group(ImageOptions, "images")
    reading: ReadingOptions = group(ReadingOptions, "photographs and normalisation")
    space: GenomeOptions = group(GenomeOptions, "what may be removed")
    fitness: FitnessOptions = group(FitnessOptions, "objectives and limits")
    latency: LatencyOptions = group(LatencyOptions, "latency")
    evolution: EvolutionOptions = group(EvolutionOptions, "evolution")
    again: IterationOptions = group(IterationOptions, "search, recover, search again")
    paper_rounds: RoundOptions = group(RoundOptions, "the paper's rounds (--algorithm rounds)")
    machine: MachineOptions = group(MachineOptions, "device")
    cluster: ClusterOptions = group(ClusterOptions, "Ray")
    run: RunOptions = group(RunOptions, "run directory")
    records: RecordOptions = group(RecordOptions, "records")
    screen: ScreenOptions = group(ScreenOptions, "screen")
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def check(self) -> None:
        """Refuse what cannot be used, before anything is read or written.

        Raises:
            OptionError: one line that names the option, the rule and the value.
        """
        check_fields(self)
        check_rule(self.run.pick)
        fitness = self.fitness
        check_limits(fitness.max_flops, fitness.max_params, fitness.max_size, fitness.min_accuracy)
        self._check_fitness()
        check_latency(self.latency.max_latency)
        self._check_latency()
        self._check_rounds()
        self._check_iterations()
        check_groups(self.space.genes, self.space.connection_groups)
        if self.space.polish_below and not self.space.polish and self.run.resume is None:
            raise OptionError("polish-below says which candidates are polished: add --polish, which polishes the front")

    def check_typed(self) -> None:
        """All that can be said of a command line at once: names too, and a directory that holds something.

        Raises:
            GapruneError: one line that names the option, the rule and the value.
        """
        if self.run.resume is not None:
            return  # most options are the run's own
        settled(self).check()
        check_model(self.network.model)
        check_objectives(self.fitness.objectives)
        if self.run.output is not None and self.run.output.exists():
            from gaprune.runs import check_free

            check_free(self.run.output)

    def _check_fitness(self) -> None:
        """What stands for accuracy says nothing where nobody asks for accuracy."""
        fitness, named = self.fitness.fitness, self.fitness.objectives
        if "fitness" in self.given and "objectives" in self.given and not {"accuracy", fitness} & set(named):
            raise OptionError(
                f"fitness stands for accuracy, which objectives do not name, got {', '.join(named)}: add accuracy, or "
                "leave fitness out"
            )
        if "fitness_temperature" in self.given and "divergence" not in (fitness, *named):
            raise OptionError("fitness-temperature is of divergence alone: add --fitness divergence, or leave it out")

    def _check_latency(self) -> None:
        """What says nothing where nothing is timed."""
        if self.run.resume is None and not wants_latency(self):
            for name in ("latency_batch", "latency_threads", "latency_from"):
                if name in self.given:
                    raise OptionError(
                        f"{_typed(name)} says nothing where nothing is timed: add --latency-runtime, "
                        "--max-latency or the objective latency"
                    )

    def _check_rounds(self) -> None:
        """What only the paper's rounds understand, and what they do not."""
        algorithm, rounds, population = self.evolution.algorithm, self.paper_rounds, self.evolution.population
        if algorithm != ROUNDS:
            for name in names_of(RoundOptions):
                if name in self.given:
                    raise OptionError(f"{_typed(name)} has no meaning without --algorithm rounds")
            return
        for name, advice in NEVER_WITH_ROUNDS.items():
            if name in self.given:
                raise OptionError(f"{_typed(name)} has no meaning with --algorithm rounds: {advice}")
        if rounds.selected > population:
            raise OptionError(f"selected must be at most the population of {population}, got {rounds.selected}")
        if max(rounds.round_share) == 1:
            raise OptionError("round-share must be below 1, got 1")

    def _check_iterations(self) -> None:
        """What only several iterations understand, and what they do not."""
        again = self.again
        if not 0 < again.iteration_share < 1:
            raise OptionError(f"iteration-share must be between 0 and 1, got {again.iteration_share}")
        if again.iterations == 1 and self.run.resume is None:
            for name in ONLY_WITH_ITERATIONS:
                if name in self.given:
                    raise OptionError(f"{_typed(name)} says nothing to a single search: add --iterations 2")
            if "epoch_images" in self.given and not self.paper_rounds.round_epochs:
                raise OptionError("epoch-images says nothing where nothing is trained: add round-epochs or iterations")
        if again.iterations > 1 and self.space.recover is not None:
            raise OptionError("recover is for a single search: iterations train between searches, see iteration-epochs")
        if again.iterations > 1 and self.space.connection_groups > 1:
            raise OptionError("iterations cannot prune networks with grouped convolutions again: leave one of them out")


def wants_latency(options: SearchOptions) -> bool:
    """Whether networks of the front are timed."""
    asked = options.latency
    by_name = LATENCY in options.fitness.objectives or str(options.run.pick).strip().startswith(LATENCY)
    return by_name or asked.max_latency is not None or asked.latency_runtime is not None


def check_rule(rule: str) -> None:
    """Whether a rule to pick by will be understood; what the usual one needs is not imported for it.

    Raises:
        OptionError: it will not; the valid forms are listed.
    """
    if rule != "knee":
        from gaprune.runs import check_rule as check

        check(rule)


def settled(options: SearchOptions, *, own: bool = False) -> SearchOptions:
    """The options of a new run, with the defaults that depend on others.

    Args:
        options: what was asked for.
        own: whether a task or objectives of the caller's own say what networks are judged by.

    Raises:
        OptionError: a value is of another kind than its option.
    """
    check_fields(options)
    changes: dict[str, Any] = {}
    if options.evolution.algorithm == ROUNDS:
        if "population" not in options.given:
            changes["population"] = POPULATION_OF_ROUNDS
        if "selected" not in options.given:
            changes["selected"] = max(min(options.paper_rounds.selected, options.evolution.population), 2)
        if "objectives" not in options.given:
            fitness = options.fitness.fitness
            changes["objectives"] = ("loss" if fitness == AUTO else fitness,)
    options = options.but(**changes, **_judged(options, own=own))
    if options.space.polish_below is None:
        judged = (options.fitness.fitness, *options.fitness.objectives)
        pays = options.space.polish and options.space.genes == "neurons" and "divergence" in judged
        options = options.but(polish_below=POLISHED_BELOW if pays else 0.0)
    return options


def _judged(options: SearchOptions, *, own: bool) -> dict[str, str]:
    """What stands for accuracy, and the algorithm, where both are left open or depend on each other.

    A ladder is tuned by divergence, which many images tell apart where top-1 does not; who names accuracy means it.
    """
    algorithm: str = options.evolution.algorithm
    fitness: str = options.fitness.fitness
    named = own or "objectives" in options.given or options.fitness.racing < 1
    usual = not named and (options.space.genes == "neurons" or algorithm in BY_DIVERGENCE)
    if fitness == AUTO:
        fitness = "divergence" if usual and algorithm in (AUTO, *BY_DIVERGENCE) else "accuracy"
    if algorithm == AUTO and usual and fitness == "divergence":
        algorithm = TUNED
    return {"fitness": fitness, "algorithm": algorithm}


def _typed(name: str) -> str:
    return name.replace("_", "-")
