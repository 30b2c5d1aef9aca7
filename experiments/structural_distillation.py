"""The paper's Tables 1, 2, 3 and 5 beside ours, and what our own search and fine-tuning reach at its budgets.

Kuzmin, Menisov and Sabirov (2024) prune VGG16 and ResNet18 on CIFAR-10 in five rounds of a genetic algorithm (N = 30,
K = 5, p_c = p_mut = 0.6). Here stand their printed rows beside ours: ``--algorithm rounds`` with the same parameters,
once without and once with training between the rounds. Then the same parameter budgets by our own way: NSGA-II over
accuracy and parameters, polish, and fine-tuning with the original as teacher; the member of each budget is picked by
the search images.

The paper's starting accuracies are 0.857 (VGG16) and 0.722 (ResNet18 with the ImageNet stem); ours stand in the
results. Its accuracies are measured on the data that its search sees, ours on test images that decide nothing.

    python experiments/structural_distillation.py --data-dir DIR
    python experiments/structural_distillation.py --model resnet18 --stem imagenet --data-dir DIR

Stopped, it goes on when the command is given again.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from typing import Any

from benchmarks.harness import Goal, at_least, pathless, run
from benchmarks.pictures import Curve, draw_accuracy
from benchmarks.running import (
    Setting,
    add_arguments,
    markdown,
    members_within,
    search_seconds,
    setting,
)
from experiments.paper import MEBIBYTE, NETWORKS, Network, implied_counts
from gaprune.commands.search import SearchResult
from gaprune.progress import make_reporter
from gaprune.runs import FrontRow, read_manifest

AHEAD = "test accuracy above the paper's, least over its parameter budgets"
GOALS = (Goal(f"vgg16: {AHEAD}", ">=", 5.0, "points"), Goal(f"resnet18-imagenet: {AHEAD}", ">=", 5.0, "points"))

ROUND_EPOCHS = 2
EPOCHS = 10
POPULATION, GENERATIONS = 30, 10
QUICK_BUDGETS = (0.5, 0.3)
QUICK = {"population": 6, "generations": 2, "rounds": 2, "round_generations": 1, "epochs": 1, "round_epochs": 1}

NOTES = """\
Parameters of the paper are of its convolutions, ours of the whole network; what its printed widths imply is counted
exactly (convolutions with biases), where it prints all of them. Of ResNet18 it prints 18 widths: those of the first
18 of 20 convolutions in order of computation, as their couplings show; the last block's two are missing. Params
removed: as printed, which does not follow from its counts; ours are of the original's. MB are 2^20 bytes.

FLOPs of ours are fvcore's count; the paper's cannot be derived from its widths, and are printed without a unit for
ResNet18.

Layers of ours are the convolutions and the head. 16 is VGG16 with 13 convolutions and three linear layers, of which
our network for 32 x 32 images has one; 72 for ResNet18 is more than it has layers with weights, and what is counted,
the paper does not say.

GA seconds of ours are the wall time of a round's whole search (statistics, removal order, evaluations, its network
built and measured), training left out, on the machine named in the JSON beside this file; the paper names none. What
a killed process spent since its last generation is not in them."""

Row = dict[str, Any]
Budgets = list[tuple[float, float | None]]
"""Shares of the original's parameters, each with the paper's top-1."""


def rounds_of(here: Setting, settings: Row, epochs: int) -> tuple[SearchResult, list[Row]]:
    """The paper's rounds, with so many epochs of training after each: a row a round, round 0 the original."""
    small = {"population": settings["population"], "selected": 3} if settings["quick"] else {}
    result = here.search(
        f"rounds-{epochs}-epochs",
        algorithm="rounds",
        rounds=settings["rounds"],
        round_generations=settings["round_generations"],
        round_epochs=epochs,
        **small,
    )
    with (result.path / "rounds.csv").open() as lines:
        records = list(csv.DictReader(lines))
    return result, [_round_row(record, epochs) for record in records]


def _round_row(record: dict[str, str], epochs: int) -> Row:
    neurons = {name.removeprefix("neurons_"): int(n) for name, n in record.items() if name.startswith("neurons_")}
    return {
        "method": "the paper's rounds in gaprune",
        "epochs_after_each_round": epochs,
        "round": int(record["round"]),
        "params": int(record["params"]),
        "params_share": float(record["params_share"]),
        "megabytes": round(float(record["size_mb"]) * 1e6 / MEBIBYTE, 3),
        "search_accuracy": float(record["search_accuracy"]),
        "test_accuracy": float(record["test_accuracy"]),
        "flops": int(record["flops"]),
        "evaluation_seconds": float(record["seconds"]),
        "wall_seconds": float(record["wall_seconds"]) if record["wall_seconds"] else None,
        "training_seconds": float(record["training_seconds"]),
        "neurons": neurons,
    }


def budgets_of(paper: Network | None, params: int) -> Budgets:
    """The paper's budgets, as shares of an original with so many parameters."""
    if paper is None:
        return [(share, None) for share in QUICK_BUDGETS]
    return [(min(one.params * 1e6 / params, 1.0), one.top1) for one in paper.rounds]


