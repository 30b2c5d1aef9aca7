"""The run directory: what a search leaves on disk, and how it goes on from there. Knows no network."""

from gaprune.runs.directory import (
    LOG_NAME,
    MANIFEST_NAME,
    PARTS,
    SECONDS,
    STAGES,
    STATE_NAME,
    RunDirectory,
    check_free,
    default_run_path,
    read_manifest,
)
from gaprune.runs.display import front_table, plain_number, plain_table, plot_front, points_lost, share_left
from gaprune.runs.files import atomic_write, put_back, read_json_object, sync_folder, take_place, write_json
from gaprune.runs.frames import frame, row_values
from gaprune.runs.front import (
    FINETUNED,
    FLOPS_NOTE,
    SHORT,
    Baseline,
    FrontRow,
    Timed,
    member_folder,
    member_name,
    read_csv,
    write_csv,
    write_indices,
)
from gaprune.runs.ladder import LADDER_NAME, LadderTable, read_ladder, write_ladder
from gaprune.runs.lock import HOLDER_NAME, DirectoryLock
from gaprune.runs.log import EvaluationLog
from gaprune.runs.manifest import environment, processor
from gaprune.runs.picking import check_choice, check_one, check_rule, choose, choose_one, is_member, members, pick
from gaprune.runs.states import State, latest_state, save_state
from gaprune.runs.tables import MEGABYTE, cell, csv_table, markdown

__all__ = [
    "FINETUNED",
    "FLOPS_NOTE",
    "HOLDER_NAME",
    "LADDER_NAME",
    "LOG_NAME",
    "MANIFEST_NAME",
    "MEGABYTE",
    "PARTS",
    "SECONDS",
    "SHORT",
    "STAGES",
    "STATE_NAME",
    "Baseline",
    "DirectoryLock",
    "EvaluationLog",
    "FrontRow",
    "LadderTable",
    "RunDirectory",
    "State",
    "Timed",
    "atomic_write",
    "cell",
    "check_choice",
    "check_free",
    "check_one",
    "check_rule",
    "choose",
    "choose_one",
    "csv_table",
    "default_run_path",
    "environment",
    "frame",
    "front_table",
    "is_member",
    "latest_state",
    "markdown",
    "member_folder",
    "member_name",
    "members",
    "pick",
    "plain_number",
    "plain_table",
    "plot_front",
    "points_lost",
    "processor",
    "put_back",
    "read_csv",
    "read_json_object",
    "read_ladder",
    "read_manifest",
    "row_values",
    "save_state",
    "share_left",
    "sync_folder",
    "take_place",
    "write_csv",
    "write_indices",
    "write_json",
    "write_ladder",
]
