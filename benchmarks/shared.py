"""Is a front better trained together, on one set of shared weights, or each member alone, with as many image passes?

Claim: with the same number of images that pass through members in training, ``gaprune.finetune --shared`` (largest,
smallest and two members between in each step, then each member cut out, batch norm recalibrated, and trained alone for
what is left) leaves the members of a front no worse than training each alone.

One search; some of its members, evenly spread over the front. Alone: E epochs for each of N members. Shared: S epochs
of four members a step and P epochs of each alone, with 4 S + N P = N E. The same recipe, teacher and images, so a
network's pass costs the same; the shared way asks the teacher once for four members. Every trained network counts,
better than before or not: what is compared is the training. Accuracies on test images, which nothing is chosen by;
figures are means over members.

    python benchmarks/shared.py --data-dir DIR [--run A_FINISHED_SEARCH]

Stopped, it goes on when the command is given again.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Goal, at_least, run
from benchmarks.running import Setting, add_arguments, setting
from gaprune.commands.search import SearchResult
from gaprune.device import choose_device
from gaprune.errors import OptionError
from gaprune.front.members import CSV
from gaprune.progress import make_reporter
from gaprune.runs import FrontRow, read_csv, read_manifest
from gaprune.training.digest import digest_json
from gaprune.training.shared import BETWEEN

ALONE, SHARED = "alone", "shared"
A_STEP = BETWEEN + 2
MEMBERS = 12
EPOCHS = 4
POLISH_EPOCHS = 1
QUICK = {"members": 4, "epochs": 2, "polish_epochs": 1, "population": 6, "generations": 2}

GOALS = (
    Goal("vgg16: shared above alone", ">=", 0.0, "points, mean over members"),
    Goal("resnet18-imagenet: shared above alone", ">=", 0.0, "points, mean over members"),
)

Row = dict[str, Any]


def spread(rows: list[FrontRow], count: int) -> list[FrontRow]:
    """Members evenly spread over a front, both ends included."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [rows[place] for place in dict.fromkeys(places.tolist())]


def shared_epochs(members: int, epochs: int, polish: int) -> int:
    """Epochs together that use the passes that are left: 4 S + N P = N E, rounded down.

    Raises:
        OptionError: nothing is left.
    """
    if polish >= epochs:
        raise OptionError(f"polish-epochs must be below the {epochs} epochs of a member alone, got {polish}")
    return members * (epochs - polish) // min(A_STEP, members)


def trained(here: Setting, source: Path, way: str, chosen: list[FrontRow], **options: Any) -> list[Row]:
    """Members of a copy of the run trained in one way; another front, or another choice of members, has its own."""
    members = digest_json([(row.index, row.key) for row in chosen])
    copy = here.work / f"{way}-{members[:12]}"
    if not copy.exists():
        partial = copy.with_name(f"{way}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial, ignore=shutil.ignore_patterns(".lock*"))
        partial.rename(copy)
    result = SearchResult(copy, read_csv(copy / "front.csv"), None)
    here.finetune(result, ",".join(str(row.index) for row in chosen), **options)
    rows = []
    epochs = options["epochs"] + options.get("polish_epochs", 0)
    for row in chosen:
        one = [one for one in here.trainings(copy, row) if _is(one, way, options["epochs"], epochs)][-1]
        named = {"method": way, "member": row.index, "flops_share": row.flops_share, "params": row.params}
        before = {"search_accuracy": row.search_accuracy, "test_accuracy": row.test_accuracy}
        after = {name: one[name] for name in before}
        rows.append({**named, "before": before, **after, "epochs": one["epochs"], "seconds": one["seconds"]})
    return rows


def _is(training: Row, way: str, epochs: int, whole: int) -> bool:
    together = "shared" in training["lesson"]
    return together == (way == SHARED) and training["recipe"]["epochs"] == epochs and training["epochs"] == whole


def source_of(here: Setting, run: Path) -> Path:
    """The finished search that members are taken from.

    Raises:
        OptionError: it is none, or one of another network.
    """
    manifest = read_manifest(run)
    asked = {name: manifest["options"].get(name) for name in ("model", "stem")}
    if not (run / CSV).exists():
        raise OptionError(f"run must be a finished search, {run} is not: python -m gaprune.search --resume {run}")
    if here.options["model"] != asked["model"] or here.options.get("stem", asked["stem"]) != asked["stem"]:
        words = " ".join(f"--{name} {value}" for name, value in asked.items())
        raise OptionError(f"run is of another network: give {words} with {run}")
    return run


def figures_of(name: str, rows: list[Row]) -> dict[str, float]:
    """The figures that goals speak of, in points."""
    means = {way: statistics.mean(row["test_accuracy"] for row in rows if row["method"] == way) for way in ways(rows)}
    before = statistics.mean(row["before"]["test_accuracy"] for row in rows)
    figures = {f"{name}: shared above alone": round(100 * (means[SHARED] - means[ALONE]), 3)}
    for way, mean in means.items():
        figures[f"{name}: {way} above untrained"] = round(100 * (mean - before), 3)
    return figures


def ways(rows: list[Row]) -> list[str]:
    """In which members were trained."""
    return list(dict.fromkeys(row["method"] for row in rows))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One front, both ways."""
    at_least(options, members=2, epochs=1, polish_epochs=0, population=1, generations=1, epoch_images=2)
    shared_epochs(options.members, options.epochs, options.polish_epochs)
    here = setting(options, "shared", make_reporter())
    asked = {name: getattr(options, name) for name in QUICK}
    settings: Row = QUICK if options.quick else asked
    sizes = {name: settings[name] for name in ("population", "generations")}
    source = source_of(here, options.run) if options.run else here.search("search", polish=True, **sizes).path
    chosen = spread([row.untrained() for row in read_csv(source / "front.csv")], settings["members"])
    together = shared_epochs(len(chosen), settings["epochs"], settings["polish_epochs"])
    rows = trained(here, source, ALONE, chosen, epochs=settings["epochs"])
    polish = settings["polish_epochs"]
    rows += trained(here, source, SHARED, chosen, epochs=together, shared=True, polish_epochs=polish)
    manifest = read_manifest(source)
    return {
        "data": f"{here.name}-{here.data}",
        "device": choose_device(here.options.get("device", "auto")).type,
        "threads": here.options.get("threads") or torch.get_num_threads(),
        "settings": settings
        | {"shared_epochs": together, "epoch_images": here.epoch_images, "identity": manifest["identity"]},
        "original": manifest["original"],
        "figures": figures_of(here.name, rows),
        "rows": rows,
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """The network, the members, and how long they are trained."""
    add_arguments(parser)
    parser.add_argument("--run", type=Path, help="a finished search of this network, to take members from")
    parser.add_argument("--members", type=int, default=MEMBERS, help="evenly spread over the front")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each member alone")
    parser.add_argument("--polish-epochs", type=int, default=POLISH_EPOCHS, help="alone, after the shared training")
    parser.add_argument("--population", type=int, default=24, help="of the search")
    parser.add_argument("--generations", type=int, default=10, help="of the search")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
