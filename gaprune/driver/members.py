"""The front made real: each member built, checked against fvcore, measured on the test images and saved."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gaprune.device import pinned
from gaprune.driver.engine import MEGABYTE
from gaprune.driver.loop import Found
from gaprune.driver.setup import Job
from gaprune.errors import RunError
from gaprune.evaluate import Outcome
from gaprune.progress import Reporter
from gaprune.prune.costs import count_flops
from gaprune.prune.genome import Genome
from gaprune.prune.masks import Masks
from gaprune.runs import FrontRow, RunDirectory, write_csv
from gaprune.runs.files import atomic_write
from gaprune.saved import Config, save_compact, save_genome

FRONT = "front"
CSV = "front.csv"


def save_front(job: Job, run: RunDirectory, found: Found, reporter: Reporter) -> list[FrontRow]:
    """Build, measure and save every member of the front, then its table.

    The members appear under ``front/`` together: they are made in another folder that is renamed when whole.

    Returns:
        One row a member, fewest FLOPs first.
    """
    partial, final = run.path / f"{FRONT}.partial", run.path / FRONT
    shutil.rmtree(partial, ignore_errors=True)
    (run.path / CSV).unlink(missing_ok=True)
    with pinned(job.threads):
        rows = _members(job, found, partial, reporter)
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    write_csv(rows, run.path / CSV)
    return rows


def _members(job: Job, found: Found, folder: Path, reporter: Reporter) -> list[FrontRow]:
    pairs = sorted(zip(found.genomes, found.outcomes, strict=True), key=lambda pair: pair[1].values["flops"])
    digits = max(2, len(str(len(pairs) - 1)))
    rows = []
    with reporter.task("front", len(pairs)) as task:
        for index, (genome, outcome) in enumerate(pairs):
            name = f"{index:0{digits}d}"
            rows.append(_member(job, genome, outcome, index, folder / name))
            task.advance(1, test_accuracy=f"{rows[-1].test_accuracy:.4f}")
    return rows


def _member(job: Job, genome: Genome, outcome: Outcome, index: int, folder: Path) -> FrontRow:
    masks = job.space.masks(genome)
    costs = job.space.costs(masks)
    with torch.no_grad():
        network = job.evaluator.network(genome)
        test = job.evaluator.measure(network, job.splits.test).accuracy
        accuracy = outcome.values.get("accuracy")
        if accuracy is None:
            accuracy = job.evaluator.measure(network, job.splits.search).accuracy
    row = FrontRow(
        index=index,
        key=genome.key,
        objectives={objective.name: outcome.values[objective.name] for objective in job.objectives},
        search_accuracy=accuracy,
        test_accuracy=test,
        flops=costs.flops,
        flops_share=costs.flops / job.original.flops,
        params=costs.params,
        params_share=costs.params / job.original.params,
        size_mb=costs.size / MEGABYTE,
        path=f"{FRONT}/{folder.name}",
        widths=tuple(int(masks.neurons[group.slice].sum()) for group in job.space.graph.groups),
    )
    checked = _check_flops(job, network, masks, row)
    save_compact(folder, network, _config(job), _metrics(row, checked))
    save_genome(folder, genome, job.space.layout)
    atomic_write(folder / "README.md", _readme(job, row).encode())
    return row


def _check_flops(job: Job, network: nn.Module, masks: Masks, row: FrontRow) -> int:
    """fvcore's count of the network as built; it must be the formula's for the same with no kernel masked."""
    counted = count_flops(network, job.data.image_shape)
    formula = job.space.costs.flops(replace(masks, kernels={}))
    if counted != formula:
        raise RunError(f"member {row.index}: fvcore counts {counted} FLOPs, the formula {formula}: please report this")
    return counted


def _config(job: Job) -> Config:
    return Config(
        model=job.model_name if job.own.model is None else None,
        stem=job.options.stem,
        classes=job.data.classes,
        image_shape=job.data.image_shape,
        mean=job.data.mean,
        std=job.data.std,
    )


def _metrics(row: FrontRow, flops_counted: int) -> dict[str, Any]:
    return {
        "key": row.key,
        "objectives": row.objectives,
        "search_accuracy": row.search_accuracy,
        "test_accuracy": row.test_accuracy,
        "flops": row.flops,
        "flops_share": row.flops_share,
        "flops_fvcore_unmasked": flops_counted,
        "params": row.params,
        "params_share": row.params_share,
        "size_mb": row.size_mb,
        "widths": list(row.widths),
    }


def _readme(job: Job, row: FrontRow) -> str:
    own = ", model=your_original_network" if _config(job).model is None else ""
    groups = job.space.graph.groups
    widths = "\n".join(f"| {g.name} | {g.size} | {w} |" for g, w in zip(groups, row.widths, strict=True))
    return f"""# {job.model_name} on {job.data.name}, member {row.index} of the front

```python
import gaprune
network = gaprune.load("{row.path}"{own})  # path relative to the run directory
```

Input: {job.data.image_shape} images, pixels 0..255 normalised by mean {_round(job.data.mean)} and
std {_round(job.data.std)}.

| | this network | of the original |
|---|---|---|
| accuracy, search set | {row.search_accuracy:.4f} | {job.original.search_accuracy:.4f} |
| accuracy, test set | {row.test_accuracy:.4f} | {job.original.test_accuracy:.4f} |
| FLOPs, one image | {row.flops:,} | {row.flops_share:.1%} |
| parameters | {row.params:,} | {row.params_share:.1%} |

FLOPs as fvcore counts them; masked kernels are left out. No training after pruning.

| channel group (first convolution) | neurons | kept |
|---|---|---|
{widths}
"""


def _round(values: tuple[float, ...]) -> list[float]:
    return [float(np.round(value, 4)) for value in values]
