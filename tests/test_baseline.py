from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from listener import Listener
from safetensors.torch import load_file, save_file
from torch import nn

from gaprune import baseline
from gaprune.baseline import (
    Baseline,
    Subject,
    baseline_directory,
    load_baseline,
    resolve_baseline,
    train_baseline,
)
from gaprune.data import ImageData, ImageSet
from gaprune.errors import CheckpointError, ModelError, RunError
from gaprune.evaluate import measure
from gaprune.models import ShippedWeights, build, read_weights, why_none_shipped
from gaprune.models.preprocessing import PREPROCESSING, Preprocessing
from gaprune.models.zoo import Pretrained
from gaprune.progress import SILENT
from gaprune.runs.lock import DirectoryLock
from gaprune.session.images import normalised
from gaprune.training import Recipe, given, produce
from gaprune.training import subject as subject_module
from gaprune.training.head import fit_head

TINY = "tiny_factory:tiny_cnn"
CPU = torch.device("cpu")
RECIPE = Recipe(epochs=3, batch_size=8, lr=0.1, pad=1)
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Resolve = Callable[..., Baseline]


def squares(count: int, seed: int) -> ImageSet:
    """Noise whose brightest channel is the label."""
    labels = torch.arange(count) % 3
    images = torch.randint(0, 128, (count, 3, 8, 8), generator=torch.Generator().manual_seed(seed))
    images[torch.arange(count), labels] += 100
    return ImageSet(images.to(torch.uint8), labels)


@pytest.fixture(autouse=True)
def factory_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def data() -> ImageData:
    return ImageData(
        name="squares",
        source="made by the test",
        classes=("red", "green", "blue"),
        train=squares(40, seed=1),
        test=squares(12, seed=2),
        mean=(80.0, 81.0, 82.0),
        std=(50.0, 51.0, 52.0),
    )


@pytest.fixture
def subject(data: ImageData) -> Subject:
    train, validate = data.train.select(torch.arange(30)), data.train.select(torch.arange(30, 40))
    return Subject(TINY, "cifar", data, train, validate, CPU)


@pytest.fixture
def resolve(subject: Subject, tmp_path: Path) -> Resolve:
    def call(**changes: Any) -> Baseline:
        arguments = {
            "train": subject.train,
            "validate": subject.validate,
            "cache_dir": tmp_path / "cache",
            "device": CPU,
            "recipe": RECIPE,
        }
        return resolve_baseline(TINY, "cifar", changes.pop("data", subject.data), **arguments | changes)

    return call


def test_without_weights_one_is_trained_after_a_line_that_says_how_long(resolve: Resolve) -> None:
    listener, before = Listener(), torch.get_rng_state()
    found = resolve(reporter=listener)
    expected = r"training tiny_factory:tiny_cnn on squares (30 images, 3 epochs): about "
    assert listener.lines[0].startswith(expected)
    assert listener.lines[0].endswith(" on this machine")
    assert sum(listener.steps) == 3 * 4
    assert not found.model.training
    assert not found.saw_all_training_images
    assert (found.mean, found.std) == ((80.0, 81.0, 82.0), (50.0, 51.0, 52.0))
    assert {parameter.dtype for parameter in found.model.parameters()} == {torch.float32}
    assert torch.equal(torch.get_rng_state(), before), "the caller's random state is left alone"


def test_the_second_search_finds_the_trained_baseline(resolve: Resolve, tmp_path: Path) -> None:
    first, listener = resolve(), Listener()
    assert resolve(reporter=listener).identity == first.identity
    assert listener.lines == []
    (directory,) = (tmp_path / "cache" / "baselines").iterdir()
    assert [path.name for path in directory.iterdir() if path.name[0] != "."] == ["model.safetensors"]


def test_the_network_of_a_run_is_found_whatever_recipe_made_it_and_never_trained_anew(resolve: Resolve) -> None:
    wanted = resolve().identity["weights_sha256"]
    other, listener = dataclasses.replace(RECIPE, amp=True, epochs=9), Listener()
    found = resolve(recipe=other, wanted=wanted, reporter=listener)
    assert found.identity["weights_sha256"] == wanted
    assert listener.steps == []
    with pytest.raises(RunError, match=r"weights are not in .*baselines: name their file by --checkpoint"):
        resolve(recipe=other, wanted="0" * 64)


