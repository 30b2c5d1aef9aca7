"""What single layers take at a grid of widths tells what a network takes. Time here is a formula, so it is exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_factory import small_residual
from torch import nn

from gaprune.prune import Masks, build_graph
from gaprune.runtimes import Conditions, Grid, Stopwatch, TableClock, Timing, WidthSeconds, fit_correction, shapes_of
from gaprune.runtimes import table as module
from gaprune.runtimes.layer_files import layer_call
from gaprune.runtimes.table import Correction, Shape, from_record, grid_widths, sums

CONDITIONS = Conditions("torch", 1, 1, "cpu", "a formula")


@given(st.integers(1, 512), st.sampled_from([1, 8, 16, 32]))
def test_a_grid_reaches_from_one_step_to_the_whole_width(width: int, step: int) -> None:
    found = grid_widths(width, step, fixed=False)
    assert found[-1] == width
    assert found[0] == min(step, width)
    assert list(found) == sorted(set(found))
    assert all(one % step == 0 for one in found[:-1])
    assert grid_widths(width, step, fixed=True) == (width,)


@given(st.floats(1, 64), st.floats(1, 64))
def test_between_its_points_a_grid_is_exact_for_what_is_bilinear(inputs: float, outputs: float) -> None:
    def seconds(i: float, o: float) -> float:
        return 3 + 2 * i + 5 * o + 0.1 * i * o

    widths = (1, 8, 16, 64)
    grid = Grid(widths, widths, tuple(tuple(seconds(i, o) for o in widths) for i in widths))
    assert grid.at(inputs, outputs) == pytest.approx(seconds(inputs, outputs))


def test_the_correction_finds_what_no_single_layer_shows() -> None:
    random = np.random.default_rng(0)
    layers, elements = random.uniform(1e-4, 1e-3, 12), random.uniform(1e4, 1e6, 12)
    seconds = 5e-5 + 0.8 * layers + 1e-10 * elements
    found = fit_correction(layers, elements, seconds, held_out=4)
    assert (found.fixed, found.factor, found.moved) == pytest.approx((5e-5, 0.8, 1e-10), rel=1e-3)
    assert found.error < 1e-6
    worse = fit_correction(layers, elements, seconds * np.array([1.0] * 8 + [1.2] * 4), held_out=4)
    assert worse.error == pytest.approx(1 - 1 / 1.2, rel=1e-3), "told by networks that it was not made from"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> TableClock:
    """Of a network whose layers take a nanosecond for each of their weights."""

    def weights(layer: nn.Module, *given: Any) -> Callable[[], int]:
        count = sum(parameter.numel() for parameter in layer.parameters() if parameter.ndim > 1)
        return lambda: count

    def timed(calls: list[Callable[[], int]], device: Any, **told: Any) -> list[Timing]:
        return [Timing(call() * 1e-9, 0, 0, 9) for call in calls]

    monkeypatch.setattr(module, "layer_call", weights)
    monkeypatch.setattr(module, "time_calls", timed)
    network, images = small_residual(3).eval(), torch.randn(1, 3, 8, 8)
    graph = build_graph(network, (3, 8, 8))
    shapes = shapes_of(network, graph.layers, images)
    assert all(shape is not None for shape in shapes)
    grids = [
        module.time_grid(shape, (bool((x.inputs < 0).all()), bool((x.outputs < 0).all())), 1, CONDITIONS)
        for shape, x in zip(shapes, graph.layers, strict=True)
        if shape is not None
    ]
    stopwatch = Stopwatch(network, images, CONDITIONS, reference=1e-6)
    return TableClock(stopwatch, graph.layers, grids, Correction(0.0, 1.0, 0.0, 0.1))


def test_a_network_takes_what_its_layers_take(clock: TableClock) -> None:
    graph = build_graph(small_residual(3), (3, 8, 8))
    neurons = np.ones(graph.neurons, dtype=np.bool_)
    neurons[::2] = False
    for masks in (Masks.full(graph), Masks(neurons)):
        weights = sum(
            int(masks.kept(x.inputs).sum()) * int(masks.kept(x.outputs).sum()) * x.kernel for x in graph.layers
        )
        assert sums(graph.layers, clock.grids, masks)[0] == pytest.approx(weights * 1e-9)
        found = clock(masks, lambda: pytest.fail("a table builds no network"))
        assert found.seconds == pytest.approx(weights * 1e-9)
        assert found.share == pytest.approx(weights * 1e-9 / 1e-6)
        assert (found.high - found.low) / 2 == pytest.approx(0.1 * found.seconds)
        widths = np.array([float(masks.neurons[group.slice].sum()) for group in graph.groups])
        costs = WidthSeconds(graph, clock)
        assert costs.total(widths) == pytest.approx(weights * 1e-9)
        for number in range(len(widths)):
            less = widths.copy()
            less[number] -= 1
            assert costs.saving(widths)[number] == pytest.approx(costs.total(widths) - costs.total(less))


def test_a_table_is_the_same_when_it_is_read_again(clock: TableClock) -> None:
    again = from_record(clock.stopwatch, clock._layers, clock.record())
    assert again.record() == clock.record()


@pytest.mark.parametrize("runtime", ["onnxruntime", "onnxruntime-int8"])
@pytest.mark.parametrize(
    "shape",
    [
        Shape(6, 5, (9, 7), kernel=(3, 3), stride=(2, 2), padding=(1, 1)),
        Shape(6, 6, (8, 8), kernel=(3, 3), padding=(1, 1), depthwise=True),
        Shape(6, 4, (1, 1), linear=True),
    ],
)
def test_layers_written_by_hand_compute_what_pytorch_computes(shape: Shape, runtime: str) -> None:
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    layer, form = shape.layer(6, shape.outputs)
    given = torch.randn(3, *form)
    (found,) = layer_call(layer, given, runtime, 1)()  # type: ignore[misc]
    with torch.no_grad():
        wanted = layer(given).numpy()
    np.testing.assert_allclose(found, wanted, atol=0.1 if "int8" in runtime else 1e-5)
