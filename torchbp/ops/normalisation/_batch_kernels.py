"""torch's kernels of batch norm, in float32 beside numbers in half precision. instance_norm calls them too."""

import torch

from torchbp.ops.normalisation._normalised import wide_beside, wide_weight

fused_backward = torch.ops.aten.native_batch_norm_backward.default


def forward_by_batch(x, weight, bias, running_mean, running_var, momentum, eps):
    """z, μ and rstd by torch's kernel, which updates the running statistics. Of half precision μ and rstd are in
    float32: it rounds them to the dtype of w, before it uses them."""
    running = running_mean, running_var
    wide = [wide_beside(x, tensor) for tensor in running]
    weight, bias = wide_weight(weight, x, x.shape[1]), wide_beside(x, bias)
    results = torch.native_batch_norm(x, weight, bias, *wide, True, momentum, eps)
    for tensor, updated in zip(running, wide, strict=True):
        if tensor is not updated:
            tensor.copy_(updated)
    return results


def contiguous(tensor):
    return None if tensor is None else tensor.contiguous()


def batch_norm_by_kernel(dz, x, weight, running_mean, running_var, mean, rstd, training, eps, needs):
    """dx, dw and db by torch's kernel, those that are needed. Beside numbers in half precision it takes all else in
    float32, and then sums in that."""
    weight = wide_weight(weight, x, x.shape[1])
    running_mean, running_var = wide_beside(x, running_mean), wide_beside(x, running_var)
    # its way for matrices reads these as contiguous, whatever they are
    weight, running_mean, running_var = map(contiguous, (weight, running_mean, running_var))
    if x.shape[0] == 1:  # torch's kernel reads the order of the numbers from the stride of the row, which may be any
        dz, x = dz.contiguous(), x.contiguous()
    return fused_backward(dz, x, weight, running_mean, running_var, mean, rstd, training, eps, needs)
