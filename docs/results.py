"""The pages of committed results: what they are made of, and how each JSON file becomes tables."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searches import evolution
from tables import demoted, millions, percent, table

ROOT = Path(__file__).parents[1]
TEXTS = ROOT / "docs" / "results_text"
BENCHMARKS, EXPERIMENTS = "benchmarks/results", "experiments/results"
GENERATED = "<!-- written by python docs/generate.py: change the script or its sources, not this page -->"

Result = dict[str, Any]
NEW_VGG16 = "2026-11-27"
"""Results of VGG16 made before this day were made with the weights that were shipped then."""

VGG16, RESNET18 = "vgg16-cifar10-cpu", "resnet18-imagenet-cifar10-cpu"
NAMES = {VGG16: "VGG16 on CIFAR-10", RESNET18: "ResNet18 (7 x 7 stem) on CIFAR-10"}


@dataclass(frozen=True)
class Part:
    """One committed result on a page.

    Attributes:
        title: of its section.
        file: without the ending, within the repository.
        tables: the JSON's tables as Markdown; None where the Markdown beside it is taken over.
        pictures: endings of its pictures' names; the name alone is the empty text.
    """

    title: str
    file: str
    tables: Callable[[Result], str] | None = None
    pictures: tuple[str, ...] = ()


def both(folder: str, name: str, tables: Callable[[Result], str] | None, pictures: tuple[str, ...]) -> tuple[Part, ...]:
    """The parts of a script that was run on both networks."""
    return tuple(Part(NAMES[end], f"{folder}/{name}-{end}", tables, pictures) for end in (VGG16, RESNET18))


def earlier(name: str, tables: Callable[[Result], str]) -> tuple[Part, ...]:
    """The parts of both networks that an earlier version made."""
    files = {end: f"{BENCHMARKS}/{name}-{end.removesuffix('-cpu')}-earlier-cpu" for end in (VGG16, RESNET18)}
    return tuple(Part(f"{NAMES[end]}, an earlier version", file, tables, ("",)) for end, file in files.items())


def oneshot(result: Result) -> str:
    """Accuracy by budget and way of pruning; of our variants the order is that of the file."""
    ways: dict[str, dict[float, Result]] = {}
    for row in result["rows"]:
        ways.setdefault(f"{row['method']}, {row['variant']}", {})[row["budget"]] = row
    budgets = sorted({row["budget"] for row in result["rows"]}, reverse=True)
    rows = [
        (way, *(percent(found[b]["test_accuracy"]) if b in found else "-" for b in budgets))
        for way, found in ways.items()
    ]
    original = f"The original: {percent(result['original']['test_accuracy'])}% on the test images.\n\n"
    return original + table(("top-1 on the test images, %", *(f"{b:.0%} of the FLOPs" for b in budgets)), rows)


def pretrained(result: Result) -> str:
    """Accuracy of each network by way and budget, and paired differences where they were taken."""
    rows = [
        (
            f"{row['method']} ({row['criterion']}, {row['scope']})" if "criterion" in row else row["method"],
            f"{row['variant']} ({row['way']})" if row["variant"] == "trained" else row["variant"],
            f"{row['budget']:.0%}",
            percent(row["flops_share"]),
            percent(row["test_accuracy"]),
        )
        for row in result["rows"]
    ]
    images = result["settings"]["test_images"]
    original = f"The original: {percent(result['original']['test_accuracy'])}% on {images} test images."
    parts = [original, table(("method", "way", "FLOPs at most", "FLOPs left, %", "top-1, %"), rows)]
    if result.get("differences"):
        apart = [
            (
                f"{one['budget']:.0%}",
                "after training" if one["trained"] else "without training",
                in_points(one["loss"]),
                in_points(one["ahead"]) if "ahead" in one else "",
            )
            for one in result["differences"]
        ]
        header = ("FLOPs at most", "", "lost, points", "ahead of Torch-Pruning's best, points")
        parts += ["Image by image, with 95% intervals of the paired bootstrap:", table(header, apart)]
    return "\n\n".join(parts)


def in_points(difference: Result) -> str:
    """A paired difference with its interval."""
    low, high = difference["95%"]
    return f"{difference['points']:.1f} ({low:.1f} to {high:.1f})"


def finetuned(result: Result) -> str:
    """Before and after the same training."""
    rows = [
        (
            f"{row['budget']:.0%}",
            row["method"] if row["method"] == "gaprune" else f"{row['method']} ({row['setting']})",
            row["seeds"],
            percent(row["before"]["test_accuracy"]),
            percent(row["test_accuracy"]["mean"]),
            f"{percent(row['test_accuracy']['least'])} to {percent(row['test_accuracy']['most'])}",
            percent(row["flops_share"]),
            millions(row["params"]),
        )
        for row in result["summary"]
    ]
    before = ("FLOPs at most", "method", "seeds", "pruned, %", "fine-tuned, %", "over seeds")
    original = f"The original: {percent(result['original']['test'])}% on the test images.\n\n"
    return original + table((*before, "FLOPs left, %", "parameters"), rows)


def shared(result: Result) -> str:
    """Each member before, and after training alone and together."""
    rows = [
        (
            row["method"],
            row["member"],
            percent(row["flops_share"]),
            row["params"],
            percent(row["before"]["test_accuracy"]),
            percent(row["test_accuracy"]),
            row["epochs"],
            round(row["seconds"]),
        )
        for row in result["rows"]
    ]
    header = ("trained", "member", "FLOPs left, %", "parameters", "before, %", "after, %", "epochs", "seconds")
    return table(header, rows)


def recipes(result: Result) -> str:
    """What a short training gains with each change of the recipe, in points on test images, by budget."""

    def cell(line: Result) -> str:
        return f"{line['mean']:+.2f} ({line['least']:+.2f} to {line['most']:+.2f})"

    rows = [
        (
            row["change"],
            f"{row['budget']:.0%}",
            percent(row["test"]),
            cell(row["over the network before, test"]),
            cell(row["over the default, test"]) if row["change"] != "default" else "",
            row["seconds"],
        )
        for row in result["rows"]
    ]
    header = ("change", "FLOPs", "top-1, %", "over the network before, points", "over the default, points", "seconds")
    joined = ", ".join(result["together"]) or "none that leads in every seed"
    return f"The best together: {joined}.\n\n{table(header, rows)}"


def text_search(result: Result) -> str:
    """F1 lost and gained by way and budget, each with its interval over test texts."""

    def cells(found: Result) -> tuple[str, ...]:
        return tuple(f"{one['F1']:.3f} ({one['95%'][0]:.3f} to {one['95%'][1]:.3f})" for one in found.values())

    rows = [
        (row["way"], row["budget"], percent(row["flops_share"]), *cells(row["before"]), *cells(row["after"]))
        for row in result["rows"]
    ]
    header = ("network", "FLOPs", "%", "lost before training", "ahead", "lost after it", "ahead")
    return f"The original: F1 {result['original_f1']:.4f} on the test texts.\n\n{table(header, rows)}"


def genes(result: Result) -> str:
    """Accuracy by kind of gene, within shares of the FLOPs and of the latency."""
    flops = {kind: found["accuracy"] for kind, found in result["by_flops"].items()}
    budgets = list(next(iter(flops.values())))
    by_flops = [(kind, *(percent(found[b]["test"]) for b in budgets)) for kind, found in flops.items()]
    shares = list(next(iter(result["by_latency"].values())))
    by_time = [(kind, *(percent(found.get(s)) for s in shares)) for kind, found in result["by_latency"].items()]
    first = table(("test accuracy, %", *(f"{b} of the FLOPs" for b in budgets)), by_flops)
    return first + "\n" + table(("test accuracy, %", *(f"{s} of the latency" for s in shares)), by_time)


def fidelity(result: Result) -> str:
    """Rank correlations with their intervals."""
    rows = [
        (budget, what, f"{found['spearman']:.3f}", " to ".join(f"{end:.3f}" for end in found["95%"]))
        for budget, kinds in result["correlations"].items()
        for what, found in kinds.items()
        if "spearman" in found
    ]
    return table(("FLOPs", "fitness against", "Spearman", "95% interval"), rows)


def plain(name: str, columns: Sequence[str]) -> Callable[[Result], str]:
    """A table of some columns of the rows under ``name``."""

    def tables(result: Result) -> str:
        rows = [[row.get(column) for column in columns] for row in result[name]]
        return table([column.replace("_", " ") for column in columns], rows)

    return tables


def widths(result: Result) -> str:
    """How many widths fail, by instruction set and way of computing."""
    counts: dict[tuple[str, str], list[str]] = {}
    for row in result["rows"]:
        failed = counts.setdefault((row["isa"], row["side"]), [])
        if row["outcome"] != "right":
            failed.append(str(row["width"]))
    rows = [(isa, side, len(failed), ", ".join(failed) or "none") for (isa, side), failed in counts.items()]
    return table(("ONEDNN_MAX_CPU_ISA", "way", "widths that fail", "which"), rows)


def eight_bits(result: Result) -> str:
    """Size, accuracy and times of each file."""
    rows = []
    for row in result["rows"]:
        times = (f"{1e3 * row['seconds'][name]:.1f}" for name in ("cpu 1", "cpu 128"))
        rows.append((f"`{row['chain']}`", row["size_mb"], f"{100 * row['metrics']['accuracy']:.2f}", *times))
    return f"Times belong to: {result['processor']}.\n\n" + table(
        ("file", "MB", "top-1, %", "batch of 1, ms", "batch of 128, ms"), rows
    )


def sizes(result: Result) -> str:
    """Sizes of a BERT as large as the paper's."""
    rows = [(f"`{name}`", row["saved"], row["computed"], row["paper"]) for name, row in result["rows"].items()]
    return table(("chain", "MB saved", "MB by formula", "MB, the paper"), rows)


