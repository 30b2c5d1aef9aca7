"""The run directory: what a search leaves on disk, and how it goes on from there. Knows no network."""

from gaprune.runs.directory import RunDirectory, check_free, default_run_path, read_manifest
from gaprune.runs.display import front_table, plain_table, plot_front
from gaprune.runs.front import FLOPS_NOTE, Baseline, FrontRow, read_csv, write_csv
from gaprune.runs.log import EvaluationLog
from gaprune.runs.manifest import environment, processor
from gaprune.runs.picking import check_choice, check_rule, choose, pick

__all__ = [
    "FLOPS_NOTE",
    "Baseline",
    "EvaluationLog",
    "FrontRow",
    "RunDirectory",
    "check_choice",
    "check_free",
    "check_rule",
    "choose",
    "default_run_path",
    "environment",
    "front_table",
    "pick",
    "plain_table",
    "plot_front",
    "processor",
    "read_csv",
    "read_manifest",
    "write_csv",
]
