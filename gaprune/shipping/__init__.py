"""From a member, or a row of a comparison, to the file that ships: written, loaded again, compared on real images."""

from gaprune.shipping.by_task import TaskCheck, check_task_file, make_task_file
from gaprune.shipping.checking import Check, check
from gaprune.shipping.files import ShippedFile, load_file, make_file, runtime_of
from gaprune.shipping.images import known_images
from gaprune.shipping.subject import Subject, subject_of

__all__ = [
    "Check",
    "ShippedFile",
    "Subject",
    "TaskCheck",
    "check",
    "check_task_file",
    "known_images",
    "load_file",
    "make_file",
    "make_task_file",
    "runtime_of",
    "subject_of",
]
