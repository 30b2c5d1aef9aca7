"""A search as a user runs it, written down: command, hardware, front table and picture.

``python experiments/first_search.py --data-dir DIR`` searches VGG16 on CIFAR-10 with the shipped weights and writes
``results/first-search-<model>-<data>.md`` and its picture. ``--run DIR`` writes down a run that is already there;
``--label`` names the copy of the data in the title.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from gaprune.options import SearchOptions
from gaprune.options.cli import options_from_record, typed_command
from gaprune.options.fields import names_of
from gaprune.runs import Baseline, FrontRow, pick, plain_table, read_csv, read_manifest

RESULTS = Path(__file__).parent / "results"
BUDGETS = (0.5, 0.25, 0.1)


def main() -> int:
    """Search if need be, then write the report."""
    parser = argparse.ArgumentParser(prog="python experiments/first_search.py", description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="CIFAR-10 root or image folder")
    parser.add_argument("--run", type=Path, help="an existing run directory")
    parser.add_argument("--label", default="cifar10-jpeg", help="name of the data in the file's name")
    parser.add_argument("--note", default="no training after pruning", help="a line to add, such as the whole time")
    options, extra = parser.parse_known_args()
    run = options.run
    if run is None:
        run = Path("runs") / f"first-search-{options.label}"
        places = ["--data-dir", str(options.data_dir)] if options.data_dir else []
        command = [sys.executable, "-m", "gaprune.search", *places, "--output", str(run), *extra]
        subprocess.run(command, check=True)
    print(f"written: {write_report(run, options.label, options.note)}")
    return 0


def write_report(run: Path, label: str, note: str) -> Path:
    """Write the report of a finished run; its path."""
    manifest = read_manifest(run)
    name = f"first-search-{manifest['model']['name']}-{label}"
    RESULTS.mkdir(parents=True, exist_ok=True)
    shutil.copy(run / "front.png", RESULTS / f"{name}.png")
    path = RESULTS / f"{name}.md"
    path.write_text(report(run, manifest, read_csv(run / "front.csv"), name, note))
    return path


def report(run: Path, manifest: dict[str, Any], rows: list[FrontRow], name: str, note: str) -> str:
    """The report as Markdown."""
    original = Baseline(**manifest["original"])
    environment, data = manifest["environment"], manifest["data"]
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items() if v)
    lines = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    seconds = sum(line["seconds"] for line in lines)
    failed = sum(line["failure"] is not None for line in lines)
    splits = data["splits"]
    picked = rows[manifest["picked"]] if manifest.get("picked") is not None else None
    hardware = f"{environment['cpu_count']} cores of {environment['cpu']}, {environment['platform']}"
    hardware = ", ".join([*environment["cuda_devices"], hardware])
    return f"""# A first search: {manifest["model"]["name"]} on {data["name"]}

{_without_paths(data["source"])}.

- command: `{_command(manifest)}`
- network: {_without_paths(manifest["baseline"])}
- original: {original.search_accuracy:.4f} on the search set, {original.test_accuracy:.4f} on the images that report
- search set: {splits["search"]["images"]:,} images held out of {splits["search"]["of"]};
  {splits["test"]["images"]:,} test images only report
- evaluations: {len(lines)}, of which {failed} failed; {seconds / 60:.1f} minutes in all,
  {seconds / len(lines):.1f} s each
- {note}
- hardware: {hardware}; {manifest["threads"]} threads, {manifest["device"]}
- versions: {versions}
- date: {environment["date"]}

![front]({name}.png)

## At some budgets
The best member (by the search set) within each share of the FLOPs:

| FLOPs at most | member | search set | images that report | FLOPs | parameters |
|---:|---:|---:|---:|---:|---:|
{_budgets(rows)}

## The whole front
{plain_table(rows, baseline=original, picked=picked, every=True)}"""


def _without_paths(text: str) -> str:
    return re.sub(r",? (in|from) /\S+", "", text)


def _budgets(rows: list[FrontRow]) -> str:
    lines = []
    for budget in BUDGETS:
        if all(row.flops_share > budget for row in rows):
            continue
        row = pick(rows, f"flops<={budget}")
        lines.append(
            f"| {budget:.0%} | {row.index} | {row.search_accuracy:.4f} | {row.test_accuracy:.4f} "
            f"| {row.flops_share:.1%} | {row.params_share:.1%} |"
        )
    return "\n".join(lines)


def _command(manifest: dict[str, Any]) -> str:
    """The command, paths left out."""
    options, default = options_from_record(SearchOptions, manifest["options"]), SearchOptions()
    names = set(names_of(SearchOptions)) - {"output", "cache_dir"}
    typed = {name for name in names if getattr(options, name) != getattr(default, name)} | {"model"}
    paths: dict[str, Any] = {name: Path("DIR") for name in ("data_dir", "checkpoint") if name in typed}
    return typed_command("python -m gaprune.search", options.but(given=frozenset(typed), **paths))


if __name__ == "__main__":
    raise SystemExit(main())
