"""A compact network on disk: written by a search, loaded with ``gaprune.load``. No pickles.

``config.json`` says which original it was cut from and what tensors alone do not tell; ``model.safetensors``
holds the cut tensors. Loading builds the original's module tree and puts the tensors in: nothing is traced.
"""

from __future__ import annotations

import base64
import importlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from gaprune.device import neutral
from gaprune.errors import CheckpointError, ModelError, RunError
from gaprune.genome import Genome, Layout
from gaprune.kinds import PATH, SWITCH, check
from gaprune.models import build
from gaprune.options import check_trusted
from gaprune.prune import (
    GroupedConvolution,
    copied,
    fill,
    first_names,
    fit_attributes,
    fit_numbers,
    fitted_numbers,
    place_grouped,
    state_tensors,
)
from gaprune.runs import (
    CHECKSUMS,
    CONFIG_FORMS,
    METRICS_FORMS,
    WEIGHTS_NAME,
    altered,
    atomic_write,
    check_file,
    json_bytes,
    member_folder,
    misshapen,
    read_json_object,
    read_seal,
    seal_folder,
    write_file,
    write_json,
)

FORMAT = "gaprune-compact-1"
MOST_NAMED = 6
"""Members that an error names."""

SEALED = "checksums"
"""Of a configuration: whether there are checksums, which are missed then if they are gone."""

CONFIG, GENOME, WEIGHTS, METRICS = "config.json", "genome.json", WEIGHTS_NAME, "metrics.json"


@dataclass(frozen=True)
class Config:
    """What must be known to load a compact network.

    Attributes:
        model: name to build the original by; ``None`` when the caller brought it as an object.
        stem: its first layers.
        classes: class names in label order.
        image_shape: (C, H, W) of one image; ``None`` where it takes anything else, and what is said of images is empty.
        mean: per channel mean of the 0..255 pixels that it is fed with.
        std: per channel standard deviation of the same.
        convolution_groups: by module path, the groups of each convolution that has more than one.
        grouped: paths of convolutions that became grouped ones between two channel orders.
        numbers: by module path, numbers that its forward reads and that follow the widths, by name.
        base: what the original's module tree is built from, where it has no such name: of a text classifier.
        format: version of this file.
    """

    model: str | None
    stem: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    convolution_groups: dict[str, int] = field(default_factory=dict)
    grouped: tuple[str, ...] = ()
    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    base: dict[str, Any] | None = None
    format: str = FORMAT


def save_compact(directory: Path, network: nn.Module, config: Config, metrics: dict[str, Any]) -> None:
    """Write a compact network, with checksums of its files; the directory is made.

    Args:
        directory: where to.
        network: the compact network.
        config: as far as the caller knows it; what the network itself tells is filled in.
        metrics: JSON values about it.

    Raises:
        OSError: it cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CHECKSUMS).unlink(missing_ok=True)
    write_json(directory / CONFIG, asdict(config) | structure(network) | {SEALED: True})
    write_json(directory / METRICS, metrics)
    atomic_write(directory / WEIGHTS, save(stored_tensors(network), metadata={"format": FORMAT}))
    seal_folder(directory, (CONFIG, METRICS, WEIGHTS))


def read_metrics(directory: Path, *needed: str) -> dict[str, Any]:
    """What is known of a saved network.

    Args:
        directory: that it was saved in.
        needed: names that must be there.

    Raises:
        RunError: the file is missing or damaged.
    """
    file = directory / METRICS
    try:
        check_sealed(directory, read_json_object(directory / CONFIG) if (directory / CONFIG).exists() else {})
        found = read_json_object(file)
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error
    for name in needed:
        if name not in found:
            raise RunError(f"{file} is damaged: it has no {name}")
    told = misshapen(found, METRICS_FORMS)
    if told is not None:
        raise RunError(f"{file} is damaged: {told}")
    return found


def structure(network: nn.Module) -> dict[str, Any]:
    """What a compact network's tensors do not tell: ``convolution_groups``, ``grouped``, ``numbers`` of ``Config``."""
    grouped = [path for path, m in network.named_modules() if isinstance(m, GroupedConvolution)]
    groups = {p: m.groups for p, m in network.named_modules() if isinstance(m, _ConvNd) and m.groups > 1}
    return {"convolution_groups": groups, "grouped": grouped, "numbers": fitted_numbers(network)}


