from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_networks import SHAPE, chain, space_of
from torch import Tensor, nn

from gaprune.data.images import ImageSet, normalise
from gaprune.evaluate import (
    Answers,
    Candidate,
    Evaluator,
    FitnessTask,
    Floor,
    LocalBackend,
    Objective,
    Outcome,
    Polish,
    is_timed,
    resolve_objectives,
)
from gaprune.genome import Genome
from gaprune.options import SearchOptions
from gaprune.prune.compensate.polish import Polisher
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.graph.graph import build_graph
from gaprune.prune.norms.recalibration import kept_anchors, recalibrate, take_anchors
from gaprune.prune.space import PruningSpace
from gaprune.session.timing import judges_latency

MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 70.0)


def image_set(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.randint(0, 3, (count,), generator=generator))


TASK = FitnessTask(search=image_set(20, 0), calibration=image_set(12, 1), mean=MEAN, std=STD, classes=3, batch_size=8)


def made(
    objectives: tuple[str | Objective, ...] = ("accuracy", "flops"),
    model: nn.Module | None = None,
    task: FitnessTask = TASK,
    **options: Any,
) -> Evaluator:
    torch.manual_seed(0)
    model = model or chain().eval()
    space = space_of(model, build_graph(model, SHAPE), **options)
    return Evaluator(model, space, task, resolve_objectives(objectives))


def test_with_anchors_fitness_and_what_is_handed_out_are_anchored() -> None:
    plain = made(("accuracy", "loss"))
    torch.manual_seed(0)
    model = chain().eval()
    graph, space = plain.space.graph, plain.space
    anchors = take_anchors(model, TASK.calibration, MEAN, STD, batch_size=8)
    evaluator = Evaluator(model, space, TASK, plain.objectives, anchors=anchors)
    chosen = genome(space, 1, 4, 8)
    network = Compactor(model, graph)(space.masks(chosen))
    kept = kept_anchors(anchors, graph, space.masks(chosen))
    recalibrate(network, TASK.calibration, MEAN, STD, batch_size=8, anchors=kept)
    loss = evaluator.measure(network, TASK.search).loss
    assert evaluator(chosen).values["loss"] == pytest.approx(loss, rel=1e-5)
    assert evaluator.measure(evaluator.network(chosen), TASK.search).loss == pytest.approx(loss, rel=1e-6)
    assert plain(chosen).values["loss"] != pytest.approx(loss, rel=1e-3)
    whole = evaluator.measure(model, TASK.search).loss
    assert evaluator(space.full()).values["loss"] == pytest.approx(whole, rel=1e-5)


def test_candidates_with_masked_kernels_are_not_polished() -> None:
    """Polish leaves such layers, and batch norm behind them, as they are cut."""
    plain = made(("accuracy", "loss"), genes="both")
    bits = plain.space.layout.unpack(plain.space.full())
    bits[-20::3] = False
    chosen = plain.space.layout.pack(plain.space.repair(bits))
    assert plain.space.masks(chosen).kernels
    torch.manual_seed(0)
    evaluator = Evaluator(chain().eval(), plain.space, TASK, plain.objectives, polish=Polish(1.1, lambda *given: 1 / 0))
    assert evaluator(chosen).values["loss"] == plain(chosen).values["loss"]


@pytest.mark.parametrize(("gone", "small"), [((1, 4, 8), True), ((), False)])
def test_small_candidates_are_judged_polished_and_not_recalibrated_after_it(gone: tuple[int, ...], small: bool) -> None:
    """By hand: as a front's polished member is made."""
    plain = made(("accuracy", "loss"))
    torch.manual_seed(0)
    model, space = chain().eval(), plain.space
    polisher = Polisher(model, space.graph, TASK.calibration, MEAN, STD, batch_size=8)
    evaluator = Evaluator(model, space, TASK, plain.objectives, polish=Polish(0.999, polisher))
    chosen = genome(space, *gone)
    masks = space.masks(chosen)
    network = Compactor(model, space.graph)(masks)
    polisher(network, masks)
    polished = evaluator.measure(network, TASK.search).loss
    assert (evaluator(chosen).values["loss"] == pytest.approx(polished, rel=1e-5)) == small
    assert (evaluator(chosen).values["loss"] == plain(chosen).values["loss"]) != small
    assert evaluator.measure(evaluator.network(chosen), TASK.search).loss == pytest.approx(
        plain(chosen).values["loss"], rel=1e-5
    ), "what a front is built of is told apart by whoever builds it"


def genome(space: PruningSpace, *gone: int) -> Genome:
    bits = space.layout.unpack(space.full())
    bits[list(gone)] = False
    return space.layout.pack(space.repair(bits))


