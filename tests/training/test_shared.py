from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_networks import MEAN, PRUNABLE, SHAPE, STD, fits, prepared, random_masks, space_of
from torch import Tensor, nn

from gaprune.data.images import ImageSet
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.graph.graph import build_graph
from gaprune.training import Recipe, fit
from gaprune.training import loop as training_loop
from gaprune.training.shared import SharedFront, SharedLesson, _sampled

SPACES: tuple[dict[str, Any], ...] = (
    {"genes": "neurons"},
    {"genes": "both"},
    {"genes": "both", "connection_groups": 2},
)
CASES = [
    (name, options)
    for name in PRUNABLE
    for options in SPACES
    if fits(build_graph(prepared(PRUNABLE[name]()).float(), SHAPE), options)
]


def members(
    name: str, seeds: tuple[int, ...] = (1, 2, 3), **options: Any
) -> tuple[nn.Module, list[nn.Module], SharedFront]:
    """An original, networks cut from it whose weights pruning has changed, and all of them in shared weights."""
    model = prepared(PRUNABLE[name]()).float()
    graph = build_graph(model, SHAPE)
    masks = [random_masks(space_of(model, graph, **options), seed) for seed in seeds]
    networks = [Compactor(model, graph)(one) for one in masks]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for network in networks:
            for parameter in network.parameters():
                noise = 0.1 * torch.randn(parameter.shape, generator=generator)
                parameter += noise * (parameter != 0)  # compensated, but not where connections are masked
    return model, networks, SharedFront(model, graph, masks, networks)


def images(count: int = 4) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_member_on_shared_weights_is_the_member(name: str, options: dict[str, Any]) -> None:
    _, networks, shared = members(name, **options)
    shared.eval()
    with torch.no_grad():
        for place, network in enumerate(networks):
            torch.testing.assert_close(shared.run(place, images()), network(images()), atol=1e-4, rtol=1e-4)
            cut = shared.cut(place)
            assert str(cut) == str(network)
            for (label, found), wanted in zip(cut.named_parameters(), network.parameters(), strict=True):
                torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5, msg=label)
                assert torch.equal(found == 0, wanted == 0), "masked connections are exactly zero"


@pytest.mark.parametrize(("name", "options"), CASES)
def test_gradients_are_those_of_the_member_put_in_their_places(name: str, options: dict[str, Any]) -> None:
    _, networks, shared = members(name, seeds=(1,), **options)
    shared.eval().double()
    network = networks[0].double()
    table = shared._members.parts[0]
    x = images().double()
    parts = [
        part.__class__(part.names, part.shapes, part.places, _double(part.present), part.offset.double())
        for part in table
    ]
    shared._members.parts[0] = (parts[0], parts[1])
    shared._members.networks[0].double()
    shared.run(0, x).square().sum().backward()
    network(x).square().sum().backward()
    for part, whole in zip(parts, (shared.weights, shared.others), strict=True):
        wanted = torch.zeros(whole.numel(), dtype=torch.float64)
        parameters = dict(network.named_parameters())
        gradients = torch.cat([parameters[one].grad.reshape(-1) for one in part.names])  # type: ignore[union-attr]
        wanted.index_add_(0, part.places, gradients if part.present is None else gradients * part.present)
        assert whole.grad is not None
        torch.testing.assert_close(whole.grad.reshape(-1), wanted, atol=1e-4, rtol=1e-3)


def _double(present: Tensor | None) -> Tensor | None:
    return None if present is None else present.double()


@pytest.mark.parametrize(("count", "taken"), [(2, 2), (3, 3), (4, 4), (9, 4)])
def test_a_step_takes_the_ends_and_others_between(count: int, taken: int) -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [_sampled(count, generator) for _ in range(50)]
    assert all(len(draw) == len(set(draw)) == taken for draw in draws)
    assert all({0, count - 1} <= set(draw) for draw in draws)
    assert set().union(*draws) == set(range(count))


@pytest.fixture
def course(train_images: ImageSet, held_out_images: ImageSet) -> Callable[..., list[Tensor]]:
    """Train three members of a small network together; the weights that come of it."""

    def trained(
        directory: Path | None = None, epochs: int = 3, weight: float = 0.5, lr: float = 0.02
    ) -> tuple[SharedFront, list[Any]]:
        model, _, shared = members("chain", genes="both")
        lesson = SharedLesson(
            model.eval(), 4.0, weight, members=shared.digest(), calibration=held_out_images, mean=MEAN, std=STD
        )
        recipe = Recipe(epochs=epochs, batch_size=16 if epochs < 9 else 8, lr=lr, pad=1)
        options: dict[str, Any] = {"mean": MEAN, "std": STD, "flip": True, "recipe": recipe, "lesson": lesson}
        records = fit(shared, train_images, held_out_images, directory=directory, **options)
        return shared, records

    return trained  # type: ignore[return-value]


def test_members_learn_together_and_masked_connections_stay_away(course: Any) -> None:
    shared, records = course(epochs=20, weight=0.0, lr=0.1)
    assert records[-1].loss < records[0].loss
    assert records[-1].accuracy > 0.5
    _, networks, _ = members("chain", genes="both")
    for place, network in enumerate(networks):
        for found, before in zip(shared.cut(place).parameters(), network.parameters(), strict=True):
            if found.ndim == 4:
                assert torch.equal(found == 0, before == 0)
                assert not torch.equal(found, before)


@pytest.mark.parametrize("steps", [2, 5, 9])
def test_a_shared_training_that_was_stopped_ends_like_one_that_was_not(
    course: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    real, taken = training_loop.train_step, []

    def stopping(*arguments: Any) -> Tensor:
        taken.append(None)
        if len(taken) > steps:
            raise KeyboardInterrupt
        return real(*arguments)

    whole, _ = course()
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "train_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            course(tmp_path)
    again, _ = course(tmp_path)
    assert torch.equal(whole.weights, again.weights)
    assert torch.equal(whole.others, again.others)
