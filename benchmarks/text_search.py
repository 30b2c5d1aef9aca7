"""BERT under the search: F1 at two thirds and at half of the FLOPs, before any training and after the same short one.

Claim: heads and feed-forward neurons that the search takes away, compensated, cost at most 0.01 F1 at two thirds of the
encoder's FLOPs and 0.03 at half, before any training; and the member is ahead of ``prune:taylor-global``, the way of
the second paper, at both, before and after the same training.

How. An encoder is fine-tuned on the training texts. Candidates are judged by their divergence from its answers on
search texts, which it has not learnt; of each search the one that diverges least within a budget is its member. Ladder,
members and the pruned network of the same FLOPs are measured on the test texts, which chose nothing, paired by text
(bootstrap); then all are trained on the same training texts, with the original as teacher, and measured again.

    python benchmarks/text_search.py --data-dir DIR --search-file DIR/dev.tsv --encoder FOLDER
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness import DONE, Goal, at_least, run
from benchmarks.paired import f1_difference, packed, unpacked
from benchmarks.subjects import SEED, WorkFile, code_digest
from gaprune.data import stratified
from gaprune.device import pinned
from gaprune.evolve import make_algorithm
from gaprune.evolve.initial import informed_member
from gaprune.evolve.ranked import rank
from gaprune.genome import Genome
from gaprune.options import SearchOptions
from gaprune.progress import Reporter, make_reporter
from gaprune.prune import count_flops
from gaprune.session import Job, Own, check_names, prepare_task
from gaprune.session.engine import largest_budget
from gaprune.text.data import TextData, Texts, labelled, load_texts
from gaprune.text.heads import GLOBAL, importance, shapes, without_least
from gaprune.text.networks import BertClassifier
from gaprune.text.options import PAPER
from gaprune.text.original import fine_tuned, load_original
from gaprune.text.searching import held_out, task_of
from gaprune.text.task import BATCH, IMPORTANCE, Settings, TextTask, logits_of
from gaprune.text.training import TextRecipe
from gaprune.training.digest import digest_json, digest_tensors

CPU = torch.device("cpu")
BUDGETS = {"two thirds": 2 / 3, "half": 1 / 2}
LOST_AT_MOST = {"two thirds": 0.01, "half": 0.03}
LADDER, TUNED, NSGA2, TAYLOR = "ladder", "tuned", "nsga2", "prune:taylor-global"
SEARCHES = (TUNED, NSGA2)
WAYS = (LADDER, TAYLOR, *SEARCHES)
BEFORE, AFTER = "before", "after"
QUICK = {"evaluations": 8, "population": 4, "train_texts": 32, "calibration_texts": 80, "flops_length": 8}
"""Of a smoke run, in the place of options."""

HALVINGS = 12
"""Steps of the bisection for the share of heads and neurons that comes to a budget."""


def _lost(budget: str) -> str:
    return f"F1 that the member of the search has lost at {budget} of the FLOPs, before training"


def _ahead(budget: str, when: str) -> str:
    return f"F1 ahead of {TAYLOR} at {budget} of the FLOPs, {when} training"


UPPER, LOWER = "upper end of 95%", "lower end of 95%"
GOALS = (
    *(Goal(_lost(budget), "<=", most, "F1") for budget, most in LOST_AT_MOST.items()),
    *(Goal(f"{_lost(budget)}, {UPPER}", "<=", most, "F1") for budget, most in LOST_AT_MOST.items()),
    *(Goal(_ahead(budget, when), ">=", 0.0, "F1") for when in (BEFORE, AFTER) for budget in BUDGETS),
    *(Goal(f"{_ahead(budget, when)}, {LOWER}", ">=", 0.0, "F1") for when in (BEFORE, AFTER) for budget in BUDGETS),
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """A fine-tuned BERT and its texts.

    Attributes:
        task: of the original, with its answers.
        network: the original, on the CPU.
        judged: search texts.
        identity: of weights and texts.
    """

    task: TextTask
    network: BertClassifier
    judged: Texts
    identity: dict[str, Any]

    def predicted(self, network: nn.Module) -> torch.Tensor:
        """(N,) whether each test text is called positive."""
        with torch.no_grad():
            return logits_of(self.task.test_ids, lambda inputs: network(*inputs), CPU).argmax(1) == 1

    def trained(self, network: nn.Module, count: int, directory: Path, reporter: Reporter) -> nn.Module:
        """Trained in place on so many training texts, once, with the original as teacher."""
        task = self.task
        data = dataclasses.replace(task.data, train=task.data.train.select(torch.tensor(task.drawn(count))))
        recipe = dataclasses.replace(task.settings.encoder, epochs=1)
        settings = dataclasses.replace(task.settings, encoder=recipe)
        short = TextTask(data, task.tokens, settings, CPU, teacher=task.teacher)
        short.fit(network, fresh=False, share=1.0, directory=directory, reporter=reporter)
        return network


def load_subject(options: argparse.Namespace, reporter: Reporter) -> Subject:
    """The original, fine-tuned or found so, and the texts that it has not learnt."""
    data = load_texts(options.data, data_dir=options.data_dir, seed=SEED, reporter=reporter)
    if options.search_file is None:
        data, judged = held_out(data, options.search_texts, SEED)
    else:
        judged = _unseen(labelled(options.search_file, data.classes), data)
        count = min(options.search_texts, len(judged))
        judged = judged.select(stratified(judged.labels, count, purpose="search", seed=SEED))
    recipe = TextRecipe(epochs=options.epochs, lr=options.lr, seed=SEED)
    original = load_original(options.encoder, data, Settings(encoder=recipe, limit=options.max_length), CPU)
    for line in original.described():
        reporter.say(line)
    work = fine_tuned(original, options.work / "original", reporter)
    task, network = work.task, work.network.eval()
    assert isinstance(task, TextTask)
    assert isinstance(network, BertClassifier)
    identity = {
        "data": data.source,
        "encoder": original.encoder,
        "weights_sha256": digest_tensors(network.state_dict()),
        "search": digest_json([list(judged.texts), judged.labels.tolist()]),
        "texts": {"train": len(data.train), "search": len(judged), "test": len(data.test)},
        "settings": original.identity["settings"]["encoder"],
    }
    return Subject(task, network, judged, identity)


def _unseen(texts: Texts, data: TextData) -> Texts:
    """Those that are neither training nor test texts."""
    seen = {text.casefold() for part in (data.train, data.test) for text in part.texts}
    fresh = [index for index, text in enumerate(texts.texts) if text.casefold() not in seen]
    return texts.select(torch.tensor(fresh, dtype=torch.int64))


class Bench:
    """The ways to a smaller network.

    Args:
        subject: what is pruned.
        work: rows of an earlier, killed run.
        settings: numbers of the run.
        reporter: told how it goes.
    """

    def __init__(self, subject: Subject, work: WorkFile, settings: Row, reporter: Reporter) -> None:
        self.subject, self._work, self._settings, self._reporter = subject, work, settings, reporter
        self._searched: dict[str, list[tuple[Genome, Row]]] = {}
        self._example = task_of(subject.task, subject.network, subject.judged, **self._task_numbers())

    def _task_numbers(self) -> dict[str, int]:
        return {"calibration": self._settings["calibration_texts"], "length": self._settings["flops_length"]}

    @functools.cached_property
    def job(self) -> Job:
        """What candidates are made and judged by."""
        options = SearchOptions.of(
            device="cpu",
            threads=torch.get_num_threads(),
            fitness="divergence",
            max_flops=max(BUDGETS.values()),
            population=self._settings["population"],
            seed=SEED,
        )
        own = Own(model=self.subject.network, task=self._example)
        return prepare_task(check_names(options, own), self._reporter)

    def before(self, way: str, budget: str) -> Row:
        """One network, as it is made."""
        found = self._work.row(f"{BEFORE} {way} {budget}", lambda: self._measured(way, budget))
        return {"way": way, "budget": budget, **found}

    def after(self, way: str, budget: str) -> Row:
        """The same after the short training."""
        return dict(self._work.row(f"{AFTER} {way} {budget}", lambda: self._trained(way, budget)))

    def original(self) -> str:
        """The original's calls on the test texts."""
        return str(self._work.row("original", lambda: packed(self.subject.predicted(self.subject.network))))

    def _measured(self, way: str, budget: str) -> Row:
        network = self._made(way, BUDGETS[budget])
        with torch.no_grad():
            judged = {"divergence": self._example.divergence(network), "search_f1": self._example.score(network)}
        return {
            "flops_share": count_flops(network, self._example.example) / self._whole,
            **{name: float(value) for name, value in judged.items()},
            "layers": shapes(network),
            BEFORE: packed(self.subject.predicted(network)),
        }

    def _trained(self, way: str, budget: str) -> Row:
        network, since = self._made(way, BUDGETS[budget]).requires_grad_(True), time.perf_counter()
        states = self._work.beside(f"{way} {budget}".replace(":", "-"))
        self.subject.trained(network, self._settings["train_texts"], states, self._reporter)
        seconds = round(time.perf_counter() - since, 1)
        return {"training_seconds": seconds, AFTER: packed(self.subject.predicted(network))}

    @functools.cached_property
    def _whole(self) -> int:
        return count_flops(self.subject.network, self._example.example)

    def _made(self, way: str, budget: float) -> nn.Module:
        if way == TAYLOR:
            return self._by_gradient(budget)
        genome = self._rung(budget) if way == LADDER else self._member(way, budget)
        with torch.no_grad():
            return self.job.evaluator.network(genome)

    def _rung(self, budget: float) -> Genome:
        space = rank(self.job.space)
        level = [1.0] * len(space.sections)
        bits = informed_member(space, budget, np.random.default_rng(SEED), exponents=level, within=True)
        return space.layout.pack(bits)

    def _member(self, algorithm: str, budget: float) -> Genome:
        if algorithm not in self._searched:
            self._searched[algorithm] = list(self._candidates(algorithm))
        within = [(told, genome) for genome, told in self._searched[algorithm] if told["flops_share"] <= budget]
        return min(within, key=lambda pair: (pair[0]["divergence"], pair[1].key))[1]

    def _candidates(self, name: str) -> Iterator[tuple[Genome, Row]]:
        job, settings = self.job, self._settings
        names = [objective.name for objective in job.objectives]
        algorithm = make_algorithm(
            name,
            job.space,
            objectives=len(names),
            population=settings["population"],
            seed=SEED,
            largest=largest_budget(job.evaluator),
        )
        spent = 0
        with self._reporter.task(f"search by {name}", settings["evaluations"]) as task:
            while spent < settings["evaluations"]:
                genomes = algorithm.ask()
                told = [self._judged(genome) for genome in genomes]
                yield from zip(genomes, told, strict=True)
                minimised = np.array([[row["minimised"][one] for one in names] for row in told])
                algorithm.tell(genomes, minimised, np.array([row["violation"] for row in told]))
                spent += len(genomes)
                task.advance(len(genomes))

    def _judged(self, genome: Genome) -> Row:
        def make() -> Row:
            with torch.no_grad():
                outcome = self.job.evaluator(genome)
            if outcome.failure is not None:
                raise RuntimeError(f"candidate {genome.key} failed: {outcome.failure}")
            shown = {name: outcome.values[name] for name in ("score", "divergence")} if outcome.values else {}
            return {
                "minimised": outcome.minimised,
                "violation": outcome.violation,
                "flops_share": outcome.values["flops"] / self.job.original.flops,
                **shown,
            }

        return dict(self._work.row(genome.key, make))

    def _by_gradient(self, budget: float) -> nn.Module:
        """As ``prune:taylor-global`` has it, with the largest share of heads and neurons that keeps to the budget."""
        network, low, high = self.subject.network, 0.0, 1.0
        found = without_least(network, self._ranked, low, GLOBAL)
        for _ in range(HALVINGS):
            keep = (low + high) / 2
            smaller = without_least(network, self._ranked, keep, GLOBAL)
            if count_flops(smaller, self._example.example) <= budget * self._whole:
                low, found = keep, smaller
            else:
                high = keep
        return found

    @functools.cached_property
    def _ranked(self) -> Any:
        task = self.subject.task
        batches = task.train_ids.batches(BATCH, task.drawn(IMPORTANCE))
        return importance(self.subject.network, [(inputs, task.labels[indices]) for indices, inputs in batches])


