from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_works import accuracy, logits, saved_bytes

from gaprune.compress import Session, Work, parse_chain
from gaprune.compress.images import ImageTask
from gaprune.compress.prune import Prune, zero_smallest
from gaprune.compress.rows import Comparison
from gaprune.compress.storage import load_work
from gaprune.compress.widths import cut_by_l1
from gaprune.errors import MethodError
from gaprune.progress import SILENT
from gaprune.training import EpochRecord


def apply(text: str, work: Work) -> Work:
    for method in parse_chain(text).methods:
        work = method.apply(work, Session())
    return work


def zeros(work: Work) -> int:
    return sum(int((p == 0).sum()) for p in work.network.parameters() if p.ndim > 1)


def test_magnitude_keeps_the_largest_weights_of_the_whole_network(original: Work) -> None:
    made = apply("prune:magnitude:keep=0.3:raw", original)
    before = torch.cat([p.detach().abs().flatten() for p in original.network.parameters() if p.ndim > 1])
    after = torch.cat([p.detach().abs().flatten() for p in made.network.parameters() if p.ndim > 1])
    assert after.count_nonzero() == round(0.3 * len(before)) == made.steps[-1].report["weights left"]
    assert before[after == 0].max() <= after[after > 0].min()
    assert zeros(original) == 0


def test_zeros_stay_zero_while_the_network_is_trained_on(original: Work) -> None:
    made = apply("prune:magnitude:keep=0.3", original)
    raw = apply("prune:magnitude:keep=0.3:raw", original)
    for (name, trained), plain in zip(made.network.named_parameters(), raw.network.parameters(), strict=True):
        if plain.ndim > 1:
            assert torch.equal(trained == 0, plain == 0), name
            assert not torch.equal(trained, plain), f"{name} was not trained"


def test_single_zeros_make_a_file_smaller_only_where_it_is_stored_sparsely(original: Work, tmp_path: Path) -> None:
    dense = apply("prune:magnitude:keep=0.1:raw", original)
    sparse = apply("prune:magnitude:keep=0.1:raw+sparse", original)
    assert saved_bytes(dense, tmp_path / "dense") == pytest.approx(saved_bytes(original, tmp_path / "all"), rel=0.02)
    smaller = saved_bytes(dense, tmp_path / "dense") - saved_bytes(sparse, tmp_path / "sparse")
    weights = dense.steps[-1].report["weights"]
    names_and_shapes = 400 * sum(parameter.ndim > 1 for parameter in original.network.parameters())
    assert 4 * weights * 0.9 - weights / 8 - names_and_shapes <= smaller <= 4 * weights * 0.9
    loaded = load_work(tmp_path / "sparse", original.task)
    assert torch.equal(logits(loaded), logits(dense))
    assert (dense.params, dense.flops) == (original.params, original.flops)


@pytest.mark.parametrize("scope", ["l1", "l1-global"])
def test_structures_really_go(original: Work, scope: str, tmp_path: Path) -> None:
    made = apply(f"prune:{scope}:keep=0.5:raw", original)
    assert made.params < 0.5 * original.params
    layers, whole = made.steps[-1].report["layers"], original.task.structures(original.network)
    counts = [(left["filters"], layer["filters"]) for left, layer in zip(layers, whole, strict=True)]
    assert all(0 < left <= before for left, before in counts)
    assert any(left < before for left, before in counts)
    assert original.flops is not None
    assert made.flops is not None
    assert made.flops < 0.6 * original.flops
    assert saved_bytes(made, tmp_path / "made") < saved_bytes(original, tmp_path / "all")
    assert torch.equal(logits(load_work(tmp_path / "made", original.task)), logits(made))


def test_uniform_keeps_the_same_share_of_every_layer_and_global_need_not(original: Work) -> None:
    network = copy.deepcopy(original.network)
    with torch.no_grad():
        network.get_parameter("conv1.weight")[2:] *= 1e-3  # 14 of 16 filters do next to nothing
    widths = {}
    for scope in ("uniform", "global"):
        cut, _, _ = cut_by_l1(network, (3, 8, 8), 0.5, scope)
        widths[scope] = [len(cut.get_parameter(f"{name}.weight")) for name in ("stem.0", "conv1", "conv2")]
    assert widths["uniform"] == [6, 8, 8]
    assert widths["global"][1] < 8
    assert sum(widths["global"]) == sum(widths["uniform"])


