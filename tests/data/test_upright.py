from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gaprune.data.upright import UnknownModeError, upright

ADAPTIVE = Image.Palette.ADAPTIVE
LEVELS = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
COLOURS = np.stack([LEVELS, LEVELS[::-1], 255 - LEVELS], axis=2)


def reread(image: Image.Image, path: Path, **options: object) -> np.ndarray:
    image.save(path, **options)
    with Image.open(path) as opened:
        return np.array(upright(opened))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_stay_whatever_the_mode(tmp_path: Path, mode: str) -> None:
    found = reread(Image.fromarray(COLOURS).convert(mode, palette=ADAPTIVE), tmp_path / "a.png")
    assert np.array_equal(found, COLOURS)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_is_repeated(tmp_path: Path, mode: str) -> None:
    found = reread(Image.fromarray(LEVELS).convert(mode), tmp_path / "a.png")
    assert np.array_equal(found, np.repeat(LEVELS[:, :, None], 3, axis=2))


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    found = reread(Image.fromarray(LEVELS.astype(np.uint16) * 257), tmp_path / "a.png")
    assert np.array_equal(found, np.repeat(LEVELS[:, :, None], 3, axis=2))


def test_ink_becomes_light(tmp_path: Path) -> None:
    found = reread(Image.new("RGB", (8, 8), (200, 40, 90)).convert("CMYK"), tmp_path / "a.jpg", quality=100)
    assert np.abs(found.astype(int) - (200, 40, 90)).max() <= 4


def test_a_palette_with_transparent_entries_is_read_without_a_word(tmp_path: Path) -> None:
    found = reread(
        Image.fromarray(COLOURS).convert("P", palette=ADAPTIVE), tmp_path / "a.png", transparency=bytes(range(24))
    )
    assert np.array_equal(found, COLOURS)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_photograph_stands_upright_as_its_camera_says(tmp_path: Path, turn: int) -> None:
    upside = {
        1: COLOURS,
        2: COLOURS[:, ::-1],
        3: COLOURS[::-1, ::-1],
        4: COLOURS[::-1],
        5: COLOURS.transpose(1, 0, 2),
        6: COLOURS[::-1].transpose(1, 0, 2)[::-1, ::-1],
        7: COLOURS[::-1, ::-1].transpose(1, 0, 2),
        8: COLOURS.transpose(1, 0, 2)[:, ::-1],
    }[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    found = reread(Image.fromarray(np.ascontiguousarray(upside)), tmp_path / "a.png", exif=exif)
    assert np.array_equal(found, COLOURS)


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(UnknownModeError, match="only 8 or 16 bits"):
        upright(Image.fromarray(np.zeros((2, 2), dtype=np.float32)))
