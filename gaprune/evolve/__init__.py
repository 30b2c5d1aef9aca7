"""Evolutionary search over genomes: it knows bits, importance and cost, and no network."""

from gaprune.evolve.algorithm import Algorithm, AlgorithmState, failed_row
from gaprune.evolve.cma import CMA
from gaprune.evolve.dominance import is_efficient
from gaprune.evolve.hill_climbing import HillClimbing
from gaprune.evolve.hypervolume import hypervolume
from gaprune.evolve.nsga2 import NSGA2
from gaprune.evolve.nsga3 import nsga3
from gaprune.evolve.random_search import RandomSearch
from gaprune.evolve.ranked import largest_cost
from gaprune.evolve.registry import algorithm_names, make_algorithm, settled_name
from gaprune.evolve.rounds import Rounds
from gaprune.evolve.tuned import Tuned

__all__ = [
    "CMA",
    "NSGA2",
    "Algorithm",
    "AlgorithmState",
    "HillClimbing",
    "RandomSearch",
    "Rounds",
    "Tuned",
    "algorithm_names",
    "failed_row",
    "hypervolume",
    "is_efficient",
    "largest_cost",
    "make_algorithm",
    "nsga3",
    "settled_name",
]
