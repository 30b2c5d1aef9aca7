"""Which networks can be pruned, how much of them, and is what is cut right?

Claim: of torchvision's classifiers all are traced, and equal to their masks and counted to the last unit where half of
the neurons of every group are gone; of timm's all but a few; and half widths leave as few FLOPs as Torch-Pruning's.

Every network is drawn at random (what its norms and scales hold, too, so that nothing hides behind ones and zeros), in
float64, at the smallest of ``SIDES`` that it takes. ``equal``: the compact network's outputs beside those of the masked
one, relative to the largest. ``counted``: gaprune's formula beside fvcore's count of the compact network. ``half``:
FLOPs left with half of each group. Torch-Pruning: FLOPs left at a pruning ratio of 0.5 of every layer but the last,
with the heads of attention told to it; what it raises is its reason, and it has ``PEER_SECONDS`` and ``PEER_MEMORY``.
``seconds``: of the processor, on one thread, so that other work of the machine does not count. Each network has a
process of its own and ``PATIENCE`` seconds. A run that is stopped goes on with the same command; ``--so-far`` writes
the rows that there are, and which networks are not measured.

    python benchmarks/networks.py
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness import Goal, pathless, run
from gaprune.errors import GapruneError, first_line
from gaprune.models import build
from gaprune.progress import Reporter, make_reporter
from gaprune.prune import Compactor, Graph, Masks, checked_graph, cost_model, count_flops, plain
from gaprune.prune.cut.masked import masked_network

CLASSES = 10
SIDES = (64, 128, 224, 256, 299)
PATIENCE = 1200
"""Seconds of one network."""
PEER_SECONDS = 60
"""Seconds of the processor that Torch-Pruning may take on one network."""
PEER_MEMORY = 8 * 2**30
"""Bytes that it may take beyond what the process has."""
EQUAL = 1e-9
"""Largest relative difference of outputs in float64."""

TIMM = [
    "resnet26",
    "resnetv2_50",
    "resnet50_gn",
    "seresnet50",
    "skresnet18",
    "res2net50_26w_4s",
    "resnest14d",
    "ecaresnet26t",
    "cspresnet50",
    "cspdarknet53",
    "darknet53",
    "vovnet39a",
    "dla34",
    "hrnet_w18_small",
    "dpn48b",
    "densenet121",
    "inception_v4",
    "xception41",
    "ghostnet_100",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_small",
    "rexnet_100",
    "tf_efficientnet_lite0",
    "tf_efficientnetv2_b0",
    "efficientnet_b0",
    "mixnet_s",
    "hardcorenas_a",
    "fbnetc_100",
    "lcnet_050",
    "tinynet_e",
    "regnety_002",
    "repvgg_a0",
    "nf_resnet26",
    "eca_nfnet_l0",
    "convnext_atto",
    "convnextv2_atto",
    "edgenext_xx_small",
    "poolformer_s12",
    "mixer_s32_224",
    "gmlp_ti16_224",
    "resmlp_12_224",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "cait_xxs24_224",
    "beit_base_patch16_224",
    "swin_tiny_patch4_window7_224",
    "levit_128s",
    "efficientformer_l1",
    "coatnet_nano_rw_224",
    "maxvit_rmlp_pico_rw_256",
]


def torchvision_names() -> list[str]:
    """Its classifiers but the two giants, whose kin is there."""
    from torchvision import models

    return [name for name in models.list_models(module=models) if name not in ("vit_h_14", "regnet_y_128gf")]


class Block(nn.Module):
    """Layers, and a forward over them."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, CLASSES)."""
        return self.run(self, x)


def _headed(width: int, *layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(8),
        nn.Flatten(),
        nn.Linear(192, 64),
        nn.ReLU(),
        nn.Linear(64, 32),
        nn.GELU(),
        nn.Linear(32, CLASSES),
    )


def _unet() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        top = s.first(x).relu()
        low = s.down(top).relu()
        found: Tensor = s.head(s.merge(torch.cat([top, s.up(low)], 1)).relu().mean((2, 3)))
        return found

    return Block(
        forward,
        first=nn.Conv2d(3, 16, 3, padding=1),
        down=nn.Conv2d(16, 32, 2, stride=2),
        up=nn.ConvTranspose2d(32, 16, 2, stride=2),
        merge=nn.Conv2d(32, 24, 3, padding=1),
        head=nn.Linear(24, CLASSES),
    )


