from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.data.images import ImageSet
from gaprune.errors import ModelError, OptionError, RunError
from gaprune.evaluate.measurement import measure
from gaprune.training import LABELS, Distillation, Recipe, estimate_seconds, fit
from gaprune.training import loop as training_loop
from gaprune.training.lesson import Batch

MEAN, STD = (64.0,) * 3, (60.0,) * 3
RECIPE = Recipe(epochs=3, batch_size=16, lr=0.05, pad=1)
NewNet = Callable[..., nn.Module]


def batch(labels: Tensor, smoothing: float = 0.0) -> Batch:
    inputs = torch.zeros(len(labels), 3, 8, 8)
    return Batch(inputs, labels, smoothing, amp=False, generator=torch.Generator())


class Says(nn.Module):
    """Logits whatever the images."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits


logits = st.lists(st.lists(st.floats(-5, 5), min_size=3, max_size=3), min_size=2, max_size=2).map(torch.tensor)


@settings(deadline=None)
@given(student=logits, teacher=logits, temperature=st.floats(0.5, 10), weight=st.floats(0, 1))
def test_the_loss_is_hintons(student: Tensor, teacher: Tensor, temperature: float, weight: float) -> None:
    lesson = Distillation(Says(teacher), temperature, weight)
    found = lesson.loss(Says(student), batch(torch.tensor([0, 2]), smoothing=0.1))
    p, q = (F.softmax(values / temperature, 1) for values in (teacher, student))
    divergence = (p * (p.log() - q.log())).sum(1).mean()
    labels = F.cross_entropy(student, torch.tensor([0, 2]), label_smoothing=0.1)
    torch.testing.assert_close(
        found, (1 - weight) * labels + weight * temperature**2 * divergence, atol=1e-4, rtol=1e-4
    )


def test_the_teacher_gets_no_gradient_and_a_student_that_agrees_none_either() -> None:
    teacher, student = (Says(torch.tensor([[1.0, -2.0, 0.5]])) for _ in range(2))
    Distillation(teacher, 3.0, 1.0).loss(student, batch(torch.tensor([1]))).backward()
    assert teacher.logits.grad is None
    assert student.logits.grad is not None
    torch.testing.assert_close(student.logits.grad, torch.zeros(1, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("temperature", "weight", "message"),
    [
        (0.0, 0.5, "temperature must be above 0 and at most 1000, got 0"),
        (1e200, 0.5, "temperature must be above 0 and at most 1000, got 1e\\+200"),
        (1.0, 1.5, "distill must be 0 to 1, got 1.5"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(temperature: float, weight: float, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Distillation(nn.Identity(), temperature, weight)


@pytest.fixture
def teacher(new_net: NewNet, train_images: ImageSet, held_out_images: ImageSet) -> nn.Module:
    model = new_net(seed=5)
    recipe = Recipe(epochs=12, batch_size=8, lr=0.2, pad=1)
    fit(model, train_images, held_out_images, mean=MEAN, std=STD, flip=True, recipe=recipe)
    return model.requires_grad_(False)


def weights(model: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


def test_a_student_learns_colours_from_answers_alone(
    teacher: nn.Module, new_net: NewNet, train_images: ImageSet, held_out_images: ImageSet
) -> None:
    student = new_net(seed=1, width=4)
    blind = ImageSet(train_images.images, torch.zeros_like(train_images.labels))
    before, recipe = weights(teacher), Recipe(epochs=20, batch_size=8, lr=0.1, pad=1)
    lesson = Distillation(teacher, 2.0, 1.0)
    fit(student, blind, held_out_images, mean=MEAN, std=STD, flip=True, recipe=recipe, lesson=lesson)
    assert measure(student, held_out_images, MEAN, STD).accuracy > 0.9
    assert all(torch.equal(a, b) for a, b in zip(before, weights(teacher), strict=True))


@pytest.mark.parametrize("steps", [1, 4, 6, 11])
def test_a_distillation_that_was_stopped_ends_like_one_that_was_not(
    teacher: nn.Module,
    new_net: NewNet,
    train_images: ImageSet,
    held_out_images: ImageSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    def train(model: nn.Module, lesson: Any, directory: Path | None = None) -> list[Tensor]:
        options = {"mean": MEAN, "std": STD, "flip": True, "recipe": RECIPE, "lesson": lesson, "directory": directory}
        fit(model, train_images, held_out_images, **options)
        return weights(model)

    lesson, real, taken = Distillation(teacher, 4.0, 0.9), training_loop.train_step, []

    def stopping(*arguments: Any) -> Tensor:
        taken.append(None)
        if len(taken) > steps:
            raise KeyboardInterrupt
        return real(*arguments)

    whole = train(new_net(), lesson)
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "train_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(new_net(), lesson, tmp_path)
    if steps >= 4:
        with pytest.raises(RunError, match="another teacher or lesson"):
            train(new_net(), Distillation(teacher, 2.0, 0.9), tmp_path)
        with pytest.raises(RunError, match="another teacher or lesson"):
            train(new_net(), LABELS, tmp_path)
    again = train(new_net(), lesson, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))


def test_an_estimate_counts_the_teacher(new_net: NewNet, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Asked(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            asked.append(len(images))
            return torch.zeros(len(images), 3)

    seconds = estimate_seconds(new_net(), (3, 8, 8), RECIPE, 50, validation_images=20, lesson=Distillation(Asked()))
    assert seconds > 0
    assert asked
    assert set(asked) == {16}


def test_a_network_that_gives_more_in_training_is_refused_in_one_line(
    new_net: NewNet, train_images: ImageSet, held_out_images: ImageSet
) -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = new_net()

        def forward(self, x: Tensor) -> Any:
            logits = self.net(x)
            return (logits, logits) if self.training else logits

    with pytest.raises(ModelError, match=r"in training the network gives tuple, expected .*aux_logits=False"):
        fit(Auxiliary(), train_images, held_out_images, mean=MEAN, std=STD, flip=True, recipe=RECIPE)
