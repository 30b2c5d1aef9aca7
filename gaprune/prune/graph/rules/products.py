"""Products of two computed tensors: attention, and matrix products that are no layer's.

A sum over channels of a product is a consumer of these channels: what was removed is zero in it.
"""

from __future__ import annotations

from math import prod

from torch.fx import Node

from gaprune.prune.graph.atoms import Atoms
from gaprune.prune.graph.rules.common import arguments, images_in
from gaprune.prune.graph.tracing import FED, NOTHING, Axes, Elementwise, Masked, Trace, is_tensor, shape


def matmul(found: Trace, node: Node) -> Axes:
    """(..., n, k) by (..., k, m): axes before the last two meet, k is summed over."""
    left, right = node.args[:2]
    assert isinstance(left, Node)
    assert isinstance(right, Node)
    a, b = found.axes(left), found.axes(right)
    if len(a) < 2 or len(b) < 2:
        raise ValueError("it is a product with a vector")
    rank = max(len(a), len(b))
    batches = [_meeting(found, left, right, axis) for axis in range(rank, 2, -1)]
    _contract(found, a[-1], b[-2])
    _count(found, left, (*batches, a[-2], a[-1], b[-1]), prod(shape(left)) * shape(right)[-1])
    return (*batches, a[-2], b[-1])


def attention(found: Trace, node: Node) -> Axes:
    """softmax(q k^T) v: queries and keys are summed over their features, values over the tokens.

    Where its scale is left to torch, it is that of the kept features, in compact and in masked networks alike.
    """
    call = arguments(node)
    nodes = [call[name] for name in ("query", "key", "value")]
    q, k, v = (found.axes(one) for one in nodes)
    batches = []
    for axis in range(len(q), 2, -1):
        for other in nodes[1:]:
            batch = _meeting(found, nodes[0], other, axis)
        batches.append(batch)
    if is_tensor(call.get("attn_mask")):
        _meet_mask(found, call["attn_mask"], batches)
    _contract(found, q[-1], k[-1])
    if call.get("scale") is None:
        found.masked.append(Masked("attention", -1, NOTHING if q[-1] is None else q[-1], 1))
    _contract(found, k[-2], v[-2])
    tokens = shape(nodes[1])[-2]
    _count(found, nodes[0], (*batches, q[-2], q[-1]), prod(shape(nodes[0])) * tokens)
    _count(found, nodes[0], (*batches, q[-2], v[-1]), prod(shape(node)) * tokens)
    return (*batches, q[-2], v[-1])


def einsum(found: Trace, node: Node) -> Axes:
    """Letters that occur twice meet; those that do not come out again are summed over."""
    equation, tensors = node.args[:2]
    given, out = str(equation).replace(" ", "").split("->")
    terms = given.split(",")
    if len(terms) != 2 or "." in given or any(len(set(term)) < len(term) for term in terms):
        raise ValueError(f"{equation} is no product of two tensors")
    left, right = list(tensors)  # type: ignore[arg-type]
    labels: dict[str, Atoms | None] = {}
    sizes: dict[str, int] = {}
    for term, source in zip(terms, (left, right), strict=True):
        for letter, label, size in zip(term, found.axes(source), shape(source), strict=True):
            if letter in labels:
                found.unite(labels[letter], label)
            labels.setdefault(letter, label)
            sizes.setdefault(letter, size)
    for letter in sizes:
        if letter not in out:
            _contract(found, labels[letter], labels[letter])
    source = left if left.meta.get(FED) else right
    _count(found, source, tuple(labels[letter] for letter in sizes), prod(sizes.values()))
    return tuple(labels[letter] for letter in out)


def _meeting(found: Trace, left: Node, right: Node, axis: int) -> Atoms | None:
    """The labels of an axis, counted from the end, on which two tensors broadcast."""
    labels = [found.axes(one)[-axis] for one in (left, right) if axis <= len(shape(one)) and shape(one)[-axis] > 1]
    if len(labels) == 2:
        found.unite(*labels)
    return labels[0] if labels else None


def _meet_mask(found: Trace, mask: Node, batches: list[Atoms | None]) -> None:
    """A bias of attention weights has the heads' axis, or one that broadcasts."""
    own = found.axes(mask)[:-2]
    sizes = shape(mask)[:-2]
    for label, size, batch in zip(own[::-1], sizes[::-1], batches[::-1], strict=False):
        if size > 1:
            found.unite(label, batch)


def _contract(found: Trace, left: Atoms | None, right: Atoms | None) -> None:
    found.unite(left, right)
    if left is not None:
        found.contracted.append(left)


def _count(found: Trace, source: Node, axes: tuple[Atoms | None, ...], flops: int) -> None:
    """Note a product's FLOPs; of a first axis that holds the images, too, the atoms of one image count."""
    images = images_in(source)
    carrying = [axis for axis in axes if axis is not None]
    if images > 1 and axes and axes[0] is not None and len(axes[0]) == shape(source)[0]:
        carrying[0] = axes[0][: len(axes[0]) // images]
    found.elementwise.append(Elementwise(tuple(carrying), flops // (images * prod(map(len, carrying)))))
