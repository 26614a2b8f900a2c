"""The layers that normalise, as modules. Their equations are in `torchbp/ops/normalisation/`."""

import torch

from torchbp import ops
from torchbp.ops.normalisation import batch_norm, layer_norm
from torchbp.ops.registry import implements


@implements(layer_norm.RULE)
class LayerNorm(torch.nn.LayerNorm):
    """`torch.nn.LayerNorm` with its backward written out: `dX = rstd ∘ (g − mean(g) − x̂ ∘ mean(g ∘ x̂))`.

    Example:
        >>> torchbp.nn.LayerNorm(3)(torch.randn(5, 3)).shape  # (5, 3)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


def by_batch_norm(module, x):
    """The step of a BatchNorm module: its input is checked, its batches are counted."""
    module._check_input_dim(x)
    mean, var, training, momentum = batch_norm.next_step(
        module.running_mean,
        module.running_var,
        module.num_batches_tracked,
        module.track_running_stats,
        module.training,
        module.momentum,
    )
    return ops.batch_norm(x, mean, var, module.weight, module.bias, training, momentum, module.eps)


@implements(batch_norm.RULE1D)
class BatchNorm1d(torch.nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` with its backward written out, of (N, C) or (N, C, L); running statistics as torch's.

    Example:
        >>> torchbp.nn.BatchNorm1d(3)(torch.randn(5, 3)).shape  # (5, 3)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return by_batch_norm(self, input)


@implements(batch_norm.RULE2D)
class BatchNorm2d(torch.nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` with its backward written out, of (N, C, H, W); running statistics as torch's.

    Example:
        >>> torchbp.nn.BatchNorm2d(3)(torch.randn(5, 3, 4, 4)).shape  # (5, 3, 4, 4)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return by_batch_norm(self, input)


@implements(batch_norm.RULE3D)
class BatchNorm3d(torch.nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` with its backward written out, of (N, C, D, H, W); running statistics as torch's.

    Example:
        >>> torchbp.nn.BatchNorm3d(3)(torch.randn(5, 3, 2, 2, 2)).shape  # (5, 3, 2, 2, 2)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return by_batch_norm(self, input)
