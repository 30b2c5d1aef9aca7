from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from resealing import unsealed
from tiny_networks import PRUNABLE, SHAPE, conv, prepared, random_masks, space_of
from torch import nn

import gaprune
from gaprune.errors import CheckpointError, OptionError
from gaprune.models import build
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import build_graph
from gaprune.prune.graph.tensors import state_tensors
from gaprune.saved import Config, load, load_genome, save_compact, save_genome

OPTIONS: tuple[dict[str, Any], ...] = (
    {"genes": "neurons"},
    {"genes": "both"},
    {"genes": "both", "connection_groups": 2},
)


def config(model: str | None = None, classes: int = 3) -> Config:
    names = tuple(str(index) for index in range(classes))
    return Config(model, "cifar", names, SHAPE, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))


def saved(directory: Path, name: str = "residual", **options: Any) -> tuple[nn.Module, nn.Module]:
    """An original, and a compact network of it that has been saved."""
    model = prepared(PRUNABLE[name]()).float()
    graph = build_graph(model, SHAPE)
    network = Compactor(model, graph)(random_masks(space_of(model, graph, **options), 1))
    save_compact(directory, network, config(), {"accuracy": 0.5})
    return model, network


def assert_same(found: nn.Module, wanted: nn.Module, shape: tuple[int, int, int] = SHAPE) -> None:
    """The same outputs, tensors, attributes and modules, bit for bit."""
    x = torch.randn(3, *shape)
    with torch.no_grad():
        assert torch.equal(found(x), wanted(x))
    left, right = state_tensors(found), state_tensors(wanted)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert str(found) == str(wanted)
    assert not found.training


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (name, options)
        for name in PRUNABLE
        for options in OPTIONS
        if "connection_groups" not in options or name not in ("flattened", "single channels", "tied weights")
    ],
)
def test_saving_and_loading_is_the_identity(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    model, network = saved(tmp_path / "front" / "00", name, **options)
    assert_same(load(tmp_path / "front" / "00", model=model), network)


def test_a_named_network_needs_no_object(tmp_path: Path) -> None:
    shape = (3, 32, 32)
    model = build("resnet18", 3)
    graph = build_graph(model, shape)
    space = space_of(model, graph, shape, genes="both", connection_groups=2)
    network = Compactor(model, graph)(random_masks(space, 1))
    save_compact(tmp_path, network, config("resnet18"), {})
    assert_same(gaprune.load(str(tmp_path)), network, shape)


def test_a_depthwise_layer_may_shrink_to_one_channel(tmp_path: Path) -> None:
    """A convolution of one group is what the original had six of."""
    model = prepared(PRUNABLE["depthwise"]()).float()
    graph = build_graph(model, SHAPE)
    neurons = np.zeros(graph.neurons, dtype=np.bool_)
    neurons[[2, 6]] = True
    network: Any = Compactor(model, graph)(Masks(neurons))
    assert (network.depth.groups, network.depth.in_channels) == (1, 1)
    save_compact(tmp_path, network, config(), {})
    assert_same(load(tmp_path, model=model), network)


def test_weights_that_were_shared_are_stored_once_and_shared_again(tmp_path: Path) -> None:
    model, network = saved(tmp_path, "tied weights")
    found: Any = load(tmp_path, model=model)
    assert found.a.weight is found.b.weight
    assert_same(found, network)
    shared = sum(p.numel() for p in network.parameters()) * 4
    assert (tmp_path / "model.safetensors").stat().st_size - shared < 2048


def test_the_callers_network_is_copied_never_changed(tmp_path: Path) -> None:
    model, _ = saved(tmp_path, genes="both", connection_groups=2)
    model.train()
    before = {key: tensor.clone() for key, tensor in state_tensors(model).items()}
    structure = str(model)
    load(tmp_path, model=model)
    assert model.training
    assert str(model) == structure
    assert all(torch.equal(before[key], tensor) for key, tensor in state_tensors(model).items())


def test_the_directory_holds_no_pickle_and_says_what_it_is(tmp_path: Path) -> None:
    saved(tmp_path, genes="both", connection_groups=2)
    assert {file.name for file in tmp_path.iterdir()} == {
        *("config.json", "metrics.json", "model.safetensors", "checksums.json")
    }
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["format"] == "gaprune-compact-1"
    assert record["classes"] == ["0", "1", "2"]
    assert (record["image_shape"], record["mean"], record["std"]) == ([3, 8, 8], [1, 2, 3], [4, 5, 6])
    assert record["grouped"]
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"accuracy": 0.5}


def test_genomes_are_written_section_by_section(tmp_path: Path) -> None:
    model = prepared(PRUNABLE["chain"]())
    space = space_of(model, build_graph(model, SHAPE), genes="both")
    bits = space.repair(np.random.default_rng(0).random(space.layout.size) < 0.5)
    genome = space.layout.pack(bits)
    save_genome(tmp_path, genome, space.layout)
    record = json.loads((tmp_path / "genome.json").read_text())
    assert record["key"] == genome.key
    read = []
    for section in record["sections"]:
        packed = np.frombuffer(base64.b64decode(section["packed"]), dtype=np.uint8)
        read.append(np.unpackbits(packed, count=section["genes"]).astype(np.bool_))
        assert section["kept"] == read[-1].sum()
    assert np.array_equal(np.concatenate(read), bits)
    assert [(s["name"], s["kind"]) for s in record["sections"]] == [
        ("conv1", "neurons"),
        ("conv2", "neurons"),
        ("conv1", "connections"),
        ("conv2", "connections"),
    ]


