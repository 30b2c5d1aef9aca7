from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_works import accuracy

from gaprune.compress import Session, Work, parse_chain
from gaprune.compress.distill import Distill
from gaprune.compress.images import ImageTask
from gaprune.compress.students import thin_student
from gaprune.errors import GapruneError, OptionError
from gaprune.models import build


def params(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_a_student_learns_from_random_weights(original: Work) -> None:
    assert isinstance(original.task, ImageTask)
    task = dataclasses.replace(original.task, epochs=12)
    work = Distill(["thin=0.5"]).apply(dataclasses.replace(original, task=task), Session())
    assert accuracy(work) > 0.8 > 1 / 3
    assert work.params <= 0.5 * original.params
    assert work.steps[-1].report["training"]["passes"] == 12


def test_the_default_student_has_a_fiftieth_of_the_parameters() -> None:
    original = build("vgg16", 10)
    student = thin_student(original, (3, 32, 32), "thin")
    assert 0.017 < params(student) / params(original) <= 0.02
    assert student(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_student_is_drawn_from_the_seed_and_nobody_elses_state(original: Work) -> None:
    def weights(seed: int) -> torch.Tensor:
        task = dataclasses.replace(original.task, seed=seed)  # type: ignore[type-var]
        return task.student("thin=0.5").model.get_parameter("conv1.weight").detach()

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_student_may_be_any_network_by_its_name(original: Work) -> None:
    student = original.task.student("tiny_factory:tiny_cnn")
    assert params(student.model) == params(build("tiny_factory:tiny_cnn", 3))
    assert not student.trained


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tiny", "unknown student 'tiny'"),
        ("thin=5", "thin must be a share above 0 and up to 1"),
        ("thinner", "unknown student 'thinner'"),
        ("ours:03", "the student ours:03 is a front member: give --run RUN"),
    ],
)
def test_a_wrong_student_is_told(original: Work, name: str, expected: str) -> None:
    with pytest.raises(GapruneError) as caught:
        original.task.student(name)
    assert expected in str(caught.value)
    if not name.startswith("ours"):
        assert isinstance(caught.value, OptionError)
        assert "choose one of thin, thin=SHARE, vgg16, resnet18" in str(caught.value)


def test_the_teacher_counts(original: Work) -> None:
    """The same student and images, another teacher: other weights come of it."""
    assert isinstance(original.task, ImageTask)
    other = dataclasses.replace(original.task.original, model=build("tiny_factory:tiny_cnn", 3).eval())
    taught = [
        parse_chain("distill:thin=0.5").methods[0].apply(dataclasses.replace(original, task=task), Session()).network
        for task in (original.task, dataclasses.replace(original.task, original=other))
    ]
    assert not torch.equal(*(network.get_parameter("conv1.weight") for network in taught))
