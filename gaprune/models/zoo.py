"""The networks of torchvision and timm, by name, and the weights that these packages offer for them."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gaprune.errors import CheckpointError, ModelError, OptionError, first_line
from gaprune.models.preprocessing import Preprocessing, of_timm, of_weights
from gaprune.models.reading import read_weights
from gaprune.options import packaged_names

PACKAGES = ("torchvision", "timm")
"""What stands before the colon."""

PRETRAINED = "pretrained"
"""In place of a checkpoint's file: the weights that the package offers."""

_SIDE_HEADS = ("googlenet", "inception_v3")
"""Networks with heads that only training sees: left out, so that one tensor comes out. Torchvision's weights of them
want pixels from -1 to 1, which these networks make of others by a switch that is off here."""

_HALF = (127.5, 127.5, 127.5)

_CLOSE = 3


@dataclass(frozen=True)
class Pretrained:
    """Weights that a package offers.

    Attributes:
        tensors: by name, on the CPU.
        source: what they are, for tables.
        classes: names of the outputs in order; empty where they are not known.
        mean: per channel mean of the 0..255 pixels that they were trained with; empty where it is not known.
        std: per channel standard deviation of the same.
    """

    tensors: dict[str, Tensor]
    source: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def of_zoo(name: str) -> bool:
    """Whether a name is ``torchvision:NAME`` or ``timm:NAME``."""
    return name.partition(":")[0] in PACKAGES and ":" in name


def check_zoo_name(name: str) -> None:
    """Whether the package is there and knows the name; nothing is built.

    Raises:
        ModelError: timm is not installed.
        OptionError: the package has no such network; the closest names are given.
    """
    package, _, wanted = name.partition(":")
    if package == "timm":
        known = _timm().is_model(wanted)
        close = [] if known else difflib.get_close_matches(wanted, _timm().list_models(), n=_CLOSE)
    else:
        known = wanted in packaged_names("torchvision")
        close = [] if known else difflib.get_close_matches(wanted, packaged_names("torchvision"), n=_CLOSE)
    if not known:
        advice = (
            f"did you mean {' or '.join(f'{package}:{one}' for one in close)}?" if close else "see its list_models()"
        )
        raise OptionError(f"{package} has no network {wanted!r}: {advice}")


def build_from_zoo(name: str, num_classes: int) -> nn.Module:
    """An untrained network of torchvision or timm.

    Raises:
        ModelError: timm is not installed, or the network cannot be made.
        OptionError: the package has no such network.
    """
    check_zoo_name(name)
    package, _, wanted = name.partition(":")
    try:
        if package == "timm":
            model: nn.Module = _timm().create_model(wanted, pretrained=False, num_classes=num_classes)
        else:
            from torchvision.models import get_model  # slow to import

            extra = {"aux_logits": False, "init_weights": True} if wanted in _SIDE_HEADS else {}
            model = get_model(wanted, weights=None, num_classes=num_classes, **extra)
    except Exception as error:  # a package of many authors
        raise ModelError(f"{name} cannot be made with {num_classes} classes: {first_line(error)}") from error
    return model


def pretrained(name: str) -> Pretrained:
    """The weights that a package offers for one of its networks: downloaded once, then from its cache.

    Raises:
        CheckpointError: they cannot be downloaded, or there are none.
        OptionError: the network is of no package.
    """
    if not of_zoo(name):
        raise OptionError(
            f"there are no pretrained weights of {name}: give --checkpoint FILE, or a network as torchvision:NAME or "
            "timm:NAME"
        )
    check_zoo_name(name)
    package, _, wanted = name.partition(":")
    return _timms(wanted) if package == "timm" else _torchvisions(wanted)


def trained_on(name: str) -> Preprocessing | None:
    """How the images were made that a package's weights of a network were trained on; ``None`` where nobody says."""
    if not of_zoo(name):
        return None
    check_zoo_name(name)
    package, _, wanted = name.partition(":")
    if package == "timm":
        return of_timm(_timm().get_pretrained_cfg(wanted), "configuration")
    from torchvision.models import get_model_weights  # slow to import

    try:
        return of_weights(get_model_weights(wanted).DEFAULT)
    except (AttributeError, ValueError):
        return None


def _torchvisions(name: str) -> Pretrained:
    from torchvision.models import get_model_weights  # slow to import

    try:
        weights: Any = get_model_weights(name).DEFAULT
    except (AttributeError, ValueError) as error:
        raise CheckpointError(f"torchvision offers no weights of {name}: give --checkpoint FILE") from error
    try:
        tensors = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # whatever a download raises
        raise _no_download(f"torchvision:{name}", weights.url, error) from error
    mean, std = _normalisation(of_weights(weights))
    if name in _SIDE_HEADS:
        mean = std = _HALF
    return Pretrained(tensors, f"torchvision's {weights}", tuple(weights.meta.get("categories", ())), mean, std)


def _timms(name: str) -> Pretrained:
    timm = _timm()
    config: Any = timm.get_pretrained_cfg(name)
    place = getattr(config, "hf_hub_id", None)
    if not place:
        raise CheckpointError(f"timm names no weights of {name} that are safetensors: give --checkpoint FILE")
    try:
        from huggingface_hub import hf_hub_download

        path = hf_hub_download(place, "model.safetensors")
    except Exception as error:  # whatever a download raises
        raise _no_download(f"timm:{name}", f"https://huggingface.co/{place}", error) from error
    mean, std = _normalisation(of_timm(config))
    classes = tuple(getattr(config, "label_names", None) or ())
    return Pretrained(read_weights(Path(path))[0], f"timm's {place}", classes, mean, std)


def _normalisation(told: Preprocessing | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return ((), ()) if told is None else (told.mean, told.std)


def _no_download(name: str, address: str, error: Exception) -> CheckpointError:
    advice = f"fetch {address} where there is a network, and give the file as --checkpoint FILE"
    reason = first_line(error)[:120]
    return CheckpointError(f"the pretrained weights of {name} cannot be downloaded ({reason}): {advice}")


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ModelError("names as timm:NAME need the package timm: pip install timm") from error
