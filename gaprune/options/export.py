"""What ``gaprune export`` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from gaprune.errors import OptionError
from gaprune.options.choices import Format, Integers
from gaprune.options.fields import Options, argument, check_fields, group, option
from gaprune.options.groups import LoudnessOptions, TrustOptions

SUFFIXES = {"onnx": ".onnx", "pt2": ".pt2", "state-dict": ".safetensors"}
"""Of the file of each format."""


@dataclass(frozen=True)
class WhichOptions:
    """Which network is exported."""

    pick: str = option("knee", "member of a run: an index, a name, or a rule such as knee, flops<=0.3 or accuracy>=0.9")
    row: str | None = option(None, "row of a comparison instead, such as ours:03 or tucker:size=0.2", metavar="CHAIN")


@dataclass(frozen=True)
class FileOptions:
    """The file."""

    format: Format = option("onnx", "onnx, pt2 (torch.export) or state-dict (safetensors: weights alone)")
    output: Path | None = option(None, "the file; none is RUN/exported/<network>", metavar="FILE")
    with_preprocessing: bool = option(
        False, "normalise inside the file: it takes uint8 pixels 0..255 instead of floats"
    )
    quantize: Integers | None = option(
        None, "int8: weights and activations in 8 bits for ONNX Runtime, calibrated on training images"
    )
    opset: int | None = option(None, "version of ONNX's operators; none is the exporter's own", least=18)


@dataclass(frozen=True)
class PlaceOptions:
    """Where images lie that have moved since, and how many threads time the file."""

    data_dir: Path | None = option(None, "where the images lie by now", metavar="DIR")
    cache_dir: Path | None = option(None, "where data are kept by now", metavar="DIR")
    threads: int | None = option(None, "CPU threads of the check; none is torch's own number", least=1)


@dataclass(frozen=True)
class ExportOptions(Options):
    """Write a network of a finished search, or of a comparison, as the file that ships; checked where it will run.

    The file is loaded again in its own runtime and compared with the network on test images before it is kept. Any
    number of images a batch will do.
    """

    NOUNS: ClassVar[bool] = True
    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gaprune export runs/half",
        "gaprune export runs/half --pick 'flops<=0.3' --with-preprocessing --quantize int8",
        "gaprune export runs/half/front/3fa9c2e1 --format pt2",
        "gaprune export comparisons/vgg16 --row tucker:size=0.2",
    )

    run: Path = argument("a run, one of its members' folders, or a comparison", metavar="RUN")
    which: WhichOptions = group(WhichOptions, "network")
    file: FileOptions = group(FileOptions, "file")
    places: PlaceOptions = group(PlaceOptions, "check")
    code: TrustOptions = group(TrustOptions, "code of modules")
    screen: LoudnessOptions = group(LoudnessOptions, "screen")
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def check(self) -> None:
        """Refuse what cannot be used, before anything is read.

        Raises:
            OptionError: one line that names the option, the rule and the value.
        """
        check_fields(self)
        if self.which.pick != "knee":
            from gaprune.runs import check_one

            check_one(self.which.pick)
        file = self.file
        if file.format != "onnx":
            for name, value in (("quantize", file.quantize), ("opset", file.opset)):
                if value is not None:
                    raise OptionError(f"{name} is for --format onnx, got --format {file.format}")
        if file.format == "state-dict" and file.with_preprocessing:
            raise OptionError("with-preprocessing needs a graph, a state dict has none: use --format onnx or pt2")
        suffix = SUFFIXES[file.format]
        if file.output is not None and file.output.suffix != suffix and not file.output.is_dir():
            raise OptionError(f"output must end in {suffix} with --format {file.format}, got {file.output}")
