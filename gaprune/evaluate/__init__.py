"""From genomes to numbers: objectives, the evaluator, and where it runs. Knows nothing of evolution."""

from gaprune.evaluate.attack import ATTACKS, Attack, Robustness, robustness, under_attack
from gaprune.evaluate.backend import Backend, LocalBackend
from gaprune.evaluate.constraints import Constraints
from gaprune.evaluate.evaluator import Evaluator, Polish
from gaprune.evaluate.fitness_task import FitnessTask, Measured
from gaprune.evaluate.floors import Floors
from gaprune.evaluate.limit import TimeLimit, too_long
from gaprune.evaluate.measurement import Answers, Measurement, divergences, measure
from gaprune.evaluate.objectives import (
    DIVERGENCE,
    Candidate,
    Objective,
    is_timed,
    judged_by,
    objective_names,
    resolve_objectives,
    resolve_selector,
)
from gaprune.evaluate.outcome import Outcome, expected_matrix, judged_value, objective_matrix, violations
from gaprune.evaluate.racing import UNKNOWN, Floor, Race, rungs
from gaprune.evaluate.scored import Scored, ScoredBy, divergence_objective, score_objective, span

__all__ = [
    "ATTACKS",
    "DIVERGENCE",
    "UNKNOWN",
    "Answers",
    "Attack",
    "Backend",
    "Candidate",
    "Constraints",
    "Evaluator",
    "FitnessTask",
    "Floor",
    "Floors",
    "LocalBackend",
    "Measured",
    "Measurement",
    "Objective",
    "Outcome",
    "Polish",
    "Race",
    "Robustness",
    "Scored",
    "ScoredBy",
    "TimeLimit",
    "divergence_objective",
    "divergences",
    "expected_matrix",
    "is_timed",
    "judged_by",
    "judged_value",
    "measure",
    "objective_matrix",
    "objective_names",
    "resolve_objectives",
    "resolve_selector",
    "robustness",
    "rungs",
    "score_objective",
    "span",
    "too_long",
    "under_attack",
    "violations",
]
