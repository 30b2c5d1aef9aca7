"""The steps of ``gpu.py``: what each does, in a process of its own, with what those before it have left in ``work``.

Small as well as large: with ``quick`` a small network on the digits stands in for VGG16 and ResNet18 on CIFAR-10.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import gaprune
from benchmarks.running import QUICK_SIZES, Setting
from experiments import gpu_times
from experiments.gpu_goals import QUICK_TARGETS, TARGETS, reached
from experiments.gpu_here import Here, peak_megabytes, within
from gaprune.baseline import Subject as Wanted
from gaprune.baseline import default_recipe, held_out_size, load_baseline, train_baseline
from gaprune.data import split
from gaprune.device import choose_device
from gaprune.errors import TrainingError
from gaprune.evaluate import measure
from gaprune.front.members import CSV
from gaprune.progress import make_reporter
from gaprune.runs import FrontRow, read_csv
from gaprune.training import Distillation, Recipe, estimate_seconds
from gaprune.training.subject import new_network

ROOT = Path(__file__).parents[1]

CUTOUT = 8
"""Side of the square that a baseline's training images lack: a quarter of theirs."""

EPOCHS = {"least": 15, "most": 150}
"""Of a baseline, whatever time there is."""

SLOWER = 1.25
"""A training beside others takes so many times as long as the few steps say that are timed before it."""


def tests(here: Here) -> None:
    """The tests that need a CUDA device; without one all are skipped."""
    folders = ["tests/cuda", "tests/data/test_augment.py"]
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-n", "0", "-rs", *folders]
    made = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    print(made.stdout, made.stderr)
    here.write(status=made.returncode, tail=made.stdout.splitlines()[-40:])
    if made.returncode:
        raise SystemExit(f"pytest ended with {made.returncode}")


def images(here: Here) -> None:
    """Decode the images once, for all steps."""
    began = time.monotonic()
    data = here.data()
    here.write(images=len(data.train) + len(data.test), seconds=round(time.monotonic() - began, 2), source=data.name)


def baseline(here: Here, name: str) -> None:
    """Train a network on the images that a search with default options leaves; keep it in half precision."""
    data, device = here.data(), choose_device("auto")
    size = QUICK_SIZES["search_size"] if here.quick else held_out_size(data)
    parts = split(data, search_size=int(size), calibration_size=1, seed=0)
    subject = Wanted(here.network(name), "cifar", data, parts.train, parts.search, device)
    kept, made = here.weights(name), {}
    found = sorted(here.given.glob(f"{name}-cifar10*.safetensors")) if here.given else []
    if found:
        shutil.copy(found[0], kept)
    else:
        made = _trained(here, subject, name)
        shutil.copy(kept, here.home / kept.name)
    network = load_baseline(subject, kept)
    accuracy = {
        part: measure(network.model, getattr(parts, part).to(device), network.mean, network.std).accuracy
        for part in ("search", "test")
    }
    here.write(network=name, data=data.name, accuracy=accuracy, given=bool(found), **made)
    here.reporter.say(f"{name}: top-1 {accuracy['test']:.4f} on the test images")


