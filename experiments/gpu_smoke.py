"""Every path that a network may take on a device, once and small: what fails is named, what works is timed."""

from __future__ import annotations

import copy
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

import gaprune
from benchmarks.running import QUICK_NETWORK, quick_network
from gaprune.commands.compare import CompareOptions, compare_as
from gaprune.data import ImageData, ImageSet, load_data
from gaprune.device import choose_device
from gaprune.models import build
from gaprune.progress import SILENT
from gaprune.prune.checking import checked_graph
from gaprune.prune.cut.costs import cost_model, count_flops
from gaprune.prune.cut.masks import Masks
from gaprune.training import Recipe, bfloat16_pays, fit
from gaprune.training.digest import digest_tensors

SMALL = {
    "population": 6,
    "generations": 2,
    "search_size": 120,
    "calibration_size": 64,
    "statistics_size": 240,
    "reporter": SILENT,
}
RECIPE = Recipe(epochs=2, batch_size=64, lr=0.1, pad=1, cutout=2)


@dataclass(frozen=True)
class Bench:
    """What all paths begin with.

    Attributes:
        folder: for runs.
        data: the built-in digits.
        device: where networks run.
        weights: of a small network that has learnt the digits.
    """

    folder: Path
    data: ImageData
    device: torch.device
    weights: Path

    def search(self, name: str, **options: Any) -> Any:
        """A small search of the small network."""
        given = {**SMALL, **options}
        return gaprune.search(QUICK_NETWORK, "digits", output=self.folder / name, checkpoint=self.weights, **given)


def smoke(home: Path, folder: Path, write: Callable[..., None]) -> None:
    """Try every path; ``SystemExit`` where one fails, after all were tried.

    Args:
        home: of the step's results.
        folder: for runs.
        write: takes the results.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bench, found = _bench(folder), {}
    for path in PATHS:
        began = time.monotonic()
        try:
            said = path(bench)
            found[path.__name__] = {"ok": True, "said": said}
        except Exception as error:  # whatever it is, the others are tried
            traceback.print_exc()
            found[path.__name__] = {"ok": False, "said": f"{type(error).__name__}: {error}"[:500]}
        found[path.__name__]["seconds"] = round(time.monotonic() - began, 2)
        print(path.__name__, found[path.__name__], flush=True)
        write(device=str(bench.device), paths=found)
    failed = [name for name, one in found.items() if not one["ok"]]
    if failed:
        raise SystemExit(f"{len(failed)} of {len(found)} paths failed: {', '.join(failed)}")


def _bench(folder: Path) -> Bench:
    device, data = choose_device("auto"), load_data("digits")
    torch.manual_seed(0)
    model = quick_network(10).to(device)
    _fit(model, data, device)
    weights = folder / "small.safetensors"
    save_file({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}, weights)
    return Bench(folder, data, device, weights)


def _fit(model: nn.Module, data: ImageData, device: torch.device, **recipe: Any) -> None:
    train, test = data.train.to(device), data.test.to(device)
    given = Recipe(**{**vars(RECIPE), **recipe})
    fit(model, train, test, mean=data.mean, std=data.std, flip=data.flip, recipe=given)


def training_twice_is_the_same(bench: Bench) -> str:
    """In bfloat16, with cutout; weights bit for bit."""
    digests = []
    for _ in range(2):
        torch.manual_seed(1)
        model = quick_network(10).to(bench.device)
        _fit(model, bench.data, bench.device, amp=bfloat16_pays(bench.device))
        digests.append(digest_tensors(model.state_dict()))
    if digests[0] != digests[1]:
        raise RuntimeError("two trainings from one seed end in different weights")
    return digests[0][:12]


def large_networks_train_and_are_traced(bench: Bench) -> str:
    """VGG16 and ResNet18 at 32 x 32: graph, costs, one training of a few steps, twice."""
    said = []
    for name in ("vgg16", "resnet18"):
        shape = (3, 32, 32)
        torch.manual_seed(0)
        model = build(name, 10).to(bench.device).eval()
        graph = checked_graph(model, shape)
        if graph.unpruned:
            raise RuntimeError(f"{name} has groups left whole: {graph.unpruned}")
        if cost_model(model, graph, shape).flops(Masks.full(graph)) != count_flops(model, shape):
            raise RuntimeError(f"{name} is counted wrongly")
        digests = []
        generator, count = torch.Generator().manual_seed(0), 512 if bench.device.type == "cuda" else 8
        pixels = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)
        images = ImageSet(pixels, torch.arange(count) % 10).to(bench.device)
        for _ in range(2):
            twin = copy.deepcopy(model)
            recipe = Recipe(epochs=2, batch_size=count // 4, amp=bfloat16_pays(bench.device), cutout=8)
            norm = (127.0,) * 3, (64.0,) * 3
            fit(twin, images, images, mean=norm[0], std=norm[1], flip=True, recipe=recipe)
            digests.append(digest_tensors(twin.state_dict())[:12])
        said.append(f"{name} {'the same twice' if digests[0] == digests[1] else 'DIFFERS between two trainings'}")
    return ", ".join(said)


def a_search_twice_is_the_same(bench: Bench) -> str:
    """Same seed, same front, and resumed in the middle the same again."""
    fronts = [_front(bench.search(f"twice-{turn}", generations=4)) for turn in range(2)]
    halves = bench.search("halves", generations=2)
    resumed = gaprune.search(
        QUICK_NETWORK, "digits", resume=halves.path, generations=4, checkpoint=bench.weights, reporter=SILENT
    )
    if not fronts[0] == fronts[1] == _front(resumed):
        raise RuntimeError("the fronts differ")
    return f"{len(fronts[0])} members"


def _front(result: Any) -> list[tuple[str, float]]:
    return [(row.key, row.search_accuracy) for row in result.rows]


def polish_and_both_precisions(bench: Bench) -> str:
    """The closed form re-solve; fitness in float32 and in bfloat16."""
    for precision in ("float32", "bfloat16"):
        bench.search(f"polish-{precision}", polish=True, precision=precision)
    return "done"


def every_importance_and_compensation(bench: Bench) -> str:
    """All guides of the operators, all forms of compensation and of batch norm's recalibration."""
    for importance in ("l2", "bn", "taylor", "random"):
        bench.search(f"importance-{importance}", importance=importance)
    for form in ("channels", "none"):
        bench.search(f"compensation-{form}", compensation=form)
    bench.search("recalibration-plain", recalibration="plain")
    return "done"


