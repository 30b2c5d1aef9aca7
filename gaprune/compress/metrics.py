"""How well a classifier does."""

from __future__ import annotations

import torch
from torch import Tensor


def classification(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy and macro F1: the mean over all classes of 2 hits / (said + true), 0 to 1.

    A class that neither occurs nor is said is left out, as in scikit-learn.

    Args:
        logits: (N, classes).
        labels: (N,) int64.
    """
    classes = logits.shape[1]
    said = logits.argmax(1)
    hits = torch.bincount(labels[said == labels], minlength=classes).double()
    both = (torch.bincount(labels, minlength=classes) + torch.bincount(said, minlength=classes)).double()
    scores = (2 * hits / both)[both > 0]
    return {"accuracy": float((said == labels).double().mean()), "f1": float(scores.mean())}
