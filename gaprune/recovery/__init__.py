"""Training after pruning: one network, the members of a front, or all of them on shared weights."""

from gaprune.recovery.members import Tuner, update_table
from gaprune.recovery.network import Recovered, distillation, gentle_recipe, recover
from gaprune.recovery.shared import SharedTuner
from gaprune.recovery.timed import recover_front

__all__ = [
    "Recovered",
    "SharedTuner",
    "Tuner",
    "distillation",
    "gentle_recipe",
    "recover",
    "recover_front",
    "update_table",
]
