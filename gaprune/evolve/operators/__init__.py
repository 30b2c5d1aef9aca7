"""Crossovers and mutations, one a file: frozen options, called with unpacked bits, returning fresh ones."""

from gaprune.evolve.operators.base import Crossover, Mutation
from gaprune.evolve.operators.blend import Blend
from gaprune.evolve.operators.flip import Flip
from gaprune.evolve.operators.layerwise import LayerWise
from gaprune.evolve.operators.one_point import OnePoint
from gaprune.evolve.operators.resize import Resize
from gaprune.evolve.operators.shift import Shift
from gaprune.evolve.operators.slide import Slide
from gaprune.evolve.operators.swap import Swap

__all__ = ["Blend", "Crossover", "Flip", "LayerWise", "Mutation", "OnePoint", "Resize", "Shift", "Slide", "Swap"]