@dataclass(frozen=True)
class Paired:
    """Rows against each other, by test text.

    Attributes:
        labels: (N,) whether each text is positive.
        original: the original's calls.
        rows: of all ways and budgets.
    """

    labels: np.ndarray[Any, np.dtype[np.bool_]]
    original: str
    rows: list[Row]

    def told(self, row: Row) -> Row:
        """A row with what it has lost, and by how much it is ahead of the gradient's network of the same budget."""
        theirs = next(one for one in self.rows if (one["way"], one["budget"]) == (TAYLOR, row["budget"]))
        more = {
            when: {
                "lost": self._apart(self.original, row[when]),
                "ahead": self._apart(row[when], theirs[when]),
            }
            for when in (BEFORE, AFTER)
        }
        return {name: value for name, value in row.items() if name not in (BEFORE, AFTER)} | more

    def _apart(self, a: str, b: str) -> Row:
        return f1_difference(self.labels, *(unpacked(calls, len(self.labels)) for calls in (a, b)))


def figures_of(lines: list[Row]) -> dict[str, float]:
    """What the goals speak of."""
    found = {}
    for line in lines:
        if line["way"] != TUNED:
            continue
        lost, budget = line[BEFORE]["lost"], line["budget"]
        found |= {_lost(budget): lost["F1"], f"{_lost(budget)}, {UPPER}": lost["95%"][1]}
        for when in (BEFORE, AFTER):
            ahead, name = line[when]["ahead"], _ahead(budget, when)
            found |= {name: ahead["F1"], f"{name}, {LOWER}": ahead["95%"][0]}
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All ways at all budgets."""
    at_least(options, evaluations=1, population=4, train_texts=32, epochs=1, calibration_texts=4, threads=1)
    reporter = make_reporter()
    settings: Row = {name: getattr(options, name) for name in QUICK} | (QUICK if options.quick else {})
    with pinned(options.threads):
        subject = load_subject(options, reporter)
        name = Path(options.data).stem
        code = "".join(code_digest(package) for package in ("prune", "evolve", "text"))
        work = WorkFile(options.output / f".text_search-{name}.jsonl", subject.identity | settings | {"code": code})
        bench = Bench(subject, work, settings, reporter)
        original, rows = bench.original(), _all_rows(bench, (LADDER, TAYLOR, *options.searches), reporter)
    labels = subject.task.data.test.labels.numpy() == 1
    paired = Paired(labels, original, rows)
    lines = [paired.told(row) for row in rows]
    nothing = np.zeros_like(labels)
    return {
        "data": name,
        "device": "cpu",
        DONE: work.remove,
        "threads": options.threads,
        "settings": settings | {"subject": subject.identity},
        "figures": figures_of(lines),
        "original_f1": f1_difference(labels, unpacked(original, len(labels)), nothing)["F1"],
        "rows": lines,
    }


def _all_rows(bench: Bench, ways: Sequence[str], reporter: Reporter) -> list[Row]:
    """All networks as they are made, then all of them trained."""
    rows, networks = [], [(way, budget) for way in ways for budget in BUDGETS]
    with reporter.task("networks", 2 * len(networks)) as task:
        for way, budget in networks:
            rows.append(bench.before(way, budget))
            task.advance(1, network=f"{way} at {budget}", F1=f"{rows[-1]['search_f1']:.4f}")
        for row in sorted(rows, key=lambda row: row["way"] not in (TUNED, TAYLOR)):  # what goals speak of comes first
            row |= bench.after(row["way"], row["budget"])
            task.advance(1, trained=f"{row['way']} at {row['budget']}")
    return rows


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which texts and encoder, how long it searches and trains."""
    parser.add_argument("--data", default="sst2", help="sst2, sms-spam or a file of labelled texts")
    parser.add_argument("--data-dir", type=Path, help="folder with the files of sst2 or sms-spam")
    parser.add_argument("--search-file", type=Path, help="labelled texts to search by; none holds out training texts")
    parser.add_argument("--search-texts", type=int, default=500, help="how many of these, at most")
    parser.add_argument("--encoder", default=PAPER, help="a BERT: a folder or a name on the hub")
    parser.add_argument("--epochs", type=int, default=2, help="of the original's fine-tuning")
    parser.add_argument("--lr", type=float, default=5e-5, help="peak learning rate, of all trainings")
    parser.add_argument("--max-length", type=int, default=128, help="tokens that a text keeps")
    parser.add_argument("--flops-length", type=int, default=32, help="tokens of the text whose FLOPs are counted")
    parser.add_argument("--calibration-texts", type=int, default=512, help="training texts for covariances")
    parser.add_argument(
        "--searches", nargs="+", choices=SEARCHES, default=SEARCHES, help="algorithms, tuned among them"
    )
    parser.add_argument("--evaluations", type=int, default=48, help="candidates of each search")
    parser.add_argument("--population", type=int, default=8, help="candidates of a generation")
    parser.add_argument("--train-texts", type=int, default=640, help="of the short training")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--work", type=Path, default=Path("runs/text_search"), help="keeps the fine-tuned original")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
