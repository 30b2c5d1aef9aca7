"""The networks: a BERT that classifies, and the student, a bidirectional LSTM. Both take ids and a mask by position."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification
from transformers.utils import logging as transformers_logging

from gaprune.compress import Factored

BUILDER = "text"
BERT, BILSTM = "bert", "bilstm"


class BertClassifier(nn.Module):
    """A BERT with a classifier over its pooled first token.

    Args:
        bert: of the library.
    """

    def __init__(self, bert: BertForSequenceClassification) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (N, classes) of token ids (N, L) int64; the mask (N, L) int64 is 0 at padding."""
        return cast(Tensor, self.bert(input_ids=ids, attention_mask=mask).logits)


class BiLstm(nn.Module):
    """Embedding, one LSTM in each direction, a hidden layer on their last states (arXiv 1903.12136, figure 1).

    Args:
        vocabulary: number of ids; 0 is padding.
        embedding: width of the word vectors.
        hidden: width of each LSTM's state.
        units: of the hidden layer.
        classes: number of logits.
        dropout: on word vectors and hidden units, while training.
    """

    def __init__(
        self, vocabulary: int, embedding: int, hidden: int, units: int, classes: int = 2, dropout: float = 0.3
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, embedding, padding_idx=0)
        self.forwards = Recurrent(embedding, hidden)
        self.backwards = Recurrent(embedding, hidden)
        self.hidden = nn.Linear(2 * hidden, units)
        self.classifier = nn.Linear(units, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (N, classes) of word ids (N, L) int64; the mask (N, L) int64 is 0 at padding, which comes last."""
        words = self.dropout(self.words(ids))
        last = mask.sum(1) - 1
        places = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
        mirrored = (last.unsqueeze(1) - places).clamp(min=0)  # padding stays behind the last word
        turned = words.gather(1, mirrored.unsqueeze(2).expand(-1, -1, words.shape[2]))
        states = torch.cat([self.forwards(words, last), self.backwards(turned, last)], dim=1)
        return cast(Tensor, self.classifier(self.dropout(torch.relu(self.hidden(states)))))


class Recurrent(nn.Module):
    """A unidirectional LSTM whose two matrices are linear layers, so that whatever factors those factors these.

    Args:
        width: of the inputs.
        hidden: of the state.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(width, 4 * hidden)
        self.recurrent = nn.Linear(hidden, 4 * hidden)
        self.size = hidden
        with torch.no_grad():
            self.inputs.bias[hidden : 2 * hidden] = 1.0  # the forget gate begins open

    def forward(self, sequence: Tensor, last: Tensor) -> Tensor:
        """The state (N, hidden) after the step ``last`` (N,) of sequences (N, L, width)."""
        weights = [*_dense(self.inputs), *_dense(self.recurrent)]
        order = [weights[0], weights[2], weights[1], weights[3]]
        start = sequence.new_zeros(1, sequence.shape[0], self.size)
        states = torch.lstm(sequence, (start, start), order, True, 1, 0.0, self.training, False, True)[0]
        return states.gather(1, last.view(-1, 1, 1).expand(-1, 1, self.size)).squeeze(1)


def build_network(base: dict[str, Any]) -> nn.Module:
    """The untrained network that ``base`` describes: ``bert_base`` or ``bilstm_base`` made it."""
    if base["network"] == BERT:
        with quiet():
            return BertClassifier(BertForSequenceClassification(BertConfig.from_dict(base["config"]))).eval()
    return BiLstm(**base["shape"]).eval()


def bert_base(config: BertConfig) -> dict[str, Any]:
    """JSON values that an untrained BERT is built from."""
    record = config.to_dict()
    for name in ("_name_or_path", "dtype", "transformers_version"):
        record.pop(name, None)
    return {"builder": BUILDER, "network": BERT, "config": record}


def bilstm_base(name: str, **shape: Any) -> dict[str, Any]:
    """JSON values that the untrained student ``name`` is built from: the arguments of ``BiLstm``."""
    return {"builder": BUILDER, "network": BILSTM, "student": name, "shape": shape}


class quiet:  # noqa: N801 - reads as a statement
    """Silences the library, but for errors."""

    def __enter__(self) -> None:
        self._before = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()
        self._bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()

    def __exit__(self, *error: object) -> None:
        transformers_logging.set_verbosity(self._before)
        if self._bars:
            transformers_logging.enable_progress_bar()


def _dense(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer, multiplied out where it stands as factors."""
    if isinstance(layer, Factored):
        first, second = cast(nn.Linear, layer[0]), cast(nn.Linear, layer[1])
        return second.weight @ first.weight, second.bias
    assert isinstance(layer, nn.Linear)
    return layer.weight, layer.bias
