"""Do fewer redundant neurons mean a smaller attack surface? Accuracy under attack, pruned against the original.

Claim (the paper's introduction, which measures nothing of it): a network without its redundant neurons is harder to
attack. One search without training; at each budget of FLOPs the member that is best on the search images, as it was
pruned and after fine-tuning on clean images, and the original, under FGSM and PGD-10 at 2/255 and 8/255, each by its
own gradient, on the same test images.

Two figures for each attack, in points. What a member has more of top-1 under attack than the original, paired by image;
and, as a member that is less accurate has less to lose, how much fewer of the images that both have right are turned
wrong. A claim holds where the mean over the budgets is above 0; the intervals say how sure that is.

    python experiments/robustness.py --model resnet18 --stem imagenet --data-dir DIR
    python experiments/robustness.py --model resnet18 --stem imagenet --data-dir DIR --run RUN

Stopped, it goes on when the command is given again. Members are fine-tuned where they lie: a run is changed by it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness import Goal, are_shares, at_least, run
from benchmarks.paired import difference, packed, unpacked
from benchmarks.running import Setting, add_arguments, markdown, members_within, setting
from benchmarks.subjects import WorkFile
from gaprune.baseline import resolve_baseline
from gaprune.commands.search import SearchResult
from gaprune.data import ImageData, ImageSet, default_cache_dir, load_data, split
from gaprune.device import pinned
from gaprune.evaluate import ATTACKS, Attack, robustness
from gaprune.progress import make_reporter
from gaprune.runs import choose, read_manifest
from gaprune.saved import load

BUDGETS = (0.5, 0.25, 0.1)
SIZES = {"population": 12, "generations": 3, "images": 500, "epochs": 2}
QUICK = {"population": 6, "generations": 2, "images": 40, "epochs": 1}

CHEAPER = ("statistics_size", "calibration_size")
"""Options of the search that save time on a slow machine."""

CLEAN = Attack("clean", 0.0)
"""The smallest attack of all."""
ORIGINAL = "original"

MORE = "accuracy under {} over the original's, mean of budgets"
FEWER = "images that both have right turned by {}, fewer than of the original, mean of budgets"
PRUNED, TUNED = "pruned", "fine-tuned"
NETWORKS = ("vgg16", "resnet18-imagenet")
SUBJECTS = {PRUNED: "{}", TUNED: "{}, fine-tuned"}
"""By state, how goals call the members of a network."""
GOALS = tuple(
    Goal(f"{subject.format(network)}: {claim.format(attack.name)}", ">=", 0.0, "points")
    for network in NETWORKS
    for subject in SUBJECTS.values()
    for attack in ATTACKS
    for claim in (MORE, FEWER)
)

Row = dict[str, Any]


class Attacked:
    """Attacks networks of a search on its test images.

    Args:
        here: where data lie.
        result: the search.
        work: rows of an earlier, killed run.
        count: of test images.
    """

    def __init__(self, here: Setting, result: SearchResult, work: WorkFile, count: int) -> None:
        manifest = read_manifest(result.path)
        asked, record = manifest["options"], manifest["data"]["splits"]
        places = {name: here.options[name] for name in ("data_dir", "cache_dir") if name in here.options}
        data = load_data(asked["data"], **places, reporter=here.reporter)
        self._parts = split(
            data,
            search_from=record["search_from"],
            search_size=record["search"]["images"],
            calibration_size=record["calibration"]["images"],
            seed=record["seed"],
        )
        self._data = data.with_normalisation(tuple(manifest["data"]["mean"]), tuple(manifest["data"]["std"]))
        self._device = torch.device(manifest["device"])
        self._threads = here.options.get("threads") or torch.get_num_threads()
        self._here, self._result, self._work = here, result, work
        self._images = _some(self._parts.test, count).to(self._device)
        self._from = record["search_from"]

    @property
    def count(self) -> int:
        """Of test images."""
        return len(self._images)

    def original(self) -> Row:
        """The network that was searched."""
        return dict(self._work.row(ORIGINAL, lambda: self._rights(self._network(self._data))))

    def member(self, name: str, folder: str) -> Row:
        """A member, by what its row is called and by its folder in the run."""
        return dict(self._work.row(name, lambda: self._rights(load(self._result.path / folder, trust=True))))

    def _network(self, data: ImageData) -> nn.Module:
        asked = read_manifest(self._result.path)["options"]
        found = resolve_baseline(
            asked["model"],
            asked["stem"],
            data,
            train=self._parts.train.to(self._device),
            validate=self._parts.search.to(self._device),
            cache_dir=self._here.options.get("cache_dir", default_cache_dir()),
            device=self._device,
            checkpoint=self._here.options.get("checkpoint"),
            wanted=read_manifest(self._result.path)["identity"]["weights_sha256"],
            search_from=self._from,
        )
        return found.model

    def _rights(self, network: nn.Module) -> Row:
        """By attack, packed, which images the network has right."""
        mean, std = self._data.mean, self._data.std
        with pinned(self._threads), self._here.reporter.task("attacking", self.count) as task:
            found = robustness(
                network.to(self._device),
                self._images,
                mean,
                std,
                attacks=(CLEAN, *ATTACKS),
                batch_size=100,
                advance=task.advance,
            )
        return {name: packed(right) for name, right in found.right.items()}


def _some(images: ImageSet, count: int) -> ImageSet:
    """``count`` images drawn once and for all, or all of them."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images.select(order[:count])


