"""Which 8-bit quantizer is faster on a CPU, ONNX Runtime's or torchao's? What ``quantize`` of the comparison rests on.

Claim: an encoder's linear layers in 8 bits (weights by channel, activations when they are computed) take less time in
ONNX Runtime than by torchao, eager or compiled. torch's own quantization is deprecated and does not take part; torchao
quantizes linear layers alone, so convolutions and embeddings are no question.

All sides: the same BERT (six layers, width 384, random weights, as times do not depend on them), the same token ids,
threads and turns; medians after warm-up. ``torch.compile`` needs a C++ compiler where it runs; without one its rows are
missing. Sizes are of the weights as each side saves them.

    pip install torchao
    python benchmarks/quantizers.py
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import importlib.util
import io
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn
from transformers import BertConfig

from benchmarks.harness import Goal, run
from gaprune.compress import Session, Work
from gaprune.compress.chain import parse_chain
from gaprune.compress.method import Inputs, Task
from gaprune.compress.runners import OnnxRunner
from gaprune.compress.timing import median_seconds
from gaprune.progress import make_reporter
from gaprune.runtimes import needed
from gaprune.text.networks import bert_base, build_network

TOKENS = 32
BATCHES = (1, 32)
CPU = torch.device("cpu")

ONNX, ONNX_FLOAT, EAGER, COMPILED, FLOAT = (
    "ONNX Runtime, 8 bits",
    "ONNX Runtime, float32",
    "torchao, 8 bits",
    "torchao, 8 bits, compiled",
    "torch, float32",
)
GOALS = tuple(
    Goal(f"seconds of {ONNX} over {other}, batch {batch}", "<=", 1.0, "times")
    for other in (EAGER, COMPILED)
    for batch in BATCHES
)

Row = dict[str, Any]
Predict = Callable[[Inputs], torch.Tensor]


@dataclass(frozen=True)
class Ids:
    """Random token ids: as much of a ``Task`` as exporting and timing ask for.

    Attributes:
        vocabulary: ids are below it.
    """

    vocabulary: int
    device: torch.device = CPU
    criterion: str = "taylor"
    input_names: tuple[str, ...] = ("ids", "mask")
    varying: Mapping[str, Mapping[int, str]] = field(
        default_factory=lambda: {"ids": {1: "length"}, "mask": {1: "length"}}
    )

    def flops(self, model: nn.Module) -> int | None:
        """Not asked for."""
        return None

    def inputs(self, count: int) -> Inputs:
        """Ids and a mask that hides nothing, (count, tokens) each."""
        ids = torch.randint(self.vocabulary, (count, TOKENS), generator=torch.Generator().manual_seed(count))
        return ids, torch.ones_like(ids)


def encoder(quick: bool) -> tuple[nn.Module, dict[str, Any], int]:
    """A BERT of random weights, what it is built from, and its vocabulary."""
    width, layers, vocabulary = (32, 2, 100) if quick else (384, 6, 30_522)
    base = bert_base(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            intermediate_size=4 * width,
            num_labels=2,
        )
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_network(base).eval(), base, vocabulary


def by_onnx(work: Work, text: str) -> tuple[Predict, int]:
    """The network in ONNX Runtime, and the bytes of its file."""
    for method in parse_chain(text).methods:
        work = method.apply(work, Session())
    runner = cast(OnnxRunner, work.runner)
    return runner.predictor(CPU, torch.get_num_threads()), len(runner.content)


def by_torchao(work: Work) -> tuple[nn.Module, int]:
    """A copy whose linear layers torchao has quantized, and the bytes of its tensors."""
    quantization = needed("torchao.quantization")
    network = copy.deepcopy(work.network)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        quantization.quantize_(network, quantization.Int8DynamicActivationInt8WeightConfig())
        with tempfile.TemporaryFile() as file:
            torch.save(network.state_dict(), file)
            size = file.tell()
    return network, size


def in_torch(network: Callable[..., torch.Tensor]) -> Predict:
    """A network as a function of inputs."""

    def predict(inputs: Inputs) -> torch.Tensor:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return network(*inputs)

    return predict


def sides(work: Work, quick: bool) -> dict[str, tuple[Predict, int | None]]:
    """By name: the function to time, and bytes where the side has a file of its own."""
    buffer = io.BytesIO()
    torch.save(work.network.state_dict(), buffer)
    found: dict[str, tuple[Predict, int | None]] = {
        FLOAT: (in_torch(work.network), buffer.tell()),
        ONNX_FLOAT: by_onnx(work, "onnx"),
        ONNX: by_onnx(work, "quantize:linear"),
    }
    if not _there("torchao"):
        make_reporter().say("torchao is not installed, its rows are missing: pip install torchao")
        return found
    quantized, size = by_torchao(work)
    found[EAGER] = (in_torch(quantized), size)
    if not quick:
        compiled = in_torch(torch.compile(quantized))
        try:
            compiled(work.task.inputs(BATCHES[0]))
        except Exception as error:  # whatever the compiler stumbles over
            make_reporter().say(f"torch.compile does not work here: {str(error).splitlines()[0]}")
        else:
            found[COMPILED] = (compiled, None)
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every side's seconds by batch, and how far its answers are from the float network's."""
    network, base, vocabulary = encoder(options.quick)
    work = Work.of(network, cast(Task, Ids(vocabulary)), base)
    rows: list[Row] = []
    made = sides(work, options.quick)
    with make_reporter().task("quantizers", len(made) * len(BATCHES)) as task:
        for batch in BATCHES:
            inputs = work.task.inputs(batch)
            wanted = in_torch(network)(inputs)
            for name, (predict, size) in made.items():
                apart = float((predict(inputs) - wanted).abs().mean() / wanted.abs().mean())
                seconds = median_seconds(lambda predict=predict, inputs=inputs: predict(inputs), CPU)
                rows.append(
                    {
                        "side": name,
                        "batch": batch,
                        "seconds": round(seconds, 5),
                        "megabytes": None if size is None else round(size / 1e6, 2),
                        "logits_apart": round(apart, 5),
                    }
                )
                task.advance(1, side=name)
    return {
        "data": "random-ids",
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "figures": figures_of(rows),
        "versions": {name: importlib.metadata.version(name) for name in ("onnxruntime", "torchao") if _there(name)},
        "rows": rows,
    }


def _there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def figures_of(rows: list[Row]) -> dict[str, float]:
    """The ratios that goals speak of, of the sides that ran."""
    seconds = {(row["side"], row["batch"]): row["seconds"] for row in rows}
    return {
        f"seconds of {ONNX} over {other}, batch {batch}": round(seconds[ONNX, batch] / seconds[other, batch], 4)
        for other in (EAGER, COMPILED)
        for batch in BATCHES
        if (other, batch) in seconds
    }


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure))