def photographs(result: Result) -> str:
    """Memory after each stage, and what was decoded how fast."""
    figures = result["figures"]
    peak = f"At most {figures['peak resident, GiB']:.2f} GiB resident; the pixels as one tensor: "
    rates = [(name.rpartition(", ")[2], round(found)) for name, found in figures.items() if name.startswith("photog")]
    rows = [(row["reading"], row["stage"], row["seconds"], row["resident_gib"]) for row in result["rows"]]
    return "\n\n".join(
        (
            f"{peak}{figures['as one tensor, GiB']:.2f} GiB.",
            table(("reading", "stage", "seconds", "GiB resident after it"), rows),
            table(("decoded by", "photographs a second"), rates),
        )
    )


PAGES: dict[str, tuple[Part, ...]] = {
    "first_search": (
        Part("VGG16 on CIFAR-10", f"{EXPERIMENTS}/first-search-vgg16-cifar10-jpeg"),
        Part("VGG16 on the digits", f"{EXPERIMENTS}/first-search-vgg16-digits"),
    ),
    "oneshot": both(BENCHMARKS, "oneshot", oneshot, ("",)),
    "pretrained": (
        Part(
            "EfficientNet-Lite0 on Imagenette", f"{BENCHMARKS}/pretrained-efficientnet-lite0-imagenette-cpu", pretrained
        ),
    ),
    "search": (
        *both(BENCHMARKS, "search", evolution, ("",)),
        Part(
            f"{NAMES[RESNET18]}, small candidates judged polished",
            f"{BENCHMARKS}/search-resnet18-imagenet-cifar10-polished-cpu",
            evolution,
        ),
        *earlier("search", evolution),
    ),
    "finetuned": both(BENCHMARKS, "finetuned", finetuned, ("",)),
    "recipes": (Part(NAMES[RESNET18], f"{BENCHMARKS}/recipes-{RESNET18}", recipes),),
    "shared": (Part(NAMES[RESNET18], f"{BENCHMARKS}/shared-{RESNET18}", shared),),
    "scratch_vs_pruned": (Part(NAMES[RESNET18], f"{EXPERIMENTS}/scratch_vs_pruned-{RESNET18}", None, ("",)),),
    "structural_distillation": both(EXPERIMENTS, "structural_distillation", None, ("",)),
    "search_and_recover": (Part(NAMES[RESNET18], f"{EXPERIMENTS}/search_and_recover-{RESNET18}"),),
    "robustness": both(EXPERIMENTS, "robustness", None, ()),
    "compare_methods": both(BENCHMARKS, "compare_methods", None, ("-size", "-time")),
    "text_compression": (
        Part("SMS spam", f"{EXPERIMENTS}/text_compression-sms-spam-cpu"),
        Part("SST-2", f"{EXPERIMENTS}/text_compression-sst2-cpu"),
        Part("A BERT of the paper's size", f"{EXPERIMENTS}/text_compression-paper-shape-cpu", sizes),
    ),
    "text_search": (Part("SST-2", f"{BENCHMARKS}/text_search-sst2-cpu", text_search),),
    "genes": (Part(NAMES[RESNET18], f"{BENCHMARKS}/genes-{RESNET18}", genes, ("",)),),
    "fidelity": (
        Part(NAMES[VGG16], f"{BENCHMARKS}/fidelity-{VGG16}", fidelity, ("",)),
        Part(f"{NAMES[RESNET18]}, rungs of images", f"{BENCHMARKS}/fidelity-rungs-{RESNET18}", fidelity),
    ),
    "throughput": (
        Part(
            NAMES[VGG16],
            f"{BENCHMARKS}/throughput-{VGG16}",
            plain("rows", ("side", "candidates_per_second", "speed_up", "outside_forward")),
        ),
    ),
    "scaling": (
        Part(
            "Scheduling, with candidates that sleep",
            f"{BENCHMARKS}/scaling-sleeping-cpu",
            plain("scheduling", ("workers", "candidates", "cost_spread", "efficiency", "driver_ms", "idle_share")),
        ),
        Part(
            "Rates, with real candidates of ResNet18 (7 x 7 stem)",
            f"{BENCHMARKS}/scaling-{RESNET18}",
            plain("rates", ("side", "candidates_per_second", "start_up_seconds", "overhead_ms", "same_as_local")),
        ),
    ),
    "connection_groups": (
        Part(
            "VGG16 and ResNet18",
            f"{BENCHMARKS}/connection_groups-none-cpu",
            plain("rows", ("network", "groups", "batch", "ms", "speed_up", "flops_share")),
        ),
    ),
    "quantizers": (
        Part(
            "A small BERT on random tokens",
            f"{BENCHMARKS}/quantizers-random-ids-cpu",
            plain("rows", ("side", "batch", "seconds", "megabytes", "logits_apart")),
        ),
    ),
    "eight_bits": both(BENCHMARKS, "eight_bits", eight_bits, ()),
    "strided_convolutions": (Part("Random images", f"{BENCHMARKS}/strided_convolutions-random-images-cpu", widths),),
    "photographs": (Part("13,000 photographs", f"{BENCHMARKS}/photographs-imagenette160-cpu", photographs),),
    "gpu": (Part("NVIDIA H200", f"{EXPERIMENTS}/gpu-nvidia-h200"),),
}


