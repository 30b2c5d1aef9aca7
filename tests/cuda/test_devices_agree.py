"""A GPU gives what the CPU gives, to rounding, and the same again bit for bit. On a CPU the tests check themselves."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listener import Listener
from tiny_networks import MEAN, PRUNABLE, SHAPE, STD, image_set, random_masks, space_of
from torch import nn

import gaprune
from gaprune.cluster.parcel import pack, unpack
from gaprune.data import ImageData, ImageSet
from gaprune.data.images import normalise
from gaprune.device import choose_device, pinned
from gaprune.evaluate import Evaluator, FitnessTask, Outcome, resolve_objectives
from gaprune.progress import SILENT
from gaprune.prune.checking import checked_graph
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.polish import Polisher
from gaprune.prune.compensate.statistics import collect
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.graph.graph import Graph, build_graph
from gaprune.prune.norms.recalibration import recalibrate, take_anchors
from gaprune.prune.rank.taylor import neuron_taylor
from gaprune.training import Recipe, bfloat16_pays, fit
from gaprune.training.digest import digest_tensors

NEEDS_CUDA = (pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"))

pytestmark = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])

IMAGES = image_set(200)
NETWORKS = ["chain", "residual", "depthwise", "grouped", "flattened"]


def network(name: str, device: str) -> tuple[nn.Module, Graph]:
    """With batch norm statistics that belong to the images; the same weights on every device."""
    torch.manual_seed(0)
    model = PRUNABLE[name]().eval()
    recalibrate(model, IMAGES, MEAN, STD)
    model = model.to(device)
    return model, build_graph(model, SHAPE)


def outputs(model: nn.Module, images: ImageSet) -> torch.Tensor:
    with torch.no_grad():
        return model(normalise(images.images, MEAN, STD)).cpu()


def made(name: str, device: str, *, polish: bool = False) -> torch.Tensor:
    """What a compact network gives that is compensated by statistics of this device, and perhaps polished."""
    with pinned(1):
        model, graph = network(name, device)
        images = IMAGES.to(device)
        masks = random_masks(space_of(model, graph, genes="neurons"), 3)
        compensate = Compensator(model, graph, collect(model, graph, images, MEAN, STD))
        compact = Compactor(model, graph)(masks, compensate(masks))
        if polish:
            Polisher(model, graph, images, MEAN, STD, batch_size=64)(compact, masks)
        assert all(tensor.device.type == device for tensor in compact.state_dict().values())
        return outputs(compact, images)


@pytest.mark.parametrize("polish", [False, True], ids=["compensated", "polished"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_compact_network_is_the_same_on_both(name: str, polish: bool, device: str) -> None:
    wanted, found = made(name, "cpu", polish=polish), made(name, device, polish=polish)
    assert torch.allclose(found, wanted, atol=2e-3 * float(wanted.abs().max()))
    assert torch.equal(found, made(name, device, polish=polish))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_is_the_same_on_both(name: str, device: str) -> None:
    here, there = (checked_graph(network(name, place)[0], SHAPE) for place in (device, "cpu"))
    assert repr(here) == repr(there)


def test_taylor_scores_are_the_same_on_both(device: str) -> None:
    scores = []
    for place in (device, device, "cpu"):
        model, graph = network("flattened", place)
        with pinned(1):
            scores.append(neuron_taylor(model, graph, IMAGES.to(place), MEAN, STD, batch_size=64))
    assert np.array_equal(scores[0], scores[1])
    assert np.allclose(scores[0], scores[2], rtol=1e-3)


def outcomes(device: str, *, half: bool) -> list[Outcome]:
    """Of some genomes of a residual network."""
    model, graph = network("residual", device)
    labels = outputs(model.cpu(), IMAGES).argmax(1)
    model, images = model.to(device), ImageSet(IMAGES.images, labels).to(device)
    space = space_of(model, graph)
    task = FitnessTask(images, images, MEAN, STD, 3, batch_size=64, half=half)
    with pinned(1):
        anchors = take_anchors(model, images, MEAN, STD, batch_size=64)
        evaluator = Evaluator(model, space, task, resolve_objectives(("accuracy", "loss", "flops")), anchors=anchors)
        rng = np.random.default_rng(0)
        genomes = [space.layout.pack(space.repair(rng.random(space.layout.size) < 0.7)) for _ in range(6)]
        return [evaluator(genome) for genome in genomes]


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_a_fitness_is_the_same_again_and_near_to_the_cpus(half: bool, device: str) -> None:
    found, again, wanted = outcomes(device, half=half), outcomes(device, half=half), outcomes("cpu", half=False)
    assert not any(outcome.failure for outcome in found)
    assert [one.values for one in found] == [one.values for one in again]
    for here, there in zip(found, wanted, strict=True):
        assert here.values["flops"] == there.values["flops"]
        assert here.values["accuracy"] == pytest.approx(there.values["accuracy"], abs=0.1 if half else 0.02)


def trained(device: str, directory: Path | None = None, epochs: int = 3, **given: Any) -> str:
    torch.manual_seed(0)
    model = PRUNABLE["residual"]().to(device)
    images = ImageSet(IMAGES.images, torch.arange(len(IMAGES)) % 3).to(device)
    amp = bfloat16_pays(torch.device(device))
    recipe = Recipe(epochs=epochs, batch_size=32, lr=0.05, pad=1, amp=amp, cutout=3)
    fit(model, images, images, mean=MEAN, std=STD, flip=True, recipe=recipe, directory=directory, **given)
    return digest_tensors(model.state_dict())


def test_a_training_is_the_same_again_and_when_it_was_stopped(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaprune.training.loop.SAVE_SECONDS", {})
    whole = trained(device)
    assert trained(device) == whole
    with pytest.raises(KeyboardInterrupt):
        trained(device, tmp_path / "run", reporter=Listener(raise_at="epoch 2/3"))
    assert trained(device, tmp_path / "run") == whole


def test_an_evaluator_travels_and_arrives_on_its_device(device: str) -> None:
    model, _ = network("chain", device)
    arrived = unpack(pack(copy.deepcopy(model)))
    assert {tensor.device.type for tensor in arrived.state_dict().values()} == {device}
    assert torch.equal(outputs(arrived, IMAGES.to(device)), outputs(model, IMAGES.to(device)))


def test_a_search_and_its_members_are_the_same_again(
    device: str, original: nn.Module, faint: ImageData, tmp_path: Path
) -> None:
    fronts = []
    for turn in range(2):
        result = gaprune.search(
            original,
            faint,
            device=device,
            population=4,
            generations=2,
            polish=True,
            seed=1,
            output=tmp_path / str(turn),
            reporter=SILENT,
        )
        fronts.append([(row.key, row.search_accuracy, row.test_accuracy) for row in result.rows])
    assert fronts[0] == fronts[1]
    tuned = gaprune.finetune(
        result.path, model=original, data=faint, pick="all", epochs=1, device=device, reporter=SILENT
    )
    assert len(tuned.rows) == len(fronts[0])
    member = result.load(0)
    assert choose_device(device).type == device
    assert outputs(member.to(device), ImageSet(faint.test.images[:2].to(device), faint.test.labels[:2])).shape == (2, 3)
