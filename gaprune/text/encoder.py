"""A pretrained BERT and its tokenizer, from a folder or the hub: checked before anything is loaded, no pickles."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification

from gaprune.errors import CheckpointError, OptionError, first_line
from gaprune.models import not_finite
from gaprune.runs import read_json_object
from gaprune.text.networks import BertClassifier, quiet
from gaprune.text.options import PAPER as PAPER
from gaprune.training import digest_tensors

_UNUSABLE = (
    OSError,
    ValueError,
    TypeError,
    RuntimeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    ImportError,
    MemoryError,
    SafetensorError,
    StrictDataclassError,
)
"""What the libraries raise at files that they cannot use, or that ask for packages."""

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")
_SAFE = ("model.safetensors", "model.safetensors.index.json")
_SIZES = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
"""Numbers of a BERT's config.json that say how large it is, each with what it is where the file does not say."""
_FEW = 2**24
"""Weights for which memory is taken without asking: what is wrong is named better when they are there."""
_LAYER = "encoder.layer."
_UNTRAINED = {"classifier", "pooler"}
"""Parts that a pretrained encoder may lack: fine-tuning makes them."""


def check_encoder(encoder: str) -> None:
    """Refuse what cannot be loaded as a BERT, as far as that can be told without a download.

    Raises:
        CheckpointError: a folder without configuration, tokenizer or safetensors weights, or of another model.
        OptionError: neither a folder nor a name that the hub could have.
    """
    folder = Path(encoder)
    if not folder.is_dir():
        if folder.is_absolute() or encoder.startswith(".") or encoder.count("/") > 1:
            raise OptionError(f"--encoder {encoder}: no such folder")
        return
    try:
        config = read_json_object(folder / "config.json")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder} is no encoder: its config.json cannot be read ({first_line(error)})"
        ) from error
    if config.get("model_type") != "bert":
        raise CheckpointError(f"{folder} holds a {config.get('model_type')!r} model, expected 'bert'")
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise CheckpointError(f"{folder} has no tokenizer: expected {' or '.join(_TOKENIZER_FILES)} beside the weights")
    if not (folder / _TOKENIZER_FILES[0]).is_file():
        _check_vocabulary(folder / _TOKENIZER_FILES[1])
    if not any((folder / name).is_file() for name in _SAFE):
        found = [name for name in _PICKLED if (folder / name).exists()]
        if found:
            raise CheckpointError(
                f"{folder} has pickled weights only ({found[0]}), which are not loaded because they could run code: "
                f"save them as {_SAFE[0]}"
            )
        raise CheckpointError(f"{folder} has no weights: expected {_SAFE[0]}")
    if not (folder / _SAFE[0]).is_file():
        _check_shards(folder / _SAFE[1])
    _check_sizes(config, folder)


def _check_shards(index: Path) -> None:
    """Refuse an index of shards that names pickles, or files elsewhere."""
    try:
        shards = set(read_json_object(index)["weight_map"].values())
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} cannot be read: {first_line(error)}") from error
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise CheckpointError(f"{index} names {shard!r}: expected a .safetensors file beside it")


def _check_sizes(config: dict[str, Any], folder: Path) -> None:
    """Refuse numbers that describe no BERT, or one that is larger than its weights, before memory is taken for it."""
    sizes = {name: config.get(name, usual) for name, usual in _SIZES.items()}
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise CheckpointError(
                f"{folder / 'config.json'} says {name}: {json.dumps(size)}, expected a whole number of at least 1"
            )
    width, inner = sizes["hidden_size"], sizes["intermediate_size"]
    if width % sizes["num_attention_heads"]:
        raise CheckpointError(
            f"{folder / 'config.json'} says hidden_size: {width}, expected a multiple of num_attention_heads, which is "
            f"{sizes['num_attention_heads']}"
        )
    rows = sizes["vocab_size"] + sizes["max_position_embeddings"] + sizes["type_vocab_size"]
    numbers = width * (rows + sizes["num_hidden_layers"] * (4 * width + 2 * inner))
    held = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if numbers > max(held, _FEW):  # a byte each at least
        raise CheckpointError(
            f"{folder / 'config.json'} describes a BERT of {numbers:,} weights, which the {held:,} bytes of "
            "safetensors beside it cannot hold: they are of different encoders, or damaged"
        )


