"""Everything that gaprune has to find out on a GPU, as one command for the minutes that there is one.

    python experiments/gpu.py --minutes 12 --data-dir CIFAR10 --out DIR

A plan of steps, most valuable first, each a process with its own time limit. What a step finds is in ``--out`` as
soon as it is over, in files of at most 15 MiB; given again, the command goes on with what is missing.

    python experiments/gpu.py --list                     the steps, with estimates
    python experiments/gpu.py --quick --out DIR          every step at toy scale, on a CPU too
    python experiments/gpu.py --join DIR --into FOLDER   unpack what came back, checked by hash

``GPU.md`` says what to bring to a machine that reaches no network.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from experiments.gpu_plan import DONE, Plan, Step, table
from experiments.parcels import join, pack
from gaprune.errors import GapruneError, OptionError
from gaprune.progress import duration

LANES = ("vgg16", "resnet18")
OTHERS = tuple(f"-{name}" for name in LANES[1:])
"""Steps that are left out at toy scale, where one small network stands in for all."""


def _of(name: str, *kinds: Step) -> list[Step]:
    """Steps of one network."""
    return [
        dataclasses.replace(
            kind,
            name=f"{kind.name}-{name}",
            after=tuple(before if before in SHARED else f"{before}-{name}" for before in kind.after),
        )
        for kind in kinds
    ]


SHARED = ("images",)
"""Steps that all networks need."""

BASELINE = Step("baseline", "train on the images that a search leaves", "gaprune/weights/", 170, 250, SHARED)
SEARCH = Step("search", "600 evaluations, polished", "experiments/results/, docs", 120, 320, ("baseline",))
MEMBERS = Step(
    "members", "fine-tune at 50, 20, 10, 4% of the FLOPs", "experiments/results/, README", 60, 260, ("search",)
)
GOALS = Step("goals", "gpu_goals.py's targets", "experiments/results/", 120, 320, ("baseline",))
AGREEMENT = Step("agreement", "fitness here against the CPU's, 30 genomes", "docs", 110, 180, ("baseline",))
RATES = Step("rates", "candidates a second, local, Ray 1 and 4", "benchmarks/results/", 60, 120, ("baseline",), True)
SPEED = Step(
    "speed", "against the plain way, share outside forward", "benchmarks/results/", 50, 100, ("baseline",), True
)
LATENCY = Step("latency", "members by batch, precision, compiled", "benchmarks/results/", 40, 100, ("search",), True)
COMPARED = Step("compared", "GPU column of the compared methods", "benchmarks/results/", 60, 180, ("search",), True)

PROOF = (
    Step("smoke", "every path that CUDA may take, once", "docs", 90, 240),
    Step("tests", "pytest -m cuda", "docs", 40, 120),
)
"""Small, and for finding faults: best run by themselves first, with ``--only``."""

WHOLE = (
    *PROOF,
    Step("images", "decode CIFAR-10", "all that follow", 10, 90),
    *(step for name in LANES for step in _of(name, BASELINE)),
    *(step for name in LANES for step in _of(name, SEARCH)),
    *(step for name in LANES for step in _of(name, MEMBERS)),
    *_of("vgg16", RATES, SPEED, LATENCY),
    *(step for name in LANES for step in _of(name, GOALS)),
    *(step for name in LANES for step in _of(name, AGREEMENT)),
    *_of("resnet18", RATES, LATENCY),
    *(step for name in LANES for step in _of(name, COMPARED)),
)
"""Seconds are those of an H200 that up to five steps share."""

TRAINING_SHARE = 0.6
"""Of a step's limit that its trainings are planned to take."""


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python experiments/gpu.py", description="What to find out on a GPU.")
    parser.add_argument("--minutes", type=float, default=12.0, help="after which everything is ended")
    parser.add_argument("--out", type=Path, help="folder of what comes back")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="folder of what does not")
    parser.add_argument("--data-dir", type=Path, help="CIFAR-10: a folder, or an archive of one")
    parser.add_argument("--jobs", type=int, help="steps at once; default: 4, or as many as there are cores")
    parser.add_argument("--weights", type=Path, help="folder of weights that take the place of trained baselines")
    parser.add_argument("--training-seconds", type=float, help="of a step's trainings; default: 0.6 of its limit")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="these steps, or those whose names begin so")
    parser.add_argument("--quick", action="store_true", help="every step at toy scale")
    parser.add_argument("--list", action="store_true", help="print the steps and end")
    parser.add_argument("--join", type=Path, metavar="DIR", help="unpack what an earlier run has left in DIR")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="with --join: where to")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def chosen(only: Sequence[str] | None) -> list[Step]:
    """The steps whose names begin with one of ``only``, and those that they come after."""
    if only is None:
        return list(WHOLE)
    for name in only:
        if not any(step.name.startswith(name) for step in WHOLE):
            raise OptionError(f"no step begins with {name!r}: choose of {', '.join(step.name for step in WHOLE)}")
    wanted = {step.name for step in WHOLE if step.name.startswith(tuple(only))}
    for step in reversed(WHOLE):
        if step.name in wanted:
            wanted |= set(step.after)
    return [step for step in WHOLE if step.name in wanted]


