"""What can be told: fields with words and bounds, files and keyword arguments of options, the command line.

Importable without torch, so that help and mistakes are answered at once.
"""

from gaprune.options.choices import (
    FORMS,
    MODELS,
    ROBUSTNESS,
    TEXT_MODEL,
    UNDER_ATTACK,
    Data,
    Device,
    Genes,
    Layers,
    LogLevel,
    Stem,
    check_groups,
    names,
)
from gaprune.options.cli import (
    BAD_INPUT,
    Interrupted,
    differences,
    fail,
    options_from_record,
    options_record,
    run_command,
    typed_command,
)
from gaprune.options.compare import CompareOptions, TimingOptions
from gaprune.options.compare_keywords import CompareKeywords
from gaprune.options.config import peek
from gaprune.options.edge import HUNG, end_at_once, out_of_memory, output_error, show
from gaprune.options.export import SUFFIXES, ExportOptions
from gaprune.options.export_keywords import ExportKeywords
from gaprune.options.fields import LARGEST_SEED, Options, check_fields, group, names_of, option, seed_option
from gaprune.options.finetune import FinetuneOptions, PlaceOptions, TrainingOptions
from gaprune.options.finetune_keywords import FinetuneKeywords
from gaprune.options.groups import (
    ClusterOptions,
    EvolutionOptions,
    FitnessOptions,
    GenomeOptions,
    ImageOptions,
    IterationOptions,
    LatencyOptions,
    LoudnessOptions,
    MachineOptions,
    NetworkOptions,
    ReadingOptions,
    RecordOptions,
    RoundOptions,
    RunOptions,
    ScreenOptions,
    TrustOptions,
)
from gaprune.options.keywords import from_keywords
from gaprune.options.limits import (
    COSTS,
    HOTTEST,
    LATENCY_RULE,
    SHARED_NEEDS,
    check_latency,
    check_limits,
    latency_limit,
)
from gaprune.options.models import packaged_names, unknown_model
from gaprune.options.report import ReportOptions, StatusOptions
from gaprune.options.resume import PLACES, UNRECORDED, record, resumed_options, with_known_data
from gaprune.options.search import AUTO, LATENCY, ROUNDS, SCORE, TASK, SearchOptions, settled, wants_latency
from gaprune.options.search_keywords import SearchKeywords
from gaprune.options.train import TrainOptions
from gaprune.options.trust import check_run_trusted, check_trusted, imports, named_again, students_of

__all__ = [
    "AUTO",
    "BAD_INPUT",
    "COSTS",
    "FORMS",
    "HOTTEST",
    "HUNG",
    "LARGEST_SEED",
    "LATENCY",
    "LATENCY_RULE",
    "MODELS",
    "PLACES",
    "ROBUSTNESS",
    "ROUNDS",
    "SCORE",
    "SHARED_NEEDS",
    "SUFFIXES",
    "TASK",
    "TEXT_MODEL",
    "UNDER_ATTACK",
    "UNRECORDED",
    "ClusterOptions",
    "CompareKeywords",
    "CompareOptions",
    "Data",
    "Device",
    "EvolutionOptions",
    "ExportKeywords",
    "ExportOptions",
    "FinetuneKeywords",
    "FinetuneOptions",
    "FitnessOptions",
    "Genes",
    "GenomeOptions",
    "ImageOptions",
    "Interrupted",
    "IterationOptions",
    "LatencyOptions",
    "Layers",
    "LogLevel",
    "LoudnessOptions",
    "MachineOptions",
    "NetworkOptions",
    "Options",
    "PlaceOptions",
    "ReadingOptions",
    "RecordOptions",
    "ReportOptions",
    "RoundOptions",
    "RunOptions",
    "ScreenOptions",
    "SearchKeywords",
    "SearchOptions",
    "StatusOptions",
    "Stem",
    "TimingOptions",
    "TrainOptions",
    "TrainingOptions",
    "TrustOptions",
    "check_fields",
    "check_groups",
    "check_latency",
    "check_limits",
    "check_run_trusted",
    "check_trusted",
    "differences",
    "end_at_once",
    "fail",
    "from_keywords",
    "group",
    "imports",
    "latency_limit",
    "named_again",
    "names",
    "names_of",
    "option",
    "options_from_record",
    "options_record",
    "out_of_memory",
    "output_error",
    "packaged_names",
    "peek",
    "record",
    "resumed_options",
    "run_command",
    "seed_option",
    "settled",
    "show",
    "students_of",
    "typed_command",
    "unknown_model",
    "wants_latency",
    "with_known_data",
]