def _check_vocabulary(file: Path) -> None:
    """Refuse a ``vocab.txt`` without entries, or in another encoding."""
    try:
        empty = not file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} cannot be read as UTF-8: {first_line(error)}") from error
    if empty:
        raise CheckpointError(f"{file} is empty, expected an entry a line")


def load_encoder(encoder: str, *, classes: int = 2, seed: int = 0) -> tuple[BertClassifier, Any]:
    """A BERT with an untrained classifier on top, in eval mode on the CPU, and its tokenizer.

    Args:
        encoder: a folder, or a name on the hub.
        classes: number of logits.
        seed: of the weights that the encoder does not bring: the classifier's, and the pooler's where it has none.

    Raises:
        CheckpointError, OptionError: as ``check_encoder``, or the hub does not give it, or its parts do not fit.
    """
    check_encoder(encoder)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with _one_line(encoder):
            config = AutoConfig.from_pretrained(encoder)
        if config.model_type != "bert":
            raise CheckpointError(f"{encoder} is a {config.model_type!r} model, expected 'bert'")
        tokenizer = _tokenizer(encoder, config)
        with _one_line(encoder):
            bert, found = BertForSequenceClassification.from_pretrained(
                encoder,
                num_labels=classes,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told below, by name
            )
    random = (*found["missing_keys"], *(entry[0] for entry in found["mismatched_keys"]))
    lacking = sorted(name for name in random if not set(name.split(".")) & _UNTRAINED)
    if lacking:
        raise CheckpointError(
            f"the weights of {encoder} are not of the BERT that its config.json describes: {len(lacking)} tensors are "
            f"missing or of another shape, such as {lacking[0]}"
        )
    beyond = sorted(name for name in found["unexpected_keys"] if _LAYER in name)
    if beyond:
        raise CheckpointError(
            f"the weights of {encoder} are not of the BERT that its config.json describes: it has {len(beyond)} "
            f"tensors more, such as {beyond[0]}"
        )
    broken = not_finite(bert.state_dict())
    if broken is not None:
        raise CheckpointError(f"the weights of {encoder} are of no trained network: {broken} holds NaN or infinity")
    return BertClassifier(bert).eval(), tokenizer


def encoder_name(encoder: str, model: BertClassifier) -> str:
    """What an encoder is called in tables, wherever it lies: its name, and a digest of its weights.

    Args:
        encoder: as ``load_encoder`` takes it.
        model: as ``load_encoder`` gave it; what fine-tuning makes anew is not digested.
    """
    name, folder = encoder, Path(encoder)
    if folder.is_dir():
        config = read_json_object(folder / "config.json")
        name = str(config.get("_name_or_path") or "")
        if not name or Path(name).is_absolute() or name.startswith("."):  # a folder of whoever saved it
            name = str(config["model_type"])
    weights = {part: tensor for part, tensor in model.bert.bert.state_dict().items() if not part.startswith("pooler.")}
    return f"{name} (weights {digest_tensors(weights)[:12]})"


@contextmanager
def _one_line(encoder: str) -> Iterator[None]:
    """Turn what the libraries raise at files that they cannot use into one line."""
    try:
        yield
    except _UNUSABLE as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        reason = " ".join(str(error).split()) if isinstance(error, StrictDataclassError) else first_line(error)
        raise CheckpointError(
            f"the encoder {encoder} cannot be loaded{offline}: {reason}; --encoder takes a folder with "
            "config.json, a tokenizer and model.safetensors"
        ) from error


def _tokenizer(encoder: str, config: Any) -> Any:
    """The encoder's tokenizer.

    Raises:
        CheckpointError: its files cannot be read, or its ids are not the encoder's.
    """
    with _one_line(encoder):
        try:
            tokenizer = AutoTokenizer.from_pretrained(encoder)
        except OSError:
            raise
        except Exception as error:  # the tokenizers library raises no class of its own
            raise ValueError(f"its tokenizer cannot be read ({first_line(error)})") from error
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= config.vocab_size:
        raise CheckpointError(
            f"the tokenizer of {encoder} has ids up to {highest}, and its config.json says vocab_size "
            f"{config.vocab_size}: they are of different encoders"
        )
    return tokenizer