def test_filters_that_an_addition_joins_count_no_more_than_others(original: Work) -> None:
    network = copy.deepcopy(original.network)
    with torch.no_grad():
        for name in ("stem.0", "conv1", "conv2"):
            weight = network.get_parameter(f"{name}.weight")
            weight.fill_(1.0)
            weight[::2] *= 0.5
    cut, _, _ = cut_by_l1(network, (3, 8, 8), 0.5, "global")
    widths = [len(cut.get_parameter(f"{name}.weight")) for name in ("stem.0", "conv1", "conv2")]
    assert widths == [6, 8, 8], "every second filter, in joined layers and in others"


def test_the_filters_of_smallest_norm_are_the_ones_that_go(original: Work) -> None:
    network = copy.deepcopy(original.network)
    weight = network.get_parameter("conv1.weight")
    with torch.no_grad():
        weight[::2] *= 0.01
    cut = cut_by_l1(network, (3, 8, 8), 0.5, "uniform")[0].get_parameter("conv1.weight")
    norms = cut_by_l1(network, (3, 8, 8), 1.0, "uniform")[0].get_parameter("conv1.weight").abs().sum((1, 2, 3))
    assert cut.abs().sum((1, 2, 3)).min() > norms[::2].max() / 2


def test_training_wins_back_what_pruning_cost(original: Work) -> None:
    assert isinstance(original.task, ImageTask)
    work = replace(original, task=replace(original.task, epochs=10))
    raw, tuned = (apply(f"prune:l1:keep=0.25{end}", work) for end in (":raw", ""))
    assert accuracy(tuned) > accuracy(raw)
    assert tuned.params == raw.params


def test_training_begins_from_what_the_pruned_network_computes(original: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """On images unlike those that batch norm was made from, too: as fine-tuning of a search's members does."""
    assert isinstance(original.task, ImageTask)
    task, network = original.task, copy.deepcopy(original.network)
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_var *= 9  # type: ignore[operator]
    images = task.inputs(60)[0]
    with torch.no_grad():
        wanted = network(images)

    def begun(model: torch.nn.Module, *arguments: object, **options: object) -> list[EpochRecord]:
        with torch.no_grad():
            apart = (model.train()(images) - wanted).abs().max() / wanted.abs().max()
        assert apart < 0.05
        return [EpochRecord(1, 0.0, 1.0, 0.0)]

    monkeypatch.setattr("gaprune.compress.images.fit", begun)
    task.fit(network, fresh=False, share=1.0, directory=None, reporter=SILENT)


def test_a_layer_never_loses_all_of_its_filters(original: Work) -> None:
    for scope in ("uniform", "global"):
        network, _, _ = cut_by_l1(original.network, (3, 8, 8), 0.001, scope)
        assert logits(original.then(network, "prune", {})).isfinite().all()


def test_keeping_everything_is_the_network_itself(original: Work) -> None:
    network = copy.deepcopy(original.network)
    assert zero_smallest(network, 1.0)["weights left"] == sum(p.numel() for p in network.parameters() if p.ndim > 1)
    assert torch.equal(logits(original.then(network, "prune", {})), logits(original))


@pytest.mark.parametrize("chain", ["sparse", "prune:l1+sparse", "tucker+prune:l1:raw+sparse"])
def test_nothing_is_stored_sparsely_where_nothing_was_set_to_zero(chain: str) -> None:
    with pytest.raises(MethodError, match=r"nothing made any: write prune:magnitude\+sparse"):
        parse_chain(chain)
    assert parse_chain(chain.replace("sparse", "prune:magnitude+sparse")).text.endswith("+sparse")


def test_methods_without_training_say_so() -> None:
    assert not Prune(["l1", "raw"]).trains
    assert Prune(["l1"]).trains


def test_a_chain_prunes_what_a_chain_has_factored(original: Work, tmp_path: Path) -> None:
    chain = parse_chain("tucker:size=0.6:raw+prune:l1:keep=0.5:raw+prune:magnitude:keep=0.5:raw+sparse")
    row = Comparison(tmp_path, original, 1, SILENT, (1, 4)).row(chain)
    assert row.params < 0.6 * original.params
    assert row.passes == 0
    assert torch.equal(logits(load_work(tmp_path / row.path, original.task)), logits(apply(chain.text, original)))
