"""No pickle is loaded, and no memory is taken for what a file only says that it holds."""

from __future__ import annotations

import json
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_texts import write_encoder

from gaprune.errors import CheckpointError
from gaprune.models import read_weights
from gaprune.text.encoder import check_encoder, load_encoder

GIGABYTES = 3 * 2**30
AT_MOST_SECONDS = 2.0


def packed(path: Path) -> None:
    """3 MB that unpack to 3 GiB of zeros, as a checkpoint of one tensor."""
    small = path.with_name("small.pth")
    torch.save({"weight": torch.zeros(1)}, small)
    with zipfile.ZipFile(small) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if not entry.filename.endswith("data/0"):
                target.writestr(entry, content)
                continue
            with target.open(zipfile.ZipInfo(entry.filename), "w", force_zip64=True) as file:
                file.write(content)
    _say_larger(path, "data/0")


def _say_larger(path: Path, name: str) -> None:
    """Let the archive's directory say of an entry that it is packed, and holds so much."""
    content = bytearray(path.read_bytes())
    place = 0
    while (place := content.find(b"PK\x01\x02", place)) >= 0:
        length = struct.unpack_from("<H", content, place + 28)[0]
        if content[place + 46 : place + 46 + length].endswith(name.encode()):
            struct.pack_into("<HxxxxxxxxI", content, place + 10, zipfile.ZIP_DEFLATED, 0)
            struct.pack_into("<I", content, place + 24, GIGABYTES)
        place += 4
    path.write_bytes(bytes(content))


def really_packed(path: Path) -> None:
    """As a packer makes it: zeros, which shrink a thousandfold."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        target.writestr("a/data.pkl", pickle.dumps({}))
        with target.open("a/data/0", "w", force_zip64=True) as file:
            for _ in range(64):
                file.write(bytes(2**20))


def legacy(path: Path) -> None:
    """The format before archives, whose storage says that it has 3 GiB."""
    torch.save({"weight": torch.zeros(7)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert content.count(struct.pack("<q", 7)) == 1
    path.write_bytes(content.replace(struct.pack("<q", 7), struct.pack("<q", GIGABYTES // 4)))


@pytest.mark.parametrize("make", [packed, really_packed, legacy])
def test_a_file_that_says_it_holds_gigabytes_is_refused_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    file = tmp_path / "large.pth"
    make(file)
    begin = time.process_time()
    with pytest.raises(CheckpointError, match=r"large\.pth") as caught:
        read_weights(file)
    assert time.process_time() - begin < AT_MOST_SECONDS
    assert "\n" not in str(caught.value)
    if make is not legacy:
        assert "packed, which torch.save never does" in str(caught.value)


def test_what_torch_saves_is_read(tmp_path: Path) -> None:
    for new in (True, False):
        torch.save({"weight": torch.arange(100_000.0)}, tmp_path / "fine.pth", _use_new_zipfile_serialization=new)
        assert torch.equal(read_weights(tmp_path / "fine.pth")[0]["weight"], torch.arange(100_000.0))


def config(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def not_a_number(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.encoder.layer.1.output.dense.weight"][0, 0] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


UNUSABLE: list[tuple[Callable[[Path], None], str]] = [
    (not_a_number, "encoder.layer.1.output.dense.weight holds NaN or infinity"),
    (lambda folder: config(folder, num_hidden_layers=-1), "num_hidden_layers: -1, expected a whole number of at least"),
    (lambda folder: config(folder, num_hidden_layers=1), "tensors more, such as bert.encoder.layer.1."),
    (lambda folder: config(folder, hidden_size="wide"), 'hidden_size: "wide", expected a whole number'),
    (lambda folder: config(folder, num_attention_heads=0), "num_attention_heads: 0, expected a whole number"),
    (lambda folder: config(folder, num_attention_heads=3), "expected a multiple of num_attention_heads, which is 3"),
    (lambda folder: config(folder, vocab_size=10**10), "weights, which the"),
    (lambda folder: config(folder, quantization_config={"quant_method": "awq", "bits": 4}), "cannot be loaded"),
]


@pytest.mark.parametrize(("damage", "told"), UNUSABLE)
def test_an_encoder_that_is_none_is_refused_in_one_line(
    tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    folder = write_encoder(tmp_path)
    check_encoder(str(folder))
    damage(folder)
    with pytest.raises(CheckpointError) as caught:
        load_encoder(str(folder))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
