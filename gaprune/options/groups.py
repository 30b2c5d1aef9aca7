"""What a search can be told, by what it is about. A new option is a line here; ``docs/generate.py`` does the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gaprune.options.choices import (
    Algorithm,
    Backend,
    Compensation,
    Data,
    Device,
    Fitness,
    Genes,
    Importance,
    LatencyFrom,
    LatencyRuntime,
    Layers,
    Log,
    LogLevel,
    Normalise,
    Precision,
    Recalibration,
    SearchFrom,
    Stem,
    Tested,
)
from gaprune.options.fields import option, seed_option
from gaprune.options.limits import HOTTEST
from gaprune.options.trust import TRUST
from gaprune.options.units import SHARE, TIME


@dataclass(frozen=True)
class NetworkOptions:
    """The trained network."""

    model: str = option("vgg16", "network: vgg16, resnet18, torchvision:NAME, timm:NAME or package.module:factory")
    stem: Stem = option("cifar", "first layers of resnet18: cifar (3x3) or imagenet (7x7, the paper's)")
    checkpoint: Path | None = option(
        None, "trained weights: safetensors, a state dict, or pretrained: torchvision's or timm's", metavar="FILE"
    )
    head: str | None = option(None, "a checkpoint's head of other classes: keep, cut:CLASS_FILE or new (is fitted)")
    yes: bool = option(False, "search a network, too, that is no better than chance")


@dataclass(frozen=True)
class ImageOptions:
    """The images, and who may look at which."""

    data: Data = option("auto", "data set: auto, cifar10 or digits")
    data_dir: Path | None = option(
        None, "CIFAR-10 root, image folder train/<class>/* with test/ or val/, or a CSV file", metavar="DIR"
    )
    test_share: float = option(
        0.2, "share of an image folder without test/ that is split off to report on", above=0, below=1
    )
    search_from: SearchFrom = option(
        "auto", "where the search set is held out: train, test for weights that saw all of train, or validation"
    )
    search_size: int | None = option(
        None, "images that fitness is measured on; none is a fifth, at most 2,000", least=1
    )
    calibration_size: int = option(512, "training images that batch norm is recalibrated on, without labels", least=1)
    statistics_size: int | None = option(
        None, "training images for covariances, without labels; none is what is wanted, at most 4,096", least=1
    )


@dataclass(frozen=True)
class ReadingOptions:
    """How photographs become pixels, and pixels what networks are fed with; the same for every command."""

    image_size: int | None = option(None, "photographs: side of the square that the network sees, in pixels", least=1)
    resize: int | None = option(
        None, "photographs: what the short side is resized to before; none is image-size", least=1
    )
    mean: tuple[float, ...] | None = option(
        None, "mean that the network was trained with, of 0..1 or 0..255 pixels; none is the model's or the data's"
    )
    std: tuple[float, ...] | None = option(None, "standard deviation, likewise")
    normalise: Normalise | None = option(None, "mean and std by name: imagenet, half (-1..1) or none (0..1)")


POLISHED_BELOW = 0.15
"""Share of the FLOPs below which polish changes the ranks of networks."""


@dataclass(frozen=True)
class GenomeOptions:
    """What may be removed, and how the rest makes up for it."""

    genes: Genes = option("neurons", "what may be removed: neurons, connections or both")
    layers: Layers = option("all", "whose outputs are neurons: all layers with weights, or conv, convolutions alone")
    connection_groups: int = option(1, "tie connections into real grouped convolutions of this many groups", least=1)
    round_to: int | None = option(
        None,
        "kept widths are multiples of this, or auto: 8 on CUDA, 16 for latency in 8 bits, 1 on CPU else; none is auto",
        least=1,
        auto=True,
    )
    importance: Importance = option("obs", "what guides the operators: obs, l2, bn, taylor or random")
    compensation: Compensation = option(
        "taps", "how kept channels stand in for removed ones: over channels x taps, over channels, or none"
    )
    recalibration: Recalibration = option(
        "anchored",
        "batch norm after cutting: anchored gives its output the original's mean and variance on the calibration "
        "images, plain 0 and 1",
    )
    polish: bool = option(False, "re-solve the front's layers in turn against the original's outputs, without training")
    polish_below: float | None = option(
        None,
        "with polish, candidates of less than this share of the FLOPs are judged polished, too, or auto: "
        f"{POLISHED_BELOW:g} for genes of neurons that are judged by divergence, else 0; none is auto",
        least=0,
        most=1,
        auto=True,
    )
    recover: float | None = option(
        None,
        "time (60s, 2m) that each member of the front that loses a point or more is trained for, with the original as "
        "teacher; it is handed out trained if the search images find it better; of a task of one's own by task.train",
        metavar="TIME",
        above=0,
        units=TIME,
    )


@dataclass(frozen=True)
class FitnessOptions:
    """What a candidate is judged by."""

    fitness: Fitness = option(
        "auto",
        "what stands for accuracy while it is searched: accuracy, loss, divergence from the original's answers, which "
        "needs no labels, or auto: divergence for cma and tuned where objectives are not named, else accuracy",
    )
    fitness_temperature: float = option(
        1.0, f"that softens the answers divergence compares, above 0, at most {HOTTEST:g}", above=0, most=HOTTEST
    )
    precision: Precision = option("auto", "of the fitness: float32, bfloat16, or auto where the hardware multiplies it")
    racing: float = option(
        1.0,
        "measuring a candidate stops once it is worse than a known network of no higher costs with this confidence, "
        "image by image; 1 waits until it is certain",
        least=0.5,
        most=1,
    )
    objectives: tuple[str, ...] = option(
        ("accuracy", "flops"),
        "two or more of accuracy, loss, divergence, flops, params, size, latency, robustness, package.module:NAME",
    )
    max_flops: float | None = option(
        None,
        "most FLOPs: up to 1 a share of the original's (0.5 or 50% is half), above 1 a count (1e6 is a million)",
        units=SHARE,
    )
    max_params: float | None = option(None, "most parameters, a share or a count likewise", units=SHARE)
    max_size: float | None = option(None, "most bytes on disk, a share or a count likewise", units=SHARE)
    min_accuracy: float | None = option(None, "least accuracy on the search set, 0 to 1", units=SHARE)


@dataclass(frozen=True)
class LatencyOptions:
    """How long a network may take, and under which conditions that is measured."""

    max_latency: str | None = option(
        None, "most time for a batch: such as 5ms, 300us or 0.01s, or a share of the original's such as 0.5 or 50%"
    )
    latency_runtime: LatencyRuntime | None = option(
        None,
        "what runs networks that are timed: torch, compile (torch.compile), onnxruntime or onnxruntime-int8; none is "
        "torch, where latency is asked for",
    )
    latency_batch: int = option(1, "images of a batch that is timed", least=1)
    latency_from: LatencyFrom = option(
        "auto",
        "what tells a candidate's time: stopwatch (each is timed), table (of layers, timed once a device, corrected "
        "by whole networks) or auto: the table, where candidates are judged by it; members of the front are timed",
    )
    latency_threads: int | None = option(None, "CPU threads meanwhile; none is as many as of an evaluation", least=1)


@dataclass(frozen=True)
class EvolutionOptions:
    """How it is searched."""

    algorithm: Algorithm = option(
        "auto",
        "nsga2, nsga3, cma (whole ladders), tuned (cma, then nsga2), random, rounds (the paper's), or auto: tuned for "
        "neurons of classifiers of images where divergence may be the fitness, else nsga2, or nsga3 for three "
        "objectives and more",
    )
    population: int = option(24, "genomes a generation, 4 or more; rounds take 30 unless told otherwise", least=4)
    generations: int = option(10, "generations, the first included", least=1)
    seed: int = seed_option("decides splits, a baseline's training and the whole search")


@dataclass(frozen=True)
class IterationOptions:
    """Search, recover a member by training, search again."""

    iterations: int = option(1, "searches; between two a member is trained on, and the next one prunes that", least=1)
    iteration_share: float = option(
        0.5,
        "with iterations: FLOPs of that member at most, as a share of the network's that was searched",
        least=0,
        most=1,
    )
    iteration_epochs: int = option(
        10, "with iterations: epochs of that training, with the original as teacher", least=1
    )
    epoch_images: int | None = option(
        None,
        "with round-epochs or iterations: images of an epoch, drawn anew for each; none is all training images",
        least=2,
    )


@dataclass(frozen=True)
class RoundOptions:
    """The paper's algorithm: search in rounds, each on the network that the one before left."""

    rounds: int = option(5, "with rounds: searches, each on the network that the one before left", least=1)
    round_generations: int = option(5, "with rounds: generations of each round, the first included", least=1)
    round_share: tuple[float, ...] = option(
        (0.03, 0.52, 0.45, 0.37, 0.27),
        "with rounds: share of the genes that each round removes, the last one for all that follow",
        least=0,
        most=1,
    )
    round_epochs: int = option(0, "with rounds: epochs of training after each round", least=0)
    selected: int = option(5, "with rounds: genomes that become parents, best loss first", least=2)
    cut: float = option(0.6, "with rounds: where parents are cut, as a share of the chromosome", least=0, most=1)
    mutation_rate: float = option(0.6, "with rounds: probability that a child is mutated", least=0, most=1)


