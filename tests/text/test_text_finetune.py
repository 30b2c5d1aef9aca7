"""Members of a search of texts: trained as the original was, and written as files."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnxruntime
import pytest
import torch

import gaprune
from gaprune.errors import GapruneError
from gaprune.finetune import main
from gaprune.front import trainings
from gaprune.progress import SILENT
from gaprune.text import searching
from gaprune.text.searching import TextTraining
from gaprune.training import bfloat16_pays

RULE = "flops<=0.6"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def trained(run: Path, place: Path, *more: str) -> int:
    places = ["--cache-dir", str(place / "cache"), "--device", "cpu", "--threads", "1"]
    return main([str(run), "--pick", "all", *places, *more])


def test_a_member_is_trained_and_the_better_network_is_handed_out(run: Path, place: Path) -> None:
    before = {row.key: row for row in gaprune.Run(run).rows}
    assert trained(run, place, "--epochs", "3", "--lr", "5e-3") == 0
    rows = gaprune.Run(run).rows
    records = [trainings(run / row.home)[-1] for row in rows]
    assert {record["epochs"] for record in records} == {3}
    assert any(row.trained_epochs for row in rows)
    for row, record in zip(rows, records, strict=True):
        assert record["kept"] == (record["search_accuracy"] > before[row.key].search_accuracy)
        assert row.search_accuracy == max(record["search_accuracy"], before[row.key].search_accuracy)
        assert gaprune.load(run / row.path) is not None


def test_the_same_training_is_done_once_and_other_numbers_are_another(run: Path, place: Path) -> None:
    member = run / gaprune.Run(run).rows[0].home
    for numbers, count in ((("--epochs", "1"), 1), (("--epochs", "1"), 1), (("--epochs", "2"), 2)):
        assert trained(run, place, *numbers) == 0
        assert len(trainings(member)) == count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--temperature", "2"], "temperature is for images: members of a search of texts know it not"),
        (["--distill", "0.5"], "distill is for images"),
        (["--epoch-images", "60"], "epoch-images is for images"),
    ],
)
def test_what_is_of_images_is_refused(
    run: Path, place: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained(run, place, *options) == 2
    assert message in capsys.readouterr().err


def test_a_member_is_a_file_that_reads_texts_of_any_length(run: Path, place: Path) -> None:
    done = gaprune.export(run, pick=RULE, cache_dir=place / "cache", threads=1, reporter=SILENT)
    assert done.metadata["inputs"] == [
        {"name": name, "type": "int64", "shape": ["batch", "any"]} for name in ("ids", "mask")
    ]
    row = gaprune.pick(gaprune.Run(run).rows, RULE)
    network = gaprune.load(run / row.path)
    session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    ids = torch.randint(5, 20, (3, 11), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    with torch.no_grad():
        wanted = network(ids, mask)
    (found,) = session.run(None, {"ids": ids.numpy(), "mask": mask.numpy()})
    assert torch.allclose(wanted, torch.from_numpy(found), atol=1e-5)


def test_a_task_of_ones_own_is_none_of_a_run_by_names(run: Path) -> None:
    x = torch.ones(4, 3)
    task = gaprune.Task(x, [x], lambda net: 0.0, train=lambda net: None)
    with pytest.raises(GapruneError, match="was searched by names, not by a task of your own: leave task out"):
        gaprune.finetune(run, model=torch.nn.Linear(3, 2), task=task, reporter=SILENT)


def test_a_member_that_is_worse_is_trained_again_more_gently(
    run: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []
    at, call = TextTraining.at, TextTraining.__call__

    def ruined(self: TextTraining, network: torch.nn.Module) -> int:
        if "lr" in self.numbers:
            return call(self, network)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(-1)
        return 1

    monkeypatch.setattr(TextTraining, "at", lambda self, share: [shares.append(share), at(self, share)][1])
    monkeypatch.setattr(TextTraining, "__call__", ruined)
    assert trained(run, place, "--epochs", "1") == 0
    members = [trainings(run / row.home) for row in gaprune.Run(run).rows]
    assert shares == [0.1]
    assert max(map(len, members)) == 2
    assert "is worse for it: trained again, more gently" in capsys.readouterr().out
    assert trained(run, place, "--epochs", "1") == 0
    assert [trainings(run / row.home) for row in gaprune.Run(run).rows] == members
    assert trained(run, place, "--epochs", "1", "--lr", "1e-3") == 0
    assert shares == [0.1, 0.1]


def test_the_runs_original_is_found_on_a_machine_that_would_train_it_otherwise(
    run: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = sorted((place / "cache" / "texts").iterdir())
    monkeypatch.setattr(searching, "bfloat16_pays", lambda device: not bfloat16_pays(device))
    assert trained(run, place, "--epochs", "1") == 0
    gaprune.export(run, pick=RULE, cache_dir=place / "cache", threads=1, reporter=SILENT)
    assert sorted((place / "cache" / "texts").iterdir()) == kept


def test_a_run_is_known_from_within_a_members_folder(run: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = gaprune.Run(run).rows[0]
    monkeypatch.chdir(run / row.home)
    done = gaprune.export(".", cache_dir=place / "cache", threads=1, output="member.onnx", reporter=SILENT)
    assert done.metadata["member"] == row.name