def edit(**entries: Any) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        record = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps(record | entries))

    return damage


def drop(key: str) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        record = json.loads((directory / "config.json").read_text())
        del record[key]
        (directory / "config.json").write_text(json.dumps(record))

    return damage


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        (directory / name).write_bytes(content)

    return damage


def cut(directory: Path) -> None:
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no config": (
        lambda directory: (directory / "config.json").unlink(),
        "holds no compact network: config.json",
    ),
    "no weights": (lambda directory: (directory / "model.safetensors").unlink(), "model.safetensors cannot be read"),
    "config of nothing": (write("config.json", b""), "holds no compact network"),
    "config that is no object": (write("config.json", b"[1]"), "expected a JSON object, found list"),
    "config that is no text": (write("config.json", b"\xff\xfe\x00"), "holds no compact network"),
    "another format": (edit(format="other-9"), "has format 'other-9', expected 'gaprune-compact-1'"),
    "another program's config": (write("config.json", b'{"model_type": "bert"}'), "has format None"),
    "a lacking entry": (drop("classes"), "is damaged: it lacks classes"),
    "a lacking model": (drop("model"), "is damaged: it lacks model"),
    "classes that are no list": (edit(model="resnet18", classes=3), "classes must be a list of texts, got 3"),
    "groups that are no table": (
        edit(convolution_groups=[2]),
        "convolution_groups must be an object of whole numbers above 0",
    ),
    "grouped layers that are no list": (edit(grouped=5), "grouped must be a list of texts, got 5"),
    "no group at all": (edit(convolution_groups={"f.0": 0}), "must be an object of whole numbers above 0"),
    "groups that do not divide": (edit(convolution_groups={"conv1": 1000}), "which 1000 groups do not share"),
    "an image of no size": (edit(image_shape=[3, 0, 8]), "image_shape must be three whole numbers above 0"),
    "means that are no numbers": (edit(mean=["1"]), "mean must be a list of numbers"),
    "a configuration nested too deep": (write("config.json", b'{"a": ' + b"[" * 100_000), "it is nested too deep"),
    "a grouped layer that is not there": (edit(grouped=["conv9"]), "does not fit"),
    "a model that is no name": (edit(model=5), "model must be a text, got 5"),
    "weights cut short": (cut, "model.safetensors cannot be read"),
    "weights of zeros": (write("model.safetensors", b"\0" * 64), "model.safetensors cannot be read"),
    "a pickle for weights": (write("model.safetensors", b"\x80\x04K\x01."), "model.safetensors cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_or_foreign_directory_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    model, _ = saved(tmp_path, "chain", genes="neurons")
    damage, message = DAMAGE[name]
    unsealed(tmp_path)
    damage(tmp_path)
    by_name = name in ("classes that are no list", "a model that is no name")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path, model=None if by_name else model)
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere holds no compact network"):
        load(tmp_path / "nowhere")
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(CheckpointError, match="file holds no compact network"):
        load(file)


def test_a_network_that_was_an_object_asks_for_the_object(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(CheckpointError, match=r"was cut from a network object: pass it as load\(path, model=...\)"):
        load(tmp_path)


def test_another_network_than_the_original_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(CheckpointError, match="does not fit the network that it was cut from: tensors differ: "):
        load(tmp_path, model=nn.Sequential(conv(3, 4)))


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    saved(tmp_path)
    unsealed(tmp_path)
    edit(model="vgg99")(tmp_path)
    with pytest.raises(OptionError, match="unknown model 'vgg99': choose one of vgg16, resnet18"):
        load(tmp_path)


def test_a_factory_is_called_again_where_the_caller_names_it_or_trusts_the_folder(tmp_path: Path) -> None:
    """``tiny_factory`` stands for a user's own module."""
    model = build("tiny_factory:small_residual", 3)
    graph = build_graph(model, SHAPE)
    network = Compactor(model, graph)(random_masks(space_of(model, graph), 0))
    save_compact(tmp_path, network, config("tiny_factory:small_residual"), {})
    assert_same(load(tmp_path, trust=True), network.eval())
    assert_same(load(tmp_path, model="tiny_factory:small_residual"), network.eval())
    with pytest.raises(CheckpointError, match="names tiny_factory:small_residual, and nothing is imported because"):
        load(tmp_path)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_genome_comes_back_and_damage_is_named(options: dict[str, Any], tmp_path: Path) -> None:
    model = prepared(PRUNABLE["residual"]()).float()
    space = space_of(model, build_graph(model, SHAPE), **options)
    bits = space.repair(np.random.default_rng(3).random(space.layout.size) < 0.6)
    save_genome(tmp_path, space.layout.pack(bits), space.layout)
    assert np.array_equal(space.layout.unpack(load_genome(tmp_path, space.layout)), bits)
    file = tmp_path / "genome.json"
    record = json.loads(file.read_text())
    for damaged, message in (
        ({**record, "key": "0" * 32}, "is damaged: its genes are not those of 0000"),
        ({**record, "sections": record["sections"][1:]}, "has other sections than this network's genome"),
        ({"key": record["key"]}, "cannot be read"),
    ):
        file.write_text(json.dumps(damaged))
        with pytest.raises(CheckpointError, match=message):
            load_genome(tmp_path, space.layout)