@dataclass(frozen=True)
class MachineOptions:
    """Where networks run, on which results depend in the last digits."""

    device: Device = option("auto", "where networks run: auto, cpu or cuda")
    threads: int | None = option(
        None, "CPU threads of an evaluation; none is torch's own number, and 1 on Ray", least=1
    )
    threads_per_worker: int | None = option(None, "another name for --threads, on Ray", least=1)
    batch_size: int = option(256, "images a forward pass", least=1)


@dataclass(frozen=True)
class ClusterOptions:
    """Where candidates are evaluated, on which results do not depend."""

    backend: Backend = option(
        "auto", "where candidates are evaluated: local, ray, or auto: ray with a cluster's address or several GPUs"
    )
    ray_address: str | None = option(
        None, "cluster: host:port, or auto for this machine's; none is $RAY_ADDRESS, else a Ray of its own"
    )
    workers: int | None = option(None, "Ray workers at most; none is as many as the nodes hold", least=1)
    gpus_per_worker: float | None = option(None, "GPUs of a Ray worker, 0.25 puts four on one; none is 1 on CUDA")
    max_retries: int = option(2, "times that a candidate is tried again when its worker dies", least=0)
    isolate: bool = option(
        False, "without Ray, evaluate in a process beside this one, which a candidate may end without harm"
    )
    candidate_timeout: float | None = option(
        None,
        "time (90s, 5m) after which a candidate is given up; none is ten times the slowest so far and at least a "
        "minute, 0 is no limit; a member of the front may take ten times as long",
        metavar="TIME",
        least=0,
        units=TIME,
        auto=True,
    )