def results_pages() -> tuple[str, ...]:
    """The names of the pages."""
    return tuple(PAGES)


def results_page(name: str) -> str:
    """One page: the text above, then each committed result."""
    parts = [introduction(name), GENERATED, *(section(part) for part in PAGES[name])]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def introduction(name: str) -> str:
    """The text of a page, from its title on."""
    return (TEXTS / f"{name}.md").read_text(encoding="utf-8")


def index_page() -> str:
    """All pages, each with its title and first sentence."""
    rows = []
    for name in PAGES:
        title, _, rest = introduction(name).partition("\n")
        sentence = re.split(r"(?<=[.?])\s", " ".join(rest.split()), maxsplit=1)[0]
        rows.append((f"[{title.removeprefix('# ')}]({name}.md)", sentence))
    return "\n\n".join((introduction("index").strip(), GENERATED, table(("page", "what it answers"), rows)))


def networks_page() -> str:
    """Every network that was tried, with what can go of it."""
    file = "benchmarks/results/networks-random-images-cpu.json"
    result: Result = json.loads((ROOT / file).read_text(encoding="utf-8"))
    parts = [
        "# Networks",
        GENERATED,
        "What gaprune makes of networks by name, drawn at random, in float64. *Can go*: outputs of layers that are\n"
        "neurons, the last layer's left out. *Half*: FLOPs left with half of every group, and the same of\n"
        "Torch-Pruning. *Apart*: outputs of the compact network beside those of the masked one. *Counted*: gaprune's\n"
        "formula equals fvcore's count of the compact network. *Seconds*: tracing and checking, of the processor, on\n"
        "one thread. What stays whole says why in a warning; the first reason stands here.",
        made(result, file),
    ]
    if missing := result.get("missing"):
        count = len(missing) + len(result["rows"])
        parts.append(
            f"**Not finished.** {len(missing)} of {count} networks are not measured, and count as not right in the\n"
            f"figures below: {', '.join(missing)}."
        )
    elsewhere = {row["cpu"] for row in result["rows"] if "cpu" in row}
    for cpu in sorted(elsewhere):
        names = [row["network"] for row in result["rows"] if row.get("cpu") == cpu]
        parts.append(f"Measured again later, on {cpu}: {', '.join(names)}.")
    header = ("network", "pixels", "can go", "half", "Torch-Pruning", "apart", "counted", "seconds", "what stays")
    for source in dict.fromkeys(row["source"] for row in result["rows"]):
        ours = [row for row in result["rows"] if row["source"] == source]
        parts += [f"## {source}", table(header, map(_network_cells, ours))]
    parts.append(table(("figure", "measured"), result["figures"].items()))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _network_cells(row: Result) -> tuple[Any, ...]:
    peer = row.get("torch_pruning")
    theirs = f"{peer:.3f}" if peer is not None else "fails" if row.get("torch_pruning_says") else "not tried"
    if not row["traced"]:
        return row["network"], row.get("side", ""), "refused", "", theirs, "", "", "", _in_cell(row.get("why", ""))
    counted = "yes" if row["counted"] else "no"
    shares = percent(row["can_go"], 0), f"{row['half']:.3f}", theirs, f"{row['apart']:.0e}"
    return row["network"], row["side"], *shares, counted, f"{row['seconds']:.0f}", _in_cell(row["why"])