def test_no_held_out_image_changes_the_weights(subject: Subject, resolve: Resolve, tmp_path: Path) -> None:
    first = resolve()
    other_test = dataclasses.replace(subject.data, test=squares(12, seed=8))
    second = resolve(data=other_test, validate=squares(10, seed=9), cache_dir=tmp_path / "elsewhere")
    assert second.identity == first.identity


def test_other_training_images_are_another_baseline(resolve: Resolve) -> None:
    listener = Listener()
    first, second = resolve(), resolve(train=squares(30, seed=5), reporter=listener)
    assert sum(listener.steps) > 0
    assert first.identity != second.identity


def test_an_interrupted_training_goes_on_to_the_same_weights(resolve: Resolve, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        resolve(reporter=Listener(raise_at="epoch 2/3"))
    listener = Listener()
    resumed = resolve(reporter=listener)
    assert listener.lines[0].startswith("going on after epoch 2 with tiny_factory:tiny_cnn")
    assert listener.lines[1].startswith("epoch 3/3")
    assert resumed.identity == resolve(cache_dir=tmp_path / "elsewhere").identity


def test_a_training_that_was_watched_on_other_images_is_not_in_the_way(
    subject: Subject, resolve: Resolve, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        resolve(reporter=Listener(raise_at="epoch 2/3"))
    found = resolve(validate=subject.validate.select(torch.arange(5)))
    assert found.identity == resolve(cache_dir=tmp_path / "elsewhere").identity
    (directory,) = (tmp_path / "cache" / "baselines").iterdir()
    assert [path.name for path in directory.iterdir() if path.name[0] != "."] == ["model.safetensors"]


def test_a_checkpoint_goes_before_everything(
    subject: Subject, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, path, listener = build(TINY, 3), tmp_path / "mine.pt", Listener()
    torch.save(network.state_dict(), path)
    monkeypatch.setattr(baseline, "shipped_weights", lambda *_: pytest.fail("not asked"))
    found = resolve(checkpoint=path, reporter=listener)
    assert listener.lines == []
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in found.model.state_dict().items())
    assert found.saw_all_training_images, "nothing is known of it, so the worst is assumed"
    assert found.mean == subject.data.mean
    assert str(path) in found.source


def test_a_trained_file_brings_its_own_normalisation(subject: Subject, resolve: Resolve, tmp_path: Path) -> None:
    path = train_baseline(subject, RECIPE, tmp_path / "run")
    other = subject.data.with_normalisation((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    found = resolve(data=other, checkpoint=path)
    assert (found.mean, found.std) == (subject.data.mean, subject.data.std)
    assert not found.saw_all_training_images
    assert "top-1" in found.source


def test_a_trained_file_knows_that_another_split_may_hold_its_images(
    subject: Subject, resolve: Resolve, tmp_path: Path
) -> None:
    path = train_baseline(subject, RECIPE, tmp_path / "run")
    found = resolve(train=subject.data.train.select(torch.arange(10, 40)), checkpoint=path)
    assert found.saw_all_training_images
    assert "others than this split's" in found.source


def test_metadata_says_what_the_weights_are(subject: Subject, tmp_path: Path) -> None:
    metadata = read_weights(train_baseline(subject, RECIPE, tmp_path))[1]
    assert metadata["model"] == TINY
    assert metadata["stem"] == "cifar"
    assert metadata["data"] == "squares"
    assert metadata["classes"] == '["red", "green", "blue"]'
    assert metadata["mean"] == "[80.0, 81.0, 82.0]"
    assert 0 <= float(metadata["accuracy"]) <= 1
    assert len(metadata["train_sha256"]) == 64


def test_weights_for_other_classes_are_refused(subject: Subject, tmp_path: Path) -> None:
    path = train_baseline(subject, RECIPE, tmp_path)
    fruit = dataclasses.replace(subject.data, name="fruit", classes=("apple", "pear", "plum"))
    with pytest.raises(CheckpointError, match="trained on squares with classes red, green, blue; fruit has"):
        load_baseline(dataclasses.replace(subject, data=fruit), path)


def test_damaged_metadata_is_named(subject: Subject, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(build(TINY, 3).state_dict(), path, metadata={"format": produce.FORMAT, "classes": "["})
    with pytest.raises(CheckpointError, match="damaged metadata"):
        load_baseline(subject, path)


@pytest.fixture
def shipped(tmp_path: Path) -> ShippedWeights:
    path = tmp_path / "shipped.safetensors"
    save_file(build(TINY, 3).half().state_dict(), path)
    return ShippedWeights(path, (9.0,) * 3, (8.0,) * 3, True, 0.5, "half a network")


def test_shipped_weights_go_before_training(
    resolve: Resolve, shipped: ShippedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(baseline, "shipped_weights", lambda *key: asked.append(key) or shipped)
    found = resolve()
    assert asked == [(TINY, "cifar", ("red", "green", "blue"), (3, 8, 8))]
    assert found.source == "shipped with gaprune: half a network"
    assert found.mean == (9.0, 9.0, 9.0)
    assert found.saw_all_training_images
    assert {parameter.dtype for parameter in found.model.parameters()} == {torch.float32}


def test_shipped_weights_of_another_split_are_passed_over(
    subject: Subject, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = train_baseline(subject, RECIPE, tmp_path / "shipped")
    entry = ShippedWeights(path, subject.data.mean, subject.data.std, False, 0.9, "of one split")
    monkeypatch.setattr(baseline, "shipped_weights", lambda *_: entry)
    assert resolve().source.startswith("shipped")
    assert not resolve().saw_all_training_images
    others = subject.data.train.select(torch.arange(10, 40))
    listener = Listener()
    assert not resolve(train=others, reporter=listener).source.startswith("shipped")
    assert listener.lines[0].startswith("the shipped weights are passed over: they were trained on other images")
    unseen = resolve(train=others, search_from="test")
    assert unseen.source.startswith("shipped")
    assert unseen.saw_all_training_images, "what is held out of the training images may be known to them"


@pytest.mark.parametrize(
    ("name", "stem", "classes", "shape", "reason"),
    [
        ("vgg16", "cifar", CIFAR, (3, 64, 64), "they take images of 3x32x32"),
        ("vgg16", "cifar", CIFAR[::-1], (3, 32, 32), "they know the classes in another order"),
        ("vgg16", "cifar", ("a", "b"), (3, 32, 32), "they know 10 classes, airplane, automobile, bird and so on"),
        ("resnet18", "imagenet", CIFAR, (3, 32, 32), None),
        ("torchvision:resnet18", "cifar", CIFAR, (3, 32, 32), None),
    ],
)
def test_why_shipped_weights_do_not_serve(
    name: str, stem: str, classes: tuple[str, ...], shape: tuple[int, int, int], reason: str | None
) -> None:
    assert why_none_shipped(name, stem, classes, shape) == reason


def test_shipped_weights_are_never_passed_over_without_a_line(
    resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baseline, "why_none_shipped", lambda *_: "they know the classes in another order")
    for search_from in ("train", "test"):
        listener = Listener()
        resolve(search_from=search_from, reporter=listener)
        line = "the shipped weights of tiny_factory:tiny_cnn are passed over: they know the classes in another order"
        assert listener.lines[0] == line


@pytest.mark.parametrize(("search_from", "kept"), [("train", False), ("test", True)])
def test_shipped_weights_for_real_images_are_used_with_either_stem(
    search_from: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ``--model resnet18 --stem imagenet --search-from test`` means on a copy of CIFAR-10."""
    images = ImageSet(torch.zeros(20, 3, 32, 32, dtype=torch.uint8), torch.arange(20) % 10)
    data = ImageData("cifar10", "none", CIFAR, images, images, (0.0,) * 3, (1.0,) * 3)
    monkeypatch.setattr(baseline, "train_baseline", lambda *_, **__: pytest.fail("trained"))
    arguments: dict[str, Any] = {"train": images, "validate": images, "cache_dir": tmp_path, "device": CPU}
    if kept:
        for stem in ("cifar", "imagenet"):
            found = resolve_baseline("resnet18", stem, data, search_from=search_from, **arguments)
            assert found.source.startswith("shipped with gaprune: ResNet18")
        return
    listener = Listener()
    with pytest.raises(pytest.fail.Exception, match="trained"):
        resolve_baseline("resnet18", "imagenet", data, search_from=search_from, reporter=listener, **arguments)
    assert listener.lines[0].startswith("the shipped weights are passed over: ")


def test_a_stem_that_a_network_has_not_makes_no_other_baseline(resolve: Resolve, subject: Subject) -> None:
    listener, first = Listener(), resolve()
    arguments = {"train": subject.train, "validate": subject.validate, "device": CPU, "recipe": RECIPE}
    cache = next(iter(Path(first.source.rpartition("from ")[2]).parents[2:3]))
    found = resolve_baseline(TINY, "imagenet", subject.data, cache_dir=cache, reporter=listener, **arguments)
    assert found.identity == first.identity
    assert listener.steps == []


def test_before_a_long_training_it_is_said_how_to_do_without(resolve: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, said in ((599.0, False), (601.0, True)):
        listener = Listener(raise_at="epoch 1/3")
        monkeypatch.setattr(produce, "estimate_seconds", lambda *_, seconds=seconds, **__: seconds)
        with pytest.raises(KeyboardInterrupt):
            resolve(reporter=listener, train=squares(30, seed=int(seconds)))
        advice = [line for line in listener.lines if "give --checkpoint FILE with your own" in line]
        assert len(advice) == said
        assert "30 images, 3 epochs): about " in listener.lines[0]


def test_weights_for_other_classes_get_a_new_head_that_is_kept(
    subject: Subject, resolve: Resolve, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    path, listener = tmp_path / "seven.pt", Listener()
    body = resolve().model
    seven = build(TINY, 7)
    seven.load_state_dict({k: v for k, v in body.state_dict().items() if not k.startswith("5.")}, strict=False)
    torch.save({"state_dict": seven.state_dict()}, path)
    found = resolve(checkpoint=path, head="new", reporter=listener)
    assert "a new head in place of one for 7 classes; fitted to 30 training images" in found.source
    (line,) = listener.lines
    assert line.startswith("a new head was fitted to 30 training images: accuracy ")
    correct = measure(found.model, subject.data.test, found.mean, found.std).accuracy
    assert correct > 0.8, "as good as one that was trained with the rest"
    for name, tensor in seven.state_dict().items():
        assert name.startswith("5.") or torch.equal(tensor, found.model.state_dict()[name])
    again = resolve(checkpoint=path, head="new", reporter=listener)
    assert again.identity == found.identity
    assert len(listener.lines) == 1
    wanted = found.identity["weights_sha256"]
    assert resolve(wanted=wanted).identity["weights_sha256"] == wanted


def test_a_new_head_is_fitted_to_what_the_network_will_be_fed_with(
    subject: Subject, resolve: Resolve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[Any] = []
    monkeypatch.setattr(baseline, "with_new_head", lambda *given: fed.append(given[3:5]) or 30)
    torch.save(build(TINY, 7).state_dict(), tmp_path / "seven.pt")
    made, told = subject_module.build, Preprocessing((1.0,) * 3, (2.0,) * 3, "its builder")

    def telling(*args: Any, **options: Any) -> nn.Module:
        network = made(*args, **options)
        setattr(network, PREPROCESSING, told)
        return network

    resolve(checkpoint=tmp_path / "seven.pt", head="new")
    monkeypatch.setattr(subject_module, "build", telling)
    found = resolve(checkpoint=tmp_path / "seven.pt", head="new")
    assert fed == [(subject.data.mean, subject.data.std), (told.mean, told.std)]
    assert normalised(subject.data, found, SILENT).mean == told.mean


def test_a_new_head_that_cannot_be_fitted_is_one_line(tmp_path: Path, subject: Subject) -> None:
    whole = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ModelError, match=r"a new head can be fitted where it is an nn\.Linear; 1 is Conv2d"):
        fit_head(whole, "1", subject.train, subject.data.mean, subject.data.std)


def test_a_new_head_is_fitted_in_exact_and_deterministic_kernels(subject: Subject) -> None:
    """A run that goes on without the cache fits it again, and must find the weights that it was made with."""
    seen = []
    model = build(TINY, 3).eval()
    model.register_forward_pre_hook(lambda *_: seen.append(vars_of_cudnn()))
    fit_head(model, "5", subject.train, subject.data.mean, subject.data.std)
    assert set(seen) == {(True, False, False)}


def vars_of_cudnn() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32


def test_the_weights_of_a_package_bring_classes_and_normalisation(
    subject: Subject, resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = build(TINY, 5).state_dict()
    offered = Pretrained(weights, "somebody's WEIGHTS", ("x", "blue", "red", "y", "green"), (1.0,) * 3, (2.0,) * 3)
    monkeypatch.setattr(given, "pretrained", lambda name: offered)
    found = resolve(checkpoint=Path("pretrained"), head="cut")
    assert torch.equal(found.model.state_dict()["5.bias"], weights["5.bias"][[2, 4, 1]])
    assert (found.mean, found.std) == ((1.0,) * 3, (2.0,) * 3)
    assert found.source.startswith("tiny_factory:tiny_cnn from somebody's WEIGHTS (its head cut from 5 to 3 classes)")
    with pytest.raises(
        CheckpointError, match=r"somebody's WEIGHTS was trained for 5 classes.*--head cut:CLASS_FILE or new"
    ):
        resolve(checkpoint=Path("pretrained"))


def test_weights_with_another_stem_name_it(resolve: Resolve, subject: Subject, tmp_path: Path) -> None:
    torch.save(build("resnet18", 3, stem="imagenet").state_dict(), tmp_path / "w.pt")
    small = dataclasses.replace(subject, model_name="resnet18")
    with pytest.raises(CheckpointError, match=r"conv1.weight is 64x3x7x7, expected 64x3x3x3; it fits --stem imagenet$"):
        load_baseline(small, tmp_path / "w.pt")


def test_vgg16_for_cifar10_is_shipped(tmp_path: Path) -> None:
    nothing = ImageSet(torch.zeros(10, 3, 32, 32, dtype=torch.uint8), torch.arange(10))
    data = ImageData("cifar10", "none", CIFAR, nothing, nothing, (0.0,) * 3, (1.0,) * 3)
    parts = {"train": nothing, "validate": nothing, "search_from": "test"}
    found = resolve_baseline("vgg16", "cifar", data, cache_dir=tmp_path, device=CPU, **parts)
    assert found.source.startswith("shipped with gaprune")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_baseline_in_the_cache_is_trained_again(resolve: Resolve, tmp_path: Path) -> None:
    first, listener = resolve(), Listener()
    (path,) = (tmp_path / "cache").glob("baselines/*/model.safetensors")
    path.write_bytes(path.read_bytes()[:-8])
    assert resolve(reporter=listener).identity == first.identity
    assert listener.lines[0].endswith("it is trained again")
    assert load_file(path).keys() == first.model.state_dict().keys()


def test_a_baseline_in_training_elsewhere_is_in_use(subject: Subject, tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    with pytest.raises(RunError, match="is in use by process"):
        train_baseline(subject, RECIPE, tmp_path)
    lock.release()


def test_a_directory_of_another_baseline_is_refused(subject: Subject, tmp_path: Path) -> None:
    train_baseline(subject, RECIPE, tmp_path)
    with pytest.raises(RunError, match="of another network, data or recipe: choose another directory"):
        train_baseline(subject, dataclasses.replace(RECIPE, lr=0.2), tmp_path)


def test_a_cache_that_cannot_be_written_is_named(resolve: Resolve, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"cannot create .*file"):
        resolve(cache_dir=tmp_path / "file")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("vgg16", "vgg16 cannot take images of 3x8x8"),
        ("tiny_factory:no_classifier", r"gives \(2, 3, 6, 6\) for 2 images, expected \(2, 3\): squares has 3 classes"),
        ("tiny_factory:two_outputs", r"gives tuple of 2, expected one tensor \(2, 3\): wrap it in a module"),
    ],
)
def test_a_network_that_does_not_fit_the_images_is_named(
    model: str, message: str, subject: Subject, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        train_baseline(dataclasses.replace(subject, model_name=model), RECIPE, tmp_path)


def test_a_directory_is_named_for_what_it_holds(subject: Subject, tmp_path: Path) -> None:
    first = baseline_directory(tmp_path, subject, RECIPE)
    assert first.parent == tmp_path / "baselines"
    assert first.name.startswith("tiny_factory_tiny_cnn-cifar-squares-")
    others = {
        baseline_directory(tmp_path, dataclasses.replace(subject, stem="imagenet"), RECIPE),
        baseline_directory(tmp_path, dataclasses.replace(subject, train=subject.validate), RECIPE),
        baseline_directory(tmp_path, subject, dataclasses.replace(RECIPE, seed=1)),
        baseline_directory(tmp_path, subject, dataclasses.replace(RECIPE, epochs=4)),
    }
    assert len({first, *others}) == 5


def test_a_network_object_of_the_same_seed_starts_alike(subject: Subject, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = load_file(train_baseline(subject, RECIPE, tmp_path / "a"))
    torch.manual_seed(2)
    second = load_file(train_baseline(subject, RECIPE, tmp_path / "b"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert isinstance(load_baseline(subject, tmp_path / "a" / "model.safetensors").model, nn.Module)
