"""A pretrained BERT and its tokenizer, from a folder or the hub: checked before anything is loaded, no pickles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification

from gaprune.errors import CheckpointError, OptionError, first_line
from gaprune.runs.files import read_json_object
from gaprune.text.networks import BertClassifier, quiet

PAPER = "bert-base-multilingual-cased"
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")
_PICKLED = ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack")
_SAFE = ("model.safetensors", "model.safetensors.index.json")


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
    if not any((folder / name).is_file() for name in _SAFE):
        found = [name for name in _PICKLED if (folder / name).exists()]
        if found:
            raise CheckpointError(
                f"{folder} has pickled weights only ({found[0]}), which are not loaded because they could run code: "
                f"save them as {_SAFE[0]}"
            )
        raise CheckpointError(f"{folder} has no weights: expected {_SAFE[0]}")


def load_encoder(encoder: str, *, classes: int = 2, seed: int = 0) -> tuple[BertClassifier, Any]:
    """A BERT with an untrained classifier on top, in eval mode on the CPU, and its tokenizer.

    Args:
        encoder: a folder, or a name on the hub.
        classes: number of logits.
        seed: of the classifier's weights.

    Raises:
        CheckpointError, OptionError: as ``check_encoder``, or the hub does not give it.
    """
    check_encoder(encoder)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            config = AutoConfig.from_pretrained(encoder)
            if config.model_type != "bert":
                raise CheckpointError(f"{encoder} is a {config.model_type!r} model, expected 'bert'")
            tokenizer = AutoTokenizer.from_pretrained(encoder)
            bert = BertForSequenceClassification.from_pretrained(
                encoder, num_labels=classes, use_safetensors=True, dtype=torch.float32
            )
        except (OSError, ValueError, RuntimeError, LookupError, SafetensorError) as error:
            offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
            raise CheckpointError(
                f"the encoder {encoder} cannot be loaded{offline}: {first_line(error)}; --encoder takes a folder with "
                "config.json, a tokenizer and model.safetensors"
            ) from error
    return BertClassifier(bert).eval(), tokenizer
