"""timm's attention that takes its own width for that of its input, opened: in place of modules of CaiT and EdgeNeXt.

What takes their place has the same tensors under the same names and computes the same; how many heads there are, and
how many features a head has, is read from its own weights' outputs.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class _Opened(nn.Module):
    """Shares parameters, buffers and modules with what it takes the place of."""

    qkv: nn.Linear
    proj: nn.Linear
    attn_drop: nn.Module
    proj_drop: nn.Module

    def __init__(self, module: Any) -> None:
        super().__init__()
        self._parameters.update(module._parameters)
        self._buffers.update(module._buffers)
        self._modules.update(module._modules)
        self.num_heads = module.num_heads

    def _three(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, L, C) to queries, keys and values of (N, heads, L, features)."""
        projected: Tensor = self.qkv(x)
        return projected.reshape(*x.shape[:2], 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


class OpenClassAttention(_Opened):
    """The first token looks at all (CaiT's class attention, Touvron et al. 2021).

    Args:
        module: the one that it takes the place of.
    """

    q: nn.Linear
    k: nn.Linear
    v: nn.Linear

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.scale = module.scale

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, C) to (N, 1, C)."""
        q, k, v = self._heads(self.q(x[:, :1])), self._heads(self.k(x)), self._heads(self.v(x))
        shares = self.attn_drop(((q * self.scale) @ k.transpose(-2, -1)).softmax(-1))
        found: Tensor = self.proj_drop(self.proj((shares @ v).transpose(1, 2).flatten(2)))
        return found

    def _heads(self, x: Tensor) -> Tensor:
        """(N, L, heads x features) to (N, heads, L, features)."""
        return x.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2)


class OpenTalkingHeads(_Opened):
    """Attention whose heads are mixed before and after the softmax (Shazeer et al. 2020), as CaiT has it.

    Args:
        module: the one that it takes the place of.
    """

    proj_l: nn.Linear
    proj_w: nn.Linear

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.scale = module.scale

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, C) to the same."""
        q, k, v = self._three(x)
        scores = self.proj_l(((q * self.scale) @ k.transpose(-2, -1)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        shares = self.attn_drop(self.proj_w(scores.softmax(-1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        found: Tensor = self.proj_drop(self.proj((shares @ v).transpose(1, 2).flatten(2)))
        return found


class OpenCrossCovariance(_Opened):
    """Attention of features to features (El-Nouby et al. 2021), as EdgeNeXt has it: heads may go, features stay.

    Args:
        module: the one that it takes the place of.
    """

    temperature: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, C) to the same."""
        q, k, v = (one.transpose(-2, -1) for one in self._three(x))
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.temperature
        mixed = self.attn_drop(scores.softmax(-1)) @ v
        found: Tensor = self.proj_drop(self.proj(mixed.permute(0, 3, 1, 2).flatten(2)))
        return found


OPENED: dict[tuple[str, str], type[_Opened]] = {
    ("timm.models.cait", "ClassAttn"): OpenClassAttention,
    ("timm.models.cait", "TalkingHeadAttn"): OpenTalkingHeads,
    ("timm.models.edgenext", "CrossCovarianceAttn"): OpenCrossCovariance,
}
"""By a class's module and name what takes its place."""


def opened_by(module: nn.Module) -> type[_Opened] | None:
    """What takes the place of a module of timm's; ``None`` where nothing does."""
    return OPENED.get((type(module).__module__, type(module).__name__))
