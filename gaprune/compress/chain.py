"""Chains of methods: ``distill+tucker+quantize``, parsed and checked whole before anything runs."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gaprune.compress.method import Method, Outline
from gaprune.errors import MethodError, choice_error

METHODS = {
    "quantize": "gaprune.compress.quantize:Quantize",
    "tucker": "gaprune.compress.tucker:Tucker",
    "distill": "gaprune.compress.distill:Distill",
    "prune": "gaprune.compress.prune:Prune",
    "sparse": "gaprune.compress.prune:Sparse",
    "onnx": "gaprune.compress.export:Onnx",
}
"""Methods by name, each ``module:class``; a class takes the text after the name, split at colons."""

ORIGINAL = "none"
"""The chain without a method."""


@dataclass(frozen=True)
class Chain:
    """Methods to apply in order; none for the original.

    Attributes:
        methods: in order.
    """

    methods: tuple[Method, ...]

    @property
    def text(self) -> str:
        """As it is written: ``distill+tucker``."""
        return "+".join(method.text for method in self.methods) or ORIGINAL

    @property
    def share(self) -> float:
        """Of a row's training passes, what each training step may spend."""
        return 1 / max(1, sum(method.trains for method in self.methods))

    def check(self, outline: Outline | None = None) -> None:
        """Refuse an impossible order, or methods that do not apply.

        Args:
            outline: of the original.

        Raises:
            MethodError: the chain, and why it cannot be.
        """
        state = Outline() if outline is None else outline
        for method in self.methods:
            try:
                method.check(state)
            except MethodError as error:
                raise MethodError(f"{self.text}: {error}" if len(self.methods) > 1 else str(error)) from error
            state = method.after(state)


def parse_chain(
    text: str, more: Mapping[str, str] | None = None, context: Any = None, outline: Outline | None = None
) -> Chain:
    """The chain that a text stands for.

    Args:
        text: ``method+method``, each ``name[:setting...]``; ``none`` is the original.
        more: further methods, such as a task's own, like ``METHODS``.
        context: handed to classes of ``more`` as ``context=``, such as where a run lies.
        outline: what is known of the original.

    Raises:
        OptionError: an unknown method or setting; the valid ones are listed.
        MethodError: an impossible order.
    """
    if text == ORIGINAL:
        return Chain(())
    own = dict(more or {})
    methods = []
    for part in text.split("+"):
        name, *words = part.strip().split(":")
        known = {**METHODS, **own}
        if name not in known:
            if name == ORIGINAL:
                raise MethodError(f"{text}: {ORIGINAL} is the original, which no chain needs to name: leave it out")
            raise choice_error("method", name, (ORIGINAL, *known))
        made = _class(known[name])(words, context=context) if name in own else _class(known[name])(words)
        methods.append(made)
    chain = Chain(tuple(methods))
    chain.check(outline)
    return chain


def parse_chains(
    texts: Iterable[str],
    more: Mapping[str, str] | None = None,
    context: Any = None,
    outline: Outline | None = None,
) -> tuple[Chain, ...]:
    """The chains of several texts, each once. Raises as ``parse_chain`` does."""
    found = {chain.text: chain for chain in (parse_chain(text, more, context, outline) for text in texts)}
    return tuple(found.values())


def _class(place: str) -> Any:
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)
