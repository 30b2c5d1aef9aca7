from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from gaprune.data.decode import decode
from gaprune.errors import DataError

if TYPE_CHECKING:
    from conftest import Recorder


def save(path: Path, mode: str, size: tuple[int, int] = (3, 2)) -> str:
    rng = np.random.default_rng(len(path.name))
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path.name


def test_pixels_come_out_as_pillow_reads_them_in_order(tmp_path: Path, recorder: Recorder) -> None:
    names = [save(tmp_path / f"{'x' * length}.png", "RGB") for length in range(1, 5)]
    decoded = decode(tmp_path, names, reporter=recorder)
    for image, name in zip(decoded.images, names, strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.array(Image.open(tmp_path / name)))
    assert decoded.kept.tolist() == [0, 1, 2, 3]
    assert recorder.tasks == [("decoding images", 4)]
    assert recorder.steps == 4


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA"])
def test_grey_palette_and_transparent_images_become_rgb(tmp_path: Path, mode: str) -> None:
    decoded = decode(tmp_path, [save(tmp_path / "a.png", mode)])
    expected = np.array(Image.open(tmp_path / "a.png").convert("RGB"))
    assert np.array_equal(decoded.images[0].permute(1, 2, 0).numpy(), expected)


def test_unreadable_files_are_left_out_with_their_reason(tmp_path: Path) -> None:
    good = save(tmp_path / "good.png", "RGB")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes((tmp_path / good).read_bytes()[:50])
    (tmp_path / "empty.jpg").touch()
    Image.fromarray(np.full((2, 3), 0.5, dtype=np.float32)).save(tmp_path / "float.tiff")
    names = ["text.png", "cut.png", good, "gone.png", "empty.jpg", "float.tiff"]
    decoded = decode(tmp_path, names)
    assert decoded.kept.tolist() == [2]
    assert decoded.images.shape == (1, 3, 2, 3)
    assert sorted(decoded.unreadable) == [0, 1, 3, 4, 5]
    reasons = {names[index]: why.reason for index, why in decoded.unreadable.items()}
    assert reasons["text.png"] == "cannot identify image file"
    assert reasons["gone.png"] == "No such file or directory"
    assert "only 8 or 16 bits" in reasons["float.tiff"]
    lasting = {names[index] for index, why in decoded.unreadable.items() if why.lasting}
    assert lasting == {"text.png", "cut.png", "empty.jpg", "float.tiff"}


def test_another_size_is_refused_by_name(tmp_path: Path) -> None:
    names = [save(tmp_path / "a.png", "RGB"), save(tmp_path / "bb.png", "RGB", (3, 4))]
    with pytest.raises(DataError, match=r"bb.png has 3x4 pixels, expected 3x2 like a.png"):
        decode(tmp_path, names)


def test_nothing_readable_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(DataError, match=r"no readable image among the 1 files .* a.png: cannot identify"):
        decode(tmp_path, ["a.png"])
