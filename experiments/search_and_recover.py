"""Does it pay to search, recover and search again? Two or more iterations against one search of as many evaluations.

Claim: members of a search that prunes a recovered network (a member of an earlier search, trained on with the original
as teacher) are better than those of a single search from the original, at the same number of evaluations; and they
still are when the single search's members are fine-tuned for as many more epochs as the recoveries took.

Both sides: the same network, images, population, polish and seed. At each budget of FLOPs the member that is best on
the search images; its accuracy on test images, which nothing is chosen by. The recoveries' epochs count in full against
every one of the iterated side's members, though one recovery serves them all, and their images are of smaller networks.

    python experiments/search_and_recover.py --model resnet18 --stem imagenet --data-dir DIR

Stopped, it goes on when the command is given again.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.harness import Goal, at_least, run
from benchmarks.running import Setting, add_arguments, markdown, members_within, setting
from gaprune.commands.search import SearchResult
from gaprune.evolve import hypervolume
from gaprune.progress import make_reporter
from gaprune.runs import FrontRow, read_manifest

BUDGETS = (0.25, 0.1, 0.05)
LEAST = 2
"""Iterations that make a comparison."""

QUICK = {"iterations": 2, "iteration_epochs": 1, "epochs": 1, "population": 6, "generations": 2}
FULL = {"iterations": 2, "iteration_epochs": 5, "epochs": 5, "population": 24, "generations": 6}

ITERATED, ONCE = "iterated", "one search"

GAIN = "hypervolume over one search of as many evaluations"
PRUNED = "test accuracy over one search, before fine-tuning, mean of budgets"
TUNED = "test accuracy over one search, fine-tuned for as many epochs, mean of budgets"
NETWORKS = ("vgg16", "resnet18-imagenet")
GOALS = tuple(
    Goal(f"{network}: {figure}", ">=", 0.0, unit)
    for network in NETWORKS
    for figure, unit in ((GAIN, "of the unit square"), (PRUNED, "points"), (TUNED, "points"))
)

Row = dict[str, Any]


def searches(here: Setting, settings: Row) -> tuple[dict[str, SearchResult], list[dict[str, str]]]:
    """Both sides' runs, of as many generations as the iterated one had in the end, and its table of iterations."""
    sizes = {"population": settings["population"], "polish": True}
    again = {name: settings[name] for name in ("iterations", "iteration_epochs", "generations")}
    iterated = here.search("iterated", **again, **sizes)
    with (iterated.path / "iterations.csv").open() as lines:
        table = list(csv.DictReader(lines))
    once = here.search("one-search", generations=len(table) * settings["generations"], **sizes)
    return {ITERATED: iterated, ONCE: once}, table


def evaluations(result: SearchResult) -> int:
    """Candidates that a run evaluated."""
    count: int = read_manifest(result.path)["evaluations"]
    return count


def volume(result: SearchResult) -> float:
    """Hypervolume of a front as its search left it: error on the search images and share of FLOPs, up to (1, 1)."""
    plain = [row.untrained() for row in result.rows]
    return hypervolume(np.array([(1 - row.search_accuracy, row.flops_share) for row in plain]), (1.0, 1.0))


def rows_of(here: Setting, name: str, result: SearchResult, epochs: int) -> list[Row]:
    """The best member within each budget, before and after fine-tuning."""
    rules = [f"flops<={budget}" for budget in BUDGETS]
    within = [rule for rule, row in members_within(result.rows, rules).items() if row is not None]
    if within:
        result = here.finetune(result, ",".join(within), epochs=epochs)
    found = members_within(result.rows, rules)
    return [
        _row(here, name, budget, result, member, epochs)
        for budget, rule in zip(BUDGETS, rules, strict=True)
        if (member := found[rule]) is not None
    ]


def _row(here: Setting, name: str, budget: float, result: SearchResult, member: FrontRow, epochs: int) -> Row:
    training = [one for one in here.trainings(result.path, member) if one["epochs"] == epochs][-1]
    return {
        "side": name,
        "budget": budget,
        "flops_share": member.flops_share,
        "params": member.params,
        "search_accuracy_before_training": member.untrained().search_accuracy,
        "test_accuracy_before_training": member.untrained().test_accuracy,
        "epochs": epochs,
        "test_accuracy": training["test_accuracy"],
        "training_seconds": training["seconds"],
    }


