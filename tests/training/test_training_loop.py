from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gaprune.data.images import ImageSet, normalise
from gaprune.errors import RunError, TrainingError
from gaprune.evaluate.measurement import measure
from gaprune.training import EpochRecord, Recipe, fit, loop
from gaprune.training.recipe import steps_per_epoch
from gaprune.training.state import Course, TrainingState, _average, start, train_step
from gaprune.training.statistics import settle

RECIPE = Recipe(epochs=4, batch_size=16, lr=0.1, pad=1)
MEAN, STD = (64.0, 64.0, 64.0), (60.0, 60.0, 60.0)

Fit = Callable[..., list[EpochRecord]]
NewNet = Callable[..., nn.Module]


@pytest.fixture
def fit_tiny(train_images: ImageSet, held_out_images: ImageSet) -> Fit:
    def call(model: nn.Module, recipe: Recipe = RECIPE, **options: Any) -> list[EpochRecord]:
        options = {"mean": MEAN, "std": STD, "flip": True, "recipe": recipe} | options
        return fit(model, train_images, held_out_images, **options)

    return call


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def learned(records: list[EpochRecord]) -> list[tuple[int, float, float]]:
    return [(record.epoch, record.loss, record.accuracy) for record in records]


def test_a_tiny_network_learns_colours(fit_tiny: Fit, new_net: NewNet) -> None:
    records = fit_tiny(new_net(), Recipe(epochs=12, batch_size=8, lr=0.2, pad=1))
    assert [record.epoch for record in records] == list(range(1, 13))
    assert records[-1].loss < records[0].loss
    assert records[-1].accuracy > 0.9


