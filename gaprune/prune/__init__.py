"""The engine: pruning graph, genome, compaction, costs. Knows networks, knows nothing of evolution."""

from gaprune.prune.checking import LEFT_BEFORE, checked_graph
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.polish import Polisher
from gaprune.prune.compensate.statistics import Statistics, collect, collect_over, consumers, images_wanted
from gaprune.prune.compensate.statistics_store import load_statistics, save_statistics
from gaprune.prune.cut.compact import (
    Compactor,
    fill,
    fit_attributes,
    fit_numbers,
    fitted_numbers,
    place_grouped,
    set_tensor,
)
from gaprune.prune.cut.costs import CostModel, Costs, cost_model, count_flops
from gaprune.prune.cut.grouped import GroupedConvolution
from gaprune.prune.cut.lineage import compose, present_kernels
from gaprune.prune.cut.masks import Grouping, Masks
from gaprune.prune.graph.foreign import copied, plain, unwrapped
from gaprune.prune.graph.graph import Graph, Layer, build_graph
from gaprune.prune.graph.inputs import Form, Inputs, tensors_in
from gaprune.prune.graph.tensors import first_names, state_tensors
from gaprune.prune.norms.folding import fold
from gaprune.prune.norms.recalibration import (
    Anchors,
    InputRecalibrator,
    Recalibrator,
    anchors_over,
    kept_anchors,
    recalibrate,
    recalibrate_over,
    take_anchors,
)
from gaprune.prune.norms.restating import restate_norms
from gaprune.prune.probing import Probe, probe
from gaprune.prune.probing_inputs import probe_inputs
from gaprune.prune.rank.ladder import WidthFlops
from gaprune.prune.rank.registry import importance_function
from gaprune.prune.rank.taylor import neuron_taylor
from gaprune.prune.space import PruningSpace, SpaceOptions

__all__ = [
    "LEFT_BEFORE",
    "Anchors",
    "Compactor",
    "Compensator",
    "CostModel",
    "Costs",
    "Form",
    "Graph",
    "GroupedConvolution",
    "Grouping",
    "InputRecalibrator",
    "Inputs",
    "Layer",
    "Masks",
    "Polisher",
    "Probe",
    "PruningSpace",
    "Recalibrator",
    "SpaceOptions",
    "Statistics",
    "WidthFlops",
    "anchors_over",
    "build_graph",
    "checked_graph",
    "collect",
    "collect_over",
    "compose",
    "consumers",
    "copied",
    "cost_model",
    "count_flops",
    "fill",
    "first_names",
    "fit_attributes",
    "fit_numbers",
    "fitted_numbers",
    "fold",
    "images_wanted",
    "importance_function",
    "kept_anchors",
    "load_statistics",
    "neuron_taylor",
    "place_grouped",
    "plain",
    "present_kernels",
    "probe",
    "probe_inputs",
    "recalibrate",
    "recalibrate_over",
    "restate_norms",
    "save_statistics",
    "set_tensor",
    "state_tensors",
    "take_anchors",
    "tensors_in",
    "unwrapped",
]
