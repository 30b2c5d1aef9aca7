"""The paper's Table 4 done fairly: pruning and fine-tuning against training the same architecture from scratch.

Claim: given at least as much time, the same compact architecture trained from scratch is no better than the one that
was cut out of a trained network and fine-tuned.

Same machine, same run, one network after the other. Pruned: the best member (by the search images) of one
search within each budget of FLOPs, fine-tuned with the original as teacher, in schedules of several lengths. Its time
is that of fine-tuning and of the whole search, start to front, though one search serves all budgets. Scratch: the
member's architecture with fresh weights, trained on the same images with the labels, in one-cycle schedules of several
lengths, each a training of its own; if none takes as long as search and fine-tuning, one more that does. The time to
reach an accuracy is that of the shortest schedule whose mean reaches it. Several seeds; all accuracies are of test
images, which nothing is chosen by. The trained original that pruning begins with is not in its time: who prunes has
one. What a killed search spent since its last generation is not either.

    python experiments/scratch_vs_pruned.py --data-dir DIR

Stopped, it goes on when the command is given again.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import shutil
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from benchmarks.harness import Goal, are_shares, at_least, run
from benchmarks.pictures import Curve, draw_accuracy
from benchmarks.running import Setting, add_arguments, markdown, members_within, search_seconds, setting
from benchmarks.subjects import WorkFile, code_digest
from experiments.paper import FROM_SCRATCH
from gaprune.commands.search import SearchResult
from gaprune.compress.students import draw_weights
from gaprune.data import load_data, split
from gaprune.device import pinned
from gaprune.errors import RunError
from gaprune.evaluate.measurement import measure as top1
from gaprune.progress import make_reporter
from gaprune.runs import FrontRow, environment, read_manifest
from gaprune.saved import load
from gaprune.training import fit
from gaprune.training.subject import default_recipe

BUDGETS = (0.5, 0.25, 0.1)
EPOCHS = (5, 10)
SCRATCH_EPOCHS = (10, 20, 40)
SEEDS = 3
LEAST = 2
"""Budgets, and seeds, that a goal wants."""

ACCURACIES = (0.7, 0.75, 0.8)
QUICK = {
    "budgets": (0.5,),
    "epochs": (1, 2),
    "scratch_epochs": (1, 2),
    "seeds": 2,
    "accuracies": (0.1, 1.0),
    "match_time": True,
    "population": 6,
    "generations": 2,
}

AHEAD = "pruned above scratch given at least as much time, least over budgets and schedules"
GOALS = (
    Goal(f"vgg16: {AHEAD}", ">=", 0.0, "points, mean of seeds"),
    Goal(f"resnet18-imagenet: {AHEAD}", ">=", 0.0, "points, mean of seeds"),
)

PRUNED, UNTUNED, SCRATCH = "pruned, fine-tuned", "pruned, not fine-tuned", "from scratch"

SLACK = 1.05
"""A schedule that is to take some time is made as much longer."""

BREAK = "\n\n"

Row = dict[str, Any]


def pruned_rows(here: Setting, result: SearchResult, member: FrontRow, budget: float, settings: Row) -> list[Row]:
    """The member as the search left it, and fine-tuned in each schedule from each seed.

    Raises:
        RunError: the search's time was not kept.
    """
    searching = search_seconds(result.path)
    if searching is None:
        raise RunError(f"{result.path} was searched by a version that kept no wall time: remove it, and search again")
    wanted = list(itertools.product(settings["epochs"], range(settings["seeds"])))
    for epochs, seed in wanted:
        here.finetune(result, str(member.index), epochs=epochs, seed=seed)
    done = {(one["epochs"], one["recipe"]["seed"]): one for one in here.trainings(result.path, member)}
    rows = [_row(UNTUNED, budget, 0, 0, member.untrained().test_accuracy, {"search": searching})]
    for epochs, seed in wanted:
        one = done[epochs, seed]
        seconds = {"search": searching, "training": one["seconds"]}
        rows.append(_row(PRUNED, budget, epochs, seed, one["test_accuracy"], seconds))
    return rows


def _row(method: str, budget: float, epochs: int, seed: int, accuracy: float | None, seconds: Row) -> Row:
    whole = round(sum(seconds.values()), 1)
    named = {"method": method, "budget": budget, "epochs": epochs, "seed": seed, "test_accuracy": accuracy}
    return {**named, "seconds": whole, "parts": seconds}


class Scratch:
    """Trains architectures of members with fresh weights.

    Args:
        result: the search.
        work: rows of an earlier, killed run.
        here: where data lie and states of trainings go.
    """

    def __init__(self, result: SearchResult, work: WorkFile, here: Setting) -> None:
        manifest = read_manifest(result.path)
        asked, record = manifest["options"], manifest["data"]["splits"]
        places = {name: here.options[name] for name in ("data_dir", "cache_dir") if name in here.options}
        self._data = load_data(asked["data"], **places, reporter=here.reporter)
        self._splits = split(
            self._data,
            search_from=record["search_from"],
            search_size=record["search"]["images"],
            calibration_size=record["calibration"]["images"],
            seed=record["seed"],
        )
        self._device = torch.device(manifest["device"])
        self._threads = here.options.get("threads") or torch.get_num_threads()
        self._result, self._work, self._here = result, work, here

    def __call__(self, member: FrontRow, budget: float, epochs: int, seed: int) -> Row:
        """One training in one schedule from one seed."""
        images = self._here.epoch_images
        key = f"{member.key} {epochs} {seed}" + ("" if images is None else f" {images}")
        return dict(self._work.row(key, lambda: self._trained(member, budget, epochs, seed, key)))

    def _trained(self, member: FrontRow, budget: float, epochs: int, seed: int, key: str) -> Row:
        self._here.reporter.say(f"from scratch: {budget:.0%} of the FLOPs, {epochs} epochs, seed {seed}")
        data, splits = self._data, self._splits
        network = fresh(load(self._result.path / member.home, trust=True), seed).to(self._device)
        usual = default_recipe(network, data, self._device, seed=seed)
        states = self._here.work / "scratch-states" / key.replace(" ", "-")
        with pinned(self._threads):
            records = fit(
                network,
                splits.train.to(self._device),
                splits.search.to(self._device),
                mean=data.mean,
                std=data.std,
                flip=data.flip,
                recipe=dataclasses.replace(usual, epochs=epochs, epoch_images=self._here.epoch_images),
                directory=states,
                reporter=self._here.reporter,
            )
            accuracy = top1(network, splits.test.to(self._device), data.mean, data.std).accuracy
        shutil.rmtree(states, ignore_errors=True)
        seconds = {"training": round(sum(record.seconds for record in records), 1)}
        return _row(SCRATCH, budget, epochs, seed, accuracy, seconds)


def scratch_rows(scratch: Scratch, member: FrontRow, budget: float, settings: Row, seconds: float) -> list[Row]:
    """Trainings from scratch in each schedule from each seed, and in one that takes ``seconds`` where none does."""
    seeds = range(settings["seeds"])
    rows = [scratch(member, budget, epochs, seed) for epochs in settings["scratch_epochs"] for seed in seeds]
    longest = max(rows, key=lambda row: row["seconds"])
    if longest["seconds"] < seconds and settings["match_time"]:
        epochs = math.ceil(SLACK * seconds / longest["seconds"] * longest["epochs"])
        rows += [scratch(member, budget, epochs, seed) for seed in seeds]
    return rows


def fresh(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The same architecture with weights drawn anew, as the package's networks draw theirs.

    Raises:
        ValueError: a parameter belongs to a module that has no such rule.
    """
    ruled = set()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in network.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
                ruled |= {id(parameter) for parameter in module.parameters(recurse=False)}
        draw_weights(network)
    left = [name for name, parameter in network.named_parameters() if id(parameter) not in ruled]
    if left:
        raise ValueError(f"{left[0]} cannot be drawn anew: its module has no reset_parameters")
    return network


