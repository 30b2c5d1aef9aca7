"""The members of a front on disk: built, measured, saved, opened again, drawn."""

from gaprune.front.finetuned import current_row, hand_over, handed_out, in_words, note_training, trainings
from gaprune.front.ladder import save_ladder
from gaprune.front.members import (
    CSV,
    FRONT,
    distinct,
    member_config,
    member_readme,
    member_row,
    new_front,
    replace_front,
    save_front,
    saved_front,
)
from gaprune.front.picture import PICTURE, draw, logged
from gaprune.front.reopen import DONE, check_identity, finished_front, part_of, reopened

__all__ = [
    "CSV",
    "DONE",
    "FRONT",
    "PICTURE",
    "check_identity",
    "current_row",
    "distinct",
    "draw",
    "finished_front",
    "hand_over",
    "handed_out",
    "in_words",
    "logged",
    "member_config",
    "member_readme",
    "member_row",
    "new_front",
    "note_training",
    "part_of",
    "reopened",
    "replace_front",
    "save_front",
    "save_ladder",
    "saved_front",
    "trainings",
]
