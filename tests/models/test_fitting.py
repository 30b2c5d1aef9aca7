"""What people bring as a checkpoint fits, or is refused in one line that says what comes closest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gaprune.errors import CheckpointError, GapruneError
from gaprune.models import HeadRule, build, fill_weights, load_weights, network_of, read_stored


def network(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(2, 4, 3), norm=nn.BatchNorm2d(4), flat=nn.Flatten(), head=nn.Linear(16, classes))
    )


def written(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def same(left: nn.Module, right: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, right[name]) for name, tensor in left.state_dict().items())


def prefixed(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


nests = st.lists(st.sampled_from(["state_dict", "model", "net", "ema", "model_state_dict", "my_weights"]), max_size=3)
prefixes = st.lists(st.sampled_from(["module.", "_orig_mod.", "model.", "net.", "student.backbone."]), max_size=3).map(
    "".join
)


@settings(deadline=None, max_examples=60)
@given(nest=nests, prefix=prefixes, extras=st.booleans())
def test_weights_are_found_however_they_are_nested_and_prefixed(
    tmp_path_factory: pytest.TempPathFactory, nest: list[str], prefix: str, extras: bool
) -> None:
    weights = network().state_dict()
    content: dict[str, object] = dict(prefixed(prefix, weights))
    for name in nest:
        content = {name: content}
        if extras:
            content |= {"epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}, "args": ["--lr", 0.1]}
    target = network()
    load_weights(target, written(tmp_path_factory.mktemp("nested") / "w.pth", content))
    assert same(target, weights)


leaves = st.one_of(
    st.none(),
    st.integers(0, 9),
    st.text(max_size=3),
    st.lists(st.integers(0, 3), max_size=2).map(lambda shape: torch.ones(shape)),
)
names = st.sampled_from(["conv.weight", "conv.bias", "norm.weight", "head.weight", "module.head.bias", "model", "ema"])
contents = st.recursive(
    leaves, lambda inner: st.dictionaries(names, inner, max_size=4) | st.lists(inner, max_size=2), max_leaves=12
)


@settings(deadline=None, max_examples=150)
@given(content=contents, classes=st.sampled_from([None, "cut", "new"]))
def test_whatever_a_file_holds_is_one_line_and_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, content: object, classes: str | None
) -> None:
    path, target = written(tmp_path_factory.mktemp("any") / "w.pt", content), network()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        fill_weights(target, read_stored(path), str(path), head=HeadRule.parse(classes), classes=("a", "b", "c"))
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)
    assert same(target, before)


def inner_wrapped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.replace("conv.", "conv._orig_mod."): tensor for name, tensor in weights.items()}


def beside_others(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return prefixed("model.", weights) | {"loss.weight": torch.ones(3), "teacher.conv.weight": torch.ones(9)}


def with_side_head(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights | {"aux1.fc.weight": torch.ones(3, 3), "AuxLogits.conv.weight": torch.ones(1)}


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (inner_wrapped, ""),
        (beside_others, "left out: loss.weight, teacher.conv.weight, which lie beside model.*"),
        (with_side_head, "left out: AuxLogits.conv.weight, aux1.fc.weight, of heads that only training uses"),
    ],
)
def test_what_is_left_out_is_said(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], note: str
) -> None:
    weights, target = network().state_dict(), network()
    loaded = fill_weights(target, read_stored(written(tmp_path / "w.pt", change(weights))), "w.pt")
    assert same(target, weights)
    assert "; ".join(loaded.notes) == note


def test_a_network_in_a_wrapper_of_ones_own_takes_the_weights_of_what_is_inside(tmp_path: Path) -> None:
    inner = network()
    target = nn.Sequential(OrderedDict(body=network()))
    load_weights(target, written(tmp_path / "w.pt", inner.state_dict()))
    assert same(target, prefixed("body.", inner.state_dict()))


def test_of_several_weights_the_one_that_fits_is_taken_and_said(tmp_path: Path) -> None:
    right, other, target = network(), nn.Linear(2, 2), network()
    content = {"model": other.state_dict(), "model_ema": right.state_dict(), "ema": network().state_dict()}
    loaded = fill_weights(target, read_stored(written(tmp_path / "w.pt", content)), "w.pt")
    assert same(target, right.state_dict())
    assert loaded.notes == ("model_ema of model, model_ema, ema",)
    plain = {"ema": network().state_dict(), "state_dict": right.state_dict()}
    load_weights(target, written(tmp_path / "w.pt", plain))
    assert same(target, right.state_dict())


def changed(old: str, new: str) -> dict[str, Tensor]:
    return {name.replace(old, new): tensor for name, tensor in network().state_dict().items()}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            changed("conv.", "convolution."),
            r"it lacks conv.bias, conv.weight \(conv.bias is 4; the file's closest is convolution.bias, 4\)",
        ),
        (changed("head.", "classifier.out."), r"the file's closest is classifier.out.bias, 3\)"),
        (changed("conv.weight", "conv.parametrizations.weight.original"), "remove_parametrizations"),
        (changed("conv.weight", "conv.weight_orig") | {"conv.weight_mask": torch.ones(1)}, r"prune.remove\(module"),
        (changed("conv.weight", "conv.weight_g"), "remove_weight_norm"),
        (
            changed("head.weight", "head._packed_params._packed_params"),
            "are quantized: give those of the float network",
        ),
    ],
)
def test_what_does_not_fit_is_shown_by_the_closest_or_with_its_remedy(
    tmp_path: Path, weights: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_weights(network(), written(tmp_path / "w.pt", weights))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"hello, world", b"e\0", b"<html>not found</html>", b"GIF89a"])
def test_a_foreign_file_says_so_in_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"w\.pth is damaged or .{12,}"):
        load_weights(network(), tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("weights_of", "wanted", "stem", "found"),
    [
        (("resnet18", "imagenet", 10), "resnet18", "cifar", "--stem imagenet"),
        (("resnet18", "cifar", 10), "resnet18", "imagenet", "--stem cifar"),
        (("torchvision:resnet34", "cifar", 1000), "resnet18", "cifar", "--model torchvision:resnet34"),
        (("resnet18", "imagenet", 10), "vgg16", "cifar", "--model resnet18 --stem imagenet"),
        (("vgg16", "cifar", 10), "torchvision:vgg16", "cifar", "--model vgg16"),
    ],
)
def test_weights_of_another_network_name_it(
    weights_of: tuple[str, str, int], wanted: str, stem: str, found: str
) -> None:
    from gaprune.models import StoredWeights

    name, its_stem, classes = weights_of
    with torch.device("meta"):
        stored = [StoredWeights(build(name, classes, stem=its_stem).state_dict())]
    assert network_of(stored, wanted, 10, stem) == found


HEAD = HeadRule()


def filled(weights: dict[str, Tensor], text: str | None, outputs: tuple[str, ...] = ()) -> nn.Module:
    from gaprune.models import StoredWeights

    target = network()
    classes = ("red", "green", "blue")
    fill_weights(target, [StoredWeights(weights)], "w.pt", head=HeadRule.parse(text), classes=classes, outputs=outputs)
    return target


def test_a_head_of_more_classes_is_refused_with_the_ways_out() -> None:
    message = r"w.pt was trained for 100 classes, this network has 3 .*: --head cut:CLASS_FILE or new$"
    for text in (None, "keep"):
        with pytest.raises(CheckpointError, match=message):
            filled(network(100).state_dict(), text)
    with pytest.raises(CheckpointError, match=r": --head new$"):
        filled(network(2).state_dict(), "keep")


NAMED = {
    "one name a line": ("names.txt", "black\nblue\n\nGreen\nwhite\nred\n"),
    "identifiers and words": ("names.txt", "n1 black\nn2 blue, azure\nn3 green, lime\nn4 white\nn5 crimson, red\n"),
    "pairs": ("names.txt", "red 4\ngreen\t2\nblue,1\n"),
    "pairs of all outputs": ("names.txt", "black 0\nblue 1\nred 4\ngreen,2\nwhite 3\n"),
    "names that end in numbers": ("names.txt", "black 4\nblue\ngreen\nwhite 7\nred\n"),
    "outputs first": ("names.txt", "4 red\n1: blue\n2,green\n0\tblack\n3 white\n"),
    "outputs first, of some": ("names.txt", "4 red\n1 blue\n2 green"),
    "a list": ("names.json", '["black", "blue", "green", "white", "red"]'),
    "a table": ("names.json", '{"4": ["n5", "red"], "1": ["n2", "blue"], "2": ["n3", "green"]}'),
    "a table by name": ("names.json", '{"red": 4, "green": 2, "blue": 1}'),
}


@pytest.mark.parametrize("kind", NAMED)
def test_a_head_is_cut_to_the_rows_of_the_datas_classes(tmp_path: Path, kind: str) -> None:
    name, text = NAMED[kind]
    (tmp_path / name).write_text(text)
    weights = network(5).state_dict()
    target = filled(weights, f"cut:{tmp_path / name}")
    for part in ("head.weight", "head.bias"):
        assert torch.equal(target.state_dict()[part], weights[part][[4, 2, 1]])
    assert torch.equal(target.state_dict()["conv.weight"], weights["conv.weight"])


def test_a_head_whose_outputs_are_known_needs_no_file() -> None:
    weights = network(3).state_dict()
    target = filled(weights, "cut", ("blue", "red", "green"))
    assert torch.equal(target.state_dict()["head.bias"], weights["head.bias"][[1, 2, 0]])
    with pytest.raises(CheckpointError, match="does not say what its 3 outputs are: give --head cut:CLASS_FILE"):
        filled(weights, "cut")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("red\ngren\nblue\nblack\nwhite", r"names.txt has no class 'green' \(the closest is 'gren'\)"),
        ("red\ngreen\nblue\nred\nwhite", "names.txt has 'red' 2 times, as outputs 0 and 3"),
        ("red 7\ngreen 1\nblue 2", "names output 7, the head has 0 to 4"),
        ("red\ngreen", "is no list of a head's classes .it has 2 lines, one is 'red'.: expected one name a line for 5"),
    ],
)
def test_a_list_of_classes_that_does_not_serve_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        filled(network(5).state_dict(), f"cut:{tmp_path / 'names.txt'}")


@pytest.mark.parametrize("text", ["maybe", "cut:no_such_file", "new:file", "keep:file"])
def test_a_rule_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(GapruneError, match=r"head (must be keep, cut:CLASS_FILE or new|cut:.*there is no such file)"):
        HeadRule.parse(text)


def test_a_new_head_leaves_the_networks_own_where_the_file_has_another() -> None:
    torch.manual_seed(0)
    weights = network(7).state_dict()
    target = filled(weights, "new")
    assert target.state_dict()["head.bias"].shape == (3,)
    assert torch.equal(target.state_dict()["conv.weight"], weights["conv.weight"])
