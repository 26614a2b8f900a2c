"""What the pooling operations share: their windows, and torch's functions of 1, 2 and 3 spatial dimensions."""

import torch
import torch.nn.functional as F

from torchbp.ops.convolution._formulas import per_dimension

MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
aten_slice = torch.ops.aten.slice.Tensor  # tensor[start:end:step] of a dimension; with no effect it is no alias
ADAPTIVE_AVG_POOL = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def steps(kernel_size, stride, dims):
    """Kernel and stride for each dimension; torch's stride is by default the kernel."""
    kernel = per_dimension(kernel_size, dims)
    return kernel, kernel if stride is None or stride == () else per_dimension(stride, dims)


def layout(x, dims):
    """The spatial size of X, and whether its channels lie last in memory, as in torch.channels_last."""
    batch = x.dim() == dims + 2
    return x.shape[-dims:], batch and dims > 1 and x.stride(1) == 1 and x.shape[1] > 1 and not x.is_contiguous()


def new(tensor, shape, channels_last):
    """Memory of this shape, uninitialised."""
    if channels_last:
        return tensor.new_empty(shape[0], *shape[2:], shape[1]).movedim(-1, 1)
    return tensor.new_empty(shape)


def spread(shares, size, channels_last, kernel, stride, padding):
    """shares ⋆ᵀ 1: each window gives its share to each of its places, one dimension after the other, the last one
    first. Where windows meet, a place gets the sum."""
    dims = [*enumerate(zip(size, kernel, stride, padding, strict=True), shares.dim() - len(size))]
    for dim, settings in reversed(dims):
        if torch.is_grad_enabled():  # writes into slices cannot be differentiated under vmap
            shares = spread_functionally(shares, dim, *settings)
        else:
            shares = spread_in_place(shares, dim, channels_last, *settings)
    return shares


def spread_in_place(shares, dim, channels_last, size, kernel, stride, padding):
    """The same of one dimension: all first places of the windows, then all second ones, and so on.

    The first `stride` places of all windows meet no other, so they are copied; later ones are added.
    """
    windows = shares.shape[dim]
    dx = new(shares, (*shares.shape[:dim], size, *shares.shape[dim + 1 :]), channels_last)
    if windows == 1 and kernel == size and padding == 0:
        return dx.copy_(shares)
    covered = max(windows * stride - padding, 0) if kernel >= stride else 0
    if covered < size:
        dx.narrow(dim, covered, size - covered).zero_()
    for offset in range(kernel):
        first = max(-((offset - padding) // stride), 0)  # the first window whose place is in X, and the end of them
        end = min((size - 1 + padding - offset) // stride + 1, windows)
        if end > first:
            start = first * stride + offset - padding
            places = aten_slice(dx, dim, start, start + (end - first - 1) * stride + 1, stride)
            given = aten_slice(shares, dim, first, end)
            places.copy_(given) if offset < stride and covered else places.add_(given)
    return dx


def spread_functionally(shares, dim, size, kernel, stride, padding):
    """The same of one dimension, by `sum_of_windows`."""
    starts = range(-padding, shares.shape[dim] * stride - padding, stride)
    return sum_of_windows(shares, dim, size, starts, [start + kernel for start in starts])


def bisect_right(places, h):
    """How many of the places are at most h. Python's own function is not traced by torch.compile."""
    return sum(place <= h for place in places)


def spread_uneven(shares, dim, channels_last, size, starts, ends):
    """shares of windows from `starts` to before `ends`, each given to the places of its window, in one dimension."""
    dx = new(shares, (*shares.shape[:dim], size, *shares.shape[dim + 1 :]), channels_last).zero_()
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        dx.narrow(dim, start, end - start).add_(shares.narrow(dim, i, 1))
    return dx


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
