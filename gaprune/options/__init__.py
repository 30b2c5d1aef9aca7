"""What can be told: fields with words and bounds, files and keyword arguments of options, the command line.

Importable without torch, so that help and mistakes are answered at once.
"""

from gaprune.options.compare import CompareOptions
from gaprune.options.fields import LARGEST_SEED
from gaprune.options.finetune import FinetuneOptions
from gaprune.options.finetune_keywords import FinetuneKeywords
from gaprune.options.groups import (
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
from gaprune.options.resume import AUTO, PLACES, record, resumed_options, with_known_data
from gaprune.options.search import ROUNDS, SearchOptions, settled
from gaprune.options.search_keywords import SearchKeywords
from gaprune.options.train import TrainOptions

__all__ = [
    "AUTO",
    "LARGEST_SEED",
    "PLACES",
    "ROUNDS",
    "ClusterOptions",
    "CompareOptions",
    "EvolutionOptions",
    "FinetuneKeywords",
    "FinetuneOptions",
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
    "TrainOptions",
    "record",
    "resumed_options",
    "settled",
    "with_known_data",
]