def _padded_shortcut() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        x = s.first(x).relu()
        x = s.wide(x).relu() + nn.functional.pad(x, (0, 0, 0, 0, 8, 8))
        found: Tensor = s.head(x.mean((2, 3)))
        return found

    return Block(forward, first=nn.Conv2d(3, 16, 3), wide=nn.Conv2d(16, 32, 3, padding=1), head=nn.Linear(32, CLASSES))


def _gate() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        x = s.first(x).relu()
        x = x * s.excite(s.squeeze(x.mean((2, 3))).relu()).sigmoid()[:, :, None, None]
        found: Tensor = s.head(s.last(x).relu().mean((2, 3)))
        return found

    parts = {"first": nn.Conv2d(3, 32, 3), "squeeze": nn.Linear(32, 8), "excite": nn.Linear(8, 32)}
    return Block(forward, **parts, last=nn.Conv2d(32, 16, 3), head=nn.Linear(16, CLASSES))


def _encoder() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        tokens = s.encoder(s.patches(x).flatten(2).transpose(1, 2))
        found: Tensor = s.head(tokens.mean(1))
        return found

    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
    return Block(
        forward,
        patches=nn.Conv2d(3, 32, 16, stride=16),
        encoder=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
        head=nn.Linear(32, CLASSES),
    )


def _norms(norm: Callable[[int], nn.Module]) -> nn.Module:
    return _headed(32, nn.Conv2d(3, 16, 3), norm(16), nn.ReLU(), nn.Conv2d(16, 32, 3), norm(32), nn.ReLU())


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "vgg16 (gaprune)": lambda: build("vgg16", CLASSES),
    "resnet18 (gaprune)": lambda: build("resnet18", CLASSES),
    "mlp": _mlp,
    "U-Net, transposed": _unet,
    "zero-padded shortcut": _padded_shortcut,
    "linear squeeze-and-excite": _gate,
    "nn.TransformerEncoder": _encoder,
    "group norm": lambda: _norms(lambda width: nn.GroupNorm(4, width)),
    "layer norm of maps": lambda: _norms(lambda width: nn.GroupNorm(1, width)),
    "instance norm": lambda: _norms(lambda width: nn.InstanceNorm2d(width, affine=True)),
    "PReLU": lambda: _headed(32, nn.Conv2d(3, 16, 3), nn.PReLU(16), nn.Conv2d(16, 32, 3), nn.PReLU(32)),
    "gated linear units": lambda: _headed(16, nn.Conv2d(3, 32, 3), nn.GLU(1), nn.Conv2d(16, 32, 3), nn.GLU(1)),
    "channel shuffle": lambda: _headed(32, nn.Conv2d(3, 32, 3), nn.ChannelShuffle(4), nn.Conv2d(32, 32, 3), nn.ReLU()),
    "pixel shuffle": lambda: _headed(16, nn.Conv2d(3, 32, 3), nn.PixelShuffle(2), nn.Conv2d(8, 16, 3), nn.ReLU()),
    "pixel unshuffle": lambda: _headed(16, nn.Conv2d(3, 8, 3, padding=1), nn.PixelUnshuffle(2), nn.Conv2d(32, 16, 3)),
}

PACKAGES = ["torch", "torch.export", "torchvision.models", "timm", "torch_pruning", "fvcore.nn"]
SOURCES = ("torchvision", "timm", "others")
TESTED = tuple(list(OTHERS)[2:12])
"""The ten that the tests and ``--quick`` run."""

GOALS = (
    Goal("torchvision: share traced, equal and counted", ">=", 1.0, ""),
    Goal("timm: networks traced, equal and counted", ">=", 45, "networks"),
    Goal("silently wrong", "<=", 0, "networks"),
    Goal("tracebacks", "<=", 0, "networks"),
    Goal("half FLOPs above Torch-Pruning's, worst", "<=", 0.05, "of the whole"),
    Goal("seconds of tracing and checking, slowest", "<=", 30, "s"),
)


