from __future__ import annotations

import torch

from gaprune.data.images import ImageSet
from gaprune.training.digest import digest_images, digest_tensors


def test_a_digest_ignores_order_and_memory_format() -> None:
    a, b = torch.rand(4, 3, 2, 2), torch.tensor(7)
    reordered = {"b": b.clone(), "a": a.contiguous(memory_format=torch.channels_last)}
    assert digest_tensors({"a": a, "b": b}) == digest_tensors(reordered)


def test_a_digest_sees_names_shapes_types_and_values() -> None:
    base = torch.arange(6.0)
    digests = {
        digest_tensors(tensors)
        for tensors in (
            {"a": base},
            {"b": base},
            {"a": base.view(2, 3)},
            {"a": base.to(torch.float64)},
            {"a": base + 1},
            {},
        )
    }
    assert len(digests) == 6


def test_a_digest_of_images_sees_their_order() -> None:
    images = ImageSet(torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2), torch.tensor([0, 1]))
    assert digest_images(images) != digest_images(images.select(torch.tensor([1, 0])))
