"""Conformance suites and problems with known answers, for tests of what one adds to gaprune.

The suites are imported from their own modules, as they need pytest: ``gaprune.testing.algorithm_suite``.
"""

from gaprune.testing.problems import Problem, dtlz2, lotz, one_min_max, zdt5
from gaprune.testing.spaces import BitSpace, ToyNetwork

__all__ = ["BitSpace", "Problem", "ToyNetwork", "dtlz2", "lotz", "one_min_max", "zdt5"]