def make(source: str, name: str) -> nn.Module:
    """A network of a source, drawn at random."""
    torch.manual_seed(0)
    model = OTHERS[name]() if source == "others" else build(f"{source}:{name}", CLASSES)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1 or not parameter.abs().max() > 0:
                parameter.add_(0.3 * torch.rand_like(parameter))
        for key, buffer in model.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                buffer.add_(0.3 * torch.rand_like(buffer))
    return model.eval()


def side_of(model: nn.Module) -> int:
    """The smallest side of an image that a network takes.

    Raises:
        RuntimeError: it takes none.
    """
    for side in SIDES:
        try:
            with torch.no_grad():
                model(torch.zeros(2, 3, side, side))
        except Exception:  # whatever a foreign forward raises
            continue
        return side
    raise RuntimeError("it takes none of the images")


def halves(graph: Graph) -> Masks:
    """Every second neuron of each group."""
    masks = Masks.full(graph)
    for group in graph.groups:
        masks.neurons[group.slice][1::2] = False
    return masks


def judge(source: str, name: str) -> dict[str, Any]:
    """One row of the table."""
    row: dict[str, Any] = {"source": source, "network": name, "traced": False, "traceback": False}
    try:
        made = make(source, name)
        row["side"] = side_of(made)
        row |= ours(made, (3, row["side"], row["side"]))
    except GapruneError as error:
        row["why"] = pathless(str(error))
    except Exception as error:  # which a caller would have seen as a traceback
        row |= {"traceback": True, "why": pathless(first_line(error))}
    if "side" in row:
        row["torch_pruning"], row["torch_pruning_says"] = torch_pruning(source, name, row["side"])
    return row


def ours(made: nn.Module, shape: tuple[int, int, int]) -> dict[str, Any]:
    """What gaprune makes of it."""
    model = plain(made).model.double()
    began = time.process_time()
    graph = checked_graph(model, shape)
    seconds = time.process_time() - began
    costs, masks = cost_model(model, graph, shape), halves(graph)
    compact = Compactor(model, graph)(masks)
    images = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, wanted = compact(images), masked_network(model, graph, masks)(images)
    outputs = sum(len(layer.outputs) for layer in graph.layers) - CLASSES
    loose = sum(int((layer.outputs.reshape(len(layer.outputs), -1) >= 0).any(1).sum()) for layer in graph.layers)
    return {
        "traced": True,
        "neurons": graph.neurons,
        "can_go": loose / max(outputs, 1),
        "half": costs.flops(masks) / costs.flops(Masks.full(graph)),
        "apart": float((found - wanted).abs().max() / wanted.abs().max()),
        "counted": costs.flops(masks) == count_flops(compact, shape),
        "whole": len(graph.unpruned),
        "why": pathless(graph.unpruned[0][1]) if graph.unpruned else "",
        "seconds": seconds,
    }


def torch_pruning(source: str, name: str, side: int) -> tuple[float | None, str]:
    """FLOPs that Torch-Pruning leaves at half, or its reason."""
    import torch_pruning as tp

    from gaprune.models.zoo import build_from_zoo

    torch.manual_seed(0)
    model = OTHERS[name]() if source == "others" else build_from_zoo(f"{source}:{name}", CLASSES)
    model.eval()
    shape, example = (3, side, side), torch.zeros(1, 3, side, side)
    last = [module for module in model.modules() if getattr(module, "out_features", 0) == CLASSES]
    last += [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.out_channels == CLASSES]
    heads = {m.qkv: m.num_heads for m in model.modules() if hasattr(m, "qkv") and hasattr(m, "num_heads")}
    heads |= {m: m.num_heads for m in model.modules() if isinstance(m, nn.MultiheadAttention)}
    try:
        whole = count_flops(model, shape)
        with limited(PEER_SECONDS, PEER_MEMORY), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pruner = tp.pruner.MagnitudePruner(
                model,
                example,
                importance=tp.importance.MagnitudeImportance(p=2),
                pruning_ratio=0.5,
                ignored_layers=last,
                num_heads=heads,
            )
            pruner.step()
        for module in model.modules():
            if hasattr(module, "qkv") and hasattr(module, "num_heads") and isinstance(module.qkv, nn.Linear):
                module.head_dim = module.qkv.out_features // 3 // module.num_heads
        with torch.no_grad():
            model(example)
        return count_flops(model, shape) / whole, ""
    except Exception as error:  # of a foreign package on foreign networks
        return None, pathless(first_line(error))[:160]


