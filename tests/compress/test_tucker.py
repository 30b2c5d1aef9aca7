from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_works import accuracy, logits
from torch import nn

from gaprune.compress import Session, Work, parse_chain
from gaprune.compress.factoring import Factored
from gaprune.compress.images import ImageTask
from gaprune.compress.storage import load_work, save_work
from gaprune.compress.tucker import Tucker
from gaprune.errors import MethodError

pytest.importorskip("tensorly")


def low_rank_network(rank: int) -> nn.Sequential:
    """A k x k and a strided convolution and a linear layer, whose weights have this rank in both modes."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1),
        nn.Conv2d(24, 32, 3, padding=1, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 40),
        nn.ReLU(),
        nn.Linear(40, 3),
    )
    with torch.no_grad():
        for layer in (network[1], network[4]):
            weight = layer.weight.flatten(2) if layer.weight.ndim > 2 else layer.weight[..., None]
            left = torch.linalg.qr(torch.randn(weight.shape[0], rank)).Q
            right = torch.linalg.qr(torch.randn(weight.shape[1], rank)).Q
            low = torch.einsum("or,rst,is->oit", left, torch.randn(rank, rank, weight.shape[2]), right)
            layer.weight.copy_(low.reshape(layer.weight.shape))
    return network.eval()


@pytest.fixture
def low(task: ImageTask) -> Work:
    return Work.of(low_rank_network(4), task, task.base())


def test_a_one_tap_convolution_is_a_matrix(task: ImageTask, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shortcut = nn.Conv2d(32, 48, 1, stride=2, padding=1)
    with torch.no_grad():
        shortcut.weight.copy_((torch.randn(48, 4) @ torch.randn(4, 32) / 12)[..., None, None])
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 3))
    network = nn.Sequential(nn.Conv2d(3, 32, 3), shortcut, *head).eval()
    work = Work.of(network, task, task.base())
    made = Tucker(["energy=0.999999", "raw"]).apply(work, Session())
    assert torch.allclose(logits(made), logits(work), atol=1e-4)
    layer = next(entry for entry in made.steps[-1].report["layers"] if entry["layer"] == "1")
    assert (layer["ranks"], layer["params left"]) == ([4, 4], 4 * (32 + 48))
    assert isinstance(made.network.get_submodule("1"), Factored)
    assert made.params == work.params - (32 * 48 - 4 * (32 + 48)) - sum(
        entry["params"] - entry["params left"] for entry in made.steps[-1].report["layers"] if entry["layer"] != "1"
    )


def test_layers_of_low_rank_lose_parameters_and_nothing_else(low: Work) -> None:
    made = Tucker(["energy=0.999999", "raw"]).apply(low, Session())
    assert torch.allclose(logits(made), logits(low), atol=1e-4)
    layers = {layer["layer"]: layer for layer in made.steps[-1].report["layers"]}
    assert layers["1"]["ranks"] == [4, 4]
    assert layers["1"]["params left"] == 24 * 4 + 4 * 4 * 9 + 4 * 32
    assert layers["4"]["ranks"] == [4, 4]
    assert layers["4"]["params left"] == 4 * (32 + 40)
    saved = sum(layer["params"] - layer["params left"] for layer in layers.values())
    assert made.params == low.params - saved
    assert low.flops is not None
    assert made.flops is not None
    assert made.flops < low.flops


def test_a_layer_that_factors_would_make_larger_stays(low: Work) -> None:
    made = Tucker(["energy=0.999999", "raw"]).apply(low, Session())
    first = made.steps[-1].report["layers"][0]
    assert (first["layer"], first["ranks"], first["params left"]) == ("0", None, first["params"])
    assert isinstance(made.network.get_submodule("0"), nn.Conv2d)
    assert isinstance(made.network.get_submodule("1"), Factored)


@settings(max_examples=8, deadline=None)
@given(size=st.floats(0.1, 0.9))
def test_a_target_size_is_kept_to_and_made_use_of(size: float) -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(60, 50), nn.Linear(50, 40))
    work = Work.of(network, NoTask(), {})  # type: ignore[arg-type]
    report = Tucker([f"size={size}", "raw"]).apply(work, Session()).steps[-1].report
    assert report["params left"] <= size * report["params"]
    assert report["params left"] >= 0.6 * size * report["params"]  # a layer jumps from factored to whole


def test_a_target_size_leaves_small_layers_alone() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(20, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10))
    work = Work.of(network, NoTask(), {})  # type: ignore[arg-type]
    made = {end: Tucker([end, "raw"]).apply(work, Session()) for end in ("size=0.5", "energy=0.5")}
    factored = {
        end: [layer["ranks"] is not None for layer in one.steps[-1].report["layers"]] for end, one in made.items()
    }
    assert factored == {"size=0.5": [False, True, False], "energy=0.5": [True, True, True]}


class NoTask:
    """Just enough of a task for a raw decomposition."""

    device = torch.device("cpu")
    criterion = "l1"

    def flops(self, model: nn.Module) -> None:
        return None

    def settle(self, model: nn.Module, before: nn.Module) -> None:
        pass


def test_more_energy_is_more_of_the_weight(low: Work) -> None:
    torch.manual_seed(2)
    nn.init.normal_(low.network.get_parameter("1.weight"))
    found = [Tucker([f"energy={e}", "raw"]).apply(low, Session()) for e in (0.5, 0.8)]
    layers = [made.steps[-1].report["layers"][1] for made in found]
    assert layers[0]["energy"] < layers[1]["energy"] <= 1
    assert layers[0]["params left"] < layers[1]["params left"] < layers[1]["params"]


def test_embeddings_are_factored_where_asked(low: Work) -> None:
    network = nn.Sequential(nn.Embedding(100, 20), nn.Linear(20, 3))
    with torch.no_grad():
        network[0].weight.copy_(torch.randn(100, 2) @ torch.randn(2, 20))
    work = Work.of(network, NoTask(), {})  # type: ignore[arg-type]
    made = Tucker(["only-embeddings", "energy=0.9999", "raw"]).apply(work, Session())
    ids = torch.arange(7)
    assert torch.allclose(made.network(ids), network(ids), atol=1e-4)
    assert made.params == 2 * (100 + 20) + 63
    with pytest.raises(MethodError, match="applies to embeddings, and the network has none"):
        Tucker(["only-embeddings"]).apply(low, Session())


def test_fine_tuning_wins_back_what_the_ranks_cost(original: Work) -> None:
    raw = Tucker(["size=0.5", "raw"]).apply(original, Session())
    tuned = Tucker(["size=0.5"]).apply(original, Session())
    assert tuned.params == raw.params < original.params
    assert tuned.steps[-1].report["training"]["passes"] == 2
    assert accuracy(tuned) >= accuracy(raw)


def test_factors_are_saved_and_loaded(original: Work, tmp_path: Path) -> None:
    made = parse_chain("tucker:size=0.5:raw").methods[0].apply(original, Session())
    save_work(tmp_path / "made", made)
    loaded = load_work(tmp_path / "made", original.task)
    assert torch.equal(logits(loaded), logits(made))
    assert (loaded.params, loaded.flops) == (made.params, made.flops)


def test_ranks_that_save_nothing_are_refused(original: Work) -> None:
    with pytest.raises(MethodError, match="no layer gets smaller at these ranks"):
        Tucker(["energy=1", "raw"]).apply(original, Session())