def own_way(here: Setting, settings: Row, paper: Network | None, params: int) -> list[Row]:
    """The best member within each budget by the search images, fine-tuned; a row a budget.

    The later budgets have a search of their own, which looks at networks within the first of them alone.
    """
    budgets = budgets_of(paper, params)
    sizes = {name: settings[name] for name in ("population", "generations", "polish")}
    split = 0 if settings["quick"] else len(budgets) // 2
    whole, small = ("own", budgets[:split], {}), ("own-small", budgets[split:], {"max_params": budgets[split][0]})
    parts: list[tuple[str, Budgets, Row]] = [part for part in (whole, small) if part[1]]
    rows = []
    for name, part, limits in parts:
        result = here.search(name, objectives=("accuracy", "params"), **sizes, **limits)
        rules = [f"params<={share:.6f}" for share, _ in part]
        within = [rule for rule, row in members_within(result.rows, rules).items() if row is not None]
        if within:
            result = here.finetune(result, ",".join(within), epochs=settings["epochs"])
        found = members_within(result.rows, rules)
        for (share, top1), rule in zip(part, rules, strict=True):
            row = {"method": "gaprune", "budget_params": round(share * params), "paper_top1": top1}
            rows.append(row | _member_row(here, result, found[rule], settings["epochs"]))
    return rows


def _member_row(here: Setting, result: SearchResult, member: FrontRow | None, epochs: int) -> Row:
    if member is None:
        return {"missing": "no member is so small"}
    return {
        "params": member.params,
        "flops": member.flops,
        "megabytes": round(member.size_mb * 1e6 / MEBIBYTE, 3),
        **here.outcome(result.path, member, epochs),
        "search_seconds": search_seconds(result.path),
        "neurons": list(member.widths),
    }


def figures_of(name: str, rows: Sequence[Row]) -> dict[str, float]:
    """The figure that a goal speaks of: every budget must be met."""
    compared = [row for row in rows if row.get("paper_top1") is not None]
    if not compared or any("missing" in row for row in compared):
        return {}
    return {f"{name}: {AHEAD}": round(min(100 * (row["test_accuracy"] - row["paper_top1"]) for row in compared), 3)}


def report(here: Setting, paper: Network | None, original: Row, rounds: dict[int, list[Row]], own: list[Row]) -> str:
    """All tables as Markdown."""
    parts = [f"# {here.name} on {here.data}: structural distillation, the paper's rows beside ours"]
    parts.append(f"## Table 1: the network\n\n{_table_1(here, paper, original)}")
    implied = [] if paper is None else implied_counts(paper)
    for epochs, rows in rounds.items():
        how = f"{_counted(epochs)} of training after each round" if epochs else "no training"
        parts.append(f"## Tables 2 and 3: round by round, {how}\n\n{_table_2(paper, rows, implied)}")
        parts.append(f"## Table 5: neurons left in each convolution, {how}\n\n{_table_5(paper, rows)}")
    parts.append(f"## The paper's parameter budgets, our search and fine-tuning\n\n{_own_table(own)}")
    return "\n\n".join([*parts, NOTES]) + "\n"


def _table_1(here: Setting, paper: Network | None, original: Row) -> str:
    rows = [
        ["gaprune", f"{original['params']:,}", original["layers"], original["megabytes"], original["test_accuracy"]]
    ]
    if paper is not None:
        rows.insert(0, ["the paper", f"{paper.params:,}", paper.layers, paper.megabytes, None])
    return markdown(["", "parameters", "layers", "MB", "top-1"], rows)


def _table_2(paper: Network | None, rows: list[Row], implied: Sequence[int | None]) -> str:
    lines = []
    for row in rows[1:]:
        number = row["round"]
        if paper is not None and number <= len(paper.rounds):
            one, count = paper.rounds[number - 1], implied[number - 1]
            flops = f"{one.flops:.1f}" if paper.flops_in_millions else f"{one.flops:.3f}"
            sizes = [one.params, "-" if count is None else f"{count:,}", one.megabytes]
            lines.append([number, "the paper", *sizes, one.top1, one.removed, flops, one.seconds, None])
        lines.append(
            [
                number,
                "gaprune",
                f"{row['params'] / 1e6:.3f}",
                None,
                row["megabytes"],
                f"{row['test_accuracy']:.4f}",
                f"{100 * (1 - row['params_share']):.1f}",
                f"{row['flops'] / 1e6:.3f}",
                "-" if row["wall_seconds"] is None else round(row["wall_seconds"], 1),
                round(row["training_seconds"], 1),
            ]
        )
    sizes = ["params, M", "convolution params that its widths imply", "MB", "top-1", "params removed, %"]
    unit = "1e6" if paper is None or paper.flops_in_millions else "1e6 (the paper's: no unit printed)"
    return markdown(["round", "", *sizes, f"FLOPs, {unit}", "GA seconds", "training seconds"], lines)


