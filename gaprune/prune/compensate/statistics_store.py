"""Statistics on disk, kept with a run: one safetensors file, symmetric matrices as triangles."""

from __future__ import annotations

import json
import logging
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gaprune.data import checksums
from gaprune.errors import first_line
from gaprune.prune.compensate.patches import PatchMoments
from gaprune.prune.compensate.statistics import Moments, Statistics
from gaprune.prune.norms.recalibration import Anchor
from gaprune.runs import atomic_write, json_value

_LOGGER = logging.getLogger(__name__)

FORMAT = "gaprune-statistics-2"


def save_statistics(path: Path, statistics: Statistics, key: str) -> None:
    """Write statistics, whole or not at all.

    Args:
        path: the file.
        statistics: of one network and calibration set.
        key: names both; ``load_statistics`` asks for it.

    Raises:
        OSError: it cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Any] = {"images": statistics.images, "fitted": {}, "held_out": {}, "patches": {}}
    for part in ("fitted", "held_out"):
        for weight, moments in getattr(statistics, part).items():
            tensors[f"{part}/{weight}/total"] = moments.total
            tensors[f"{part}/{weight}/products"] = _triangle(moments.products)
            facts[part][weight] = [moments.count, moments.height, moments.width]
    for weight, patches in statistics.patches.items():
        tensors[f"patches/{weight}/mean"] = patches.mean
        tensors[f"patches/{weight}/covariance"] = _triangle(patches.covariance)
        facts["patches"][weight] = [patches.count, patches.damping]
    tensors |= {f"samples/{weight}": rows for weight, rows in statistics.samples.items()}
    for norm, anchor in statistics.anchors.items():
        tensors |= {f"anchors/{norm}/{part}": tensor for part, tensor in vars(anchor).items()}
    facts["anchors"] = list(statistics.anchors)
    if statistics.taylor is not None:
        tensors["taylor"] = torch.from_numpy(statistics.taylor)
    whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    record = {"format": FORMAT, "key": key, "facts": json.dumps(facts)}
    record["checksums"] = json.dumps({**checksums(whole), "facts": zlib.crc32(record["facts"].encode())})
    atomic_write(path, save(whole, metadata=record))


def load_statistics(path: Path, key: str, device: torch.device) -> Statistics | None:
    """What ``save_statistics`` wrote for the same ``key``; ``None`` where there is nothing usable.

    A damaged file, which a logged warning names, is as good as none: statistics can always be collected again.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("key") != key:
                return None
            # cloned, because products depend in the last digits on where in memory their factors begin
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        found = {**checksums(tensors), "facts": zlib.crc32(metadata["facts"].encode())}
        if json_value(metadata["checksums"]) != found:
            raise ValueError("its checksums do not match")
        return _read({name: tensor.to(device) for name, tensor in tensors.items()}, json_value(metadata["facts"]))
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        _LOGGER.warning("%s is damaged, the statistics are collected anew: %s", path, first_line(error))
        return None


def _read(tensors: dict[str, Tensor], facts: dict[str, Any]) -> Statistics:
    def moments(part: str) -> dict[str, Moments]:
        return {
            weight: Moments(
                count,
                tensors[f"{part}/{weight}/total"],
                _square(tensors[f"{part}/{weight}/products"]),
                height,
                width,
            )
            for weight, (count, height, width) in facts[part].items()
        }

    return Statistics(
        fitted=moments("fitted"),
        held_out=moments("held_out"),
        images=facts["images"],
        patches={
            weight: PatchMoments(
                count,
                tensors[f"patches/{weight}/mean"],
                _square(tensors[f"patches/{weight}/covariance"]),
                damping,
            )
            for weight, (count, damping) in facts["patches"].items()
        },
        samples={name.removeprefix("samples/"): rows for name, rows in tensors.items() if name.startswith("samples/")},
        taylor=tensors["taylor"].cpu().numpy() if "taylor" in tensors else None,
        anchors={
            norm: Anchor(**{part.name: tensors[f"anchors/{norm}/{part.name}"] for part in fields(Anchor)})
            for norm in facts.get("anchors", ())
        },
    )


def _triangle(matrix: Tensor) -> Tensor:
    """(n (n + 1) / 2,) of a symmetric (n, n) matrix, row by row up to the diagonal."""
    return torch.cat([matrix[row, : row + 1] for row in range(len(matrix))]) if len(matrix) else matrix.reshape(-1)


def _square(triangle: Tensor) -> Tensor:
    """The symmetric matrix of a ``_triangle``."""
    size = int((2 * len(triangle) + 0.25) ** 0.5)
    matrix = triangle.new_zeros((size, size))
    start = 0
    for row in range(size):
        matrix[row, : row + 1] = triangle[start : start + row + 1]
        start += row + 1
    return matrix + matrix.tril(-1).T
