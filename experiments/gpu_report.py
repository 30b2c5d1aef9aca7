"""What a plan of ``gpu.py`` has found, as one JSON file and one page: small enough to be kept with the project.

    python experiments/gpu.py --join OUT --into FOLDER
    python experiments/gpu_report.py FOLDER

Steps that ran out of time stand there, too, with what they had written by then.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.running import markdown
from experiments.gpu_here import RESULT
from experiments.gpu_plan import DONE, STATUS
from gaprune.progress import duration
from gaprune.runs import read_csv
from gaprune.runs.files import atomic_write, write_json
from gaprune.runs.reading import read_json_object

Found = dict[str, Any]

MADE_WITH = ("environment", "driver", "torch_cuda")
"""What every step notes of the machine; kept once."""


def collected(folder: Path) -> Found:
    """Status and result of every step, and what they were made with."""
    steps: Found = {}
    made: Found = {}
    for file in sorted(folder.glob(f"*/{STATUS}")):
        home = file.parent
        step = read_json_object(file)
        if "why" in step:
            step["why"] = _pathless(step["why"])
        if (home / RESULT).exists():
            result = read_json_object(home / RESULT)
            made = {name: result.pop(name) for name in MADE_WITH if name in result} or made
            step["result"] = result
        if (home / "front.csv").exists():
            step["front"] = [
                {"flops": r.flops_share, "params": r.params, "search": r.search_accuracy, "test": r.test_accuracy}
                for r in read_csv(home / "front.csv")
            ]
        steps[home.name] = step
    return {**made, "steps": steps}


def page(found: Found) -> str:
    """The same as Markdown."""
    made, steps = found["environment"], found["steps"]
    card = ", ".join(made["cuda_devices"]) or made["cpu"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items() if version)
    parts = [
        f"# What a plan of minutes found on {card}",
        f"Driver {found['driver']}, CUDA {found['torch_cuda']}, {made['cpu_count']} CPU cores; {versions}. "
        "CIFAR-10 saved as JPEG (quality 75). Up to five steps at once shared the card, so seconds are upper bounds, "
        "except those of rates, speed, latency and compared. Made by `experiments/gpu.py`, see `experiments/GPU.md`.",
        "## Steps",
        markdown(
            ["step", "ended", "seconds", "why"],
            [[name, step["status"], step["seconds"], step.get("why")] for name, step in steps.items()],
        ),
    ]
    for kind, (heading, columns, section) in SECTIONS.items():
        rows = [line for name, step in _of(steps, kind) for line in section(name, step)]
        if rows:
            parts += [f"## {heading}", markdown([column.strip() for column in columns.split("|")], rows)]
    return "\n\n".join(parts) + "\n"


def _of(steps: Found, kind: str) -> Iterator[tuple[str, Found]]:
    for name, step in steps.items():
        if name.partition("-")[0] == kind and "result" in step:
            yield name.partition("-")[2], step["result"]


def _smoke(_: str, result: Found) -> list[list[Any]]:
    return [
        [path.replace("_", " "), "yes" if one["ok"] else "NO", one["said"], one["seconds"]]
        for path, one in result["paths"].items()
    ]


def _baseline(name: str, result: Found) -> list[list[Any]]:
    accuracy, recipe = result["accuracy"], result.get("recipe", {"epochs": "given"})
    return [[name, recipe["epochs"], result.get("seconds"), _percent(accuracy["search"]), _percent(accuracy["test"])]]


def _agreement(name: str, result: Found) -> list[list[Any]]:
    same = "yes" if result["same_again"] else "NO"
    return [
        [name, precision, len(row["pairs"]), f"{row['spearman']:.4f}", _percent(row["largest_difference"]), same]
        for precision, row in result["rows"].items()
    ]


def _search(name: str, result: Found) -> list[list[Any]]:
    rate = result["evaluations"] / result["seconds_of_candidates"]
    measured = [result["evaluations"], result["seconds"], f"{rate:.1f}", result["peak_device_mb"]]
    return [
        [
            name,
            *measured,
            budget,
            _percent(row["flops_share"]),
            _percent(row["search_accuracy"]),
            _percent(row["test_accuracy"]),
        ]
        for budget, row in result["within"].items()
        if row is not None
    ]


def _members(name: str, result: Found) -> list[list[Any]]:
    return [
        [name, budget, _percent(row["before"]["flops_share"]), row["before"]["params"], result["epochs"]]
        + [_percent(row[when]["test_accuracy"]) for when in ("before", "after")]
        for budget, row in result["rows"].items()
    ]


def _goals(name: str, result: Found) -> list[list[Any]]:
    names = ("target", "wanted", "test_accuracy", "flops_share", "params", "trained_epochs")
    shares = ("test_accuracy", "flops_share")
    rows = [row for row in result["rows"] if "missing" not in row]
    return [[_percent(row[one]) if one in shares else row[one] for one in names] for row in rows]


def _rates(name: str, result: Found) -> list[list[Any]]:
    rows = []
    for images, sides in result["rows"].items():
        for row in sides:
            same, idle = "yes" if row["same_as_local"] else "NO", row["figures"].get("idle")
            measured = [row["candidates_per_second"], row["overhead_ms"], idle, row["start_up_seconds"]]
            rows.append([name, images, row["side"], *measured, same])
    return rows


def _speed(name: str, result: Found) -> list[list[Any]]:
    names = ("side", "candidates_per_second", "speed_up", "outside_forward")
    return [[name, *(row[one] for one in names)] for row in result["rows"]]


def _latency(name: str, result: Found) -> list[list[Any]]:
    rows = []
    for row in result["rows"]:
        compiled = "yes" if row["compiled"] else ""
        what = [row["member"], _percent(row["flops"]), row["batch"], row["precision"], compiled]
        rows.append([name, *what, row["milliseconds"]])
    return rows


SECTIONS: dict[str, tuple[str, str, Callable[[str, Found], list[list[Any]]]]] = {
    "smoke": ("Every path once", "path | works | | seconds", _smoke),
    "baseline": ("Baselines", "network | epochs | seconds | top-1, held out, % | test, %", _baseline),
    "agreement": (
        "Fitness against the CPU's in float32",
        "network | precision | genomes | Spearman | largest difference, % | the same again",
        _agreement,
    ),
    "search": (
        "Searches, polished, nothing trained",
        "network | evaluations | seconds | candidates a second | peak MB | budget | FLOPs, % | search, % | test, %",
        _search,
    ),
    "members": (
        "Members trained on with the original as teacher",
        "network | budget | FLOPs, % | parameters | epochs | test before, % | after, %",
        _members,
    ),
    "goals": (
        "Targets of gpu_goals.py",
        "target | wanted, % | reached, % | FLOPs, % | parameters | epochs",
        _goals,
    ),
    "rates": (
        "Candidates a second",
        "network | images | where | a second | overhead, ms | idle | start-up, s | same as local",
        _rates,
    ),
    "speed": (
        "Against the plain way",
        "network | side | candidates a second | times the plain way | share outside forward",
        _speed,
    ),
    "latency": (
        "Latency",
        "network | member | FLOPs, % | batch | precision | compiled | milliseconds",
        _latency,
    ),
}


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.2f}"


def _pathless(text: str) -> str:
    return re.sub(r"/[\w./-]+", "", text)


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(prog="python experiments/gpu_report.py")
    parser.add_argument("folder", type=Path, help="joined results")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="where both go")
    options = parser.parse_args()
    found = collected(options.folder)
    if not found["steps"]:
        raise SystemExit(f"{options.folder} holds no results of gpu.py")
    cards = found["environment"]["cuda_devices"] or ["cpu"]
    name = "gpu-" + re.sub(r"[^a-z0-9]+", "-", cards[0].lower()).strip("-")
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / f"{name}.json", found)
    atomic_write(options.output / f"{name}.md", page(found).encode())
    done = sum(step["status"] == DONE for step in found["steps"].values())
    taken = duration(sum(step["seconds"] for step in found["steps"].values()))
    print(f"{options.output / name}.json and .md: {done} of {len(found['steps'])} steps done, {taken} in all")


if __name__ == "__main__":
    main()