def _in_cell(text: str) -> str:
    return text.replace("|", "/").replace("<", "(").replace(">", ")")[:120]


def section(part: Part) -> str:
    """One committed result: how it was made, pictures, tables."""
    parts = [f"## {part.title}"]
    source = ROOT / f"{part.file}.json"
    result: Result = json.loads(source.read_text(encoding="utf-8")) if source.exists() else {}
    if result:
        parts.append(made(result, f"{part.file}.json"))
    for ending in part.pictures:
        picture = f"{part.file}{ending}.png"
        assert (ROOT / picture).exists(), picture
        parts.append(f"![{part.title}](../../{picture})")
    parts.append(beside(part) if part.tables is None else part.tables(result))
    if result.get("figures"):
        figures = [(name, figure) for name, figure in result["figures"].items()]
        parts.append("Figures that the script compares with its goals:\n\n" + table(("figure", "measured"), figures))
    return "\n\n".join(part.strip() for part in parts)


def beside(part: Part) -> str:
    """The Markdown that the script wrote, its headings below ours and its pictures found from here."""
    text = demoted((ROOT / f"{part.file}.md").read_text(encoding="utf-8"), 2)
    return re.sub(r"!\[([^\]]*)\]\(([^/)]+\.png)\)", rf"![\1](../../{Path(part.file).parent}/\2)", text)


