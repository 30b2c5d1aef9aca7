"""Texts that a tiny BERT learns within a second, and such a BERT as a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

NEUTRAL = ("the", "film", "story", "was", "very", "quite", "and", "a", "plot", "cast")
TELLING = (("bad", "dull", "weak"), ("good", "great", "fine"))
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def reviews(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """``count`` different texts with a label, ``neg`` or ``pos``, that one word tells."""
    random = np.random.default_rng(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        kind = len(found) % 2
        words = list(random.choice(NEUTRAL, random.integers(3, 9)))
        words.insert(random.integers(len(words) + 1), str(random.choice(TELLING[kind])))
        found.setdefault(" ".join(map(str, words)), ("neg", "pos")[kind])
    return list(found.items())


def write_tsv(path: Path, count: int = 200, header: str = "text\tlabel\n") -> Path:
    """Reviews as a file."""
    path.write_text(header + "".join(f"{text}\t{label}\n" for text, label in reviews(count)))
    return path


def tiny_config(**changes: int) -> BertConfig:
    """Two layers, four heads, one id a word of the reviews."""
    sizes = {
        "vocab_size": len(SPECIAL) + len(NEUTRAL) + sum(map(len, TELLING)),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
    }
    return BertConfig(**sizes | changes)


def write_encoder(folder: Path, seed: int = 0) -> Path:
    """A random BERT of that shape, its vocabulary the words of the reviews."""
    torch.manual_seed(seed)
    BertForSequenceClassification(tiny_config()).save_pretrained(folder)
    words = (*SPECIAL, *NEUTRAL, *TELLING[0], *TELLING[1])
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 32})
    )
    return folder