def _trained(here: Here, subject: Wanted, name: str) -> dict[str, Any]:
    """Train, and leave the weights where steps find them; how it was done."""
    recipe, began = _baseline_recipe(here, subject), time.monotonic()
    here.reporter.say(f"{name}: {recipe}")
    try:
        path = train_baseline(subject, recipe, here.work / f"baseline-{name}", here.reporter)
    except TrainingError as error:
        here.reporter.say(f"{name}: {error}")
        recipe = dataclasses.replace(recipe, lr=recipe.lr / 2, epochs=max(1, recipe.epochs // 2))
        path = train_baseline(subject, recipe, here.work / f"baseline-{name}-gentler", here.reporter)
    seconds = time.monotonic() - began
    _halve(path, here.weights(name))
    return {"recipe": recipe.record(), "seconds": round(seconds, 1)}


def _baseline_recipe(here: Here, subject: Wanted) -> Recipe:
    recipe = default_recipe(new_network(subject, 0), subject.data, subject.device)
    if here.quick:
        return dataclasses.replace(recipe, epochs=3, pad=1)
    recipe = dataclasses.replace(recipe, cutout=CUTOUT)
    each = _epoch_seconds(subject, new_network(subject, 0).to(subject.device), recipe)
    return dataclasses.replace(recipe, epochs=_epochs(here.seconds, each, **EPOCHS))


def _epoch_seconds(subject: Wanted, network: nn.Module, recipe: Recipe, **lesson: Any) -> float:
    """Of one epoch, beside other steps."""
    one, count = dataclasses.replace(recipe, epochs=1), len(subject.train)
    shape, checked = subject.data.image_shape, len(subject.validate)
    return SLOWER * estimate_seconds(network, shape, one, count, validation_images=checked, **lesson)


def _epochs(seconds: float, each: float, *, least: int, most: int) -> int:
    return max(least, min(most, int(seconds / each)))


def _halve(path: Path, kept: Path) -> None:
    """The same weights in half precision; vectors, which weigh little, stay as they are."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    halved = {n: t.half() if t.is_floating_point() and t.ndim > 1 else t for n, t in tensors.items()}
    save_file(halved, kept, metadata=metadata)


def search(here: Here, name: str) -> None:
    """A search of 600 evaluations, polished; its front and how fast it was."""
    sizes = {"population": 6, "generations": 2} if here.quick else {"population": 30, "generations": 20}
    options = here.options(name)
    began = time.monotonic()
    result = gaprune.search(
        options.pop("model"),
        options.pop("data"),
        output=here.run(name),
        polish=True,
        round_to=1,
        reporter=here.reporter,
        **sizes,
        **options,
    )
    seconds = time.monotonic() - began
    for file in ("front.csv", "front.png", "manifest.json", "evaluations.jsonl"):
        shutil.copy(result.path / file, here.home / file)
    lines = [json.loads(line) for line in (result.path / "evaluations.jsonl").read_text().splitlines()]
    spent = sum(float(line.get("seconds", 0)) for line in lines)
    rows = {f"{budget:g}": _row(member) for budget, member in within(result.rows).items()}
    here.write(
        network=name,
        seconds=round(seconds, 1),
        evaluations=len(lines),
        seconds_of_candidates=round(spent, 2),
        members=len(result.rows),
        within=rows,
        peak_device_mb=peak_megabytes(),
    )


def _row(member: FrontRow | None) -> dict[str, Any] | None:
    if member is None:
        return None
    names = ("index", "flops_share", "params", "search_accuracy", "test_accuracy", "trained_epochs")
    return {name: getattr(member, name) for name in names}


def members(here: Here, name: str) -> None:
    """The best member within each budget, trained on with the original as teacher."""
    path, options = here.run(name), here.options(name)
    places = {key: options[key] for key in ("data_dir", "cache_dir", "checkpoint") if key in options}
    chosen = {budget: member for budget, member in within(read_csv(path / CSV)).items() if member is not None}
    indices = sorted({member.index for member in chosen.values()})
    epochs = 1 if here.quick else _distilled_epochs(here, name, len(indices), least=5, most=60)
    rows: dict[str, Any] = {}
    for budget, member in chosen.items():
        given: dict[str, Any] = {**places, "trust": here.quick}
        tuned = gaprune.finetune(path, pick=str(member.index), epochs=epochs, reporter=here.reporter, **given)
        after = next(row for row in tuned.rows if row.index == member.index)
        rows[f"{budget:g}"] = {"before": _row(member.untrained()), "after": _row(after)}
        here.write(network=name, epochs=epochs, rows=rows, original=_original(path))


def _original(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "manifest.json").read_text())["original"]
    return found


def goals(here: Here, name: str) -> None:
    """The targets of ``gpu_goals.py``, from the baseline that was trained here."""
    options = here.options(name)
    setting = Setting(name, here.data().name, options, here.work / f"goals-{name}", here.reporter)
    targets = QUICK_TARGETS[:1] if here.quick else [target for target in TARGETS if target.model == name]
    sizes = {"population": 6, "generations": 2} if here.quick else {"population": 30, "generations": 10}
    epochs = 1 if here.quick else _distilled_epochs(here, name, len(targets), least=10, most=200)
    rows = []
    for target in targets:
        rows.append(reached(setting, target, {"epochs": epochs, **sizes}))
        here.write(network=name, epochs=epochs, **sizes, rows=rows)


def _distilled_epochs(here: Here, name: str, networks: int, *, least: int, most: int) -> int:
    """As many as fit into the step's time, for each of so many networks, by the time that the original takes."""
    data, device = here.data(), choose_device("auto")
    parts = split(data, search_size=held_out_size(data), calibration_size=1, seed=0)
    subject = Wanted(name, "cifar", data, parts.train, parts.search, device)
    lesson = Distillation(load_baseline(subject, here.weights(name)).model)
    network = new_network(subject, 0).to(device)
    each = _epoch_seconds(subject, network, default_recipe(network, data, device), lesson=lesson)
    return _epochs(here.seconds / networks, each, least=least, most=most)


def work(
    step: str,
    home: Path,
    work: Path,
    data_dir: Path | None,
    *,
    quick: bool,
    seconds: float,
    weights: Path | None = None,
) -> None:
    """Do a step in this process; arguments as ``Here`` has them."""
    torch.set_float32_matmul_precision("highest")
    kind, _, name = step.partition("-")
    here = Here(home, work, data_dir, quick, seconds, weights, make_reporter())
    alone: dict[str, Callable[[Here], None]] = {"tests": tests, "images": images}
    if kind == "smoke":
        from experiments.gpu_smoke import smoke

        smoke(here.home, here.work / "smoke", here.write)
    elif kind in alone:
        alone[kind](here)
    else:
        of_network = {
            "baseline": baseline,
            "agreement": gpu_times.agreement,
            "search": search,
            "members": members,
            "goals": goals,
            "rates": gpu_times.rates,
            "speed": gpu_times.speed,
            "latency": gpu_times.latency,
            "compared": gpu_times.compared,
        }
        of_network[kind](here, name)