@contextmanager
def limited(seconds: int, memory: int) -> Iterator[None]:
    """Bounds on what the main thread runs inside: seconds of the processor, and bytes beyond those in use."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, before[1]))
    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
        resource.setrlimit(resource.RLIMIT_AS, before)


def wanted(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Sources and names, in order."""
    if options.quick:
        return [("others", name) for name in TESTED]
    every = {"torchvision": torchvision_names(), "timm": TIMM, "others": list(OTHERS)}
    sources = options.source or SOURCES
    return [(source, name) for source in sources for name in every[source]]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every network in a process of its own."""
    pairs, missing = wanted(options), list[str]()
    kept = Path(options.kept or Path(tempfile.gettempdir()) / "gaprune-networks.jsonl")
    known = {} if options.quick or not kept.exists() else _known(kept)
    if options.so_far:
        missing = [f"{source}:{name}" for source, name in pairs if (source, name) not in known]
        pairs = [pair for pair in pairs if pair in known]
    reporter: Reporter = make_reporter()
    rows = []
    with reporter.task("networks", len(pairs)) as task:
        for source, name in pairs:
            row = known.get((source, name)) or (judge(source, name) if options.quick else _alone(source, name))
            if row is not None and (source, name) not in known and not options.quick:
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
            rows.append(row)
            task.advance(1)
    measured = figures(rows, missing)
    return {"data": "random-images", "device": "cpu", "figures": measured, "rows": rows, "missing": missing}


def figures(rows: list[dict[str, Any]], missing: Sequence[str] = ()) -> dict[str, float]:
    """What the goals speak of; sources that were not run have none, and what is missing of one counts as not right."""
    found: dict[str, float] = {}
    of = {source: [row for row in rows if row["source"] == source] for source in SOURCES}
    if of["torchvision"]:
        lacking = sum(name.startswith("torchvision:") for name in missing)
        found[GOALS[0].name] = sum(map(right, of["torchvision"])) / (len(of["torchvision"]) + lacking)
    if of["timm"]:
        found[GOALS[1].name] = sum(map(right, of["timm"]))
    traced = [row for row in rows if row["traced"]]
    found[GOALS[2].name] = sum(not right(row) for row in traced)
    found[GOALS[3].name] = sum(row["traceback"] for row in rows)
    both = [row["half"] - row["torch_pruning"] for row in traced if row.get("torch_pruning") is not None]
    if both:
        found[GOALS[4].name] = max(both)
        found["half FLOPs above Torch-Pruning's, median"] = median(both)
    if traced:
        found[GOALS[5].name] = max(row["seconds"] for row in traced)
        found["seconds of tracing and checking, median"] = median(row["seconds"] for row in traced)
    return found


def right(row: dict[str, Any]) -> bool:
    """Whether a network was traced, and its half is equal and counted."""
    return bool(row["traced"] and row["apart"] <= EQUAL and row["counted"])


def _known(kept: Path) -> dict[tuple[str, str], dict[str, Any]]:
    rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    return {(row["source"], row["network"]): row for row in rows}


def _alone(source: str, name: str) -> dict[str, Any]:
    """The row of a network, measured in a process of its own, which finds the packages imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PACKAGES)
    row = {"source": source, "network": name, "traced": False, "traceback": False}
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_judged, args=(sending, source, name), daemon=True)
    process.start()
    sending.close()
    try:
        if not receiving.poll(PATIENCE):
            return row | {"why": f"not done after {PATIENCE} s"}
        found: dict[str, Any] = receiving.recv()
        return found
    except EOFError:
        process.join()
        return row | {"traceback": True, "why": f"its process ended with status {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def _judged(sending: Connection, source: str, name: str) -> None:
    """A process that measures one network."""
    torch.set_num_threads(1)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        row = judge(source, name)
    sending.send(row)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The script's own options."""
    parser.add_argument("--source", choices=SOURCES, action="append", help="networks of this source alone")
    parser.add_argument("--kept", help="where finished rows are kept until all are done")
    parser.add_argument("--so-far", action="store_true", help="write the finished rows, and measure nothing")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
