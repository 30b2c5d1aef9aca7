"""Which network some weights are of, where they do not fit the one that was named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import torch

from gaprune.errors import GapruneError
from gaprune.models.checkpoint import fits
from gaprune.models.reading import StoredWeights
from gaprune.models.registry import STEMS, build, model_names, stem_of
from gaprune.options import packaged_names


def network_of(stored: Sequence[StoredWeights], name: str, classes: int, stem: str) -> str | None:
    """Options that name a network which weights fit, but for their number of classes; ``None`` where there is none.

    Tried are the networks that are built in, with each stem, and torchvision's of the same family.

    Args:
        stored: the weights.
        name: of the network that they do not fit.
        classes: of the data.
        stem: that was asked for.
    """
    for other, its_stem in _candidates(name):
        if (other, its_stem) == (name, stem):
            continue
        try:
            with torch.device("meta"):
                expected = build(other, classes, stem=its_stem).state_dict()
        except GapruneError:
            continue
        if fits(stored, expected):
            model = "" if other == name else f"--model {other} "
            chosen = f"--stem {its_stem}" if stem_of(other, STEMS[1]) == STEMS[1] and its_stem != stem else ""
            return (model + chosen).strip()
    return None


def _candidates(name: str) -> Iterator[tuple[str, str]]:
    for own in sorted(model_names(), key=lambda own: own != name):
        yield from ((own, stem) for stem in STEMS if stem_of(own, stem) == stem)
    family = re.match(r"[a-z]+", name.rpartition(":")[2].lower())
    if family is not None:
        yield from ((f"torchvision:{one}", STEMS[0]) for one in packaged_names("torchvision") if family[0] in one)
