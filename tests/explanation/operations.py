"""Small networks with each layer that has equations of its own kind, for the tests."""

import torch
from torch import nn

import torchbp

VECTORS = {  # a layer behind Linear(4, 6), and how many numbers it gives
    "rms_norm": (lambda: nn.RMSNorm(6), 6),
    "rms_norm_without_scale": (lambda: nn.RMSNorm(6, eps=1e-3, elementwise_affine=False), 6),
    "group_norm": (lambda: nn.GroupNorm(3, 6), 6),
    "group_norm_of_one": (lambda: nn.GroupNorm(1, 6, affine=False), 6),
    "batch_norm": (lambda: nn.BatchNorm1d(6), 6),
    "batch_norm_without_scale": (lambda: nn.BatchNorm1d(6, affine=False, track_running_stats=False), 6),
    "batch_norm_in_evaluation": (lambda: nn.BatchNorm1d(6).eval(), 6),
    "prelu": (nn.PReLU, 6),
    "prelu_of_channels": (lambda: nn.PReLU(6), 6),
    "glu": (nn.GLU, 3),
    "periodic_embedding": (lambda: torchbp.nn.PeriodicEmbedding(6, 2, 1.0), 18),
}
IMAGES = {  # layers that take rows (4, 3, 2), and how many numbers they give
    "group_norm": (lambda: [nn.GroupNorm(2, 4)], 24),
    "instance_norm": (lambda: [nn.InstanceNorm2d(4, affine=True)], 24),
    "instance_norm_in_evaluation": (lambda: [nn.InstanceNorm2d(4, track_running_stats=True).eval()], 24),
    "batch_norm": (lambda: [nn.BatchNorm2d(4), nn.Tanh(), nn.Dropout(0.3)], 24),
    "batch_norm_in_evaluation": (lambda: [nn.BatchNorm2d(4).eval()], 24),
    "prelu": (lambda: [nn.PReLU(4)], 24),
    "glu": (lambda: [nn.GLU(1)], 12),
    "glu_of_the_last_dimension": (lambda: [nn.GLU()], 12),
    "linear": (lambda: [nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2, bias=False)], 24),
    "layer_norm": (lambda: [nn.LayerNorm((3, 2))], 24),
    "rms_norm": (lambda: [nn.RMSNorm(2)], 24),
    "softmax_of_channels": (lambda: [nn.Softmax(1)], 24),
    "log_softmax": (lambda: [nn.LogSoftmax(-1)], 24),
    "conv_transpose": (lambda: [nn.ConvTranspose2d(4, 2, 2, stride=2, output_padding=1), nn.Tanh()], 2 * 7 * 5),
    "conv_transpose_of_groups": (lambda: [nn.ConvTranspose2d(4, 6, (2, 1), groups=2, padding=(1, 0), bias=False)], 24),
    "avg_pool": (lambda: [nn.AvgPool2d((2, 1), stride=1)], 16),
    "avg_pool_at_the_edges": (lambda: [nn.AvgPool2d(2, 2, 1, ceil_mode=True, count_include_pad=False)], 16),
    "avg_pool_over_a_number": (lambda: [nn.AvgPool2d(2, 1, divisor_override=3)], 8),
    "adaptive_avg_pool": (lambda: [nn.AdaptiveAvgPool2d((2, None))], 16),
    "max_pool": (lambda: [nn.MaxPool2d(2, 1)], 8),
    "max_pool_of_ties": (lambda: [nn.ReLU(), nn.MaxPool2d(2, 1, 1, 2, ceil_mode=True)], 24),
    "dropout_of_channels": (lambda: [nn.Conv2d(4, 3, 1), nn.Dropout2d(0.5)], 18),
}


def with_layer(name):
    """(network, x, y) with one of `VECTORS`."""
    torch.manual_seed(5)
    make, width = VECTORS[name]
    first = nn.Linear(4, 6, bias=False)  # behind it a batch norm would leave a gradient of rounding alone
    return drawn(nn.Sequential(first, make(), nn.Tanh(), nn.Linear(width, 2)), torch.randn(5, 4))


def with_images(name):
    """(network, x, y) with one of `IMAGES`."""
    torch.manual_seed(6)
    make, width = IMAGES[name]
    return drawn(nn.Sequential(*make(), nn.Flatten(), nn.Linear(width, 2)), torch.randn(3, 4, 3, 2))


def with_all():
    """(network, x, y) with all kinds of `VECTORS`."""
    torch.manual_seed(7)
    layers = [torchbp.nn.PeriodicEmbedding(2, 2, 1.0), nn.Linear(6, 8), nn.GroupNorm(4, 8), nn.GLU(), nn.RMSNorm(4)]
    layers += [nn.PReLU(), nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4), nn.PReLU(4), nn.Linear(4, 2)]
    return drawn(nn.Sequential(*layers), torch.randn(5, 2))


def drawn(net, x):
    """(network, x, y), with random numbers in the place of ones and zeros, in float64."""
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    for module in net:
        if getattr(module, "running_var", None) is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net.double(), x.double(), torch.rand(len(x), 2).round().double()
