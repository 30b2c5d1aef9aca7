"""Networks as people have them: unwrapped and converted, or refused in one line that names the remedy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_networks import Net, chain, pooled
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.nn.utils.parametrize import register_parametrization

from gaprune.errors import ModelError
from gaprune.prune.checking import checked_graph
from gaprune.prune.graph.foreign import plain, plain_tensors, unwrapped

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def compiled_inside(model: nn.Module) -> nn.Module:
    model.conv2 = torch.compile(model.conv2)  # type: ignore[assignment]
    return model


def averaged(model: nn.Module) -> nn.Module:
    return torch.optim.swa_utils.AveragedModel(model)


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile()
    return model


WRAPPED: dict[str, tuple[Callable[[nn.Module], Any], str]] = {
    "plain": (lambda model: model, ""),
    "compiled": (torch.compile, "compiled: taken out"),
    "compiled in place": (compiled_in_place, ""),
    "compiled inside": (compiled_inside, "compiled: taken out"),
    "on several devices": (nn.DataParallel, "in DataParallel: taken out"),
    "both": (lambda model: torch.compile(nn.DataParallel(model)), "compiled: taken out; in DataParallel: taken out"),
    "averaged": (averaged, "an AveragedModel: taken out"),
    "channels last": (lambda model: model.to(memory_format=torch.channels_last), ""),
    "double": (lambda model: model.double(), "in float64: converted to float32"),
    "bfloat16": (lambda model: model.bfloat16(), "in bfloat16: converted to float32"),
    "half": (lambda model: model.half(), "in float16: converted to float32"),
    "frozen": (lambda model: model.requires_grad_(False), ""),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_what_can_be_handled_is_and_says_so(kind: str) -> None:
    wrap, note = WRAPPED[kind]
    inner = chain().float().eval()
    wanted = copy.deepcopy(inner)(IMAGES)
    given = wrap(inner)
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    made = plain(given)
    assert "; ".join(made.notes) == note
    assert type(made.model) is type(unwrapped(given)) is Net
    assert list(made.model.state_dict()) == list(chain().state_dict())
    assert all(p.dtype == torch.float32 and p.is_contiguous() for p in made.model.parameters())
    assert torch.allclose(made.model.eval()(IMAGES), wanted, atol=0.1 if kind in ("bfloat16", "half") else 1e-5)
    with torch.no_grad():
        next(made.model.parameters()).zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in given.state_dict().items())


def test_a_network_that_was_made_for_inference_alone_can_be_copied_and_trained() -> None:
    with torch.inference_mode():
        model = chain()
    made = plain(model).model
    made(IMAGES).sum().backward()
    assert next(made.parameters()).grad is not None


def with_mask() -> nn.Module:
    model = chain()
    prune.l1_unstructured(model.conv1, "weight", 0.5)  # type: ignore[no-untyped-call, arg-type]
    return model


def with_parametrization(change: Callable[..., nn.Module]) -> nn.Module:
    model = chain()
    model.conv2 = change(model.conv2)
    return model


class Broken(nn.Module):
    """A parametrization that fails."""

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("it is broken")


@pytest.mark.parametrize(("norm", "kind"), [(spectral_norm, "SpectralNorm"), (weight_norm, "WeightNorm")])
def test_parametrized_weights_are_computed_once_and_kept(norm: Any, kind: str) -> None:
    model = with_parametrization(norm)
    norm(model.conv1)
    model.train()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.mul_(1.5)
    names = list(model.state_dict())
    made = plain(model)
    assert made.notes == (f"parametrized ({kind}): its weights are computed once and kept",)
    assert list(made.model.state_dict()) != names == list(model.state_dict())
    assert set(made.model.state_dict()) == set(chain().state_dict())
    assert made.model.training
    assert model.training
    assert torch.allclose(made.model.eval()(IMAGES), model.eval()(IMAGES), atol=1e-6)
    assert checked_graph(made.model, (3, *IMAGES.shape[2:])).unpruned == ()


def quantized() -> nn.Module:
    model = chain()
    model.head = torch.ao.nn.quantized.Linear(8, 3)
    return model


def on_meta() -> nn.Module:
    return chain().to("meta")


def in_a_plain_list() -> nn.Module:
    model = chain()
    model.more = [nn.Conv2d(3, 3, 1)]  # type: ignore[assignment]
    return model


def in_a_plain_table() -> nn.Module:
    model = chain()
    model.conv1.more = {"a": [nn.Conv2d(3, 3, 1)]}  # type: ignore[assignment]
    return model


def with_nan() -> nn.Module:
    model = chain()
    nn.init.constant_(model.conv2.bias, float("nan"))  # type: ignore[arg-type]
    return model


def lazy() -> nn.Module:
    return Net(lambda s, x: pooled(s, s.conv(x)), conv=nn.LazyConv2d(4, 3), head=nn.Linear(4, 3))


def exported() -> nn.Module:
    return torch.export.export(chain().eval(), (IMAGES,)).module()


def old_norm(change: Callable[..., nn.Module]) -> nn.Module:
    model = chain()
    change(model.conv1)
    return model


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "scripted": (lambda: torch.jit.trace(chain().eval(), IMAGES), "is scripted or traced: give the network that"),
    "exported": (exported, r"was exported by torch\.export: give the network"),
    "a parametrization that cannot be computed": (
        lambda: with_parametrization(lambda layer: register_parametrization(layer, "weight", Broken(), unsafe=True)),
        r"Net\.conv2\.weight is parametrized \(Broken\) and cannot be computed once and kept: it is broken",
    ),
    "old spectral norm": (lambda: old_norm(nn.utils.spectral_norm), r"Net\.conv1 is .*remove_spectral_norm\(module\)"),
    "masks": (with_mask, r"Net\.conv1 has masks of torch\.nn\.utils\.prune: call prune\.remove\(module, 'weight'\)"),
    "quantized": (quantized, r"Net\.head is quantized \(Linear\): prune the float network"),
    "meta": (on_meta, r"Net\.conv1\.weight lies on the meta device, without numbers: load its weights"),
    "lazy": (lazy, r"Net\.conv\.weight has no shape yet: run a batch"),
    "NaN": (with_nan, r"Net\.conv2\.bias holds NaN or infinity"),
    "plain list": (in_a_plain_list, r"Net\.more is a plain list of modules, .*: use nn\.ModuleList"),
    "plain table": (in_a_plain_table, r"Net\.conv1\.more is a plain dict of modules, .*: use nn\.ModuleDict"),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_is_one_line_that_names_the_remedy(kind: str) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(ModelError, match=message) as caught:
        plain(make())
    assert "\n" not in str(caught.value)


def test_a_list_of_modules_that_torch_knows_by_other_names_is_none_of_our_business() -> None:
    model = chain()
    model.order = [model.conv1, model.conv2]  # type: ignore[assignment]
    copied: Any = plain(model).model
    assert copied.order[0] is copied.conv1


def test_plain_tensors_are_found_where_they_lie() -> None:
    model = chain()
    model.conv1.scale = torch.ones(3)
    assert list(plain_tensors(model)) == ["conv1.scale"]
    assert isinstance(model.conv1.scale, Tensor)
