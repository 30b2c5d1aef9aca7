"""One search: its options, its job (data, network, graph, evaluator), where it runs, and the loop."""

from gaprune.session.afterwards import Afterwards
from gaprune.session.backends import MakeBackend, open_backend, started
from gaprune.session.callbacks import Callback, Generation, check_callbacks, of_a_callback
from gaprune.session.engine import Left, Origin, make_evaluator
from gaprune.session.images import in_hand, load_images, normalised, reading, search_size, split_images
from gaprune.session.job import Before, Checked, Job, check_names, find_baseline, prepare, statistics_key
from gaprune.session.logged import logged_outcomes
from gaprune.session.loop import FLOPS_LEVELS, Found, run_search
from gaprune.session.material import NAMED, Material, TaskMaterial, score_name
from gaprune.session.own import Own, check_kinds, data_options, named_or_given, opened
from gaprune.session.polishing import make_polisher
from gaprune.session.statistics_cache import NAME, Kept
from gaprune.session.task_job import prepare_task
from gaprune.session.task_options import (
    TEXT_NUMBERS,
    check_task,
    check_task_export,
    check_task_kind,
    check_task_resume,
    check_task_training,
    check_text_training,
)
from gaprune.session.timing import SECONDS_OF_ORIGINAL, make_clock
from gaprune.session.workload import Pieces, Workload

__all__ = [
    "FLOPS_LEVELS",
    "NAME",
    "NAMED",
    "SECONDS_OF_ORIGINAL",
    "TEXT_NUMBERS",
    "Afterwards",
    "Before",
    "Callback",
    "Checked",
    "Found",
    "Generation",
    "Job",
    "Kept",
    "Left",
    "MakeBackend",
    "Material",
    "Origin",
    "Own",
    "Pieces",
    "TaskMaterial",
    "Workload",
    "check_callbacks",
    "check_kinds",
    "check_names",
    "check_task",
    "check_task_export",
    "check_task_kind",
    "check_task_resume",
    "check_task_training",
    "check_text_training",
    "data_options",
    "find_baseline",
    "in_hand",
    "load_images",
    "logged_outcomes",
    "make_clock",
    "make_evaluator",
    "make_polisher",
    "named_or_given",
    "normalised",
    "of_a_callback",
    "open_backend",
    "opened",
    "prepare",
    "prepare_task",
    "reading",
    "run_search",
    "score_name",
    "search_size",
    "split_images",
    "started",
    "statistics_key",
]
