"""Training with the library's ``Trainer``, in stretches: after each the state is on disk, as arrays and JSON.

``Trainer``'s own checkpoints are pickles, so it is given one stretch of the shuffled texts at a time, and the optimizer
and schedule are ours. A stretch is a pure function of the state before it, so a training that was interrupted ends with
the same weights as one that was not.
"""

from __future__ import annotations

import dataclasses
import math
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from gaprune.errors import RunError, TrainingError
from gaprune.progress import SILENT, Reporter, Task
from gaprune.runs import latest_state, save_state
from gaprune.text.networks import quiet
from gaprune.text.tokens import Encoded
from gaprune.training import digest_json, digest_tensors

STRETCHES = 10
"""Into how many stretches a training is cut, so that much is lost at most when it is stopped."""
LEAST_STEPS = 20
"""The least steps of a stretch: to begin one takes a fraction of a second."""

POOL = 16
"""Batches' worth of shuffled texts that are sorted by length before they are cut into batches."""


@dataclass(frozen=True)
class TextRecipe:
    """How a network is trained: AdamW, a rate that rises and falls linearly.

    Attributes:
        epochs: passes over the training texts.
        batch_size: texts in a step.
        lr: peak learning rate.
        warm_up: share of the steps in which the rate rises.
        weight_decay: of matrices.
        seed: order of the texts and dropout.
        amp: whether to multiply in bfloat16.
    """

    epochs: int = 3
    batch_size: int = 32
    lr: float = 5e-5
    warm_up: float = 0.1
    weight_decay: float = 0.01
    seed: int = 0
    amp: bool = False


@dataclass(frozen=True)
class Examples:
    """What is learnt from.

    Attributes:
        encoded: the texts' ids.
        labels: (N,) int64; -1 where only the teacher's answer counts.
        teacher: (N, classes) logits of the original; None where nothing is distilled.
    """

    encoded: Encoded
    labels: Tensor
    teacher: Tensor | None = None

    def __len__(self) -> int:
        return len(self.encoded)

    def digest(self) -> str:
        """Identifies texts, labels and answers."""
        tensors = {"labels": self.labels} | ({} if self.teacher is None else {"teacher": self.teacher})
        return digest_json([digest_tensors(tensors), [list(ids) for ids in self.encoded.ids]])


def train(
    model: nn.Module,
    examples: Examples,
    recipe: TextRecipe,
    device: torch.device,
    *,
    directory: Path | None = None,
    reporter: Reporter = SILENT,
    name: str = "training",
) -> dict[str, Any]:
    """Train a network in place, from its state in ``directory`` if there is one; it ends in eval mode on ``device``.

    The loss is the cross-entropy with the labels, and where the teacher's logits are known the mean squared
    distance to them (arXiv 1903.12136, equation 3) on top.

    Returns:
        JSON values: ``passes`` over the texts, ``steps`` and the ``loss`` of the last stretch.

    Raises:
        RunError: the directory holds another training, or cannot be written.
        TrainingError: the loss is no longer a number.
    """
    per_epoch = math.ceil(len(examples) / recipe.batch_size)
    course = _Course(model.to(device), examples, recipe, per_epoch * recipe.epochs, per_epoch)
    optimizer = _optimizer(model, recipe)
    description = {"recipe": dataclasses.asdict(recipe), "examples": examples.digest()}
    done, loss = _restore(directory, course, optimizer, description, reporter)
    with (
        quiet(),
        _random_state_kept(),
        tempfile.TemporaryDirectory() as scratch,
        reporter.task(name, course.total) as task,
    ):
        task.advance(done)
        while done < course.total:
            end = min(course.total, done + course.stretch)
            loss = _stretch(course, optimizer, range(done, end), Path(scratch), task)
            if not math.isfinite(loss):
                raise TrainingError(f"{name} diverged: the loss is {loss} after step {end}; choose a lower rate")
            done = end
            if directory is not None:
                _save(directory, course, optimizer, description, done, loss)
    model.eval()
    return {"passes": recipe.epochs, "steps": course.total, "loss": loss}


