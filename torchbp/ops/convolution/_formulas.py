"""The formulas of convolution and of its transpose, of 1, 2 or 3 spatial dimensions: one is the other's derivative.

    convolution     Z = X ⋆ W + b       dX = dZ ⋆ᵀ conj(W)     dW = dZ ⋆ conj(X)
    transposed      Z = X ⋆ᵀ W + b      dX = dZ ⋆ conj(W)      dW = conj(X) ⋆ dZ
    both            db = Σ dZ           Ż = (Ẋ, W) + (X, Ẇ) + ḃ

`X ⋆ W` slides W over X in steps of `stride`, with gaps of `dilation`:
`Z[n, o, i] = Σ_c Σ_j W[o, c, j] X[n, c, stride i + dilation j − padding]`. `⋆ᵀ` puts each number back where ⋆ took it.
X is `(N, C, …)`, W of a convolution `(O, C/groups, …)` and of a transposed one `(C, O/groups, …)`.
"""

import torch
import torch.nn.functional as F

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def per_dimension(number, dims):
    """A tuple of one number for each spatial dimension."""
    if isinstance(number, (tuple, list)):
        return tuple(number) * dims if len(number) == 1 else tuple(number)
    return (number,) * dims


def conv_dx(dz, weight, size, stride, padding, dilation, groups):
    """dX = dZ ⋆ᵀ conj(W), of the spatial size of X: the rows of X that no window reached have a gradient of 0."""
    dims = weight.dim() - 2
    rest = [
        x - ((z - 1) * s - 2 * p + d * (k - 1) + 1)
        for x, z, s, p, d, k in zip(size, dz.shape[-dims:], stride, padding, dilation, weight.shape[2:], strict=True)
    ]
    return CONV_TRANSPOSE[dims](dz, weight.conj(), None, stride, padding, rest, groups, dilation)


def correlation(dz, x, kernel, stride, padding, dilation, groups):
    """dW = dZ ⋆ X: a convolution of X with dZ, in which the batch and the channels, and stride and dilation, have
    changed places: `dW[o, c, j] = Σ_n Σ_i dZ[n, o, i] X[n, c, stride i + dilation j − padding]`."""
    dims = len(kernel)
    n, channels = x.shape[:2]
    if n == 0:
        return dz.new_zeros(dz.shape[1], channels // groups, *kernel)
    x = x.reshape(n, groups, channels // groups, *x.shape[2:]).transpose(0, 2)  # (C/groups, groups, N, …)
    x = x.reshape(channels // groups, groups * n, *x.shape[3:])
    dweight = CONV[dims](x, dz.transpose(0, 1), None, dilation, padding, stride, groups).transpose(0, 1)
    for dim, size in enumerate(kernel, 2):
        dweight = dweight.narrow(dim, 0, size)  # X may be longer than what the windows reach
    return dweight


def kernel_gradient(dz, x, weight, stride, padding, dilation, groups):
    """dW = dZ ⋆ X by torch's kernel for it: `correlation`, which is up to three times faster.

    Of (8, 3, 224, 224) and 64 kernels 7 × 7 of stride 2 it takes 22 ms, `correlation` 68, and a product with the
    unfolded X 129; of (32, 64, 28, 28) and 64 kernels 3 × 3 they take 28, 34 and 158 (float32, one thread).
    """
    rest = [0] * len(stride)
    mask = [False, True, False]
    args = [stride, padding, dilation, False, rest, groups, mask]
    return torch.ops.aten.convolution_backward(dz, x, weight, None, *args)[1]


def conv_dweight(dz, x, weight, stride, padding, dilation, groups):
    """dW = dZ ⋆ X, the sum over all windows, in the shape of `weight`."""
    if x.dim() == weight.dim() - 1:  # without a batch
        dz, x = dz.unsqueeze(0), x.unsqueeze(0)
    if x.is_complex():  # torch's kernel is for real numbers
        return correlation(dz, x, weight.shape[2:], stride, padding, dilation, groups)
    if x.dtype is torch.float16 and x.device.type == "cpu":  # there the kernel sums in float16: 20,000 ones are 2048
        dz, x, weight = dz.float(), x.float(), weight.float()
        return kernel_gradient(dz, x, weight, stride, padding, dilation, groups).half()
    return kernel_gradient(dz, x, weight, stride, padding, dilation, groups)


def conv_dbias(dz, dims):
    """db = Σ dZ, over the batch and all places."""
    return dz.sum((0, *range(2, dims + 2)) if dz.dim() == dims + 2 else tuple(range(1, dims + 1)))


def owned(z, x, weight):
    """Z as no view: without a batch it is one, and autograd lets nobody write into a view that a Function has made."""
    return z if x.dim() == weight.dim() else z.detach()
