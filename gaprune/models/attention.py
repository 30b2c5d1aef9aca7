"""Attention whose heads and features can be cut: in place of modules that have their numbers written into them.

``nn.MultiheadAttention`` and torchvision's window attention take the features of a head for what their input's width
divided by the number of heads is. What takes their place has the same tensors under the same names and computes the
same, but the number of heads and the features of a head are numbers of their own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.models.timm_attention import opened_by

_SWIN = "torchvision.models.swin_transformer"


class OpenAttention(nn.Module):
    """``nn.MultiheadAttention`` (Vaswani et al. 2017), of itself or of others' keys and values.

    Args:
        module: the one that it takes the place of; its tensors are shared.

    Attributes:
        num_heads: heads that there are.
        head_dim: features of a head.
        embed_dim: width of queries.
        kdim: width of keys.
        vdim: width of values.
    """

    in_proj_weight: Tensor | None
    q_proj_weight: Tensor
    k_proj_weight: Tensor
    v_proj_weight: Tensor
    in_proj_bias: Tensor | None
    bias_k = bias_v = None
    add_zero_attn = False

    def __init__(self, module: nn.MultiheadAttention) -> None:
        super().__init__()
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias"):
            self.register_parameter(name, getattr(module, name))
        self.out_proj = module.out_proj
        self.num_heads, self.head_dim = module.num_heads, module.head_dim
        self.scale = module.head_dim**-0.5
        self.dropout, self.batch_first = module.dropout, module.batch_first
        self._qkv_same_embed_dim = False  # so that torch's encoder does not pass it by

    @property
    def embed_dim(self) -> int:
        """As ``nn.MultiheadAttention`` says it."""
        return self._weights()[0].shape[1]

    @property
    def kdim(self) -> int:
        """The same."""
        return self._weights()[1].shape[1]

    @property
    def vdim(self) -> int:
        """The same."""
        return self._weights()[2].shape[1]

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As ``nn.MultiheadAttention.forward``: the output, and the weights where they are asked for."""
        alike = query is key and key is value and self.in_proj_weight is not None
        batched = query.dim() == 3
        if not batched or not self.batch_first:
            query, key, value = (x.transpose(0, 1) if batched else x[None] for x in (query, key, value))
        q, k, v = self._alike(query) if alike else self._each(query, key, value)
        mask = self._mask(q, k, attn_mask, key_padding_mask)
        weights = None
        drop = self.dropout if self.training else 0.0
        if need_weights:
            scores = (q * self.scale) @ k.transpose(-2, -1)
            shares = (scores if mask is None else scores + mask).softmax(-1)
            out = F.dropout(shares, drop) @ v
            weights = shares.mean(1) if average_attn_weights else shares
        else:
            out = F.scaled_dot_product_attention(q, k, v, mask, drop, scale=self.scale)
        found = self.out_proj(out.transpose(1, 2).flatten(2))
        if not batched:
            return found[0], None if weights is None else weights[0]
        return found if self.batch_first else found.transpose(0, 1), weights

    def _alike(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, L, E) to three of (N, heads, L, features)."""
        assert self.in_proj_weight is not None
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        return _three(projected, self.num_heads, self.head_dim)

    def _each(self, *inputs: Tensor) -> list[Tensor]:
        weights = self._weights()
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        projected = (F.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True))
        return [x.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2) for x in projected]

    def _weights(self) -> tuple[Tensor, ...]:
        """Of queries, keys and values: parts of one, or three where widths differ."""
        if self.in_proj_weight is not None:
            return self.in_proj_weight.chunk(3)
        return self.q_proj_weight, self.k_proj_weight, self.v_proj_weight

    def _mask(self, q: Tensor, k: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor | None:
        """What is added to the scores: (L, S), (N, heads, L, S) or (N, 1, 1, S) of them, put together."""
        found = None if mask is None else _added(mask, q)
        if found is not None and found.dim() == 3:
            found = found.view(len(q), -1, q.shape[2], k.shape[2])
        if padding is None:
            return found
        keys = _added(padding, q).view(-1, 1, 1, k.shape[2])
        return keys if found is None else found + keys


def _three(x: Tensor, heads: int, features: int) -> tuple[Tensor, ...]:
    """(N, L, 3 x heads x features) to queries, keys and values of (N, heads, L, features)."""
    return x.reshape(*x.shape[:2], 3, heads, features).permute(2, 0, 3, 1, 4).unbind(0)


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """Booleans that shut out as what is added to scores."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -math.inf)


