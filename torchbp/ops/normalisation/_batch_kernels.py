"""torch's kernels of batch norm, in float32 beside numbers in half precision. instance_norm calls them too."""

import torch

from torchbp.ops._dispatch import HALVES, widened

fused_backward = torch.ops.aten.native_batch_norm_backward.default


def forward_by_batch(x, weight, bias, running_mean, running_var, momentum, eps):
    """z, μ and rstd by torch's kernel, which updates the running statistics. Of half precision μ and rstd are in
    float32: it rounds them to the dtype of w, before it uses them."""
    if not (x.dtype in HALVES and x.device.type == "cpu"):
        return torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
    running = running_mean, running_var
    wide = [widened(tensor) for tensor in running]
    weight = x.new_ones(x.shape[1], dtype=torch.float32) if weight is None else weight.float()
    results = torch.native_batch_norm(x, weight, widened(bias), *wide, True, momentum, eps)
    for tensor, updated in zip(running, wide, strict=True):
        if tensor is not updated:
            tensor.copy_(updated)
    return results


def by_kernel(dz, x, weight, running_mean, running_var, mean, rstd, training, eps, needs):
    """dx, dw and db by torch's kernel, those that are needed. Beside numbers in half precision it takes all else in
    float32, and then sums in that."""
    if x.dtype in HALVES and x.device.type == "cpu":
        weight = x.new_ones(x.shape[1], dtype=torch.float32) if weight is None else weight.float()
        running_mean, running_var = widened(running_mean), widened(running_var)
    if x.shape[0] == 1:  # torch's kernel reads the order of the numbers from the stride of the row, which may be any
        dz, x = dz.contiguous(), x.contiguous()
    return fused_backward(dz, x, weight, running_mean, running_var, mean, rstd, training, eps, needs)
