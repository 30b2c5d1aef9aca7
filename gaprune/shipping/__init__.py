"""From a member, or a row of a comparison, to the file that ships: written, loaded again, compared on real images."""

from gaprune.shipping.checking import Check, check
from gaprune.shipping.files import ShippedFile, load_file, make_file, runtime_of
from gaprune.shipping.images import known_images
from gaprune.shipping.subject import Subject, subject_of

__all__ = [
    "Check",
    "ShippedFile",
    "Subject",
    "check",
    "known_images",
    "load_file",
    "make_file",
    "runtime_of",
    "subject_of",
]
