"""What the pooling operations share: their windows, and torch's functions of 1, 2 and 3 spatial dimensions."""

import torch.nn.functional as F

from torchbp.ops.convolution._formulas import per_dimension

MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE_AVG_POOL = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def steps(kernel_size, stride, dims):
    """Kernel and stride for each dimension; torch's stride is by default the kernel."""
    kernel = per_dimension(kernel_size, dims)
    return kernel, kernel if stride is None or stride == () else per_dimension(stride, dims)
