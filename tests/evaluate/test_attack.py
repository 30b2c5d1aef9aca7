"""Accuracy under attack, against what can be worked out by hand."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_networks import SHAPE, chain, space_of
from torch import Tensor, nn

from gaprune.data import ImageSet
from gaprune.evaluate import ATTACKS, Attack, Evaluator, FitnessTask, resolve_objectives, robustness
from gaprune.evaluate.attack import ATTACKED, attacked
from gaprune.evaluate.fitness_task import _few
from gaprune.genome import Genome
from gaprune.prune import fold
from gaprune.prune.graph.graph import build_graph

ZERO, ONE = (0.0,), (255.0,)
MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 70.0)


def image_set(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.randint(0, 3, (count,), generator=generator))


TASK = FitnessTask(search=image_set(20, 0), calibration=image_set(12, 1), mean=MEAN, std=STD, classes=3, batch_size=20)


def made(*objectives: str) -> tuple[Evaluator, Genome]:
    """An evaluator of a small chain, and one of its genomes."""
    torch.manual_seed(0)
    model = chain().eval()
    space = space_of(model, build_graph(model, SHAPE))
    bits = space.layout.unpack(space.full())
    bits[[1, 4]] = False
    return Evaluator(model, space, TASK, resolve_objectives(objectives)), space.layout.pack(space.repair(bits))


class Bright(nn.Module):
    """Class 1 where the mean pixel, 0 to 1 as ``ZERO`` and ``ONE`` make it, is above a half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: Tensor) -> Tensor:
        margin = self.scale * (images.flatten(1).mean(1) - 0.5)
        return torch.stack([-margin, margin], 1)


def greys(*levels: int) -> ImageSet:
    pixels = torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return ImageSet(pixels, torch.ones(len(levels), dtype=torch.long))


def test_a_linear_network_falls_exactly_where_the_change_crosses_its_border() -> None:
    """Above 127.5 by 1.5, 4.5 and 10.5 levels: 2 levels turn the first, 8 the second too, nothing the third."""
    found = robustness(Bright(), greys(129, 132, 138), ZERO, ONE)
    expected = {"2": [False, True, True], "8": [False, False, True]}
    for attack in ATTACKS:
        assert found.right[attack.name].tolist() == expected[attack.name[-1]], attack
    assert found.accuracies["fgsm_8"] == pytest.approx(1 / 3)
    assert found.mean == pytest.approx(0.5)


def test_what_was_wrong_stays_wrong_and_no_attack_leaves_its_ball_or_the_pixels_range() -> None:
    assert robustness(Bright(), greys(0, 100, 127), ZERO, ONE).mean == 0
    model, images = chain().eval(), image_set(6, 3)
    clean = images.images.float() / 255
    noise = 2 * torch.rand(clean.shape, generator=torch.Generator().manual_seed(0)) - 1
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)

    def logits(pixels: Tensor) -> Tensor:
        found: Tensor = model((255 * pixels - mean) / std)
        return found

    def loss(pixels: Tensor) -> float:
        with torch.no_grad():
            return float(nn.functional.cross_entropy(logits(pixels), images.labels))

    for attack in ATTACKS:
        found = attacked(logits, clean, images.labels, attack, noise)
        assert float((found - clean).abs().max()) <= attack.epsilon + 1e-6
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        assert loss(found) > loss(clean)
    one, ten = (attacked(logits, clean, images.labels, Attack("", 8 / 255, steps), noise) for steps in (1, 10))
    assert loss(ten) >= loss(one) - 1e-3


def test_the_same_at_every_call_and_batch_and_from_networks_made_in_inference_mode() -> None:
    evaluator, chosen = made("accuracy", "robustness")
    plain = evaluator.network(chosen)
    with torch.inference_mode():
        frozen = copy.deepcopy(plain)
        fold(frozen, evaluator.norms)
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    torch.manual_seed(5)
    first = robustness(plain, TASK.search, MEAN, STD, batch_size=20)
    assert any(not right.all() for right in first.right.values())
    with torch.inference_mode():
        others = [robustness(one, TASK.search, MEAN, STD, batch_size=20) for one in (plain, frozen)]
    assert others[0].accuracies == first.accuracies
    for name, right in others[1].right.items():  # folding rounds otherwise: an image may lie on the border
        assert int((right != first.right[name]).sum()) <= 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in plain.state_dict().items())
    assert all(parameter.requires_grad for parameter in plain.parameters())


def test_as_an_objective_it_is_the_attacked_network_and_stands_beside_the_others() -> None:
    evaluator, chosen = made("accuracy", "flops", "robustness")
    outcome = evaluator(chosen)
    assert outcome.failure is None
    names = [attack.name for attack in ATTACKS]
    assert outcome.values["robustness"] == pytest.approx(sum(outcome.values[name] for name in names) / 4)
    assert outcome.minimised["robustness"] == pytest.approx(1 - outcome.values["robustness"])
    assert outcome.values["accuracy"] >= max(outcome.values[name] for name in names)
    assert evaluator(chosen).values == outcome.values
    measured = evaluator.measure(evaluator.network(chosen), TASK.search)
    values, _, _ = evaluator.judge(chosen, measured, evaluator.network(chosen))
    assert values["robustness"] == pytest.approx(outcome.values["robustness"], abs=0.06)
    assert "fgsm_2" not in made("accuracy", "flops")[0](chosen).values


def test_of_many_search_images_some_of_every_class_are_attacked() -> None:
    """Photographs of folders stand class by class: the first ones would be of one class alone."""
    evaluator, chosen = made("accuracy", "robustness")
    many = greys(*[100] * 3 * ATTACKED)
    sorted_ = ImageSet(many.images[:, :, :1, :1].expand(-1, *SHAPE), torch.arange(3).repeat_interleave(ATTACKED))
    evaluator.task = replace(TASK, search=sorted_, batch_size=ATTACKED)
    network = evaluator.network(chosen)
    found = evaluator.attack(network).right
    assert all(len(right) == ATTACKED for right in found.values())
    labels = sorted_.labels[_few(sorted_.labels, ATTACKED)]
    assert [int((labels == one).sum()) for one in range(3)] in ([86, 85, 85], [85, 86, 85], [85, 85, 86])


def test_a_network_of_any_kind_is_attacked_in_eval_mode_and_left_as_it_was() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.LazyLinear(3))
    images: Any = image_set(5, 4)
    model(torch.zeros(2, *images.images.shape[1:]))
    model.train()
    found = [robustness(model, images, MEAN, STD).accuracies for _ in range(2)]
    assert found[0] == found[1]
    assert model.training