@dataclass(frozen=True)
class RunOptions:
    """The run on disk, and which of its members is marked."""

    pick: str = option("knee", "member to mark: knee, flops<=0.3, params<=0.5, accuracy>=0.9 or latency<=5ms")
    tested: Tested = option(
        "shown",
        "members measured on the test images: shown (in the table, at most 15) or all",
    )
    output: Path | None = option(None, "run directory; none is runs/<model>-<data>-<date>", metavar="DIR")
    resume: Path | None = option(None, "go on with this run", metavar="DIR")
    trust: bool = option(False, TRUST)
    cache_dir: Path | None = option(
        None, "where data and baselines are kept; none is $GAPRUNE_CACHE or the user's cache folder", metavar="DIR"
    )


@dataclass(frozen=True)
class TrustOptions:
    """What is imported for a run whose network or objectives are of a module."""

    model: str | None = option(None, "the search's network once more, where it is package.module:factory")
    trust: bool = option(False, TRUST)


@dataclass(frozen=True)
class RecordOptions:
    """What is written for other programs, on which results do not depend."""

    log: Log = option("none", "event files of every generation, in tensorboard/ in the run: none, tensorboard")


@dataclass(frozen=True)
class LoudnessOptions:
    """How much is shown, of which nothing on disk knows."""

    quiet: bool = option(False, "say nothing but what is wrong; a new result's place is printed alone")
    log_level: LogLevel = option("warning", "how much is logged")


@dataclass(frozen=True)
class ScreenOptions(LoudnessOptions):
    """What is shown, of which a run knows nothing."""

    all: bool = option(False, "show every network of the front in the table, not a choice over budgets")
