"""What ``python -m gaprune.train`` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gaprune.options.choices import Data, Device, Stem
from gaprune.options.fields import Options, check_fields, group, option, seed_option
from gaprune.options.groups import LoudnessOptions, ReadingOptions
from gaprune.options.models import check_model


@dataclass(frozen=True)
class NetworkOptions:
    """The network."""

    model: str = option("vgg16", "network: vgg16, resnet18, torchvision:NAME, timm:NAME or package.module:factory")
    stem: Stem = option("cifar", "first layers of resnet18")


@dataclass(frozen=True)
class ImageOptions:
    """The images, and which are held out."""

    data: Data = option("auto", "data set")
    data_dir: Path | None = option(
        None, "CIFAR-10 root, image folder train/<class>/* with test/ or val/, or a CSV file", metavar="DIR"
    )
    test_share: float = option(
        0.2, "share of an image folder without test/ that is split off to report on", above=0, below=1
    )
    search_size: int | None = option(
        None, "training images held out for the search set; none is a fifth, at most 2,000", least=1
    )


@dataclass(frozen=True)
class TrainingOptions:
    """How it is trained."""

    epochs: int | None = option(None, "passes over the training images; none suits the data", least=1)
    batch_size: int | None = option(None, "images in a step; none suits the data", least=2)
    lr: float | None = option(None, "peak learning rate; none suits the data", above=0)
    seed: int = seed_option("decides splits, initial weights, order and augmentation")
    device: Device = option("auto", "where to train")


@dataclass(frozen=True)
class PlaceOptions:
    """Where the weights go."""

    output: Path | None = option(None, "train here, not in the cache", metavar="DIR")
    cache_dir: Path | None = option(None, "where data and baselines are kept", metavar="DIR")


@dataclass(frozen=True)
class TrainOptions(Options):
    """Train the network that a search begins with. Stopped, it goes on when the command is given again."""

    DASHES: ClassVar[bool] = True
    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "python -m gaprune.train --model resnet18",
        "python -m gaprune.train --model my_package.nets:make --data-dir photographs --output weights --epochs 60",
    )

    network: NetworkOptions = group(NetworkOptions, "network")
    images: ImageOptions = group(ImageOptions, "images")
    reading: ReadingOptions = group(ReadingOptions, "photographs and normalisation")
    training: TrainingOptions = group(TrainingOptions, "training")
    places: PlaceOptions = group(PlaceOptions, "places")
    screen: LoudnessOptions = group(LoudnessOptions, "screen")

    def check(self) -> None:
        """Refuse what cannot be used, before anything is read.

        Raises:
            OptionError: one line that names the option, the rule and the value.
        """
        check_fields(self)
        check_model(self.network.model)
