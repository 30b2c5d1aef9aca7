"""A member goes out as a file, and the file answers like the member where it runs."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from resealing import resealed
from safetensors import safe_open
from torch import nn

import gaprune
from gaprune.commands import export as export_command
from gaprune.commands.export import main
from gaprune.data import ImageData, normalise
from gaprune.errors import GapruneError, MethodError, OptionError, RunError
from gaprune.runs import pick, read_csv
from gaprune.session import Own
from gaprune.shipping import checking, subject_of
from gaprune.shipping import files as shipping_files

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

Export = Callable[..., Any]


def logits(path: Path, images: np.ndarray) -> np.ndarray:
    session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images})
    return np.asarray(found)


def entries(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_a_member_runs_in_onnx_runtime_whatever_the_batch(
    exported: Export, run: Path, original: nn.Module, faint: ImageData
) -> None:
    done = exported(pick="knee")
    row = pick([row.untrained() for row in read_csv(run / "front.csv")], "knee")
    assert done.path == run / "exported" / f"Residual-{row.name}.onnx"
    assert done.path.stat().st_size == done.bytes
    network = gaprune.load(run / read_csv(run / "front.csv")[row.index].path, model=original)
    for count in (1, 5):
        pixels = normalise(faint.test.images[:count], faint.mean, faint.std)
        with torch.no_grad():
            wanted = network(pixels)
        torch.testing.assert_close(torch.from_numpy(logits(done.path, pixels.numpy())), wanted, rtol=1e-3, atol=1e-3)
    proto = onnx.load(done.path)
    assert not {node.op_type for node in proto.graph.node} & {"BatchNormalization"}, "batch norms are folded"
    for entry in (*proto.graph.input, *proto.graph.output):
        assert entry.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert done.check.agreement == 1.0
    assert done.check.accuracy == done.check.network_accuracy


def test_a_file_says_what_goes_in_what_comes_out_and_where_it_is_from(
    exported: Export, run: Path, faint: ImageData
) -> None:
    done = exported(pick="0", opset=18)
    told = {name: json.loads(text) if text[0] in "[{" else text for name, text in entries(done.path).items()}
    assert told["classes"] == list(faint.classes)
    assert told["mean"] == list(faint.mean)
    assert told["std"] == list(faint.std)
    assert told["input"]["type"] == "float32"
    assert told["input"]["shape"] == ["batch", 3, 8, 8]
    row = read_csv(run / "front.csv")[0]
    assert entries(done.path)["genome"] == row.key
    manifest = json.loads((run / "manifest.json").read_text())
    assert told["pruned_from"]["weights_sha256"] == manifest["identity"]["weights_sha256"]
    assert [one.version for one in onnx.load(done.path).opset_import if one.domain == ""] == [18]
    assert str(Path(gaprune.__file__).parent) not in done.path.read_bytes().decode("latin-1"), "no path of this machine"


def test_pixels_go_in_as_they_are_and_integers_are_calibrated(exported: Export, faint: ImageData) -> None:
    done = exported(pick="knee", with_preprocessing=True, quantize="int8")
    assert done.path.name.endswith("-uint8-int8.onnx")
    found = logits(done.path, faint.test.images.numpy()).argmax(1)
    accuracy = float((found == faint.test.labels.numpy()).mean())
    assert done.check.images == len(faint.test)
    assert done.check.accuracy == pytest.approx(accuracy)
    assert accuracy >= done.check.network_accuracy - 0.05
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(done.path).graph.node}
    assert done.float_bytes is not None


@pytest.mark.parametrize("preprocessing", [False, True])
def test_a_program_of_torch_export_loads_by_itself(exported: Export, faint: ImageData, preprocessing: bool) -> None:
    done = exported(format="pt2", with_preprocessing=preprocessing)
    files = {"gaprune.json": ""}
    program = torch.export.load(io.BytesIO(done.path.read_bytes()), extra_files=files).module()
    pixels = faint.test.images[:3]
    with torch.no_grad():
        found = program(pixels if preprocessing else normalise(pixels, faint.mean, faint.std))
    assert found.shape == (3, 3)
    assert json.loads(files["gaprune.json"])["input"]["type"] == ("uint8" if preprocessing else "float32")
    with zipfile.ZipFile(done.path) as packed:
        parts = b"".join(packed.read(name) for name in packed.namelist())
    assert str(Path(gaprune.__file__).parents[1]).encode() not in parts, "no path of this machine"
    assert str(Path(torch.__file__).parent).encode() not in parts, "no path of this machine"


def test_a_state_dict_fills_the_members_modules(exported: Export, run: Path, original: nn.Module) -> None:
    done = exported(format="state-dict", pick="0")
    row = read_csv(run / "front.csv")[0]
    with safe_open(done.path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        assert json.loads(file.metadata()["gaprune"])["member"] == row.name
    network = gaprune.load(run / row.path, model=original)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in network.state_dict().items())
    assert network.load_state_dict(tensors).missing_keys == []


def test_a_fine_tuned_member_is_what_its_row_hands_out_and_its_folders_are_what_they_hold(
    exported: Export, run: Path, original: nn.Module
) -> None:
    row = next(row for row in read_csv(run / "front.csv") if row.trained_epochs)
    tuned = exported(format="state-dict", pick=row.name)
    assert tuned.path.name == f"Residual-{row.name}-finetuned.safetensors"
    again = exported(format="state-dict", path=run / row.path, output=tuned.path.with_name("again.safetensors"))
    assert again.path.read_bytes() == tuned.path.read_bytes()
    plain = exported(format="state-dict", path=run / row.home)
    assert plain.path.name == f"Residual-{row.name}.safetensors"
    assert plain.metadata["trained_epochs"] == 0
    assert plain.path.read_bytes() != tuned.path.read_bytes()


def test_the_member_in_whose_folder_one_is_is_exported(
    run: Path, original: nn.Module, faint: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = pick([row.untrained() for row in read_csv(run / "front.csv")], "knee")
    monkeypatch.chdir(run / row.home)
    done = gaprune.export(".", model=original, data=faint, format="state-dict", output=tmp_path / "member.safetensors")
    assert done.path == tmp_path / "member.safetensors"
    assert done.path.is_file()


def test_a_file_that_answers_otherwise_is_not_written(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shipping_files.load_file
    monkeypatch.setattr(checking, "load_file", lambda *given: lambda pixels: real(*given)(pixels) + 1)
    with pytest.raises(MethodError, match=r"the file answers otherwise than the network: .*; nothing was written"):
        exported(format="pt2", output=tmp_path / "wrong.pt2")
    assert not list(tmp_path.iterdir())


class Wild(nn.Module):
    """What exporters refuse: it looks at numbers."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) * (1 if float(images.sum()) > 0 else 2)