def test_an_outcome_is_the_compact_network_recalibrated_and_measured_on_the_search_set() -> None:
    """By hand, without the evaluator."""
    evaluator = made(("accuracy", "loss", "flops"))
    chosen = genome(evaluator.space, 1, 4, 8)
    torch.manual_seed(0)
    model = chain().eval()
    network = Compactor(model, evaluator.space.graph)(evaluator.space.masks(chosen))
    recalibrate(network, TASK.calibration, MEAN, STD, batch_size=8)
    with torch.no_grad():
        logits = network(normalise(TASK.search.images, MEAN, STD))
    outcome = evaluator(chosen)
    accuracy = float((logits.argmax(1) == TASK.search.labels).double().mean())
    loss = float(nn.functional.cross_entropy(logits, TASK.search.labels))
    costs = evaluator.space.costs(evaluator.space.masks(chosen))
    assert outcome.failure is None
    assert outcome.key == chosen.key
    assert outcome.values["accuracy"] == accuracy
    assert outcome.values["loss"] == pytest.approx(loss, rel=1e-5)
    assert (outcome.values["flops"], outcome.values["params"], outcome.values["size"]) == (
        costs.flops,
        costs.params,
        costs.size,
    )
    assert outcome.minimised == {
        "accuracy": 1 - accuracy,
        "loss": outcome.values["loss"] / math.log(3),
        "flops": costs.flops / evaluator.original.flops,
    }


def test_the_original_costs_everything() -> None:
    evaluator = made(("flops", "params", "size"))
    outcome = evaluator(evaluator.space.full())
    assert outcome.minimised == {"flops": 1.0, "params": 1.0, "size": 1.0}


def test_folding_changes_a_fitness_by_rounding_alone() -> None:
    folded, unfolded = made(("accuracy", "loss")), made(("accuracy", "loss"))
    unfolded.norms = ()
    assert len(folded.norms) == 2
    for gone in ((1, 4), (8, 9, 10), ()):
        chosen = genome(folded.space, *gone)
        with_norms, without = unfolded(chosen), folded(chosen)
        assert without.values["loss"] == pytest.approx(with_norms.values["loss"], rel=1e-5)
        assert abs(without.values["accuracy"] - with_norms.values["accuracy"]) <= 1 / 20


