from __future__ import annotations

from pathlib import Path

import pytest

from gaprune import compare
from gaprune.compress.resuming import KIND, resumed_options
from gaprune.errors import RunError
from gaprune.runs import RunDirectory
from gaprune.text import compare as text_compare


@pytest.mark.parametrize(
    ("options", "model", "whose"),
    [(compare.Options(), "bert", "gaprune.text.compare"), (text_compare.Options(), "vgg16", "gaprune.compare")],
)
def test_a_comparison_of_the_other_kind_of_networks_is_told_whose_it_is(
    tmp_path: Path, options: compare.Options | text_compare.Options, model: str, whose: str
) -> None:
    with (
        RunDirectory.create(tmp_path / "table", {"kind": KIND, "options": {"model": model}}) as directory,
        pytest.raises(RunError, match=rf"table compares {model}: {whose} goes on with it$"),
    ):
        resumed_options(options, directory, (), lambda *_: ())
