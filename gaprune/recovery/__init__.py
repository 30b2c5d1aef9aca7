"""Training after pruning: one network, the members of a front, or all of them on shared weights."""

from gaprune.recovery.by_task import TaskTuner, train_members
from gaprune.recovery.members import GENTLER, Tuner, more_gently, update_table
from gaprune.recovery.network import Recovered, distillation, gentle_recipe, recover
from gaprune.recovery.shared import SharedTuner
from gaprune.recovery.timed import recover_front
from gaprune.recovery.timed_by_task import recover_by_task

__all__ = [
    "GENTLER",
    "Recovered",
    "SharedTuner",
    "TaskTuner",
    "Tuner",
    "distillation",
    "gentle_recipe",
    "more_gently",
    "recover",
    "recover_by_task",
    "recover_front",
    "train_members",
    "update_table",
]