def figures_of(network: str, iterations: int, volumes: dict[str, float], rows: Sequence[Row]) -> dict[str, float]:
    """The figures that goals speak of; of accuracies none where a side has no member within one of the budgets.

    Args:
        network: its name.
        iterations: that took place; one alone is the same search on both sides.
        volumes: hypervolume by side.
        rows: of both sides.
    """
    if iterations < LEAST:
        return {}
    sides = {name: {row["budget"]: row for row in rows if row["side"] == name} for name in (ITERATED, ONCE)}
    both = sorted(sides[ITERATED].keys() & sides[ONCE].keys())

    def ahead(column: str) -> float:
        return 100 * statistics.mean(sides[ITERATED][b][column] - sides[ONCE][b][column] for b in both)

    figures = {f"{network}: {GAIN}": round(volumes[ITERATED] - volumes[ONCE], 5)}
    if both == sorted(BUDGETS):
        figures[f"{network}: {PRUNED}"] = round(ahead("test_accuracy_before_training"), 3)
        figures[f"{network}: {TUNED}"] = round(ahead("test_accuracy"), 3)
    return figures


def report(here: Setting, volumes: dict[str, float], table: list[dict[str, str]], rows: Sequence[Row]) -> str:
    """Both sides as Markdown, and the gain of each iteration."""
    names = list(table[0])
    turned = [[name.replace("_", " "), *(row[name] for row in table)] for name in names[1:]]
    iterations = markdown(["iteration", *(row["iteration"] for row in table)], turned)
    headings = ["budget, FLOPs", "side", "test accuracy before training", "after", "epochs", "training seconds"]
    lines = [
        [
            f"{row['budget']:.0%}",
            row["side"],
            f"{row['test_accuracy_before_training']:.4f}",
            f"{row['test_accuracy']:.4f}",
            row["epochs"],
            round(row["training_seconds"], 1),
        ]
        for row in sorted(rows, key=lambda row: (-row["budget"], row["side"]))
    ]
    return f"""# {here.name} on {here.data}: search, recover, search again

Hypervolume (error on the search images, share of FLOPs, up to 1 each): iterated {volumes[ITERATED]:.4f}, one search of
as many evaluations {volumes[ONCE]:.4f}.

{markdown(headings, lines)}

{_missing(rows)}What each iteration gained:

{iterations}
"""


def _missing(rows: Sequence[Row]) -> str:
    there = {(row["side"], row["budget"]) for row in rows}
    wanted = [(side, budget) for side in (ITERATED, ONCE) for budget in BUDGETS]
    lacking = [f"{side} at {budget:.0%}" for side, budget in wanted if (side, budget) not in there]
    return f"No member within the budget: {', '.join(lacking)}.\n\n" if lacking else ""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both searches, then fine-tuning."""
    at_least(options, **dict.fromkeys(FULL, 1) | {"iterations": LEAST}, epoch_images=2)
    here = setting(options, "search-and-recover", make_reporter())
    settings: Row = dict(QUICK) if options.quick else {name: getattr(options, name) for name in FULL}
    found, table = searches(here, settings)
    volumes = {name: volume(result) for name, result in found.items()}
    recoveries = settings["iteration_epochs"] * (len(table) - 1)
    epochs = {ITERATED: settings["epochs"], ONCE: settings["epochs"] + recoveries}
    rows = [row for name, result in found.items() for row in rows_of(here, name, result, epochs[name])]
    text = report(here, volumes, table, rows)
    print(text)
    manifest = read_manifest(found[ONCE].path)
    device = "cuda" if manifest["device"].startswith("cuda") else manifest["device"]
    options.output.mkdir(parents=True, exist_ok=True)
    suffix = "-quick" if options.quick else ""
    (options.output / f"search_and_recover-{here.name}-{here.data}-{device}{suffix}.md").write_text(text)
    return {
        "data": f"{here.name}-{here.data}",
        "device": device,
        "threads": manifest["threads"],
        "settings": settings
        | {"identity": manifest["identity"], "splits": manifest["data"]["splits"]}
        | {"epoch_images": here.epoch_images},
        "versions": here.versions(),
        "figures": figures_of(here.name, len(table), volumes, rows),
        "hypervolume": volumes,
        "evaluations": {name: evaluations(result) for name, result in found.items()},
        "iterations": table,
        "rows": rows,
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """The network, and how long everything may take."""
    add_arguments(parser)
    parser.add_argument("--iterations", type=int, default=FULL["iterations"], help="searches")
    parser.add_argument("--iteration-epochs", type=int, default=FULL["iteration_epochs"], help="of each recovery")
    parser.add_argument("--epochs", type=int, default=FULL["epochs"], help="of fine-tuning at each budget")
    parser.add_argument("--population", type=int, default=FULL["population"], help="of the searches")
    parser.add_argument("--generations", type=int, default=FULL["generations"], help="of each iteration")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
