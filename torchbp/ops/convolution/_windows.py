"""What the pooling operations share: their windows, and torch's functions of 1, 2 and 3 spatial dimensions."""

import torch
import torch.nn.functional as F

from torchbp.ops.convolution._formulas import per_dimension

MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE_AVG_POOL = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def steps(kernel_size, stride, dims):
    """Kernel and stride for each dimension; torch's stride is by default the kernel."""
    kernel = per_dimension(kernel_size, dims)
    return kernel, kernel if stride is None or stride == () else per_dimension(stride, dims)


def spread(shares, size, kernel, stride, padding):
    """shares ⋆ᵀ 1: each window gives its share to each of its places, one dimension after the other. Where windows
    meet, a place gets the sum."""
    for dim, settings in enumerate(zip(size, kernel, stride, padding, strict=True), shares.dim() - len(size)):
        if torch.is_grad_enabled():  # writes into slices cannot be differentiated under vmap
            shares = spread_functionally(shares, dim, *settings)
        else:
            shares = spread_in_place(shares, dim, *settings)
    return shares


def spread_in_place(shares, dim, size, kernel, stride, padding):
    """The same of one dimension: all first places of the windows, then all second ones, and so on."""
    reach = (shares.shape[dim] - 1) * stride + 1
    shape = list(shares.shape)
    shape[dim] = max(reach - 1 + kernel, padding + size)
    dx = zeros_like(shares, shape)
    for offset in range(kernel):
        dx[(slice(None),) * dim + (slice(offset, offset + reach, stride),)].add_(shares)
    return dx.narrow(dim, padding, size)  # without what the windows cover beyond X


def spread_functionally(shares, dim, size, kernel, stride, padding):
    """The same of one dimension, by `sum_of_windows`."""
    starts = range(-padding, shares.shape[dim] * stride - padding, stride)
    return sum_of_windows(shares, dim, size, starts, [start + kernel for start in starts])


def bisect_right(places, h):
    """How many of the places are at most h. Python's own function is not traced by torch.compile."""
    return sum(place <= h for place in places)


def sum_of_windows(shares, dim, size, starts, ends):
    """Row h of the dimension, 0 ≤ h < size, is the sum of the shares of the windows that cover h, starts ≤ h < ends."""
    first = [bisect_right(ends, h) for h in range(size)]
    number = [bisect_right(starts, h) - i for h, i in enumerate(first)]
    windows = shares.shape[dim]
    if len(set(number)) > 1:  # a row of zeros more, for what fewer windows cover
        shares = torch.cat([shares, torch.zeros_like(shares.narrow(dim, 0, 1))], dim)
    total = None
    for rank in range(max([0, *number])):
        rows = [i + rank if rank < n else windows for i, n in zip(first, number, strict=True)]
        of_rank = shares.index_select(dim, torch.tensor(rows, device=shares.device))
        total = of_rank if total is None else total + of_rank
    return total


def zeros_like(tensor, shape):
    """Zeros in the order of the tensor's memory, with the channels last where its are."""
    if tensor.dim() < 3 or tensor.stride(1) != 1 or tensor.is_contiguous():
        return tensor.new_zeros(shape)
    return tensor.new_zeros(shape[0], *shape[2:], shape[1]).movedim(-1, 1)