def main(options: argparse.Namespace) -> int:
    """Do what was asked for; the exit status."""
    if options.list:
        print(table(WHOLE))
        return 0
    if options.join is not None:
        if options.into is None:
            raise OptionError("join needs a folder to unpack into: add --into FOLDER")
        for name in join(options.join, options.into):
            print(options.into / name)
        return 0
    if options.step is not None:
        return _child(options)
    return _plan(options)


def _child(options: argparse.Namespace) -> int:
    """One step in this process."""
    from experiments import gpu_steps

    step = next(one for one in WHOLE if one.name == options.step)
    gpu_steps.work(
        step.name,
        options.out,
        options.work,
        options.data_dir,
        quick=options.quick,
        weights=options.weights,
        seconds=TRAINING_SHARE * step.limit if options.training_seconds is None else options.training_seconds,
    )
    return 0


def _plan(options: argparse.Namespace) -> int:
    if options.out is None:
        raise OptionError("out is missing: name the folder of what comes back")
    if not options.quick and options.data_dir is None:
        raise OptionError("data-dir is missing: name CIFAR-10 as a folder, or an archive of one")
    if options.minutes <= 0:
        raise OptionError(f"minutes must be above 0, got {options.minutes:g}")
    if not options.quick and not options.data_dir.exists():
        raise OptionError(f"no such folder or archive: {options.data_dir}")
    if options.weights is not None and not options.weights.is_dir():
        raise OptionError(f"no such folder of weights: {options.weights}")
    steps = [step for step in chosen(options.only) if not (options.quick and step.name.endswith(OTHERS))]
    results = options.work / "results"
    results.mkdir(parents=True, exist_ok=True)
    if (options.out / "index.json").exists():
        join(options.out, results)
    data_dir = None if options.quick else _unpacked(options.data_dir, options.work)
    jobs = options.jobs or min(4, len(os.sched_getaffinity(0)))

    def command(step: Step) -> list[str]:
        words = [sys.executable, __file__, "--step", step.name, "--out", results / step.name, "--work", options.work]
        words += ["--data-dir", data_dir] if data_dir else []
        words += ["--training-seconds", options.training_seconds] if options.training_seconds else []
        words += ["--weights", options.weights] if options.weights else []
        return [*map(str, words), *(["--quick"] if options.quick else [])]

    plan = Plan(
        steps,
        results,
        command,
        60 * options.minutes,
        jobs,
        lambda line: print(line, flush=True),
        lambda: pack(results, options.out),
        options.quick,
    )
    plan.forget_failures()
    ended = plan.run()
    done = sum(how == DONE for how in ended.values())
    print(f"{done} of {len(ended)} steps done in {duration(plan.elapsed())}; results in {options.out}")
    return 0 if done == len(ended) else 1


def _unpacked(data: Path, work: Path) -> Path:
    """The folder of the images; an archive is unpacked once."""
    if data.is_dir():
        return data
    folder = work / "images"
    if not folder.exists():
        partial = work / "images.partial"
        with tarfile.open(data) as tar:
            tar.extractall(partial, filter="data")
        partial.rename(folder)
    return folder


if __name__ == "__main__":
    try:
        raise SystemExit(main(arguments()))
    except GapruneError as error:
        print(f"python experiments/gpu.py: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
