"""What is exported: a member of a run, or a row of a comparison, as a network and what must be known of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from gaprune.compress import KIND, Row, TorchRunner, load_runner, saved_rows
from gaprune.errors import OptionError, RunError
from gaprune.front import CSV, DONE, FRONT, part_of
from gaprune.options import TEXT_MODEL, TrustOptions
from gaprune.prune import Form, Inputs
from gaprune.runs import FINETUNED, FrontRow, choose_one, member_folder, read_front, read_json_object, read_manifest
from gaprune.saved import CONFIG, load
from gaprune.session import Own, check_task_export

NOTHING = TrustOptions()

CALL = "gaprune.export({path}, ...) and {objects} by name"
"""How objects are given, as far as errors tell."""


@dataclass(frozen=True)
class Subject:
    """A network on its way out.

    Attributes:
        network: on the CPU, in eval mode.
        name: for its file.
        home: the run or comparison.
        manifest: of it.
        form: (C, H, W) of one image, or an example of a task's inputs.
        classes: in label order.
        mean: per channel mean of the 0..255 pixels that it is fed with.
        std: per channel standard deviation of the same.
        origin: what it is and was pruned from, as JSON values.
    """

    network: nn.Module
    name: str
    home: Path
    manifest: dict[str, Any]
    form: Form
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W), where it takes images."""
        assert not isinstance(self.form, Inputs), "who asks for images knows that there are some"
        return self.form


def subject_of(
    path: Path, pick: str, row: str | None, *, picked: bool, own: Own, code: TrustOptions = NOTHING
) -> Subject:
    """The network that a path and a choice name.

    Args:
        path: of a run, one of its members' folders, or a comparison.
        pick: which member of a run, as ``choose_one`` has it.
        row: which row of a comparison.
        picked: whether somebody has said ``pick``.
        own: objects that the search was given.
        code: the network's name once more, or that the path is trusted, where modules must be imported.

    Raises:
        OptionError: there is no such member or row, or the choice is not for such a path.
        RunError: the path holds nothing that can be exported.
        CheckpointError: the network cannot be loaded.
    """
    folder = member_folder(path)
    if (folder / CONFIG).is_file():
        if picked or row is not None:
            raise OptionError(f"{path} is one network: leave {'pick' if picked else 'row'} out")
        return _of_folder(folder, own, code)
    manifest = read_manifest(path)
    if manifest.get("kind") == KIND:
        if picked:
            raise OptionError(f"{path} is a comparison, whose rows are chains: give --row CHAIN instead of --pick")
        return _of_row(path, manifest, row, own, code)
    if row is not None:
        raise OptionError(f"{path} is a run, which has members, not rows: give --pick instead of --row")
    return _of_member(path, manifest, choose_one(_front(path, manifest), pick), own, code)


def _front(path: Path, manifest: dict[str, Any]) -> list[FrontRow]:
    """The rows of a front that is whole."""
    part = part_of(manifest)
    if part is not None:
        raise RunError(f"{path} is {part} of a run: give {path.parent}")
    if not (path / CSV).exists() or all(manifest.get(name) is None for name in DONE):
        raise RunError(f"{path} has no front yet: finish it with python -m gaprune.search --resume {path}")
    return read_front(path)


def _of_folder(folder: Path, own: Own, code: TrustOptions) -> Subject:
    """The network in a member's folder, or in the ``finetuned`` in it, whatever the table hands out."""
    folder = Path(os.path.abspath(folder))  # ``.`` has no parent
    tuned = folder.name == FINETUNED
    home = folder.parent if tuned else folder
    run = home.parent.parent
    if home.parent.name != FRONT:
        raise RunError(f"{folder} lies in no run: its images are not known")
    manifest = read_manifest(run)
    row = next((one for one in _front(run, manifest) if Path(one.home).name == home.name), None)
    if row is None:
        raise RunError(f"{folder} is no member of the front of {run}")
    return _of_member(run, manifest, row if tuned else row.untrained(), own, code, folder)


def _of_member(
    run: Path, manifest: dict[str, Any], row: FrontRow, own: Own, code: TrustOptions, folder: Path | None = None
) -> Subject:
    place = run / row.path if folder is None else folder
    own.check_resume(manifest, run, CALL, searching=False, by_task=True)
    check_task_export(manifest, own, run)
    network = load(place, model=own.model or code.model, trust=code.trust)
    config = read_json_object(place / CONFIG)
    if own.task is not None:
        config |= {"form": own.task.example}
    origin = {
        "member": row.name,
        "genome": row.key,
        "flops": row.flops,
        "flops_share": row.flops_share,
        "params": row.params,
        "params_share": row.params_share,
        "search_accuracy": row.search_accuracy,
        "test_accuracy": row.test_accuracy,
        "trained_epochs": row.trained_epochs,
    }
    tuned = f"-{FINETUNED}" if place.name == FINETUNED else ""
    return _subject(network, run, manifest, config, f"{row.name}{tuned}", origin)


def _of_row(path: Path, manifest: dict[str, Any], chain: str | None, own: Own, code: TrustOptions) -> Subject:
    if manifest.get("options", {}).get("model") == TEXT_MODEL:
        raise RunError(f"{path} compares classifiers of texts: export a member of its run instead")
    if own.task is not None:
        raise OptionError(f"{path} is a comparison of images: leave task out")
    rows = saved_rows(path)
    if chain not in rows:
        told = "give --row CHAIN" if chain is None else f"no row is {chain!r}"
        raise OptionError(f"{told}: {path} has {', '.join(rows) or 'none yet'}")
    own.check_resume(manifest, path, CALL, searching=False)
    row: Row = rows[chain]
    named = () if code.model is None else (code.model,)
    runner = load_runner(path / row.path, own.model, named, trust=code.trust)
    base = read_json_object(path / row.path / "steps.json")["base"]
    if not isinstance(runner, TorchRunner):
        raise OptionError(
            f"row {chain} is an ONNX file already, {path / row.path}: copy it, or export the row before it, "
            "with --quantize int8 where that is meant"
        )
    origin = {
        "chain": chain,
        "flops": row.flops,
        "params": row.params,
        "test_accuracy": row.metrics["accuracy"],
    }
    return _subject(runner.model.cpu(), path, manifest, base, chain, origin)


def _subject(
    network: nn.Module, home: Path, manifest: dict[str, Any], known: dict[str, Any], name: str, origin: dict[str, Any]
) -> Subject:
    model = manifest.get("model", {}).get("name") or manifest.get("options", {}).get("model", "network")
    plain = "".join(letter if letter.isalnum() or letter in "._=-" else "-" for letter in f"{model}-{name}")
    form = known.get("form") or tuple(known["image_shape"])
    pruned_from = {
        "model": model,
        "weights_sha256": manifest.get("identity", {}).get("weights_sha256"),
        **{what: manifest["original"][what] for what in ("flops", "params") if what in manifest.get("original", {})},
    }
    return Subject(
        network=network.eval(),
        name=plain,
        home=home,
        manifest=manifest,
        form=form,
        classes=tuple(known["classes"]),
        mean=tuple(known["mean"]),
        std=tuple(known["std"]),
        origin={**origin, "pruned_from": pruned_from},
    )