@pytest.mark.parametrize("momentum", [0.01, None])
def test_batch_norms_of_small_momentum_follow_a_short_training_as_torchs_own_do(
    momentum: float | None, fit_tiny: Fit, new_net: NewNet
) -> None:
    usual, slow = new_net(), new_net()
    norms = [module for module in slow.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        norm.momentum = momentum
    fit_tiny(usual)
    fit_tiny(slow)
    assert same(weights(usual), weights(slow))
    assert {norm.momentum for norm in norms} == {momentum}


def test_batch_norms_that_follow_faster_keep_their_own_momentum(
    fit_tiny: Fit, new_net: NewNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SHORT", 0)  # in the end of a short training they are measured anew
    usual, fast = new_net(), new_net()
    for module in fast.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
    fit_tiny(usual)
    fit_tiny(fast)
    assert not same(weights(usual), weights(fast))


def test_an_epoch_draws_as_many_images_as_it_is_told_each_time_others(
    fit_tiny: Fit, new_net: NewNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[set[int]] = []

    def step(state: TrainingState, course: Course, indices: Tensor, generator: torch.Generator) -> Tensor:
        drawn.append(set(indices.tolist()))
        return train_step(state, course, indices, generator)

    monkeypatch.setattr(loop, "train_step", step)
    records = fit_tiny(new_net(), dataclasses.replace(RECIPE, epochs=2, epoch_images=20))
    assert [len(indices) for indices in drawn] == [10, 10, 10, 10], "two steps an epoch, of at most 16"
    first, second = set.union(*drawn[:2]), set.union(*drawn[2:])
    assert len(first) == len(second) == 20
    assert first != second
    assert all(0 < record.loss < 3 for record in records), "a mean over the images that were drawn"
    drawn.clear()
    fit_tiny(new_net(), dataclasses.replace(RECIPE, epochs=1, epoch_images=1000))
    assert set.union(*drawn) == set(range(50)), "never more than there are"


@pytest.mark.parametrize(
    ("images", "batch", "expected"), [(5, 2, [3, 2]), (3, 2, [3]), (2, 1, [2]), (129, 128, [65, 64])]
)
def test_no_step_is_of_one_image_alone(images: int, batch: int, expected: list[int]) -> None:
    steps = steps_per_epoch(dataclasses.replace(RECIPE, batch_size=batch), images)
    assert [len(part) for part in torch.arange(images).tensor_split(steps)] == expected


def test_tied_weights_are_averaged_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    state = start(model, dataclasses.replace(RECIPE, ema_decay=0.9))
    before = state.averaged.state_dict()["0.weight"].clone()
    with torch.no_grad():
        model[0].weight += 1.0
    _average(state, 0.9)
    assert torch.allclose(state.averaged.state_dict()["1.weight"], before + 0.1)


def test_the_network_ends_as_it_was_validated(fit_tiny: Fit, new_net: NewNet, held_out_images: ImageSet) -> None:
    model = new_net()
    records = fit_tiny(model)
    assert not model.training
    assert all(tensor.is_contiguous() for tensor in model.state_dict().values())
    assert measure(model, held_out_images, MEAN, STD).accuracy == records[-1].accuracy


@pytest.mark.parametrize("amp", [False, True])
def test_an_interrupted_training_ends_like_one_that_was_not(
    amp: bool, fit_tiny: Fit, new_net: NewNet, listen: Any, tmp_path: Path
) -> None:
    recipe = Recipe(epochs=4, batch_size=16, lr=0.1, pad=1, amp=amp)
    whole, stopped = new_net(), new_net()
    expected = fit_tiny(whole, recipe)
    with pytest.raises(KeyboardInterrupt):
        fit_tiny(stopped, recipe, directory=tmp_path / "run", reporter=listen(raise_at="epoch 2/4"))
    resumed, listener = new_net(seed=99), listen()
    records = fit_tiny(resumed, recipe, directory=tmp_path / "run", reporter=listener)
    assert learned(records) == learned(expected)
    assert same(weights(resumed), weights(whole))
    assert listener.steps[0] == 8, "the two epochs of four steps that the first process did"
    assert [line.split(":")[0] for line in listener.lines] == ["epoch 3/4", "epoch 4/4"]


def test_a_finished_directory_returns_at_once(fit_tiny: Fit, new_net: NewNet, listen: Any, tmp_path: Path) -> None:
    first, again, listener = new_net(), new_net(seed=5), listen()
    records = fit_tiny(first, directory=tmp_path)
    assert fit_tiny(again, directory=tmp_path, reporter=listener) == records
    assert same(weights(first), weights(again))
    assert not again.training
    assert listener.steps == []


def test_a_damaged_epoch_is_trained_again(fit_tiny: Fit, new_net: NewNet, listen: Any, tmp_path: Path) -> None:
    whole, resumed, listener = new_net(), new_net(), listen()
    fit_tiny(whole)
    with pytest.raises(KeyboardInterrupt):
        fit_tiny(new_net(), directory=tmp_path, reporter=listen(raise_at="epoch 3/4"))
    newest = max(tmp_path.glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1])
    fit_tiny(resumed, directory=tmp_path, reporter=listener)
    assert "damaged" in listener.lines[0]
    assert "epoch 3/4" in listener.lines[1]
    assert same(weights(resumed), weights(whole))


def test_nothing_on_disk_is_a_pickle(fit_tiny: Fit, new_net: NewNet, tmp_path: Path) -> None:
    fit_tiny(new_net(), directory=tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}


def test_a_seed_decides_everything(fit_tiny: Fit, new_net: NewNet) -> None:
    first, second, other = new_net(), new_net(), new_net()
    before = torch.get_rng_state()
    fit_tiny(first)
    assert torch.equal(torch.get_rng_state(), before), "the caller's global generator is left alone"
    torch.manual_seed(1234)
    fit_tiny(second)
    fit_tiny(other, Recipe(epochs=4, batch_size=16, lr=0.1, pad=1, seed=1))
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(other))


def test_divergence_is_one_line_and_saves_nothing(fit_tiny: Fit, new_net: NewNet, tmp_path: Path) -> None:
    wild = Recipe(epochs=3, batch_size=16, lr=1e30, pad=0)
    with pytest.raises(TrainingError, match=r"diverged in epoch 1 \(loss \w+\): choose .* below 1e\+30"):
        fit_tiny(new_net(), wild, directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_another_recipe_is_refused(fit_tiny: Fit, new_net: NewNet, tmp_path: Path) -> None:
    fit_tiny(new_net(), directory=tmp_path)
    other = Recipe(epochs=4, batch_size=16, lr=0.3, pad=1)
    with pytest.raises(RunError, match=r"another training \(lr 0\.1, now 0\.3\): choose another directory"):
        fit_tiny(new_net(), other, directory=tmp_path)


def test_a_directory_of_other_images_is_refused(fit_tiny: Fit, new_net: NewNet, tmp_path: Path) -> None:
    fit_tiny(new_net(), directory=tmp_path)
    with pytest.raises(RunError, match="other images or another normalisation"):
        fit_tiny(new_net(), directory=tmp_path, mean=(0.0, 0.0, 0.0))


def test_a_directory_of_another_network_is_refused(fit_tiny: Fit, new_net: NewNet, tmp_path: Path) -> None:
    fit_tiny(new_net(), directory=tmp_path)
    with pytest.raises(RunError, match="the training of another network"):
        fit_tiny(new_net(width=4), directory=tmp_path)


def test_a_directory_that_cannot_be_written_is_named(fit_tiny: Fit, new_net: NewNet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot save the training in .*file"):
        fit_tiny(new_net(), directory=tmp_path / "file" / "run")


def test_no_images_is_one_line(new_net: NewNet, train_images: ImageSet) -> None:
    none = train_images.select(torch.arange(0))
    with pytest.raises(TrainingError, match="got 50 to learn from, 0 to validate"):
        fit(new_net(), train_images, none, mean=MEAN, std=STD, flip=True, recipe=RECIPE)


def test_accuracy_is_shown_beside_the_bar(fit_tiny: Fit, new_net: NewNet, listen: Any) -> None:
    listener = listen()
    records = fit_tiny(new_net(), reporter=listener)
    assert listener.figures == {"epoch": "4/4", "accuracy": f"{records[-1].accuracy:.4f}"}
    assert sum(listener.steps) == 16


@pytest.mark.parametrize(("steps", "anew"), [(40, True), (240, False)])
def test_norms_of_a_short_training_are_measured_anew_in_the_end(steps: int, anew: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (64, 3, 4, 4), dtype=torch.uint8, generator=generator)
    images = ImageSet(pixels, torch.arange(64) % 2)
    norm = {"mean": (127.0,) * 3, "std": (70.0,) * 3}
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 2))
    recipe = Recipe(epochs=steps // 4, batch_size=16, lr=0.1, pad=0)
    fit(model, images, images, flip=False, recipe=recipe, **norm)
    with torch.no_grad():
        seen = model[0](normalise(pixels, **norm)).mean((0, 2, 3))
    assert torch.allclose(model[1].running_mean, seen, atol=1e-5) == anew
    assert not model.training
    assert model[1].momentum == 0.1


def test_without_batches_norms_stay_as_they_are() -> None:
    norm = nn.BatchNorm2d(2).eval()
    norm.running_mean.fill_(3.0)
    settle(norm, [])
    assert norm.running_mean.tolist() == [3.0, 3.0]
