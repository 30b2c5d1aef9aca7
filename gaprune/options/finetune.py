"""What ``python -m gaprune.finetune`` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from gaprune.errors import OptionError
from gaprune.options.choices import Device
from gaprune.options.fields import Options, argument, check_fields, group, option, seed_option
from gaprune.options.groups import ScreenOptions, TrustOptions
from gaprune.options.limits import HOTTEST, SHARED_NEEDS


@dataclass(frozen=True)
class MemberOptions:
    """Which members are trained, and how they belong together."""

    pick: str = option(
        "knee",
        "members: all, indices, names and rules, such as 3,3fa9c2e1,flops<=0.3; with --shared all by default",
        metavar="LIST",
    )
    shared: bool = option(False, "train members together on one set of weights, four a step, then cut them out")
    polish_epochs: int = option(
        0, "with --shared: passes over the training images for each member alone, afterwards", least=0
    )


@dataclass(frozen=True)
class TrainingOptions:
    """How a member is trained."""

    epochs: int = option(10, "passes over the training images, for each member", least=1)
    epoch_images: int | None = option(
        None, "images of an epoch, drawn anew for each; none is all training images", least=2
    )
    distill: float = option(
        0.9, "weight of the original's softened answers, 0 (labels alone) to 1 (no labels)", least=0, most=1
    )
    temperature: float = option(4.0, f"that softens the answers, above 0, at most {HOTTEST:g}", above=0, most=HOTTEST)
    batch_size: int | None = option(None, "images in a step; none suits the data", least=2)
    lr: float | None = option(None, "peak learning rate; none suits the data", above=0)
    seed: int = seed_option("decides order and augmentation")


@dataclass(frozen=True)
class MachineOptions:
    """Where it is trained."""

    device: Device = option("auto", "where to train")
    threads: int | None = option(None, "CPU threads; none is torch's own number", least=1)


@dataclass(frozen=True)
class PlaceOptions:
    """Where things lie that have moved since the search."""

    checkpoint: Path | None = option(None, "where the original's weights lie by now", metavar="FILE")
    data_dir: Path | None = option(None, "where the search's images lie by now", metavar="DIR")
    cache_dir: Path | None = option(None, "where data and baselines lie by now", metavar="DIR")


@dataclass(frozen=True)
class FinetuneOptions(Options):
    """Train members of a finished search on, with the original as their teacher.

    Stopped, it goes on when the command is given again. A member hands its trained weights out, in
    front/MEMBER/finetuned, if they are better on the search images.
    """

    NOUNS: ClassVar[bool] = True
    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "python -m gaprune.finetune runs/half",
        "python -m gaprune.finetune runs/half --pick '3,7,flops<=0.3' --epochs 30",
        "python -m gaprune.finetune runs/half --shared --epochs 10 --polish-epochs 2",
    )

    run: Path = argument("the run directory of a finished search", metavar="RUN")
    members: MemberOptions = group(MemberOptions, "members")
    training: TrainingOptions = group(TrainingOptions, "training")
    machine: MachineOptions = group(MachineOptions, "device")
    places: PlaceOptions = group(PlaceOptions, "places")
    code: TrustOptions = group(TrustOptions, "code of modules")
    screen: ScreenOptions = group(ScreenOptions, "screen")
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def settled(self) -> FinetuneOptions:
        """The same with the default that depends on another: members that share weights are all, unless named."""
        return self.but(pick="all") if self.members.shared and "pick" not in self.given else self

    def check(self) -> None:
        """Refuse what cannot be used, before anything is read.

        Raises:
            OptionError: one line that names the option, the rule and the value.
        """
        if self.members.pick != "knee":
            from gaprune.runs import check_choice

            check_choice(self.members.pick)
        check_fields(self)
        if not self.members.shared and self.members.polish_epochs:
            raise OptionError("polish-epochs is for members that were trained together: add --shared")
        if self.members.shared and self.training.distill == 0:
            raise OptionError(SHARED_NEEDS)
