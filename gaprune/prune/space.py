"""The genome of one network: its sections, their worth, what a genome means, and how it is mended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import lcm

import numpy as np

from gaprune.errors import OptionError, choice_error
from gaprune.genome import Bits, Floats, Genome, Layout, Section, Shares, bent
from gaprune.options import Genes, check_groups, names
from gaprune.prune.cut.coclustering import group_channels
from gaprune.prune.cut.costs import CostModel
from gaprune.prune.cut.masks import Grouping, Masks, along
from gaprune.prune.graph.graph import Graph, Layer
from gaprune.prune.rank.importance import Importance
from gaprune.prune.rank.ladder import WidthFlops, build_ladder

GENES = names(Genes)


@dataclass(frozen=True)
class SpaceOptions:
    """How genomes are laid out.

    Attributes:
        genes: ``neurons``, ``connections`` or ``both``.
        round_to: kept widths are multiples of this (a group smaller than it stays whole).
        connection_groups: 1 leaves connections free; G > 1 ties each convolution's connections into one gene
            that makes it a grouped convolution of G groups.
    """

    genes: Genes = "neurons"
    round_to: int = 1
    connection_groups: int = 1

    def __post_init__(self) -> None:
        if self.genes not in GENES:
            raise choice_error("genes", self.genes, GENES)
        for name in ("round_to", "connection_groups"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        check_groups(self.genes, self.connection_groups)


class PruningSpace:
    """All genomes of one network (a ``gaprune.genome.Space``).

    Args:
        graph: the network's pruning graph.
        costs: its cost formulas.
        importance: worth of neurons and kernels.
        options: which genes there are and how widths are rounded.
        present: by weight name, (out, in) kernels that the network has, where an earlier pruning has masked some; the
            others never come back. Free connections only.
        width_costs: what the ladder saves; FLOPs by default.
        price: the share of the whole network's cost that masks keep, where that is not its FLOPs.

    Raises:
        OptionError: no convolution can be split into so many groups.
    """

    def __init__(
        self,
        graph: Graph,
        costs: CostModel,
        importance: Importance,
        options: SpaceOptions | None = None,
        present: Mapping[str, Bits] | None = None,
        *,
        width_costs: WidthFlops | None = None,
        price: Callable[[Masks], float] | None = None,
    ) -> None:
        self.graph = graph
        self.costs = costs
        self.worth = importance
        self.options = options or SpaceOptions()
        self._present = dict(present or {})
        self._tied = self.options.connection_groups > 1
        self._round_to = lcm(self.options.round_to, self.options.connection_groups)
        self._convolutions = self._connection_layers()
        if self._tied and not self._convolutions:
            raise OptionError(
                f"connection-groups {self.options.connection_groups} divides no convolution's input and output widths"
            )
        self._layout = self._make_layout()
        self._importance = self._gene_importance()
        self._full_flops = costs.flops(self.masks(self.full(), order=False))
        errors = importance.errors
        self._width_costs, self._price = width_costs, price
        self._ladder = None if errors is None else build_ladder(graph, importance.neurons, errors, costs=width_costs)

    @property
    def layout(self) -> Layout:
        """Neuron sections by channel group, then connection sections by convolution."""
        return self._layout

    @property
    def importance(self) -> Floats:
        """(size,) worth of every gene."""
        return self._importance

    def repair(self, bits: Bits) -> Bits:
        """The nearest valid genome in canonical form.

        Widths are rounded to the nearest valid one, at least one step, by worth. Every kept output keeps a
        kernel, if it has one left. Connections of removed neurons go with them; their genes say 1, so that a neuron
        that returns is connected again, and genomes of equal networks are equal.
        """
        mended = bits.copy()
        self._repair_neurons(mended)
        kept = np.append(self._neurons(mended), True)
        for layer, section in self._connection_sections():
            genes = mended[section.slice]
            rows, columns = along(kept, layer.outputs), along(kept, layer.inputs)
            if self._tied:
                genes[:] = genes | (not _divides(self.options.connection_groups, rows, columns))
            else:
                self._repair_kernels(genes.reshape(len(rows), len(columns)), layer, rows, columns)
        return mended

    def live(self, bits: Bits) -> Bits:
        """(size,) mask: neurons, connections that there are between kept neurons, tied ones."""
        found = np.ones(self._layout.size, dtype=np.bool_)
        kept = np.append(self._neurons(bits), True)
        for layer, section in [] if self._tied else self._connection_sections():
            possible = along(kept, layer.outputs)[:, None] & along(kept, layer.inputs)[None, :]
            found[section.slice] = (possible & self._present.get(layer.weight, True)).reshape(-1)
        return found

    def shares(self, level: float) -> Floats:
        """(sections,) keep shares that suit each other at a level from 0 to 1: the ladder's, where there is one."""
        found = np.full(len(self._layout.sections), level)
        if self._ladder is not None and self.options.genes != "connections":
            found[: len(self.graph.groups)] = self._ladder.at(level)
        return found

    def tilted(self, tilt: Floats) -> Shares:
        """Keep shares by level on a ladder walked anew, where an error of each group counts by ``exp(tilt)``."""
        errors = self.worth.errors
        if self._ladder is None or errors is None or self.options.genes == "connections":
            return bent(tilt)
        groups = len(self.graph.groups)
        ladder = build_ladder(self.graph, self.worth.neurons, errors, np.exp(tilt[:groups]), self._width_costs)
        rest = bent(tilt[groups:])
        return lambda level: np.concatenate([ladder.at(level), rest(level)])

    def cost(self, bits: Bits) -> float:
        """Share of the original's FLOPs that a repaired genome keeps, or of another cost that is searched by."""
        masks = self._masks(bits, order=False)
        return self.costs.flops(masks) / self._full_flops if self._price is None else self._price(masks)

    def masks(self, genome: Genome, *, order: bool = True) -> Masks:
        """What a repaired genome means.

        Args:
            genome: a repaired genome.
            order: whether tied groups need their channels; the costs do not depend on which share a group.
        """
        return self._masks(self._layout.unpack(genome), order=order)

    def full(self) -> Genome:
        """The genome of the original network."""
        return self._layout.pack(self.repair(np.ones(self._layout.size, dtype=np.bool_)))

    def genome(self, masks: Masks) -> Genome:
        """The genome that means ``masks``: neurons, and free connections."""
        bits = np.ones(self._layout.size, dtype=np.bool_)
        if self.options.genes != "connections":
            bits[: self.graph.neurons] = masks.neurons
        for layer, section in self._connection_sections():
            if layer.weight in masks.kernels:
                ends = masks.kept(layer.outputs)[:, None] & masks.kept(layer.inputs)[None, :]
                bits[section.slice] = (masks.kernels[layer.weight] | ~ends).reshape(-1)
        return self._layout.pack(bits)

    def _masks(self, bits: Bits, *, order: bool) -> Masks:
        neurons = self._neurons(bits)
        masks = Masks(neurons)
        for layer, section in self._connection_sections():
            genes = bits[section.slice]
            if genes.all():
                continue
            rows, columns = masks.kept(layer.outputs), masks.kept(layer.inputs)
            if self._tied:
                masks.groupings[layer.weight] = self._grouping(layer, rows, columns, order=order)
            else:
                whole = genes.reshape(len(rows), len(columns))
                masks.kernels[layer.weight] = whole & rows[:, None] & columns[None, :]
        return masks

    def _grouping(self, layer: Layer, rows: Bits, columns: Bits, *, order: bool) -> Grouping:
        groups = self.options.connection_groups
        if order:
            return group_channels(self.worth.kernels[layer.weight][np.ix_(rows, columns)], groups)
        return Grouping(groups, inputs=np.arange(columns.sum()), outputs=np.arange(rows.sum()))

    def _neurons(self, bits: Bits) -> Bits:
        if self.options.genes == "connections":
            return np.ones(self.graph.neurons, dtype=np.bool_)
        return bits[: self.graph.neurons]

    def _repair_neurons(self, mended: Bits) -> None:
        if self.options.genes == "connections":
            return
        for group in self.graph.groups:
            genes, worth = mended[group.slice], self.worth.neurons[group.slice]
            width = self._valid_width(max(int(genes.sum()), min(group.least, group.size)), group.size)
            _resize(genes, worth, width)

    def _valid_width(self, width: int, size: int) -> int:
        step = self._round_to
        if size <= step:
            return size if step > 1 else max(width, 1)
        return size if width == size else min(max(round(width / step), 1) * step, size // step * step)

    def _repair_kernels(self, genes: Bits, layer: Layer, rows: Bits, columns: Bits) -> None:
        genes |= ~(rows[:, None] & columns[None, :])
        there = columns[None, :]
        if layer.weight in self._present:
            there = there & self._present[layer.weight]
            genes &= there | ~(rows[:, None] & columns[None, :])
        live = genes & there
        lonely = np.flatnonzero(rows & ~live.any(axis=1) & there.any(axis=1))
        if len(lonely):
            there = np.broadcast_to(there, genes.shape)
            worth = np.where(there[lonely], self.worth.kernels[layer.weight][lonely], -np.inf)
            genes[lonely, worth.argmax(axis=1)] = True

    def _connection_layers(self) -> tuple[Layer, ...]:
        if self.options.genes == "neurons":
            return ()
        groups = self.options.connection_groups
        return tuple(
            layer
            for layer in self.graph.convolutions()
            if groups == 1
            or (layer.splittable and len(layer.outputs) % groups == 0 and len(layer.inputs) % groups == 0)
        )

    def _connection_sections(self) -> list[tuple[Layer, Section]]:
        sections = [section for section in self._layout.sections if section.kind == "connections"]
        return list(zip(self._convolutions, sections, strict=True))

    def _make_layout(self) -> Layout:
        sections: list[Section] = []
        start = 0
        if self.options.genes != "connections":
            sections += [Section(group.name, "neurons", group.start, group.size) for group in self.graph.groups]
            start = self.graph.neurons
        for layer in self._convolutions:
            size = 1 if self._tied else len(layer.outputs) * len(layer.inputs)
            sections.append(Section(layer.name, "connections", start, size))
            start += size
        return Layout(tuple(sections))

    def _gene_importance(self) -> Floats:
        parts = [self.worth.neurons] if self.options.genes != "connections" else []
        for layer in self._convolutions:
            kernels = self.worth.kernels[layer.weight]
            parts.append(np.array([kernels.mean()]) if self._tied else kernels.reshape(-1))
        return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)


def _resize(genes: Bits, worth: Floats, width: int) -> None:
    """Keep ``width`` genes, in place: drop the least worthy kept, or bring back the worthiest removed."""
    kept, gone = np.flatnonzero(genes), np.flatnonzero(~genes)
    if width < len(kept):
        genes[kept[np.argsort(worth[kept], kind="stable")[: len(kept) - width]]] = False
    elif width > len(kept):
        genes[gone[np.argsort(-worth[gone], kind="stable")[: width - len(kept)]]] = True


def _divides(groups: int, rows: Bits, columns: Bits) -> bool:
    return int(rows.sum()) % groups == 0 and int(columns.sum()) % groups == 0