def dtypes_seen(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> set[torch.dtype]:
    """Of what convolutions give, meanwhile."""
    seen = set()
    forward = nn.Conv2d.forward

    def watched(self: nn.Conv2d, x: Tensor) -> Tensor:
        out = forward(self, x)
        seen.add(out.dtype)
        return out

    with monkeypatch.context() as patch:
        patch.setattr(nn.Conv2d, "forward", watched)
        assert evaluator(evaluator.space.full()).failure is None
    return seen


def test_half_precision_is_for_fitness_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    half, single = made(task=replace(TASK, half=True)), made()
    assert dtypes_seen(half, monkeypatch) == {torch.bfloat16}
    assert dtypes_seen(single, monkeypatch) == {torch.float32}
    chosen = genome(half.space, 1, 4)
    handed_out = half.network(chosen)
    assert all(torch.equal(a, b) for a, b in zip(state(handed_out), state(single.network(chosen)), strict=True))
    assert half.measure(handed_out, TASK.search) == single.measure(handed_out, TASK.search)
    assert half(chosen).values["flops"] == single(chosen).values["flops"]


def state(network: nn.Module) -> list[Tensor]:
    return list(network.state_dict().values())


def test_half_precision_moves_the_loss_a_little() -> None:
    half, single = made(("loss", "flops"), task=replace(TASK, half=True)), made(("loss", "flops"))
    chosen = genome(half.space, 1, 4)
    difference = half(chosen).values["loss"] - single(chosen).values["loss"]
    assert 0 < abs(difference) < 0.02


def test_the_network_handed_out_has_its_norms_and_the_fitness_measured() -> None:
    evaluator = made(("accuracy", "loss"))
    chosen = genome(evaluator.space, 1, 4)
    network = evaluator.network(chosen)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 2
    assert evaluator.measure(network, TASK.search).loss == pytest.approx(evaluator(chosen).values["loss"], rel=1e-5)


def test_a_candidate_below_its_floor_is_a_bound_and_has_no_loss() -> None:
    evaluator = made()
    chosen = genome(evaluator.space, 1, 4)
    whole = evaluator(chosen)
    for floor in (whole.values["accuracy"], whole.values["accuracy"] / 2, 0.0):
        assert replace(evaluator(chosen, Floor(floor)), seconds=0) == replace(whole, seconds=0)
    stopped = evaluator(chosen, Floor(1.0))
    assert stopped.bound
    assert stopped.failure is None
    assert whole.values["accuracy"] <= stopped.values["accuracy"] < 1.0
    assert stopped.minimised == whole.minimised | {"accuracy": 1 - stopped.values["accuracy"]}
    assert set(stopped.values) == {"accuracy", "flops", "params", "size"}


def test_a_network_that_yields_no_number_fails_even_when_it_would_be_stopped() -> None:
    evaluator = made(model=Fragile(lambda out: out * math.nan).eval())
    assert evaluator(genome(evaluator.space, 1), Floor(1.0)).failure == "loss is not finite"


def test_prices_are_what_the_outcome_says_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = made(("accuracy", "flops", "size"))
    chosen = genome(evaluator.space, 1, 4)
    outcome = evaluator(chosen)
    monkeypatch.setattr(evaluator, "fitness", raising(AssertionError()))
    assert evaluator.prices(chosen) == {name: outcome.minimised[name] for name in ("flops", "size")}


def test_an_objective_that_measures_though_it_says_costs_only_has_no_price() -> None:
    liar = Objective("liar", "a test's own", *[lambda c: c.measured.loss] * 2, costs_only=True)
    evaluator = made(("accuracy", liar))
    with pytest.raises(RuntimeError, match="asks for a measurement"):
        evaluator.prices(evaluator.space.full())
    assert evaluator(evaluator.space.full()).failure is None


def test_the_same_genome_gives_the_same_numbers_whatever_was_evaluated_between() -> None:
    evaluator = made(("accuracy", "loss", "flops"), genes="both")
    first, other = genome(evaluator.space, 1, 4, 20), genome(evaluator.space, 2, 9, 40)
    before = evaluator(first)
    evaluator(other)
    torch.randn(5)  # the global generator moves on
    after = evaluator(first)
    assert replace(before, seconds=0) == replace(after, seconds=0)
    assert replace(before, seconds=0) == replace(made(("accuracy", "loss", "flops"), genes="both")(first), seconds=0)


def test_evaluating_leaves_the_original_as_it_was() -> None:
    model = chain()
    evaluator = made(model=model.eval())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluator(genome(evaluator.space, 1, 2))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_nothing_is_measured_when_no_objective_asks() -> None:
    """Labels that no network could be measured on are never looked at."""
    task = replace(TASK, search=ImageSet(TASK.search.images, torch.full((20,), 99)))
    outcome = made(("flops", "params"), task=task)
    assert outcome(outcome.space.full()).failure is None
    assert "accuracy" not in outcome(outcome.space.full()).values


def raising(error: Exception) -> Callable[[Candidate], float]:
    def value(candidate: Candidate) -> float:
        raise error

    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (raising(RuntimeError("it broke\nhere")), "RuntimeError: it broke"),
        (raising(torch.OutOfMemoryError("CUDA out of memory. Tried")), "OutOfMemoryError: CUDA out of memory. Tried"),
        (raising(MemoryError()), "MemoryError: MemoryError"),
        (raising(ZeroDivisionError("division by zero")), "ZeroDivisionError: division by zero"),
        (raising(TypeError("of a foreign objective")), "TypeError: of a foreign objective"),
        (raising(AssertionError()), "AssertionError: AssertionError"),
        (raising(KeyError("x")), "KeyError: 'x'"),
        (lambda c: math.nan, "odd is not finite"),
        (lambda c: math.inf, "odd is not finite"),
        (lambda c: -math.inf, "odd is not finite"),
    ],
)
@pytest.mark.parametrize("part", ["value", "minimised"])
def test_a_candidate_that_raises_or_has_no_number_is_failed_with_the_reason_in_one_line(
    value: Callable[[Candidate], float], reason: str, part: str
) -> None:
    functions = {"value": lambda c: 1.0, "minimised": lambda c: 1.0} | {part: value}
    evaluator = made(("flops", Objective("odd", "a test's own", **functions)))
    chosen = evaluator.space.full()
    outcome = evaluator(chosen)
    assert outcome.failure == reason
    assert (outcome.key, outcome.values, outcome.minimised) == (chosen.key, {}, {})
    assert outcome.seconds >= 0