@dataclass(frozen=True)
class _Course:
    """What stays the same from the first stretch to the last; steps are counted over all epochs."""

    model: nn.Module
    examples: Examples
    recipe: TextRecipe
    total: int
    per_epoch: int

    @property
    def stretch(self) -> int:
        return max(LEAST_STEPS, math.ceil(self.total / STRETCHES))

    def batches(self, steps: range) -> list[list[int]]:
        """The texts of each step."""
        epochs = {epoch: self._epoch(epoch) for epoch in sorted({step // self.per_epoch for step in steps})}
        return [epochs[step // self.per_epoch][step % self.per_epoch] for step in steps]

    def _epoch(self, epoch: int) -> list[list[int]]:
        """All texts in shuffled batches, those of like length together: padding costs as much as words."""
        rng, size = np.random.default_rng([self.recipe.seed, epoch]), self.recipe.batch_size
        order = rng.permutation(len(self.examples))
        lengths = np.array([len(ids) for ids in self.examples.encoded.ids])
        batches: list[list[int]] = []
        for start in range(0, len(order), size * POOL):
            pool = order[start : start + size * POOL]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[first : first + size].tolist() for first in range(0, len(pool), size)]
        return [batches[number] for number in rng.permutation(len(batches))]

    def rate(self, step: int) -> float:
        """The learning rate of a step, as a share of the peak."""
        rising = max(1, round(self.recipe.warm_up * self.total))
        if step < rising:
            return (step + 1) / rising
        return (self.total - step) / max(1, self.total - rising)


class _StretchTrainer(Trainer):  # type: ignore[misc]
    """The library's trainer over batches in the order given."""

    def _get_train_sampler(self, *arguments: Any, **options: Any) -> SequentialSampler:
        assert self.train_dataset is not None
        return SequentialSampler(self.train_dataset)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **options: Any
    ) -> Any:
        """Cross-entropy with known labels plus distance to known answers."""
        logits = model(inputs["ids"], inputs["mask"]).float()
        loss = nn.functional.cross_entropy(logits, inputs["labels"], ignore_index=-1, reduction="sum")
        loss = loss / (inputs["labels"] >= 0).sum().clamp(min=1)
        if "teacher" in inputs:
            loss = loss + nn.functional.mse_loss(logits, inputs["teacher"])
        return (loss, {"logits": logits}) if return_outputs else loss


class _Progress(TrainerCallback):  # type: ignore[misc]
    def __init__(self, task: Task) -> None:
        self._task = task

    def on_step_end(self, *arguments: Any, **options: Any) -> None:
        self._task.advance()


class _Listed(torch.utils.data.Dataset[list[int]]):
    """Batches of indices as a data set, one a step."""

    def __init__(self, batches: Sequence[list[int]]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> list[int]:
        return self._batches[index]


def _stretch(course: _Course, optimizer: torch.optim.Optimizer, steps: range, scratch: Path, task: Task) -> float:
    """Take the steps of one stretch; their mean loss."""
    device = next(course.model.parameters()).device
    arguments = TrainingArguments(
        output_dir=str(scratch),
        per_device_train_batch_size=1,  # one item of the data set is a batch of texts already
        num_train_epochs=1,
        seed=int(np.random.default_rng([course.recipe.seed, 1 + steps.start]).integers(2**31)),
        bf16=course.recipe.amp,
        use_cpu=device.type == "cpu",
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one device, whatever the machine has
    first = steps.start
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: course.rate(first + step))
    trainer = _StretchTrainer(
        model=course.model,
        args=arguments,
        train_dataset=_Listed(course.batches(steps)),
        data_collator=_collator(course.examples),
        optimizers=(optimizer, schedule),
        callbacks=[_Progress(task)],
    )
    trainer.remove_callback(PrinterCallback)
    return float(trainer.train().training_loss)


def _collator(examples: Examples) -> Callable[[list[list[int]]], dict[str, Tensor]]:
    def collate(items: list[list[int]]) -> dict[str, Tensor]:
        (indices,) = items
        ids, mask = examples.encoded.batch(indices)
        batch = {"ids": ids, "mask": mask, "labels": examples.labels[indices]}
        return batch if examples.teacher is None else {**batch, "teacher": examples.teacher[indices]}

    return collate


def _optimizer(model: nn.Module, recipe: TextRecipe) -> torch.optim.AdamW:
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in learnt if parameter.ndim > 1]
    others = [parameter for parameter in learnt if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.lr, fused=True)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """The trainer seeds every global generator; afterwards they are as the caller left them."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def _save(
    directory: Path,
    course: _Course,
    optimizer: torch.optim.Optimizer,
    description: dict[str, Any],
    done: int,
    loss: float,
) -> None:
    arrays = {f"model.{name}": tensor for name, tensor in course.model.state_dict().items()}
    for name, parameter in course.model.named_parameters():
        for entry, value in optimizer.state.get(parameter, {}).items():
            arrays[f"adam.{entry}.{name}"] = value
    numbers = {name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        save_state(directory, done, numbers, {"training": description, "steps": done, "loss": loss})
    except OSError as error:
        raise RunError(f"cannot save the training in {directory}: {error.strerror or error}") from error


def _restore(
    directory: Path | None,
    course: _Course,
    optimizer: torch.optim.Optimizer,
    description: dict[str, Any],
    reporter: Reporter,
) -> tuple[int, float]:
    """Bring network and optimizer to the newest whole state; the steps done and the loss then."""
    if directory is None:
        return 0, 0.0
    found, damages = latest_state(directory)
    for line in damages:
        reporter.say(line)
    if found is None:
        return 0, 0.0
    if found.meta["training"] != description:
        raise RunError(f"{directory} holds a training with other texts or another recipe: choose another directory")
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in found.arrays.items()}
    try:
        course.model.load_state_dict({name: tensors[f"model.{name}"] for name in course.model.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise RunError(f"{directory} holds the training of another network: choose another directory") from error
    for name, parameter in course.model.named_parameters():
        entries = [entry for entry in ("step", "exp_avg", "exp_avg_sq") if f"adam.{entry}.{name}" in tensors]
        if entries:
            state = {entry: tensors[f"adam.{entry}.{name}"] for entry in entries}
            optimizer.state[parameter] = {k: v.to(parameter.device) for k, v in state.items()}
    return int(found.meta["steps"]), float(found.meta["loss"])
