"""What a task's functions are handed, and what their answers become."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gaprune.evaluate.scored import Scored, divergence_objective, score_objective
from gaprune.prune import Inputs, tensors_in
from gaprune.tasks import judge


def test_a_score_sees_eval_mode_no_gradients_and_the_same_random_numbers_each_time() -> None:
    network = nn.Linear(2, 1).train()
    seen = []

    def score(net: nn.Module) -> Tensor:
        seen.append((net.training, torch.is_grad_enabled()))
        return torch.rand(())

    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = judge(network, score)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert judge(network, score) == found
    assert seen == [(False, False)] * 2


class Candidate:
    """All that the objectives of a task ask for."""

    def __init__(self, score: float, divergence: float | None = None) -> None:
        self.score, self.divergence = score, divergence


def test_what_is_minimised_is_the_share_of_what_there_is_to_lose() -> None:
    objective = score_objective(original=-0.5, smallest=-4.5)
    assert [objective.minimised(Candidate(score)) for score in (-0.5, -2.5, -4.5, 0.5)] == [0.0, 0.5, 1.0, -0.25]  # type: ignore[arg-type]
    assert objective.value(Candidate(-2.5)) == -2.5  # type: ignore[arg-type]
    apart = divergence_objective(smallest=4.0)
    assert apart.minimised(Candidate(0.0, 1.0)) == 0.25  # type: ignore[arg-type]


def test_a_smallest_network_that_is_no_worse_leaves_a_scale_that_ranks_alike() -> None:
    for smallest in (0.8, 0.9, float("nan"), float("-inf")):
        objective = score_objective(original=0.8, smallest=smallest)
        worse, better = (objective.minimised(Candidate(score)) for score in (0.2, 0.6))  # type: ignore[arg-type]
        assert 0 < better < worse < float("inf")


def test_a_measurement_is_logged_by_the_names_of_objectives() -> None:
    assert Scored(0.5).values() == {"score": 0.5}
    assert Scored(0.5, divergence=0.1).values() == {"score": 0.5, "divergence": 0.1}


@dataclass
class Output:
    """As ``ModelOutput`` is."""

    logits: Tensor
    hidden: tuple[Tensor, ...] | None = None
    loss: float = 0.0


def test_tensors_are_found_in_tuples_lists_mappings_and_data_classes() -> None:
    a, b, c, d = torch.arange(8.0).split(2)
    output = OrderedDict(first=Output(a, (b,)), rest=[c, {"x": (d, None)}, "text"])
    assert [tuple(one.tolist()) for one in tensors_in(output)] == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert tensors_in(Output) == tensors_in(3) == []


def test_inputs_are_called_by_position_and_by_name() -> None:
    class Called(nn.Module):
        def forward(self, *given: object, **named: object) -> tuple[object, object]:
            return given, named

    x, y = torch.ones(3, 2), torch.zeros(3)
    assert Inputs.of(x, "it")(Called()) == ((x,), {})
    assert Inputs.of((x, 2), "it")(Called()) == ((x, 2), {})
    assert Inputs.of({"x": x, "at": [y]}, "it")(Called()) == ((), {"x": x, "at": [y]})


def test_samples_are_taken_over_again_where_there_are_too_few() -> None:
    inputs = Inputs.of((torch.tensor([1, 2]), [torch.tensor([[3.0], [4.0]])]), "it")
    assert [one.tolist() for one in inputs.first(3).tensors()] == [[1, 2, 1], [[3.0], [4.0], [3.0]]]
    assert len(inputs) == 2
    assert str(inputs) == "2, 2x1"


def test_floating_tensors_that_are_the_same_everywhere_are_varied_for_the_check() -> None:
    inputs = Inputs.of((torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), torch.tensor([1.0, 2.0])), "it")
    zeros, ids, values = inputs.varied().tensors()
    assert len(zeros.unique()) == 6
    assert ids.tolist() == [0, 0]
    assert values.tolist() == [1.0, 2.0]