class Fragile(nn.Module):
    """Its forward breaks, or yields NaN, once the first convolution has lost a channel."""

    def __init__(self, break_down: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner = chain()
        self.break_down = break_down

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out if self.inner.conv1.weight.shape[0] == 6 else self.break_down(out)


def no_memory(out: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("break_down", "reason"),
    [(lambda out: out * math.nan, "loss is not finite"), (no_memory, "OutOfMemoryError: CUDA out of memory")],
)
def test_a_network_that_breaks_down_fails_alone(break_down: Callable[[Tensor], Tensor], reason: str) -> None:
    evaluator = made(model=Fragile(break_down).eval())
    assert evaluator(genome(evaluator.space, 1)).failure == reason
    assert evaluator(genome(evaluator.space, 7)).failure is None


def test_an_interrupt_is_no_failure_of_a_candidate() -> None:
    def interrupted(candidate: Candidate) -> float:
        raise KeyboardInterrupt

    evaluator = made(("flops", Objective("odd", "a test's own", interrupted, interrupted)))
    with pytest.raises(KeyboardInterrupt):
        evaluator(evaluator.space.full())


def outcome_of(chosen: Genome) -> Outcome:
    return Outcome(chosen.key, {}, {}, 0.0)


def test_the_local_backend_keeps_the_order_and_evaluates_one_by_one() -> None:
    genomes = [Genome(bytes([index])) for index in (3, 1, 2, 1)]
    seen: list[Genome] = []

    def evaluate(chosen: Genome, floor: Floor) -> Outcome:
        assert floor == Floor()
        seen.append(chosen)
        return outcome_of(chosen)

    backend = LocalBackend(evaluate, threads=1)
    results = backend.evaluate(genomes)
    assert next(results) == (0, outcome_of(genomes[0]))
    assert len(seen) == 1  # the next is not begun before it is asked for
    assert [index for index, _ in results] == [1, 2, 3]
    assert seen == genomes
    assert list(backend.evaluate([])) == []
    backend.close()
    backend.close()


def test_the_local_backend_hands_each_genome_its_floor() -> None:
    genomes = [Genome(bytes([index])) for index in (3, 1)]
    backend = LocalBackend(lambda chosen, floor: Outcome(chosen.key, {"floor": floor.accuracy}, {}, 0.0), threads=1)
    found = [outcome.values["floor"] for _, outcome in backend.evaluate(genomes, [Floor(0.25), Floor(0.75)])]
    assert found == [0.25, 0.75]


def test_the_local_backend_pins_threads_and_puts_them_back_even_after_an_error() -> None:
    before = torch.get_num_threads()
    during: list[int] = []

    def evaluate(chosen: Genome, floor: Floor) -> Outcome:
        during.append(torch.get_num_threads())
        if chosen.packed == b"x":
            raise KeyboardInterrupt
        return outcome_of(chosen)

    backend = LocalBackend(evaluate, threads=before + 1)
    between = [torch.get_num_threads() for _ in backend.evaluate([Genome(b"a"), Genome(b"b")])]
    with pytest.raises(KeyboardInterrupt):
        list(backend.evaluate([Genome(b"x")]))
    assert during == [before + 1] * 3
    assert between == [before] * 2
    assert torch.get_num_threads() == before


def with_answers(*objectives: str, temperature: float = 1.0) -> Evaluator:
    torch.manual_seed(0)
    model = chain().eval()
    answers = Answers.of(model, TASK.search, MEAN, STD, batch_size=8, temperature=temperature)
    return made(objectives, model, replace(TASK, answers=answers))


def test_divergence_is_measured_beside_accuracy_where_the_originals_answers_are_known() -> None:
    evaluator = with_answers("divergence", "flops", temperature=2.0)
    chosen = genome(evaluator.space, 1, 4, 8)
    outcome = evaluator(chosen)
    network = evaluator.network(chosen)
    found = evaluator.searched(network)
    assert found.divergence is not None
    assert outcome.values["divergence"] == pytest.approx(found.divergence, rel=1e-4)
    assert outcome.minimised["divergence"] == pytest.approx(found.divergence / math.log(3), rel=1e-4)
    assert outcome.values["accuracy"] == found.accuracy
    assert found.divergence > 0
    assert Outcome.from_record(outcome.record()) == outcome
    assert evaluator.judge(chosen, found, network)[0]["divergence"] == found.divergence


def test_divergence_without_answers_is_a_failure_that_says_so() -> None:
    evaluator = made(("divergence", "flops"))
    outcome = evaluator(genome(evaluator.space, 1))
    assert outcome.failure == "RuntimeError: divergence needs the original's answers, and the task has none"


def test_a_bound_has_no_divergence() -> None:
    evaluator = with_answers("accuracy", "flops")
    outcome = evaluator(genome(evaluator.space, *range(8)), Floor(0.999))
    assert outcome.bound
    assert "divergence" not in outcome.values


def test_a_callers_own_objective_may_be_called_latency_and_nothing_is_timed_for_it() -> None:
    own = Objective("latency", "a caller's own", lambda c: 7.0, lambda c: 0.5)
    assert [is_timed(one) for one in (*resolve_objectives(("accuracy", "latency")), own)] == [False, True, False]
    evaluator = made(("accuracy", own))
    outcome = evaluator(evaluator.space.full())
    assert (outcome.failure, outcome.values["latency"], outcome.minimised["latency"]) == (None, 7.0, 0.5)
    assert not judges_latency(SearchOptions(), evaluator.objectives)
    clock: Any = Counting()
    evaluator.clock = clock
    evaluator.remember(outcome)  # of a log, where the front alone is timed


class Counting:
    """A clock that is not asked."""

    counts = False
    conditions = reference = __call__ = None
