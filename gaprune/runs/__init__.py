"""The run directory: what a search leaves on disk, and how it goes on from there. Knows no network."""

from gaprune.runs.directory import RunDirectory, check_free, default_run_path, read_manifest
from gaprune.runs.display import front_table, plain_table, plot_front, points_lost, share_left
from gaprune.runs.front import FLOPS_NOTE, Baseline, FrontRow, member_folder, member_name, read_csv, write_csv
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
    "member_folder",
    "member_name",
    "pick",
    "plain_table",
    "plot_front",
    "points_lost",
    "processor",
    "read_csv",
    "read_manifest",
    "share_left",
    "write_csv",
]
