"""Few FLOPs and high accuracy, with as much training as a GPU can give: VGG16 and ResNet18 on CIFAR-10.

Claim: from a strong baseline, a search under limits and a long fine-tuning with the original as teacher end at the
accuracies of ``GOALS``. One command a network, each of which goes on where it was stopped when given again:

    python experiments/gpu_goals.py --model vgg16 --data-dir DIR
    python experiments/gpu_goals.py --model resnet18 --data-dir DIR

Steps: a baseline, trained here in ``--baseline-epochs`` unless ``--checkpoint`` brings one; for each limit a search
that keeps to it, with polish; the member that is picked within the limit is fine-tuned for ``--epochs``.
Accuracies are of test images, which nothing is chosen by. Meant for a GPU: on a CPU it runs too, and says first how
long that will take.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import Goal, at_least, pathless, run
from benchmarks.running import Setting, add_arguments, markdown, members_within, search_seconds, setting
from gaprune.baseline import Subject, default_recipe, held_out_size, train_baseline
from gaprune.data import load_data, split
from gaprune.device import choose_device
from gaprune.errors import OptionError
from gaprune.progress import duration, make_reporter
from gaprune.runs import read_manifest
from gaprune.training import Distillation, Recipe, estimate_seconds
from gaprune.training.subject import new_network


@dataclass(frozen=True)
class Target:
    """A network that is wanted.

    Attributes:
        model: the name.
        flops: most, a share of the original's.
        params: most, a share of the original's or above 1 a count; ``None`` for as many as there are.
        accuracy: top-1 on the test images, %, at least.
    """

    model: str
    flops: float
    params: float | None
    accuracy: float

    @property
    def name(self) -> str:
        """As goals and tables have it."""
        params = "" if self.params is None else f" and at most {self.params / 1e6:g} million parameters"
        return f"{self.model} with {100 * self.flops:g}% of the FLOPs{params}"

    @property
    def limits(self) -> dict[str, float]:
        """Options of a search that keeps to them."""
        return {"max_flops": self.flops} | ({} if self.params is None else {"max_params": self.params})


TARGETS = (
    Target("vgg16", 0.04, 240_000, 92.54),
    Target("resnet18", 0.194, None, 92.95),
    Target("resnet18", 0.096, None, 92.03),
)
QUICK_TARGETS = (Target("quick", 0.5, 4_000, 0.0), Target("quick", 0.3, None, 0.0))
GOALS = tuple(Goal(target.name, ">=", target.accuracy, "% top-1") for target in TARGETS)

BASELINE_EPOCHS = 200
EPOCHS = 300
QUICK = {"baseline_epochs": 2, "epochs": 1, "population": 6, "generations": 2}

Row = dict[str, Any]


def subject_of(here: Setting) -> Subject:
    """The network and the images that its baseline is trained on: those that a search leaves for training."""
    asked = here.options
    places = {name: asked[name] for name in ("data_dir", "cache_dir") if name in asked}
    data = load_data(asked["data"], **places, reporter=here.reporter)
    parts = split(data, search_size=asked.get("search_size", held_out_size(data)), calibration_size=1, seed=0)
    device = choose_device(asked.get("device", "auto"))
    return Subject(asked["model"], asked.get("stem", "cifar"), data, parts.train, parts.search, device)


def recipe_of(subject: Subject, epochs: int) -> Recipe:
    """The default recipe, for so many epochs."""
    return dataclasses.replace(default_recipe(new_network(subject, 0), subject.data, subject.device), epochs=epochs)


def forecast(subject: Subject, settings: Row, members: int, training: bool) -> str:
    """How long the trainings take on this machine; a line.

    Args:
        subject: the network, its images, its device.
        settings: epochs of both.
        members: that are fine-tuned.
        training: whether a baseline is trained.
    """
    network = new_network(subject, 0).to(subject.device)
    shape, images, checked = subject.data.image_shape, len(subject.train), {"validation_images": len(subject.validate)}
    seconds = 0.0
    if training:
        seconds = estimate_seconds(network, shape, recipe_of(subject, settings["baseline_epochs"]), images, **checked)
    recipe, lesson = recipe_of(subject, settings["epochs"]), Distillation(network.eval().requires_grad_(False))
    student = new_network(subject, 0).to(subject.device)
    tuning = estimate_seconds(student, shape, recipe, images, lesson=lesson, **checked)
    parts = [f"the baseline about {duration(seconds)}"] if training else []
    parts.append(f"fine-tuning {members} members at most {duration(members * tuning)}")
    return f"on this {subject.device.type}: {', '.join(parts)}, besides the searches, which say for themselves"


def with_baseline(here: Setting, subject: Subject, settings: Row) -> Setting:
    """The setting with weights that were trained here, or are found trained."""
    recipe = recipe_of(subject, settings["baseline_epochs"])
    path = train_baseline(subject, recipe, here.work / "baseline", here.reporter)
    return dataclasses.replace(here, options=here.options | {"checkpoint": path})


def reached(here: Setting, target: Target, settings: Row) -> Row:
    """The best member of a search within the limits, fine-tuned; what it is worth."""
    sizes = {name: settings[name] for name in ("population", "generations")}
    result = here.search(f"search-{target.flops:g}", polish=True, round_to=1, **sizes, **target.limits)
    rule = f"flops<={target.flops:.6f}"
    row: Row = {"target": target.name, "wanted": target.accuracy, "search_seconds": search_seconds(result.path)}
    (member,) = members_within(result.rows if result.satisfied else [], [rule]).values()
    if member is None:
        return row | {"missing": "no member keeps to the limits"}
    here.finetune(result, str(member.index), epochs=settings["epochs"])
    return row | {
        "flops": member.flops,
        "flops_share": member.flops_share,
        "params": member.params,
        **here.outcome(result.path, member, settings["epochs"]),
        "widths": list(member.widths),
    }


def figures_of(rows: Sequence[Row]) -> dict[str, float]:
    """The figures that goals speak of, in %."""
    return {row["target"]: round(100 * row["test_accuracy"], 3) for row in rows if "missing" not in row}


def report(here: Setting, original: Row, rows: Sequence[Row]) -> str:
    """What was reached as Markdown."""
    lines = []
    for row in rows:
        if "missing" in row:
            lines.append([row["target"], row["wanted"], row["missing"], *[None] * 5])
            continue
        accuracies = [f"{100 * row[name]:.2f}" for name in ("test_accuracy_before_training", "test_accuracy")]
        costs = [f"{row['flops'] / 1e6:.3f}", f"{100 * row['flops_share']:.2f}", f"{row['params']:,}"]
        lines.append([row["target"], row["wanted"], *accuracies, *costs, row["training_seconds"]])
    headings = ["network", "wanted top-1, %", "before fine-tuning", "after", "FLOPs, 1e6", "of the original's, %"]
    return (
        f"# {here.name} on {here.data}: few FLOPs, trained long\n\n"
        f"{markdown([*headings, 'parameters', 'training seconds'], lines)}\n\n"
        f"The original: top-1 {100 * original['test_accuracy']:.2f}% on the test images, "
        f"{original['flops'] / 1e6:.1f} million FLOPs, {original['params']:,} parameters.\n"
    )


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Baseline, searches, fine-tunings."""
    at_least(options, baseline_epochs=1, epochs=1, population=1, generations=1, epoch_images=2)
    here = setting(options, "gpu-goals", make_reporter())
    if not options.quick and options.stem != "cifar":
        raise OptionError(f"stem must be cifar, which the goals are for, got {options.stem}")
    settings: Row = QUICK if options.quick else {name: getattr(options, name) for name in QUICK}
    targets = QUICK_TARGETS if options.quick else [one for one in TARGETS if one.model == options.model]
    training = options.checkpoint is None
    subject = subject_of(here)
    here.reporter.say(forecast(subject, settings, len(targets), training))
    if training:
        here = with_baseline(here, subject, settings)
    rows = [reached(here, target, settings) for target in targets]
    manifest = read_manifest(here.work / f"search-{targets[0].flops:g}")
    text = report(here, manifest["original"], rows)
    print(text)
    suffix = "-quick" if options.quick else ""
    options.output.mkdir(parents=True, exist_ok=True)
    device = "cuda" if manifest["device"].startswith("cuda") else manifest["device"]
    (options.output / f"gpu_goals-{here.name}-{here.data}-{device}{suffix}.md").write_text(text)
    return {
        "data": f"{here.name}-{here.data}",
        "device": device,
        "threads": manifest["threads"],
        "versions": here.versions(),
        "settings": settings | {"identity": manifest["identity"], "splits": manifest["data"]["splits"]},
        "original": manifest["original"] | {"source": pathless(manifest["baseline"])},
        "figures": figures_of(rows),
        "rows": rows,
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """The network, and how long everything may take."""
    add_arguments(parser)
    parser.add_argument("--baseline-epochs", type=int, default=BASELINE_EPOCHS, help="where no checkpoint is given")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of fine-tuning at each limit")
    parser.add_argument("--population", type=int, default=40, help="of each search")
    parser.add_argument("--generations", type=int, default=20, help="of each search")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