def compared(rows: Sequence[Row]) -> list[Row]:
    """By budget and schedule, means and spread over seeds; of each of ours how long scratch takes to catch up."""
    found = []
    for budget in dict.fromkeys(row["budget"] for row in rows):
        here = [row for row in rows if row["budget"] == budget]
        pairs = dict.fromkeys((row["method"], row["epochs"]) for row in here)
        lines = [_summary([row for row in here if (row["method"], row["epochs"]) == pair]) for pair in pairs]
        scratch = sorted((line for line in lines if line["method"] == SCRATCH), key=lambda line: line["seconds"])
        ours = [_beside(line, scratch) for line in lines if line["method"] == PRUNED]
        found += [*ours, *(line for line in lines if line["method"] == UNTUNED), *scratch]
    return found


def _beside(ours: Row, scratch: Sequence[Row]) -> Row:
    """A line of ours, with what trainings from scratch, shortest first, make of it."""
    reached = [line for line in scratch if line["test_accuracy"]["mean"] >= ours["test_accuracy"]["mean"]]
    longer = [line for line in scratch if line["seconds"] >= ours["seconds"]] or scratch[-1:]
    return ours | {
        "scratch_reaches_it_in_seconds": reached[0]["seconds"] if reached else None,
        "above_scratch": round(100 * (ours["test_accuracy"]["mean"] - longer[0]["test_accuracy"]["mean"]), 3),
        "scratch_had_as_much_time": longer[0]["seconds"] >= ours["seconds"],
    }