def compared(whole: Row, pruned: Row, count: int) -> Row:
    """A member against the original: by attack top-1 of both, and the two differences with their intervals.

    Args:
        whole: of the original, by attack, packed.
        pruned: of the member.
        count: of images.
    """
    a, b = ({name: unpacked(text, count) for name, text in one.items()} for one in (pruned, whole))
    both = a[CLEAN.name] & b[CLEAN.name]
    found: Row = {}
    for name in a:
        found[name] = {
            "top1": float(a[name].mean()),
            "original": float(b[name].mean()),
            "more": difference(a[name], b[name]),
        }
        if name != CLEAN.name and both.any():
            found[name]["fewer_turned"] = difference(a[name][both], b[name][both]) | {
                "images": int(both.sum()),
                "turned": float(np.mean(~a[name][both])),
                "turned_of_original": float(np.mean(~b[name][both])),
            }
    return found


def figures_of(network: str, rows: list[Row]) -> dict[str, float]:
    """The figures that goals speak of; none of a state in which a budget has no member."""
    figures = {}
    for state, subject in SUBJECTS.items():
        of_whom = subject.format(network)
        found = [row["attacks"] for row in rows if row["state"] == state]
        if len(found) < len(BUDGETS):
            continue
        for attack in ATTACKS:
            of = [attacks[attack.name] for attacks in found]
            figures[f"{of_whom}: {MORE.format(attack.name)}"] = _mean([one["more"]["points"] for one in of])
            fewer = [one["fewer_turned"]["points"] for one in of if "fewer_turned" in one]
            if fewer:
                figures[f"{of_whom}: {FEWER.format(attack.name)}"] = _mean(fewer)
    return figures


def _mean(points: list[float]) -> float:
    return round(statistics.mean(points), 3)


def _cell(found: Mapping[str, Any]) -> str:
    low, high = found["95%"]
    return f"{found['points']:+.1f} ({low:+.1f} to {high:+.1f})"


def report(name: str, data: str, count: int, rows: list[Row]) -> str:
    """The members against the original as Markdown."""
    headings = ["FLOPs left", "member", "attack", "original, top-1 %", "member, top-1 %", "more, points (95%)"]
    headings.append("fewer of both's right turned, points (95%)")
    lines = [
        [
            f"{100 * row['flops_share']:.1f}%",
            row["state"],
            attack,
            f"{100 * found['original']:.1f}",
            f"{100 * found['top1']:.1f}",
            _cell(found["more"]),
            _cell(found["fewer_turned"]) if "fewer_turned" in found else "",
        ]
        for row in rows
        for attack, found in row["attacks"].items()
    ]
    return f"# {name} on {data}: under attack, {count} test images\n\n{markdown(headings, lines)}\n"


