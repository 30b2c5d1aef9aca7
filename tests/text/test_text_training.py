from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_texts import tiny_config

from gaprune.errors import RunError, TrainingError
from gaprune.text import training
from gaprune.text.networks import BiLstm, bert_base, build_network
from gaprune.text.tokens import Encoded
from gaprune.text.training import Examples, TextRecipe, train

CPU = torch.device("cpu")
RECIPE = TextRecipe(epochs=3, batch_size=10, lr=5e-3)


def _examples(teacher: bool = False) -> Examples:
    """Texts whose first id tells the label, of lengths 2 to 6."""
    rng = np.random.default_rng(0)
    labels = torch.tensor([index % 2 for index in range(100)])
    ids = tuple((5 + int(label), *map(int, rng.integers(7, 20, rng.integers(1, 6)))) for label in labels)
    answers = torch.stack([-2.0 * labels + 1, 2.0 * labels - 1], dim=1) if teacher else None
    return Examples(Encoded(ids, 0, 0), labels, answers)


def _network(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(bert_base(tiny_config())) if kind == "bert" else BiLstm(21, 8, 8, 8)


@pytest.mark.parametrize("kind", ["bert", "student"])
def test_a_training_that_was_interrupted_ends_with_the_same_weights(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "LEAST_STEPS", 8)
    whole, stopped, resumed = (_network(kind) for _ in range(3))
    report = train(whole, _examples(True), RECIPE, CPU)
    assert report["passes"] == 3
    real, calls = training._stretch, []

    def interrupted(*arguments: object) -> float:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(training, "_stretch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(stopped, _examples(True), RECIPE, CPU, directory=tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}
    assert train(resumed, _examples(True), RECIPE, CPU, directory=tmp_path) == report
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_it_learns_and_leaves_the_callers_random_state_alone() -> None:
    network, examples = _network("student"), _examples()
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]  # noqa: NPY002
    train(network, examples, TextRecipe(epochs=6, batch_size=10, lr=2e-2), CPU)
    predicted = network(*examples.encoded.batch(range(100))).argmax(1)
    assert (predicted == examples.labels).float().mean() > 0.95
    assert not network.training
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


def test_texts_without_a_label_are_learnt_from_the_teacher_alone() -> None:
    network, examples = _network("student"), _examples(True)
    unlabelled = Examples(examples.encoded, torch.full((100,), -1), examples.teacher)
    train(network, unlabelled, TextRecipe(epochs=6, batch_size=10, lr=2e-2), CPU)
    assert (network(*examples.encoded.batch(range(100))).argmax(1) == examples.labels).float().mean() > 0.95


def test_every_text_is_seen_once_an_epoch_in_batches_of_like_length() -> None:
    examples = _examples()
    course = training._Course(_network("student"), examples, RECIPE, 30, 10)
    for epoch in range(3):
        batches = course.batches(range(10 * epoch, 10 * epoch + 10))
        assert sorted(index for batch in batches for index in batch) == list(range(100))
        spread = [
            max(lengths) - min(lengths)
            for batch in batches
            for lengths in [[len(examples.encoded.ids[i]) for i in batch]]
        ]
        assert sum(spread) / len(spread) < 1.5
    assert course.batches(range(10)) != course.batches(range(10, 20))


def test_a_state_of_another_training_is_refused(tmp_path: Path) -> None:
    train(_network("student"), _examples(), TextRecipe(epochs=1, batch_size=50), CPU, directory=tmp_path)
    with pytest.raises(RunError, match="holds a training with other texts or another recipe"):
        train(_network("student"), _examples(), TextRecipe(epochs=2, batch_size=50), CPU, directory=tmp_path)


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    network = _network("student")
    with torch.no_grad():
        network.get_parameter("classifier.bias").fill_(torch.nan)
    with pytest.raises(TrainingError, match="diverged: the loss is nan after step 2"):
        train(network, _examples(), TextRecipe(epochs=1, batch_size=50), CPU)