def times_to_reach(lines: Sequence[Row], accuracies: Iterable[float]) -> list[Row]:
    """By budget the least time in which each side reaches the named accuracies, and those of all schedules.

    A side reaches what the mean over seeds of one of its schedules reaches; ``None`` where none does.
    """
    found = []
    for budget in dict.fromkeys(line["budget"] for line in lines):
        here = [line for line in lines if line["budget"] == budget]
        for accuracy in sorted({*accuracies, *(line["test_accuracy"]["mean"] for line in here)}):
            there = [line for line in here if line["test_accuracy"]["mean"] >= accuracy]
            sides = [
                min((line["seconds"] for line in there if (line["method"] == SCRATCH) == scratch), default=None)
                for scratch in (False, True)
            ]
            found.append({"budget": budget, "accuracy": accuracy, "pruned": sides[0], "scratch": sides[1]})
    return found


def _summary(rows: Sequence[Row]) -> Row:
    accuracies = [row["test_accuracy"] for row in rows]
    spread = {"mean": round(statistics.mean(accuracies), 4), "least": min(accuracies), "most": max(accuracies)}
    named = {name: rows[0][name] for name in ("budget", "method", "epochs")}
    seconds = round(statistics.mean(row["seconds"] for row in rows), 1)
    return {**named, "seeds": len(rows), "test_accuracy": spread, "seconds": seconds}


def figures_of(name: str, lines: Sequence[Row], budgets: Sequence[float]) -> dict[str, float]:
    """The figure that a goal speaks of.

    None where scratch was never given as much time and is behind so far, a budget has no member, or all rests on one
    budget or one seed.
    """
    ours = [line for line in lines if line["method"] == PRUNED]
    met = {line["budget"] for line in ours}
    if met != set(budgets) or len(met) < LEAST or any(line["seeds"] < LEAST for line in lines if line["epochs"]):
        return {}
    if not all(line["scratch_had_as_much_time"] or line["above_scratch"] < 0 for line in ours):
        return {}
    return {f"{name}: {AHEAD}": min(line["above_scratch"] for line in ours)}


def check_machines(here: Setting, now: Iterable[str] = ()) -> None:
    """Raise ``RunError`` where work was done on several machines, ``now`` included: seconds are what is compared."""
    machines = sorted({*now, *(one["cpu"] for one in here.versions())})
    if len(machines) > 1:
        raise RunError(f"{here.work} was worked on by {' and '.join(machines)}: name another folder by --work")


def report(here: Setting, lines: Sequence[Row], times: Sequence[Row], missing: Sequence[float]) -> str:
    """The comparison as Markdown, the paper's Table 4 below."""
    rows = []
    for line in lines:
        accuracy = line["test_accuracy"]
        spread = f"{accuracy['mean']:.4f} ({accuracy['least']:.4f} to {accuracy['most']:.4f})"
        ours = line["method"] == PRUNED
        reached = (line["scratch_reaches_it_in_seconds"] or "never in these schedules") if ours else None
        rows.append([f"{line['budget']:.0%}", line["method"], line["epochs"], spread, line["seconds"], reached])
    headings = ["FLOPs at most", "method", "epochs", "top-1 (spread of seeds)", "seconds", "scratch gets there in, s"]
    reaching = [
        [f"{one['budget']:.0%}", f"{100 * one['accuracy']:.2f}", *(one[side] or "-" for side in ("pruned", "scratch"))]
        for one in times
    ]
    paper = [[name, *values] for name, values in FROM_SCRATCH.items()]
    return (
        f"# {here.name} on {here.data}: pruned against trained from scratch\n\n{markdown(headings, rows)}\n\n"
        f"{''.join(f'No member has at most {budget:.0%} of the FLOPs.{BREAK}' for budget in missing)}"
        "Seconds of the pruned networks are those of the whole search, start to front, and of fine-tuning.\n\n"
        "## Seconds to reach an accuracy\n\n"
        f"{markdown(['FLOPs at most', 'top-1, %', 'pruned', 'from scratch'], reaching)}\n\n"
        "Of the shortest schedule whose mean over seeds is as good; - where none is.\n\n"
        "## The paper's Table 4: small networks from scratch\n\n"
        f"{markdown(['network', 'top-1', 'seconds'], paper)}\n"
    )