def attacked_rows(here: Setting, result: SearchResult, attacked: Attacked, options: argparse.Namespace) -> list[Row]:
    """Each budget's member against the original, as pruned and, where that is asked for, fine-tuned."""
    whole, rows = attacked.original(), []
    within = members_within(result.rows, [f"flops<={budget}" for budget in options.budgets])
    for budget, row in zip(options.budgets, within.values(), strict=True):
        if row is None:
            continue
        own = {"budget": budget, "member": row.name, "flops_share": row.flops_share, "params": row.params}
        found = compared(whole, attacked.member(row.name, row.home), attacked.count)
        rows.append({**own, "state": PRUNED, "attacks": found})
        if options.epochs:
            tuned = here.finetune(result, row.name, epochs=options.epochs)
            (after,) = choose(tuned.rows, row.name)
            name = f"{row.name} after {options.epochs} epochs of {here.epoch_images}"
            found = compared(whole, attacked.member(name, after.path), attacked.count)
            rows.append({**own, "state": TUNED, "trained_epochs": after.trained_epochs, "attacks": found})
    return rows


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The search, then the attacks."""
    at_least(options, population=4, generations=1, images=2, epochs=0, statistics_size=1, calibration_size=1)
    are_shares(options, "budgets")
    here = setting(options, "robustness", make_reporter())
    if options.quick:
        vars(options).update(QUICK)
    sizes: Row = {name: getattr(options, name) for name in SIZES}
    here.options.update({name: size for name in CHEAPER if (size := getattr(options, name)) is not None})
    if options.run is None:
        result = here.search("searched", population=options.population, generations=options.generations)
    else:
        result = here.resume(options.run)
    manifest = read_manifest(result.path)
    sizes |= {name: manifest["options"][name] for name in ("population", "generations", "algorithm", "polish")}
    work = WorkFile(here.work / ".rows.jsonl", {"identity": manifest["identity"], "images": options.images})
    attacked = Attacked(here, result, work, options.images)
    rows = attacked_rows(here, result, attacked, options)
    text = report(here.name, here.data, attacked.count, rows)
    print(text)
    device = "cuda" if manifest["device"].startswith("cuda") else manifest["device"]
    options.output.mkdir(parents=True, exist_ok=True)
    suffix = "-quick" if options.quick else ""
    (options.output / f"robustness-{here.name}-{here.data}-{device}{suffix}.md").write_text(text)
    return {
        "data": f"{here.name}-{here.data}",
        "device": device,
        "threads": manifest["threads"],
        "settings": sizes
        | {"epoch_images": here.epoch_images, "identity": manifest["identity"], "splits": manifest["data"]["splits"]},
        "versions": here.versions(),
        "figures": figures_of(here.name, rows),
        "rows": rows,
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """The network, and how long everything may take."""
    add_arguments(parser)
    parser.add_argument("--budgets", type=float, nargs="+", default=list(BUDGETS), help="shares of the FLOPs")
    parser.add_argument("--population", type=int, default=SIZES["population"], help="of the search")
    parser.add_argument("--generations", type=int, default=SIZES["generations"], help="of the search")
    parser.add_argument("--statistics-size", type=int, help="of the search; default: the search's")
    parser.add_argument("--calibration-size", type=int, help="of the search; default: the search's")
    parser.add_argument("--images", type=int, default=SIZES["images"], help="test images that are attacked")
    parser.add_argument("--epochs", type=int, default=SIZES["epochs"], help="of the fine-tuning; 0 is without")
    parser.add_argument("--run", type=Path, help="a finished search to take members of, instead of one of its own")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