def connections_and_groups(bench: Bench) -> str:
    """Masked kernels, both kinds of genes, real grouped convolutions."""
    bench.search("connections", genes="connections")
    bench.search("both", genes="both")
    bench.search("grouped", genes="both", connection_groups=2)
    return "done"


def limits_and_other_algorithms(bench: Bench) -> str:
    """A limit, three objectives, random search, CMA-ES and NSGA-II after it, the paper's rounds, iterations."""
    bench.search("limit", max_flops=0.5)
    bench.search("three", objectives=("accuracy", "flops", "params"))
    bench.search("random", algorithm="random")
    bench.search("tuned", algorithm="tuned", generations=7, objectives=("loss", "flops"))
    bench.search("iterations", iterations=2, iteration_epochs=1)
    rounds = {name: value for name, value in SMALL.items() if name != "generations"}
    gaprune.search(
        QUICK_NETWORK,
        "digits",
        output=bench.folder / "rounds",
        checkpoint=bench.weights,
        algorithm="rounds",
        rounds=2,
        round_generations=2,
        round_epochs=1,
        **rounds,
    )
    return "done"


def members_are_trained_on(bench: Bench) -> str:
    """Alone, together, and handed out; a member loads on the device."""
    result = bench.search("finetuned")
    gaprune.finetune(result.path, model=QUICK_NETWORK, pick="0", epochs=2, reporter=SILENT)
    together: dict[str, Any] = {"shared": True, "epochs": 1, "polish_epochs": 1}
    gaprune.finetune(result.path, model=QUICK_NETWORK, pick="all", reporter=SILENT, **together)
    network = result.load(0).to(bench.device)
    shown = network(torch.zeros((2, *bench.data.image_shape), device=bench.device))
    return f"{tuple(shown.shape)} on {shown.device}"


def methods_are_compared(bench: Bench) -> str:
    """Rows of every kind, with the GPU's times."""
    result = bench.search("compared")
    methods = (
        "none",
        "onnx",
        "quantize",
        "tucker:size=0.6",
        "distill:thin=0.3",
        "prune:l1",
        "ours",
        "ours+quantize",
    )
    rows = compare_as(
        CompareOptions.of(
            run=result.path,
            model=QUICK_NETWORK,
            methods=methods,
            epochs=1,
            epoch_images=128,
            checkpoint=bench.weights,
            output=bench.folder / "table",
            given=frozenset({"run", "methods", "epochs", "epoch_images", "checkpoint", "output"}),
        )
    )
    return f"{len(rows)} of {len(methods)} rows, timed on {sorted({name for row in rows for name in row.seconds})}"


def members_compile(bench: Bench) -> str:
    """``torch.compile`` of a member, against the same run eagerly."""
    result = bench.search("compiled")
    network = result.load(0).to(bench.device).eval()
    images = torch.randn((8, *bench.data.image_shape), device=bench.device)
    backend = "inductor" if bench.device.type == "cuda" else "aot_eager"
    with torch.inference_mode():
        apart = float((torch.compile(network, backend=backend)(images) - network(images)).abs().max())
    if apart > 1e-2:
        raise RuntimeError(f"compiled and eager are {apart} apart")
    return f"{apart:.1e} apart"


def ray_workers_share_the_device(bench: Bench) -> str:
    """Two Ray workers, the same front as in this process."""
    import ray

    shared = {"gpus_per_worker": 0.5} if bench.device.type == "cuda" else {}
    here = bench.search("here", threads=1)
    there = bench.search("there", backend="ray", workers=2, threads=1, **shared)
    if _front(here) != _front(there):
        raise RuntimeError("Ray's workers found another front")
    return f"ray {ray.__version__}, {len(there.rows)} members, the same front"


PATHS: tuple[Callable[[Bench], str], ...] = (
    training_twice_is_the_same,
    large_networks_train_and_are_traced,
    a_search_twice_is_the_same,
    polish_and_both_precisions,
    every_importance_and_compensation,
    connections_and_groups,
    limits_and_other_algorithms,
    members_are_trained_on,
    methods_are_compared,
    members_compile,
    ray_workers_share_the_device,
)
