"""The convolutions as modules. Their equations are in `torchbp/ops/convolution/`."""

import torch
import torch.nn.functional as F

from torchbp import ops
from torchbp.ops.convolution import conv
from torchbp.ops.registry import implements


@implements(conv.RULES[1])
class Conv1d(torch.nn.Conv1d):
    """`torch.nn.Conv1d` with its backward written out: `Z = X ⋆ W + b`, `dX = dZ ⋆ᵀ W`, `dW = dZ ⋆ X`, `db = Σ dZ`.

    Arguments, initialisation, random stream, `state_dict` and results are those of `torch.nn.Conv1d`.

    Shapes: `(N, C, L)`, or without N, to the same with `out_channels`.

    Example:
        >>> torchbp.nn.Conv1d(3, 4, 3)(torch.randn(2, 3, 8)).shape  # (2, 4, 6)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        return ops.conv1d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


@implements(conv.RULES[2])
class Conv2d(torch.nn.Conv2d):
    """`torch.nn.Conv2d` with its backward written out: `Z = X ⋆ W + b`, `dX = dZ ⋆ᵀ W`, `dW = dZ ⋆ X`, `db = Σ dZ`.

    Arguments, initialisation, random stream, `state_dict` and results are those of `torch.nn.Conv2d`.

    Shapes: `(N, C, H, W)`, or without N, to the same with `out_channels`.

    Example:
        >>> torchbp.nn.Conv2d(3, 4, 3)(torch.randn(2, 3, 8, 8)).shape  # (2, 4, 6, 6)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        return ops.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


@implements(conv.RULES[3])
class Conv3d(torch.nn.Conv3d):
    """`torch.nn.Conv3d` with its backward written out: `Z = X ⋆ W + b`, `dX = dZ ⋆ᵀ W`, `dW = dZ ⋆ X`, `db = Σ dZ`.

    Arguments, initialisation, random stream, `state_dict` and results are those of `torch.nn.Conv3d`.

    Shapes: `(N, C, D, H, W)`, or without N, to the same with `out_channels`.

    Example:
        >>> torchbp.nn.Conv3d(3, 4, 3)(torch.randn(2, 3, 8, 8, 8)).shape  # (2, 4, 6, 6, 6)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        return ops.conv3d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