def test_what_cannot_be_exported_is_one_line(faint: ImageData, tmp_path: Path) -> None:
    from gaprune.shipping import Subject, make_file

    subject = Subject(Wild(), "wild", tmp_path, {}, (3, 8, 8), faint.classes, faint.mean, faint.std)
    for format, expected in (("onnx", "cannot be exported to ONNX"), ("pt2", "cannot be exported by torch.export")):
        with pytest.raises(MethodError, match=f"the network {expected}: ") as caught:
            make_file(subject, format, faint.test.images[:2])
        assert "\n" not in str(caught.value)


def test_wrong_words_are_told_before_anything_is_read(run: Path, tmp_path: Path) -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"format": "tflite"}, "unknown format 'tflite': choose one of onnx, pt2, state-dict"),
        ({"format": "pt2", "quantize": "int8"}, "quantize is for --format onnx, got --format pt2"),
        ({"format": "pt2", "opset": 18}, "opset is for --format onnx, got --format pt2"),
        ({"format": "state-dict", "with_preprocessing": True}, "with-preprocessing needs a graph"),
        ({"opset": 9}, "opset must be a whole number of at least 18, got 9"),
        ({"output": tmp_path / "a.pt2"}, "output must end in .onnx with --format onnx"),
        ({"pick": "all"}, "pick must be one member here, such as knee or 3, got 'all'"),
        ({"pick": "best"}, "unknown choice 'best'"),
        ({"row": "none"}, "is a run, which has members, not rows: give --pick instead of --row"),
        ({}, "was given its model and data as objects"),
    )
    for options, expected in wrong:
        with pytest.raises(GapruneError, match=expected):
            gaprune.export(run, **options)  # type: ignore[operator]


def test_an_opset_that_nobody_writes_is_refused(exported: Export, tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"opset must be at most [0-9]+, the newest that this onnx knows, got 999"):
        exported(opset=999, output=tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_other_images_than_the_runs_are_refused(exported: Export, faint: ImageData) -> None:
    from dataclasses import replace

    others = replace(faint, test=replace(faint.test, images=255 - faint.test.images))
    with pytest.raises(RunError, match="the test images of faint are others than when the run was made"):
        exported(data=others)


def test_the_command_says_one_line_where_nothing_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("python -m gaprune.export: error: ")
    assert said.count("\n") == 1


def test_a_member_that_is_not_there_is_told(exported: Export, run: Path) -> None:
    with pytest.raises(OptionError, match="the front has no member 99"):
        exported(pick="99")
    with pytest.raises(OptionError, match="is one network: leave pick out"):
        exported(path=run / read_csv(run / "front.csv")[0].home, pick="0")


def test_a_run_with_objectives_of_its_own_is_exported_without_them(
    run: Path, original: nn.Module, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["objects"]["objectives"] = ["lean"]
    (copied / "manifest.json").write_text(json.dumps(manifest))
    resealed(copied)
    own = Own(model=original)
    with pytest.raises(OptionError, match="was given its data as objects: "):
        subject_of(copied, "0", None, picked=True, own=own)
    manifest["objects"]["data"] = False
    (copied / "manifest.json").write_text(json.dumps(manifest))
    resealed(copied)
    assert subject_of(copied, "0", None, picked=True, own=own).classes


def test_where_nothing_can_be_written_is_told_before_anything_is_made(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_command, "known_images", lambda *given: pytest.fail("images were read"))
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*file/a\.onnx: .*file is a file"):
        exported(output=tmp_path / "file" / "a.onnx")
    monkeypatch.setattr(export_command.os, "access", lambda path, mode: False)
    with pytest.raises(RunError, match=r"cannot write .*new/a\.onnx: .* cannot be written to"):
        exported(output=tmp_path / "new" / "a.onnx")
