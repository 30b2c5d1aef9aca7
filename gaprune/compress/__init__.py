"""What the search is compared with: quantization, Tucker, distillation, pruning, and chains of them.

Methods are written once over a ``Task`` (images, texts) and a ``Work`` (the network on its way through a chain).
"""

from gaprune.compress.chain import Chain, parse_chain
from gaprune.compress.method import Inputs, Method, Outline, Predict, Session, Step, Student, Task, Work
from gaprune.compress.runners import OnnxRunner, Runner, TorchRunner

__all__ = [
    "Chain",
    "Inputs",
    "Method",
    "OnnxRunner",
    "Outline",
    "Predict",
    "Runner",
    "Session",
    "Step",
    "Student",
    "Task",
    "TorchRunner",
    "Work",
    "parse_chain",
]
