"""What the compression methods must know of a text classifier: its data, its training, how it is judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gaprune.compress import Inputs, Predict, Student, Work
from gaprune.data import stratified
from gaprune.errors import MethodError, choice_error
from gaprune.progress import SILENT, Reporter
from gaprune.text.augment import augmented
from gaprune.text.data import TextData
from gaprune.text.heads import pruned_bert, shapes
from gaprune.text.metrics import scores
from gaprune.text.networks import BertClassifier, BiLstm, bilstm_base
from gaprune.text.tokens import Encoded, Encoder, StudentTokens
from gaprune.text.training import Examples, TextRecipe, train

BATCH = 64
CALIBRATION = 256
IMPORTANCE = 512
"""Training texts that heads and neurons are judged on."""

STUDENTS = STUDENT, AUGMENTED = "bilstm", "bilstm-augmented"
COPIES = 10
AGAIN = 0.3
"""Of its learning rate, what a student that has been trained is trained on with."""


@dataclass(frozen=True)
class Settings:
    """How networks are trained.

    Attributes:
        encoder: recipe of the original, and of what it becomes.
        student: recipe of students.
        limit: the most ids of a text.
        vocabulary: the most entries of a student's vocabulary.
        width: of its word vectors.
        hidden: of its LSTMs.
        units: of its hidden layer.
        copies: of each text, where a student's texts are augmented.
    """

    encoder: TextRecipe = field(default_factory=TextRecipe)
    student: TextRecipe = field(
        default_factory=lambda: TextRecipe(epochs=20, batch_size=64, lr=2e-3, weight_decay=1e-4)
    )
    limit: int = 128
    vocabulary: int = 6_000
    width: int = 100
    hidden: int = 200
    units: int = 200
    copies: int = COPIES


class Teacher:
    """The trained original, and its answers.

    Args:
        model: in eval mode, on the device where it is asked.
        tokens: what it reads texts with.
    """

    def __init__(self, model: nn.Module, tokens: Encoder) -> None:
        self.model = model
        self.tokens = tokens
        self._known: dict[tuple[str, ...], Tensor] = {}

    def answers(self, texts: tuple[str, ...], reporter: Reporter = SILENT) -> Tensor:
        """Logits (N, classes) float32 on the CPU; asked once for each list of texts."""
        if texts not in self._known:
            encoded = self.tokens(texts)
            device = next(self.model.parameters()).device
            with reporter.task("answers of the original", len(texts)) as task, torch.inference_mode():
                self._known[texts] = logits_of(encoded, _on(self.model, device), device, task.advance).clone()
        return self._known[texts]


class TextTask:
    """A ``gaprune.compress.Task`` of texts, as one kind of network sees them: by its own tokens.

    Args:
        data: the texts.
        tokens: what turns them into ids.
        settings: how networks are trained.
        device: where.
        teacher: the trained original; None while there is none.
        more: texts beside the training texts, whose labels only the teacher tells.
        is_student: whose recipe counts.
    """

    criterion = "taylor"

    def __init__(
        self,
        data: TextData,
        tokens: Encoder,
        settings: Settings,
        device: torch.device,
        *,
        teacher: Teacher | None = None,
        more: tuple[str, ...] = (),
        is_student: bool = False,
    ) -> None:
        self.data, self.tokens, self.settings, self.device, self.teacher = data, tokens, settings, device, teacher
        self.own: nn.Module | None = None
        self.input_names: tuple[str, ...] = ("ids", "mask")
        self.varying: Mapping[str, Mapping[int, str]] = {name: {1: "length"} for name in self.input_names}
        self.name = f"{'student' if is_student else 'bert'} on {data.name}"
        self.texts = (*data.train.texts, *more)
        self.train_ids, self.test_ids = tokens(self.texts), tokens(data.test.texts)
        self.labels = torch.cat([data.train.labels, torch.full((len(more),), -1)])
        self.is_student = is_student

    @property
    def cut(self) -> int:
        """How many training and test texts are longer than the limit, and lose their end."""
        return self.train_ids.cut + self.test_ids.cut

    def told_cut(self) -> str:
        """A line that says how many texts lose their end."""
        total, whose = len(self.train_ids) + len(self.test_ids), " of the student's" if self.is_student else ""
        return f"{self.cut:,} of {total:,} texts are longer than {self.settings.limit}{whose} tokens and were cut"

    def inputs(self, count: int) -> Inputs:
        """See ``gaprune.compress.Task``: test texts of all lengths in proportion; of one text, the median."""
        by_length = sorted(range(len(self.test_ids)), key=lambda index: len(self.test_ids.ids[index]))
        return self.test_ids.batch([by_length[(2 * n + 1) * len(by_length) // (2 * count)] for n in range(count)])

    def calibration(self) -> Iterator[Inputs]:
        """See ``gaprune.compress.Task``."""
        for _, inputs in self.train_ids.batches(BATCH, self.drawn(CALIBRATION)):
            yield inputs

    def evaluate(self, predict: Predict, device: torch.device) -> dict[str, float]:
        """Figures of ``gaprune.text.metrics.scores`` on the test texts."""
        logits = logits_of(self.test_ids, predict, device)
        return scores(self.data.test.labels.numpy(), logits.argmax(1).numpy())

    def fit(
        self, model: nn.Module, *, fresh: bool, share: float, directory: Path | None, reporter: Reporter
    ) -> dict[str, Any]:
        """See ``gaprune.compress.Task``: labels, and the distance to the original's logits."""
        answers = None if self.teacher is None else self.teacher.answers(self.texts, reporter)
        if self.is_student and fresh and self.cut:
            reporter.say(self.told_cut())
        report = train(
            model,
            Examples(self.train_ids, self.labels, answers),
            self._recipe(fresh, share),
            self.device,
            directory=directory,
            reporter=reporter,
            name=f"training the {'student' if self.is_student else 'encoder'}",
        )
        passes = report["passes"] * len(self.texts) / len(self.data.train)
        return report | {"passes": round(passes, 3), "cut texts": self.cut}

    def settle(self, model: nn.Module, before: nn.Module) -> None:
        """Nothing: there is no batch norm."""

    @property
    def named(self) -> tuple[str, ...]:
        """See ``Task``: none is of a module."""
        return ()

    def students(self) -> tuple[str, ...]:
        """See ``gaprune.compress.Task``."""
        return STUDENTS

    def student(self, name: str) -> Student:
        """See ``gaprune.compress.Task``: its vocabulary is learnt from the training texts."""
        check_student(name)
        settings, texts = self.settings, self.data.train.texts
        tokens = StudentTokens(texts, settings.vocabulary, settings.limit)
        seed = settings.student.seed
        more = tuple(augmented(texts, copies=settings.copies, seed=seed)) if name == AUGMENTED else ()
        shape = {
            "vocabulary": tokens.size,
            "embedding": settings.width,
            "hidden": settings.hidden,
            "units": settings.units,
            "classes": len(self.data.classes),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = BiLstm(**shape)
        task = TextTask(self.data, tokens, settings, self.device, teacher=self.teacher, more=more, is_student=True)
        return Student(model, task, bilstm_base(name, **shape))

    def pruned(self, work: Work, keep: float, scope: str) -> nn.Module:
        """See ``gaprune.compress.Task``: heads and feed-forward neurons, by what they add to the loss."""
        model = work.network
        if not isinstance(model, BertClassifier):
            raise MethodError("prune removes attention heads and feed-forward neurons, and the student has none")
        drawn = self.train_ids.batches(BATCH, self.drawn(IMPORTANCE))
        batches = [(inputs, self.labels[indices]) for indices, inputs in drawn]
        return pruned_bert(model.to(self.device), batches, keep, scope)

    def flops(self, model: nn.Module) -> int | None:
        """None: texts differ in length."""
        return None

    def structures(self, model: nn.Module) -> list[dict[str, int]]:
        """See ``gaprune.compress.Task``: heads and feed-forward neurons."""
        return shapes(model)

    def _recipe(self, fresh: bool, share: float) -> TextRecipe:
        recipe = self.settings.student if self.is_student else self.settings.encoder
        known = len(self.data.train)
        epochs = max(1, round(share * recipe.epochs * known / len(self.texts)))
        lr = recipe.lr * AGAIN if self.is_student and not fresh else recipe.lr
        return dataclasses.replace(recipe, epochs=epochs, lr=lr)

    def drawn(self, count: int) -> list[int]:
        """So many training texts, the classes in proportion; always the same."""
        labels, seed = self.data.train.labels, self.settings.encoder.seed
        found: list[int] = stratified(labels, min(count, len(labels)), purpose="calibration", seed=seed).tolist()
        return found


def check_student(name: str) -> None:
    """Raise ``OptionError`` where a text task has no student of that name."""
    if name not in STUDENTS:
        raise choice_error("student", name, STUDENTS)


def logits_of(encoded: Encoded, predict: Predict, device: torch.device, advance: Any = None) -> Tensor:
    """Logits (N, classes) float32 on the CPU of all texts, in their order."""
    found: Tensor | None = None
    for indices, inputs in encoded.batches(BATCH):
        logits = predict(tuple(tensor.to(device) for tensor in inputs)).float().cpu()
        if found is None:
            found = logits.new_zeros(len(encoded), logits.shape[1])
        found[indices] = logits
        if advance is not None:
            advance(len(indices))
    assert found is not None, "a data set has texts"
    return found


def _on(model: nn.Module, device: torch.device) -> Predict:
    network = model.to(device).eval()

    def predict(inputs: Inputs) -> Tensor:
        logits: Tensor = network(*inputs)
        return logits

    return predict
