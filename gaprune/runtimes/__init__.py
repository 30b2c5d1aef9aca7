"""Whose kernels run a network: torch's, compiled ones, ONNX Runtime's; files for them, and how long they take."""

from gaprune.runtimes.extras import needed
from gaprune.runtimes.int8 import dynamic_int8, static_int8
from gaprune.runtimes.latency import Clock, Conditions, Latency, Stopwatch
from gaprune.runtimes.onnx_files import BATCH, EXAMPLES, EXTRA, OUTPUT, quiet, to_onnx
from gaprune.runtimes.prepared import check_runtime, prepared
from gaprune.runtimes.sessions import onnx_session
from gaprune.runtimes.stopwatch import Timing, time_calls
from gaprune.runtimes.table import (
    Grid,
    TableClock,
    WidthSeconds,
    fit_correction,
    from_record,
    shapes_of,
    sums,
    time_grid,
)

__all__ = [
    "BATCH",
    "EXAMPLES",
    "EXTRA",
    "OUTPUT",
    "Clock",
    "Conditions",
    "Grid",
    "Latency",
    "Stopwatch",
    "TableClock",
    "Timing",
    "WidthSeconds",
    "check_runtime",
    "dynamic_int8",
    "fit_correction",
    "from_record",
    "needed",
    "onnx_session",
    "prepared",
    "quiet",
    "shapes_of",
    "static_int8",
    "sums",
    "time_calls",
    "time_grid",
    "to_onnx",
]
