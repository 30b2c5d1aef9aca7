"""Training and fine-tuning: one-cycle SGD that can be interrupted at any epoch and goes on bit for bit."""

from gaprune.training.digest import digest_images, digest_json, digest_tensors
from gaprune.training.estimate import estimate_seconds
from gaprune.training.frozen import frozen_line, frozen_names, thawed
from gaprune.training.given import GivenWeights, check_given, filled, given_weights, with_new_head
from gaprune.training.lesson import LABELS, Distillation, Lesson
from gaprune.training.loop import SEED_STRIDE, fit
from gaprune.training.masking import masked_gradients
from gaprune.training.produce import BASELINES, WEIGHTS, baseline_directory, train_baseline
from gaprune.training.recipe import Recipe, bfloat16_pays, gentler, images_per_epoch
from gaprune.training.shared import SharedFront, SharedLesson
from gaprune.training.state import EpochRecord
from gaprune.training.subject import Subject, default_recipe, held_out_size, new_network

__all__ = [
    "BASELINES",
    "LABELS",
    "SEED_STRIDE",
    "WEIGHTS",
    "Distillation",
    "EpochRecord",
    "GivenWeights",
    "Lesson",
    "Recipe",
    "SharedFront",
    "SharedLesson",
    "Subject",
    "baseline_directory",
    "bfloat16_pays",
    "check_given",
    "default_recipe",
    "digest_images",
    "digest_json",
    "digest_tensors",
    "estimate_seconds",
    "filled",
    "fit",
    "frozen_line",
    "frozen_names",
    "gentler",
    "given_weights",
    "held_out_size",
    "images_per_epoch",
    "masked_gradients",
    "new_network",
    "thawed",
    "train_baseline",
    "with_new_head",
]
