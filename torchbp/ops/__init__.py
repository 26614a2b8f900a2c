"""The operations: one a file, each with its equations, its formulas and its `autograd.Function`.

Every function here has the signature and the results of its namesake in `torch.nn.functional`, where there is one.
"""

from torchbp.ops.activations.elu import elu
from torchbp.ops.activations.gelu import gelu
from torchbp.ops.activations.hardsigmoid import hardsigmoid
from torchbp.ops.activations.hardswish import hardswish
from torchbp.ops.activations.leaky_relu import leaky_relu
from torchbp.ops.activations.logsigmoid import logsigmoid
from torchbp.ops.activations.mish import mish
from torchbp.ops.activations.relu import relu
from torchbp.ops.activations.selu import selu
from torchbp.ops.activations.sigmoid import sigmoid
from torchbp.ops.activations.silu import silu
from torchbp.ops.activations.softplus import softplus
from torchbp.ops.activations.tanh import tanh
from torchbp.ops.attention.multi_head_attention import multi_head_attention_forward
from torchbp.ops.attention.scaled_dot_product_attention import scaled_dot_product_attention
from torchbp.ops.convolution.adaptive_avg_pool import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from torchbp.ops.convolution.avg_pool import avg_pool1d, avg_pool2d, avg_pool3d
from torchbp.ops.convolution.conv import conv1d, conv2d, conv3d
from torchbp.ops.convolution.conv_transpose import conv_transpose1d, conv_transpose2d, conv_transpose3d
from torchbp.ops.convolution.max_pool import max_pool1d, max_pool2d, max_pool3d
from torchbp.ops.layers.addmm import addmm, baddbmm
from torchbp.ops.layers.dropout import dropout, dropout1d, dropout2d, dropout3d
from torchbp.ops.layers.embedding import embedding
from torchbp.ops.layers.ensemble_linear import ensemble_linear
from torchbp.ops.layers.ensemble_scale import ensemble_scale
from torchbp.ops.layers.glu import glu
from torchbp.ops.layers.linear import linear
from torchbp.ops.layers.log_softmax import log_softmax
from torchbp.ops.layers.matmul import matmul
from torchbp.ops.layers.periodic_embedding import periodic_embedding
from torchbp.ops.layers.prelu import prelu
from torchbp.ops.layers.softmax import softmax
from torchbp.ops.losses.binary_cross_entropy import binary_cross_entropy
from torchbp.ops.losses.binary_cross_entropy_with_logits import binary_cross_entropy_with_logits
from torchbp.ops.losses.cross_entropy import cross_entropy
from torchbp.ops.losses.huber_loss import huber_loss
from torchbp.ops.losses.kl_div import kl_div
from torchbp.ops.losses.l1_loss import l1_loss
from torchbp.ops.losses.mse_loss import mse_loss
from torchbp.ops.losses.nll_loss import nll_loss
from torchbp.ops.losses.smooth_l1_loss import smooth_l1_loss
from torchbp.ops.mlp import mlp, mlp_binary_cross_entropy
from torchbp.ops.normalisation.batch_norm import batch_norm
from torchbp.ops.normalisation.group_norm import group_norm
from torchbp.ops.normalisation.instance_norm import instance_norm
from torchbp.ops.normalisation.layer_norm import layer_norm
from torchbp.ops.normalisation.rms_norm import rms_norm

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "addmm",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "baddbmm",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cross_entropy",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "embedding",
    "ensemble_linear",
    "ensemble_scale",
    "gelu",
    "glu",
    "group_norm",
    "hardsigmoid",
    "hardswish",
    "huber_loss",
    "instance_norm",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "matmul",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "mish",
    "mlp",
    "mlp_binary_cross_entropy",
    "mse_loss",
    "multi_head_attention_forward",
    "nll_loss",
    "periodic_embedding",
    "prelu",
    "relu",
    "rms_norm",
    "scaled_dot_product_attention",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]
