"""What the search is compared with: quantization, Tucker, distillation, pruning, and chains of them.

Methods are written once over a ``Task`` (images, texts) and a ``Work`` (the network on its way through a chain).
"""

from gaprune.compress.chain import Chain, parse_chain, parse_chains
from gaprune.compress.factoring import Factored, factored, place
from gaprune.compress.images import ImageTask, check_student
from gaprune.compress.method import Inputs, Method, Outline, Predict, Session, Step, Student, Task, Work
from gaprune.compress.ours import Front
from gaprune.compress.reporting import report
from gaprune.compress.resuming import COMPARISONS, KIND, again_command, check_identity, resumed_options
from gaprune.compress.rows import Row, saved_rows
from gaprune.compress.runners import OnnxRunner, Runner, TorchRunner
from gaprune.compress.storage import load_runner, save_work
from gaprune.compress.table import DASH, KERNELS

__all__ = [
    "COMPARISONS",
    "DASH",
    "KERNELS",
    "KIND",
    "Chain",
    "Factored",
    "Front",
    "ImageTask",
    "Inputs",
    "Method",
    "OnnxRunner",
    "Outline",
    "Predict",
    "Row",
    "Runner",
    "Session",
    "Step",
    "Student",
    "Task",
    "TorchRunner",
    "Work",
    "again_command",
    "check_identity",
    "check_student",
    "factored",
    "load_runner",
    "parse_chain",
    "parse_chains",
    "place",
    "report",
    "resumed_options",
    "save_work",
    "saved_rows",
]
