from __future__ import annotations

from pathlib import Path

import pytest

from gaprune.compress.resuming import KIND, resumed_options
from gaprune.errors import RunError
from gaprune.options import CompareOptions
from gaprune.runs import RunDirectory
from gaprune.text.options import TextOptions


@pytest.mark.parametrize(
    ("options", "model", "whose"),
    [(CompareOptions(), "bert", "gaprune.text.compare"), (TextOptions(), "vgg16", "gaprune.compare")],
)
def test_a_comparison_of_the_other_kind_of_networks_is_told_whose_it_is(
    tmp_path: Path, options: CompareOptions | TextOptions, model: str, whose: str
) -> None:
    with (
        RunDirectory.create(tmp_path / "table", {"kind": KIND, "options": {"model": model}}) as directory,
        pytest.raises(RunError, match=rf"table compares {model}: {whose} goes on with it$"),
    ):
        resumed_options(options, directory, (), lambda *_: ())
