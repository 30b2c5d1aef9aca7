"""Whose kernels run a network: torch's, compiled ones, ONNX Runtime's; files for them, and how long they take."""

from gaprune.runtimes.extras import needed
from gaprune.runtimes.int8 import dynamic_int8, static_int8
from gaprune.runtimes.latency import Clock, Conditions, Latency, Stopwatch, in_words
from gaprune.runtimes.onnx_files import BATCH, EXAMPLES, EXTRA, OUTPUT, quiet, to_onnx
from gaprune.runtimes.prepared import check_runtime, prepared
from gaprune.runtimes.sessions import onnx_session
from gaprune.runtimes.stopwatch import Timing, time_calls

__all__ = [
    "BATCH",
    "EXAMPLES",
    "EXTRA",
    "OUTPUT",
    "Clock",
    "Conditions",
    "Latency",
    "Stopwatch",
    "Timing",
    "check_runtime",
    "dynamic_int8",
    "in_words",
    "needed",
    "onnx_session",
    "prepared",
    "quiet",
    "static_int8",
    "time_calls",
    "to_onnx",
]
