from __future__ import annotations

import argparse
import copy

import pytest
import torch

from benchmarks.subjects import Subject

pytest.importorskip("torch_pruning")

from benchmarks.oneshot import Bench, WorkFile, peer_sweep
from benchmarks.torch_pruning_peer import SCOPES, TOLERANCE, Planner, criteria, pruned, score
from gaprune.progress import SILENT
from gaprune.prune.cut.costs import count_flops

CRITERIA = {criterion.name: criterion for criterion in criteria()}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("budget", [0.5, 0.1])
def test_the_package_prunes_what_the_plan_said(subject: Subject, scope: str, budget: float) -> None:
    scores = score(subject, CRITERIA["group L2 norm"])
    planner = Planner(subject, scores, scope)
    ratio = planner.ratio(budget)
    assert ratio is not None
    assert planner.share(ratio) <= budget
    network = pruned(subject, scores, scope, ratio)
    assert count_flops(network, subject.data.image_shape) == round(planner.share(ratio) * subject.flops())


def test_a_plan_lies_within_the_tolerance_where_single_channels_are_small(subject: Subject) -> None:
    planner = Planner(subject, score(subject, CRITERIA["LAMP"]), "global")
    ratio = planner.ratio(0.5)
    assert ratio is not None
    assert 0.5 * (1 - 2 * TOLERANCE) <= planner.share(ratio) <= 0.5


@pytest.mark.parametrize("name", [name for name in CRITERIA if name != "OBD-C"])
def test_every_criterion_scores_every_group_and_leaves_the_original_alone(subject: Subject, name: str) -> None:
    before = copy.deepcopy(subject.model.state_dict())
    scores = score(subject, CRITERIA[name])
    sizes = sorted(len(found) for found in scores.known.values() if found is not None)
    assert sizes == sorted(group.size for group in subject.graph.groups)
    assert all(torch.equal(tensor, before[key]) for key, tensor in subject.model.state_dict().items())
    assert all(parameter.grad is None for parameter in subject.model.parameters())


def test_squared_gradients_are_those_of_single_images(subject: Subject) -> None:
    plain, squared = (score(subject, CRITERIA[name]) for name in ("Taylor", "Hessian"))
    assert all((found >= 0).all() for found in squared.known.values() if found is not None)
    assert any(not torch.equal(plain.known[root], squared.known[root]) for root in squared.known)


def test_a_criterion_that_fails_is_a_row_with_its_reason(subject: Subject, tmp_path: argparse.Namespace) -> None:
    def fail(classes: int) -> None:
        raise TypeError("not for this network")

    broken = type(CRITERIA["LAMP"])("broken", fail)
    bench = Bench(subject, WorkFile(tmp_path / "work.jsonl", {}), [broken])
    with SILENT.task("sweep", 3) as task:
        rows = peer_sweep(bench, (0.5,), task)
    assert [row["scope"] for row in rows] == list(SCOPES)
    assert {row["failure"] for row in rows} == {"TypeError: not for this network"}