def curves_of(lines: Sequence[Row]) -> list[Curve]:
    """Accuracy against the budget, a curve a schedule, with the spread of seeds."""
    curves = []
    for method, epochs in dict.fromkeys((line["method"], line["epochs"]) for line in lines):
        here = [line for line in lines if (line["method"], line["epochs"]) == (method, epochs)]
        points = [(100 * line["budget"], line["test_accuracy"]["mean"]) for line in here]
        spread = [(line["test_accuracy"]["least"], line["test_accuracy"]["most"]) for line in here]
        label = f"{method}, {epochs} epochs" if epochs else method
        curves.append(Curve(label, points, "s--" if method == SCRATCH else "o-", spread))
    return curves


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One search, then both ways at every budget."""
    at_least(options, **dict.fromkeys(("epochs", "scratch_epochs", "seeds", "population", "generations"), 1))
    at_least(options, epoch_images=2)
    are_shares(options, "budgets")
    here = setting(options, "scratch-vs-pruned", make_reporter())
    check_machines(here, [environment()["cpu"]])
    asked = {name: getattr(options, name) for name in QUICK}
    settings: Row = QUICK if options.quick else asked
    sizes = {name: settings[name] for name in ("population", "generations")}
    result = here.search("search", polish=True, **sizes)
    manifest = read_manifest(result.path)
    identity = {"search": manifest["identity"], "training": code_digest("training")}
    work = WorkFile(here.work / ".rows.jsonl", identity)
    scratch, rows, missing = Scratch(result, work, here), [], []
    for budget in settings["budgets"]:
        (member,) = members_within(result.rows, [f"flops<={budget}"]).values()
        if member is None:
            here.reporter.say(f"no member has at most {budget:.0%} of the FLOPs")
            missing.append(budget)
            continue
        pruned = pruned_rows(here, result, member, budget, settings)
        rows += pruned + scratch_rows(scratch, member, budget, settings, max(row["seconds"] for row in pruned))
    lines = compared(rows)
    times = times_to_reach(lines, settings["accuracies"])
    text = report(here, lines, times, missing)
    print(text)
    suffix = "-quick" if options.quick else ""
    options.output.mkdir(parents=True, exist_ok=True)
    device = "cuda" if manifest["device"].startswith("cuda") else manifest["device"]
    file = options.output / f"scratch_vs_pruned-{here.name}-{here.data}-{device}{suffix}.md"
    file.write_text(text)
    title = f"{here.name} on {here.data}: pruned against trained from scratch"
    picture = file.with_suffix(".png")
    draw_accuracy(picture, curves_of(lines), "FLOPs at most, %", title, manifest["original"]["test_accuracy"])
    return {
        "data": f"{here.name}-{here.data}",
        "device": device,
        "threads": manifest["threads"],
        "settings": settings
        | {"identity": manifest["identity"], "splits": manifest["data"]["splits"]}
        | {"epoch_images": here.epoch_images},
        "original": manifest["original"],
        "versions": here.versions(),
        "figures": figures_of(here.name, lines, settings["budgets"]),
        "missing_budgets": missing,
        "summary": lines,
        "seconds_to_reach": times,
        "rows": rows,
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """The network, the budgets, and how long everything may take."""
    add_arguments(parser)
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="shares of the FLOPs")
    parser.add_argument("--epochs", type=int, nargs="+", default=EPOCHS, help="schedules of fine-tuning")
    parser.add_argument("--scratch-epochs", type=int, nargs="+", default=SCRATCH_EPOCHS, help="schedules from scratch")
    parser.add_argument(
        "--match-time",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="one schedule more from scratch where none takes as long as search and fine-tuning together",
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of both")
    parser.add_argument("--accuracies", type=float, nargs="+", default=ACCURACIES, help="to tell the time to, 0 to 1")
    parser.add_argument("--population", type=int, default=30, help="of the search")
    parser.add_argument("--generations", type=int, default=10, help="of the search")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
