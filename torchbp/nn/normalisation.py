"""The layers that normalise, as modules. Their equations are in `torchbp/ops/normalisation/`."""

import warnings

import torch

from torchbp import ops
from torchbp.ops.normalisation import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from torchbp.ops.registry import implements


@implements(layer_norm.RULE)
class LayerNorm(torch.nn.LayerNorm):
    """`torch.nn.LayerNorm` with its backward written out: `dX = rstd ∘ (g − mean(g) − x̂ ∘ mean(g ∘ x̂))`.

    Example:
        >>> torchbp.nn.LayerNorm(3)(torch.randn(5, 3)).shape  # (5, 3)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


@implements(rms_norm.RULE)
class RMSNorm(torch.nn.RMSNorm):
    """`torch.nn.RMSNorm` with its backward written out: `dX = r (g − x̂ ∘ mean(g ∘ x̂))`.

    Example:
        >>> torchbp.nn.RMSNorm(3)(torch.randn(5, 3)).shape  # (5, 3)
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ops.rms_norm(x, self.normalized_shape, self.weight, self.eps)


@implements(group_norm.RULE)
class GroupNorm(torch.nn.GroupNorm):
    """`torch.nn.GroupNorm` with its backward written out: `dX = rstd ∘ (g − mean(g) − x̂ ∘ mean(g ∘ x̂))`.

    Example:
        >>> torchbp.nn.GroupNorm(2, 4)(torch.randn(5, 4, 3)).shape  # (5, 4, 3)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return ops.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


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
    """`torch.nn.BatchNorm1d` with its backward written out: `dX = w rstd ∘ (dZ − db/n − x̂ ∘ dw/n)`.

    X is (N, C) or (N, C, L), with n numbers in each of the C channels. The running statistics are torch's.

    Raises:
        ValueError: X has other dimensions; or, in training, n is 1.
        RuntimeError: C is not `num_features`, the size of the module's tensors.

    Example:
        >>> torchbp.nn.BatchNorm1d(3)(torch.randn(5, 3)).shape  # (5, 3)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return by_batch_norm(self, input)


@implements(batch_norm.RULE2D)
class BatchNorm2d(torch.nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` with its backward written out: `dX = w rstd ∘ (dZ − db/n − x̂ ∘ dw/n)`.

    X is (N, C, H, W), with n numbers in each of the C channels. The running statistics are torch's.

    Raises:
        ValueError: X has other dimensions; or, in training, n is 1.
        RuntimeError: C is not `num_features`, the size of the module's tensors.

    Example:
        >>> torchbp.nn.BatchNorm2d(3)(torch.randn(5, 3, 4, 4)).shape  # (5, 3, 4, 4)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return by_batch_norm(self, input)


@implements(batch_norm.RULE3D)
class BatchNorm3d(torch.nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` with its backward written out: `dX = w rstd ∘ (dZ − db/n − x̂ ∘ dw/n)`.

    X is (N, C, D, H, W), with n numbers in each of the C channels. The running statistics are torch's.

    Raises:
        ValueError: X has other dimensions; or, in training, n is 1.
        RuntimeError: C is not `num_features`, the size of the module's tensors.

    Example:
        >>> torchbp.nn.BatchNorm3d(3)(torch.randn(5, 3, 2, 2, 2)).shape  # (5, 3, 2, 2, 2)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return by_batch_norm(self, input)


def by_instance_norm(module, x):
    """The step of an InstanceNorm module, of (N, C, …) or of one row, (C, …)."""
    module._check_input_dim(x)
    is_row = x.dim() == module._get_no_batch_dim()
    channels = x.shape[0 if is_row else 1]
    if channels != module.num_features:
        words = f"input {tuple(x.shape)} has {channels} channels, and num_features={module.num_features}"
        if module.affine:
            raise ValueError(f"{type(module).__name__}: {words}")
        warnings.warn(f"{type(module).__name__}: {words}, which is not used with affine=False", stacklevel=4)
    z = ops.instance_norm(
        x.unsqueeze(0) if is_row else x,
        module.running_mean,
        module.running_var,
        module.weight,
        module.bias,
        module.training or not module.track_running_stats,
        0.0 if module.momentum is None else module.momentum,
        module.eps,
    )
    return z.squeeze(0) if is_row else z


@implements(instance_norm.RULE1D)
class InstanceNorm1d(torch.nn.InstanceNorm1d):
    """`torch.nn.InstanceNorm1d` with its backward written out: `dX = rstd ∘ (g − mean(g) − x̂ ∘ mean(g ∘ x̂))`.

    X is (N, C, L) or (C, L); g = dZ ∘ w, and the means run over the places of a channel in a row.

    Raises:
        ValueError: X has other dimensions; a channel has one number, and its statistics are used; or, with affine=True,
            C is not `num_features`.
        RuntimeError: C is not that of the running statistics.

    Example:
        >>> torchbp.nn.InstanceNorm1d(3)(torch.randn(5, 3, 4)).shape  # (5, 3, 4)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return by_instance_norm(self, input)


@implements(instance_norm.RULE2D)
class InstanceNorm2d(torch.nn.InstanceNorm2d):
    """`torch.nn.InstanceNorm2d` with its backward written out: `dX = rstd ∘ (g − mean(g) − x̂ ∘ mean(g ∘ x̂))`.

    X is (N, C, H, W) or (C, H, W); g = dZ ∘ w, and the means run over the places of a channel in a row.

    Raises:
        ValueError: X has other dimensions; a channel has one number, and its statistics are used; or, with affine=True,
            C is not `num_features`.
        RuntimeError: C is not that of the running statistics.

    Example:
        >>> torchbp.nn.InstanceNorm2d(3)(torch.randn(5, 3, 4, 4)).shape  # (5, 3, 4, 4)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return by_instance_norm(self, input)


@implements(instance_norm.RULE3D)
class InstanceNorm3d(torch.nn.InstanceNorm3d):
    """`torch.nn.InstanceNorm3d` with its backward written out: `dX = rstd ∘ (g − mean(g) − x̂ ∘ mean(g ∘ x̂))`.

    X is (N, C, D, H, W) or (C, D, H, W); g = dZ ∘ w, and the means run over the places of a channel in a row.

    Raises:
        ValueError: X has other dimensions; a channel has one number, and its statistics are used; or, with affine=True,
            C is not `num_features`.
        RuntimeError: C is not that of the running statistics.

    Example:
        >>> torchbp.nn.InstanceNorm3d(3)(torch.randn(5, 3, 2, 2, 2)).shape  # (5, 3, 2, 2, 2)
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return by_instance_norm(self, input)
