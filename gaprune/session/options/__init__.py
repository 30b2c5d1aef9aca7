"""What a search can be told. Importable without torch, so that help and mistakes are answered at once."""

from gaprune.fields import LARGEST_SEED
from gaprune.session.options.groups import (
    ClusterOptions,
    EvolutionOptions,
    FitnessOptions,
    GenomeOptions,
    ImageOptions,
    IterationOptions,
    MachineOptions,
    NetworkOptions,
    ReadingOptions,
    RoundOptions,
    RunOptions,
    ScreenOptions,
)
from gaprune.session.options.keywords import SearchKeywords
from gaprune.session.options.resume import AUTO, PLACES, record, resumed_options, with_known_data
from gaprune.session.options.search import ROUNDS, SearchOptions, settled

__all__ = [
    "AUTO",
    "LARGEST_SEED",
    "PLACES",
    "ROUNDS",
    "ClusterOptions",
    "EvolutionOptions",
    "FitnessOptions",
    "GenomeOptions",
    "ImageOptions",
    "IterationOptions",
    "MachineOptions",
    "NetworkOptions",
    "ReadingOptions",
    "RoundOptions",
    "RunOptions",
    "ScreenOptions",
    "SearchKeywords",
    "SearchOptions",
    "record",
    "resumed_options",
    "settled",
    "with_known_data",
]
