"""The operations: one a file, each with its equations, its formulas and its `autograd.Function`.

Every function here has the signature and the results of its namesake in `torch.nn.functional`, where there is one.
"""

from torchbp.ops.activations.relu import relu
from torchbp.ops.activations.sigmoid import sigmoid
from torchbp.ops.activations.tanh import tanh
from torchbp.ops.convolution.adaptive_avg_pool import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from torchbp.ops.convolution.avg_pool import avg_pool1d, avg_pool2d, avg_pool3d
from torchbp.ops.convolution.conv import conv1d, conv2d, conv3d
from torchbp.ops.convolution.conv_transpose import conv_transpose1d, conv_transpose2d, conv_transpose3d
from torchbp.ops.convolution.max_pool import max_pool1d, max_pool2d, max_pool3d
from torchbp.ops.layers.ensemble_linear import ensemble_linear
from torchbp.ops.layers.linear import linear
from torchbp.ops.losses.binary_cross_entropy import binary_cross_entropy
from torchbp.ops.losses.binary_cross_entropy_with_logits import binary_cross_entropy_with_logits
from torchbp.ops.losses.mse_loss import mse_loss
from torchbp.ops.mlp import mlp, mlp_binary_cross_entropy

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "ensemble_linear",
    "linear",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "mlp",
    "mlp_binary_cross_entropy",
    "mse_loss",
    "relu",
    "sigmoid",
    "tanh",
]
