"""A convolution with connections tied into groups: a grouped convolution between two channel orders."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GroupedConvolution(nn.Module):
    """``conv`` with groups, its input channels gathered and its output channels put back in order.

    Attributes:
        conv: the grouped convolution, over channels sorted by group.
        input_order: (in,) int64, the input channel at each place of ``conv``'s input.
        output_order: (out,) int64, the place in ``conv``'s output of each output channel.
    """

    input_order: Tensor
    output_order: Tensor

    def __init__(self, conv: nn.Module, input_order: Tensor, output_order: Tensor) -> None:
        super().__init__()
        self.conv = conv
        self.register_buffer("input_order", input_order)
        self.register_buffer("output_order", output_order)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H', W')."""
        gathered = torch.index_select(x, 1, self.input_order)
        out: Tensor = self.conv(gathered)
        return torch.index_select(out, 1, self.output_order)
