"""What finetune, train and compare can be told. Importable without torch."""

from gaprune.commands.options.compare import CompareOptions
from gaprune.commands.options.finetune import FinetuneOptions
from gaprune.commands.options.keywords import FinetuneKeywords
from gaprune.commands.options.train import TrainOptions

__all__ = [
    "CompareOptions",
    "FinetuneKeywords",
    "FinetuneOptions",
    "TrainOptions",
]
