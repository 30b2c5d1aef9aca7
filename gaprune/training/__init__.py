"""Training and fine-tuning: one-cycle SGD that can be interrupted at any epoch and goes on bit for bit."""

from gaprune.training.estimate import estimate_seconds
from gaprune.training.lesson import LABELS, Distillation, Lesson
from gaprune.training.loop import fit
from gaprune.training.recipe import Recipe, bfloat16_pays, images_per_epoch
from gaprune.training.state import EpochRecord

__all__ = [
    "LABELS",
    "Distillation",
    "EpochRecord",
    "Lesson",
    "Recipe",
    "bfloat16_pays",
    "estimate_seconds",
    "fit",
    "images_per_epoch",
]