def made(result: Result, file: str) -> str:
    """Where a result stands, and how it was made."""
    environment = result["environment"]
    versions = environment["versions"]
    names = [name for name in ("python", "torch", "onnxruntime", "torchvision") if name in versions]
    devices = environment.get("cuda_devices") or []
    hardware = [f"{environment['cpu_count']} cores of {environment['cpu']}", *map(str, devices)]
    if "threads" in result:
        hardware.append(f"{result['threads']} thread{'s' * (result['threads'] != 1)}")
    lines = [f"- file: [`{file}`](../../{file})"]
    if "command" in result:
        lines.append(f"- command: `{result['command']}`")
    lines += [
        f"- date: {environment['date'][:10]}",
        f"- hardware: {', '.join(hardware)}",
        f"- versions: {', '.join(f'{name} {versions[name]}' for name in names)}",
    ]
    if result.get("data") in ("vgg16", "vgg16-cifar10") and environment["date"] < NEW_VGG16:
        lines.append("- network: the VGG16 that gaprune shipped before (85.4%); the one that ships now has 90.6%")
    return "\n".join(lines)


def readme_table() -> str:
    """Pruned and fine-tuned, ours beside Torch-Pruning, as in ``benchmarks/finetuned.py``."""
    rows = []
    for end, network in ((VGG16, "VGG16"), (RESNET18, "ResNet18")):
        result = json.loads((ROOT / BENCHMARKS / f"finetuned-{end}.json").read_text(encoding="utf-8"))
        cells: dict[float, dict[str, tuple[str, str]]] = {}
        for row in result["summary"]:
            pair = percent(row["before"]["test_accuracy"]), percent(row["test_accuracy"]["mean"])
            cells.setdefault(row["budget"], {})[row["method"]] = pair
        for budget in sorted(cells, reverse=True):
            theirs, ours = cells[budget]["Torch-Pruning"], cells[budget]["gaprune"]
            rows.append((network, percent(result["original"]["test"]), f"{budget:.0%}", *theirs, *ours))
    header = ("network", "original", "FLOPs left")
    ways = ("Torch-Pruning, pruned", "fine-tuned", "gaprune, pruned", "fine-tuned")
    return table((*header, *ways), rows)