class OpenWindowAttention(nn.Module):
    """torchvision's shifted window attention, of Swin V1 and V2 (Liu et al. 2021, 2022).

    Args:
        module: the one that it takes the place of; its tensors are shared. V2 silences the biases of its keys at each
            call; here they are zero.

    Attributes:
        num_heads: heads that there are.
        head_dim: features of a head.
    """

    qkv: nn.Linear
    proj: nn.Linear
    cpb_mlp: nn.Sequential
    logit_scale: Tensor
    relative_position_bias_table: Tensor
    relative_position_index: Tensor
    relative_coords_table: Tensor

    def __init__(self, module: Any) -> None:
        super().__init__()
        self._parameters.update(module._parameters)
        self._buffers.update(module._buffers)
        self._modules.update(module._modules)
        self.window_size, self.shift_size = list(module.window_size), list(module.shift_size)
        self.num_heads = module.num_heads
        self.head_dim = module.qkv.out_features // 3 // module.num_heads
        self.scale = self.head_dim**-0.5
        self.attention_dropout, self.dropout = module.attention_dropout, module.dropout
        if self._cosine and module.qkv.bias is not None:
            with torch.no_grad():
                module.qkv.bias.view(3, -1)[1] = 0.0

    @property
    def _cosine(self) -> bool:
        return "logit_scale" in self._parameters

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) to the same."""
        height, width = x.shape[1:3]
        high, wide = self.window_size
        x = F.pad(x, (0, 0, 0, -width % wide, 0, -height % high))
        padded = x.shape[1:3]
        shift = [
            0 if window >= side else step
            for window, side, step in zip(self.window_size, padded, self.shift_size, strict=True)
        ]
        if any(shift):
            x = torch.roll(x, (-shift[0], -shift[1]), (1, 2))
        rows, columns = padded[0] // high, padded[1] // wide
        x = x.view(x.shape[0], rows, high, columns, wide, x.shape[3])
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, high * wide, x.shape[5])
        mask = self._shut(x, padded, shift) if any(shift) else None
        x = F.dropout(self.proj(self._attend(x, mask)), self.dropout, self.training)
        x = x.view(-1, rows, columns, high, wide, x.shape[2])
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, padded[0], padded[1], x.shape[5])
        if any(shift):
            x = torch.roll(x, (shift[0], shift[1]), (1, 2))
        return x[:, :height, :width].contiguous()

    def _attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(windows, tokens, C) to (windows, tokens, heads x features)."""
        q, k, v = _three(self.qkv(x), self.num_heads, self.head_dim)
        if self._cosine:
            scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
            scores = scores * torch.clamp(self.logit_scale, max=math.log(100.0)).exp()
        else:
            scores = (q * self.scale) @ k.transpose(-2, -1)
        scores = scores + self._bias()
        if mask is not None:
            scores = (scores.view(-1, len(mask), *scores.shape[1:]) + mask[:, None]).flatten(0, 1)
        shares = F.dropout(scores.softmax(-1), self.attention_dropout, self.training)
        mixed: Tensor = (shares @ v).transpose(1, 2).flatten(2)
        return mixed

    def _bias(self) -> Tensor:
        """(1, heads, tokens, tokens), by where tokens lie to each other."""
        tokens = self.window_size[0] * self.window_size[1]
        if not self._cosine:
            table = self.relative_position_bias_table[self.relative_position_index]
            return table.view(tokens, tokens, self.num_heads).permute(2, 0, 1)[None]
        table = self.cpb_mlp(self.relative_coords_table).view(-1, self.num_heads)[self.relative_position_index]
        return 16 * torch.sigmoid(table.view(tokens, tokens, self.num_heads).permute(2, 0, 1)[None])

    def _shut(self, x: Tensor, padded: Any, shift: list[int]) -> Tensor:
        """(windows, tokens, tokens): -100 between tokens that were no neighbours before the shift."""
        part = x.new_zeros(tuple(padded))
        (high, wide), count = self.window_size, 0
        for top, bottom in ((0, -high), (-high, -shift[0]), (-shift[0], None)):
            for left, right in ((0, -wide), (-wide, -shift[1]), (-shift[1], None)):
                part[top:bottom, left:right] = count
                count += 1
        part = part.view(padded[0] // high, high, padded[1] // wide, wide).permute(0, 2, 1, 3).reshape(-1, high * wide)
        apart = part[:, None] - part[:, :, None]
        return torch.where(apart != 0, -100.0, 0.0).to(x.dtype)


def open_attention(model: nn.Module) -> nn.Module:
    """Put attention that can be cut in the place of torch's, torchvision's and timm's; what takes the network's place.

    What has biases of its own for keys and values, or a hook, is left as it is.
    """
    made: dict[nn.Module, nn.Module] = {}
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is not None and _closed(child):
                made.setdefault(child, _opened(child))
                parent._modules[name] = made[child]
    return _opened(model) if _closed(model) else model


def _closed(module: nn.Module) -> bool:
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
        return False
    if type(module) is nn.MultiheadAttention:
        return module.bias_k is None and not module.add_zero_attn
    kind = type(module)
    if kind.__module__ == _SWIN and kind.__name__ in ("ShiftedWindowAttention", "ShiftedWindowAttentionV2"):
        return True
    return opened_by(module) is not None


def _opened(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.MultiheadAttention):
        return OpenAttention(module).train(module.training)
    kind = opened_by(module) or OpenWindowAttention
    return kind(module).train(module.training)
