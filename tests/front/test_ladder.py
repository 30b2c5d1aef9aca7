"""The ladder beside a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tiny_networks import SHAPE, chain

from gaprune.front import save_ladder
from gaprune.options import SearchOptions
from gaprune.prune.cut.costs import cost_model
from gaprune.prune.graph.graph import build_graph
from gaprune.prune.rank.importance import l2
from gaprune.prune.space import PruningSpace
from gaprune.runs import RunDirectory, read_ladder


def test_its_budgets_are_flops_even_where_genomes_are_priced_by_time(tmp_path: Path) -> None:
    model = chain().eval()
    graph = build_graph(model, SHAPE)
    costs, worth = cost_model(model, graph, SHAPE), l2(model, graph)
    found = []
    for name, price in (("flops", None), ("time", lambda masks: 0.9)):
        job: Any = SimpleNamespace(space=PruningSpace(graph, costs, worth, price=price), options=SearchOptions())
        with RunDirectory.create(tmp_path / name, {}) as run:
            save_ladder(job, run)
        found.append(read_ladder(tmp_path / name / "ladder.csv"))
    assert found[0] == found[1]
    assert found[0].shares[-1] == 1.0
