"""The pooling operations as modules. Their equations are in `torchbp/ops/convolution/`."""

import torch

from torchbp import ops
from torchbp.ops.convolution import adaptive_avg_pool, avg_pool, max_pool
from torchbp.ops.registry import implements


@implements(max_pool.RULES[1])
class MaxPool1d(torch.nn.MaxPool1d):
    """`torch.nn.MaxPool1d` with its backward written out: dX has dZ where the largest number of each window is.

    Example:
        >>> torchbp.nn.MaxPool1d(2)(torch.randn(2, 3, 8)).shape  # (2, 3, 4)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.max_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )


@implements(max_pool.RULES[2])
class MaxPool2d(torch.nn.MaxPool2d):
    """`torch.nn.MaxPool2d` with its backward written out: dX has dZ where the largest number of each window is.

    Example:
        >>> torchbp.nn.MaxPool2d(2)(torch.randn(2, 3, 8, 8)).shape  # (2, 3, 4, 4)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.max_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )


@implements(max_pool.RULES[3])
class MaxPool3d(torch.nn.MaxPool3d):
    """`torch.nn.MaxPool3d` with its backward written out: dX has dZ where the largest number of each window is.

    Example:
        >>> torchbp.nn.MaxPool3d(2)(torch.randn(2, 3, 8, 8, 8)).shape  # (2, 3, 4, 4, 4)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.max_pool3d(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )


@implements(avg_pool.RULES[1])
class AvgPool1d(torch.nn.AvgPool1d):
    """`torch.nn.AvgPool1d` with its backward written out: dX has dZ / n at each of the n places of a window.

    Example:
        >>> torchbp.nn.AvgPool1d(2)(torch.randn(2, 3, 8)).shape  # (2, 3, 4)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )


@implements(avg_pool.RULES[2])
class AvgPool2d(torch.nn.AvgPool2d):
    """`torch.nn.AvgPool2d` with its backward written out: dX has dZ / n at each of the n places of a window.

    Example:
        >>> torchbp.nn.AvgPool2d(2)(torch.randn(2, 3, 8, 8)).shape  # (2, 3, 4, 4)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        settings = self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        return ops.avg_pool2d(input, *settings, self.divisor_override)


@implements(avg_pool.RULES[3])
class AvgPool3d(torch.nn.AvgPool3d):
    """`torch.nn.AvgPool3d` with its backward written out: dX has dZ / n at each of the n places of a window.

    Example:
        >>> torchbp.nn.AvgPool3d(2)(torch.randn(2, 3, 8, 8, 8)).shape  # (2, 3, 4, 4, 4)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        settings = self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        return ops.avg_pool3d(input, *settings, self.divisor_override)


@implements(adaptive_avg_pool.RULES[1])
class AdaptiveAvgPool1d(torch.nn.AdaptiveAvgPool1d):
    """`torch.nn.AdaptiveAvgPool1d` with its backward written out: dX has dZ / n at each of the n places of a window.

    Example:
        >>> torchbp.nn.AdaptiveAvgPool1d(1)(torch.randn(2, 3, 8)).shape  # (2, 3, 1)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.adaptive_avg_pool1d(input, self.output_size)


@implements(adaptive_avg_pool.RULES[2])
class AdaptiveAvgPool2d(torch.nn.AdaptiveAvgPool2d):
    """`torch.nn.AdaptiveAvgPool2d` with its backward written out: dX has dZ / n at each of the n places of a window.

    Example:
        >>> torchbp.nn.AdaptiveAvgPool2d(1)(torch.randn(2, 3, 8, 8)).shape  # (2, 3, 1, 1)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.adaptive_avg_pool2d(input, self.output_size)


@implements(adaptive_avg_pool.RULES[3])
class AdaptiveAvgPool3d(torch.nn.AdaptiveAvgPool3d):
    """`torch.nn.AdaptiveAvgPool3d` with its backward written out: dX has dZ / n at each of the n places of a window.

    Example:
        >>> torchbp.nn.AdaptiveAvgPool3d(1)(torch.randn(2, 3, 8, 8, 8)).shape  # (2, 3, 1, 1, 1)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.adaptive_avg_pool3d(input, self.output_size)
