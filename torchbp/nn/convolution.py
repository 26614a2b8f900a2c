"""The convolutions as modules. Their equations are in `torchbp/ops/convolution/`."""

import torch
import torch.nn.functional as F

from torchbp import ops
from torchbp.ops.convolution import conv, conv_transpose
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


@implements(conv_transpose.RULES[1])
class ConvTranspose1d(torch.nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` with its backward written out: `Z = X ⋆ᵀ W + b`, `dX = dZ ⋆ W`, `dW = X ⋆ dZ`.

    Arguments, initialisation, random stream, `state_dict` and results are those of `torch.nn.ConvTranspose1d`.

    Shapes: `(N, C, L)`, or without N, to the same with `out_channels`.

    Example:
        >>> torchbp.nn.ConvTranspose1d(3, 5, 2, stride=2)(torch.randn(2, 3, 4)).shape  # (2, 5, 8)
    """

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        sizes = self.stride, self.padding, self.kernel_size, 1, self.dilation
        rest = self._output_padding(input, output_size, *sizes)
        return ops.conv_transpose1d(
            input, self.weight, self.bias, self.stride, self.padding, rest, self.groups, self.dilation
        )


@implements(conv_transpose.RULES[2])
class ConvTranspose2d(torch.nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` with its backward written out: `Z = X ⋆ᵀ W + b`, `dX = dZ ⋆ W`, `dW = X ⋆ dZ`.

    Arguments, initialisation, random stream, `state_dict` and results are those of `torch.nn.ConvTranspose2d`.

    Shapes: `(N, C, H, W)`, or without N, to the same with `out_channels`.

    Example:
        >>> torchbp.nn.ConvTranspose2d(3, 5, 2, stride=2)(torch.randn(2, 3, 4, 4)).shape  # (2, 5, 8, 8)
    """

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        sizes = self.stride, self.padding, self.kernel_size, 2, self.dilation
        rest = self._output_padding(input, output_size, *sizes)
        return ops.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, rest, self.groups, self.dilation
        )


@implements(conv_transpose.RULES[3])
class ConvTranspose3d(torch.nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` with its backward written out: `Z = X ⋆ᵀ W + b`, `dX = dZ ⋆ W`, `dW = X ⋆ dZ`.

    Arguments, initialisation, random stream, `state_dict` and results are those of `torch.nn.ConvTranspose3d`.

    Shapes: `(N, C, D, H, W)`, or without N, to the same with `out_channels`.

    Example:
        >>> torchbp.nn.ConvTranspose3d(3, 5, 2, stride=2)(torch.randn(2, 3, 4, 4, 4)).shape  # (2, 5, 8, 8, 8)
    """

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        sizes = self.stride, self.padding, self.kernel_size, 3, self.dilation
        rest = self._output_padding(input, output_size, *sizes)
        return ops.conv_transpose3d(
            input, self.weight, self.bias, self.stride, self.padding, rest, self.groups, self.dilation
        )