def _table_5(paper: Network | None, rows: list[Row]) -> str:
    names = list(rows[0]["neurons"])
    headings = ["convolution", "original"]
    lines = [[name, rows[0]["neurons"][name]] for name in names]
    for row in rows[1:]:
        number = row["round"]
        printed = paper.rounds[number - 1].neurons if paper is not None and number <= len(paper.rounds) else ()
        headings += [f"{number}, the paper", f"{number}, gaprune"] if printed else [f"{number}, gaprune"]
        for place, (line, name) in enumerate(zip(lines, names, strict=True)):
            theirs = [printed[place] if place < len(printed) else "-"] if printed else []
            line += [*theirs, row["neurons"][name]]
    return markdown(headings, lines)


def _own_table(own: list[Row]) -> str:
    lines = []
    for row in own:
        if "missing" in row:
            lines.append([f"{row['budget_params']:,}", row["paper_top1"], row["missing"], *[None] * 4])
            continue
        accuracies = [f"{row['test_accuracy_before_training']:.4f}", f"{row['test_accuracy']:.4f}"]
        costs = [f"{row['params']:,}", f"{row['flops'] / 1e6:.2f}"]
        lines.append([f"{row['budget_params']:,}", row["paper_top1"], *accuracies, *costs, row["training_seconds"]])
    headings = ["budget, parameters", "the paper's top-1", "ours before training", "ours", "parameters", "FLOPs, 1e6"]
    return markdown([*headings, "training seconds"], lines)


def _counted(epochs: int) -> str:
    return f"{epochs} epoch{'s' * (epochs != 1)}"


def curves_of(paper: Network | None, rounds: dict[int, list[Row]], own: Sequence[Row]) -> list[Curve]:
    """Accuracy against millions of parameters: the paper's, its rounds here, and our own way."""
    printed = [] if paper is None else [(one.params, one.top1) for one in paper.rounds]
    curves = [Curve("the paper, as printed", printed, "s-")]
    for epochs, rows in rounds.items():
        how = f"{_counted(epochs)} after each" if epochs else "no training"
        points = [(row["params"] / 1e6, row["test_accuracy"]) for row in rows[1:]]
        curves.append(Curve(f"its rounds in gaprune, {how}", points, "^--"))
    for name, label in (("test_accuracy_before_training", "gaprune, before training"), ("test_accuracy", "gaprune")):
        found = [(row["params"] / 1e6, row[name]) for row in own if "missing" not in row]
        curves.append(Curve(label, found, "o-" if name == "test_accuracy" else "o:"))
    return curves


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Rounds without and with training, then our own way."""
    counts = ("rounds", "round_generations", "round_epochs", "population", "generations", "epochs")
    at_least(options, **dict.fromkeys(counts, 1), epoch_images=2)
    here = setting(options, "structural-distillation", make_reporter())
    asked = {name: getattr(options, name) for name in QUICK}
    settings: Row = {**(QUICK if options.quick else asked), "quick": options.quick, "polish": options.polish}
    settings["epoch_images"] = here.epoch_images
    paper = None if options.quick else NETWORKS[options.model]
    rounds, result = {}, None
    for epochs in (0, settings["round_epochs"]):
        result, rounds[epochs] = rounds_of(here, settings, epochs)
    assert result is not None
    manifest = read_manifest(result.path)
    original = {**rounds[0][0], "layers": len(rounds[0][0]["neurons"]) + 1, "source": pathless(manifest["baseline"])}
    own = own_way(here, settings, paper, original["params"])
    text = report(here, paper, original, rounds, own)
    print(text)
    options.output.mkdir(parents=True, exist_ok=True)
    suffix = "-quick" if options.quick else ""
    device = "cuda" if manifest["device"].startswith("cuda") else manifest["device"]
    file = options.output / f"structural_distillation-{here.name}-{here.data}-{device}{suffix}.md"
    file.write_text(text)
    title = f"{here.name} on {here.data}: the paper's budgets"
    curves = curves_of(paper, rounds, own)
    draw_accuracy(file.with_suffix(".png"), curves, "parameters, millions", title, original["test_accuracy"])
    return {
        "data": f"{here.name}-{here.data}",
        "device": device,
        "threads": manifest["threads"],
        "versions": here.versions(),
        "settings": settings | {"identity": manifest["identity"], "splits": manifest["data"]["splits"]},
        "figures": figures_of(here.name, own),
        "original": original,
        "rounds": [row for rows in rounds.values() for row in rows],
        "rows": own,
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """The network, and how long everything may take."""
    add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5, help="of the paper's algorithm")
    parser.add_argument("--round-generations", type=int, default=5, help="of each round")
    parser.add_argument("--round-epochs", type=int, default=ROUND_EPOCHS, help="after each round, the second time")
    parser.add_argument("--population", type=int, default=POPULATION, help="of our own search")
    parser.add_argument("--generations", type=int, default=GENERATIONS, help="of our own search")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of fine-tuning at each budget")
    parser.add_argument(
        "--polish", action=argparse.BooleanOptionalAction, default=True, help="our search's front before fine-tuning"
    )


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