def stored_tensors(network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network on the CPU, each once, by its first name."""
    first = first_names(network)
    return {
        name: tensor.cpu().contiguous().clone()
        for name, tensor in state_tensors(network).items()
        if first[name] == name
    }


def save_genome(directory: Path, genome: Genome, layout: Layout) -> None:
    """Write which genes a network keeps: by section a count and packed bits (base64, first gene first)."""
    bits = layout.unpack(genome)
    sections = [
        {
            "name": section.name,
            "kind": section.kind,
            "genes": section.size,
            "kept": int(bits[section.slice].sum()),
            "packed": base64.b64encode(np.packbits(bits[section.slice]).tobytes()).decode(),
        }
        for section in layout.sections
    ]
    write_file(directory, GENOME, json_bytes({"key": genome.key, "sections": sections}))


def load_genome(directory: Path, layout: Layout) -> Genome:
    """The genes that ``save_genome`` wrote.

    Raises:
        CheckpointError: the file is missing or damaged, or is of another layout.
    """
    file = directory / GENOME
    try:
        record = read_json_object(file)
        sections = [(part["name"], part["kind"], part["genes"]) for part in record["sections"]]
        if sections != [(part.name, part.kind, part.size) for part in layout.sections]:
            raise CheckpointError(f"{file} has other sections than this network's genome")
        packed = [np.frombuffer(base64.b64decode(part["packed"]), np.uint8) for part in record["sections"]]
        bits = [np.unpackbits(one, count=size) for one, (_, _, size) in zip(packed, sections, strict=True)]
        genome = layout.pack(np.concatenate(bits).astype(np.bool_))
        key = record["key"]
    except RunError as error:
        raise CheckpointError(str(error)) from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if key != genome.key:
        raise CheckpointError(f"{file} is damaged: its genes are not those of {key}")
    return genome


@neutral()
def load(path: str | Path, *, model: nn.Module | str | None = None, trust: bool = False) -> nn.Module:
    """Load a compact network, such as ``runs/.../front/3fa9c2e1``, in eval mode on the CPU.

    Args:
        path: a directory that a search wrote. A member's name is that of one network for ever; an index such as
            ``front/08`` stands for whichever member is there now, and a logged warning says which.
        model: the original network, when the search was given it as an object; it is copied, never changed. Or the
            name that it is built by, ``package.module:factory``: the file's own is not imported.
        trust: import the ``package.module:factory`` that the directory itself names.

    Raises:
        CheckpointError: the directory holds no compact network, is damaged, needs ``model`` or ``trust``, or was of a
            member that a longer search has taken from the front.
        ModelError: the original cannot be built by its name.
    """
    check({"path": (path, PATH), "trust": (trust, SWITCH)}, CheckpointError)
    directory = _folder(Path(path))
    config = _config(directory)
    based = model is None and config["base"] is not None
    if model is None and config["model"] is None and not based:
        raise CheckpointError(f"{directory} was cut from a network object: pass it as load(path, model=...)")
    if model is None and not based:
        check_trusted([config["model"]], directory / CONFIG, "model", trust=trust, error=CheckpointError)
    tensors = _tensors(directory / WEIGHTS)
    try:
        if based:
            network = _built_from(config["base"])
        elif model is not None and not isinstance(model, str):
            network = copied(_network(model)).cpu()
        else:
            with torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to use up
                network = build(model or config["model"], num_classes=len(config["classes"]), stem=config["stem"])
        fill_structure(network, config, tensors)
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{directory} does not fit the network that it was cut from: {error}") from error
    return network.eval()


def _built_from(base: dict[str, Any]) -> nn.Module:
    """An untrained text classifier, whose room, and the libraries that it needs, are imported by who loads one."""
    with torch.random.fork_rng(devices=[]):
        made: nn.Module = importlib.import_module("gaprune.text.networks").build_network(base)
    return made


def _folder(path: Path) -> Path:
    try:
        return member_folder(path)
    except RunError as error:
        raise CheckpointError(str(error)) from error


def _network(model: object) -> nn.Module:
    if not isinstance(model, nn.Module):
        what = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise ModelError(f"model must be the torch.nn.Module that was searched, or one like it, got {what}")
    return model


def _config(directory: Path) -> dict[str, Any]:
    if not directory.is_dir():
        raise CheckpointError(f"{directory} holds no compact network: {_instead(directory)}")
    try:
        config = read_json_object(directory / CONFIG)
        check_sealed(directory, config)
    except RunError as error:
        raise CheckpointError(str(error)) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{directory} holds no compact network: {CONFIG}: {error}") from error
    if config.get("format") != FORMAT:
        raise CheckpointError(f"{directory / CONFIG} has format {config.get('format')!r}, expected {FORMAT!r}")
    config = {"numbers": {}, "base": None, **config}  # of an earlier version
    lacking = [entry.name for entry in fields(Config) if entry.name not in config]
    if lacking:
        raise CheckpointError(f"{directory / CONFIG} is damaged: it lacks {', '.join(lacking)}")
    told = misshapen(config, CONFIG_FORMS)
    if told is not None:
        raise CheckpointError(f"{directory / CONFIG} is damaged: {told}")
    return config


def check_sealed(directory: Path, config: Mapping[str, Any]) -> None:
    """Refuse a folder whose checksums are gone: its configuration says that there are some."""
    if config.get(SEALED) and read_seal(directory) is None:
        raise altered(directory, CHECKSUMS, "is gone")


def _instead(directory: Path) -> str:
    """What there is in the place of a folder that is not there."""
    members = sorted(file.parent.name for file in directory.parent.glob(f"*/{CONFIG}"))
    if not members:
        return "there is no such directory"
    shown = ", ".join(members[:MOST_NAMED]) + (", ..." if len(members) > MOST_NAMED else "")
    return f"no such member is on the front (any more), its {len(members)} are {shown}"


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        check_file(file.parent, file.name)
        return load_file(file)
    except RunError as error:
        raise CheckpointError(str(error)) from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error


def fill_structure(network: nn.Module, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Make an original's module tree the compact network that ``structure`` and ``stored_tensors`` described.

    Raises:
        LookupError, AttributeError, TypeError, ValueError: they do not fit the network.
    """
    for path in config["grouped"]:
        orders = (tensors[f"{path}.{order}"] for order in ("input_order", "output_order"))
        place_grouped(network, path, *orders)
    first = first_names(network)
    expected = set(first.values())
    if expected != set(tensors):
        raise ValueError(f"tensors differ: {', '.join(sorted(expected ^ set(tensors))[:3])}")
    fill(network, tensors, first)
    for path, module in network.named_modules():
        if isinstance(module, _ConvNd):
            module.groups = config["convolution_groups"].get(path, 1)
            if module.groups < 1 or len(module.weight) % module.groups:
                raise ValueError(f"{path} has {len(module.weight)} outputs, which {module.groups} groups do not share")
    fit_attributes(network)
    numbers = config.get("numbers", {}).items()
    as_held = {
        (path, name): tuple(value) if isinstance(value, list) else value
        for path, own in numbers
        for name, value in own.items()
    }
    fit_numbers(network, as_held)
