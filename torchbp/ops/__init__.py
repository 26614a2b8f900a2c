"""The operations: one a file, each with its equations, its formulas and its `autograd.Function`.

Every function here has the signature and the results of its namesake in `torch.nn.functional`, where there is one.
"""

from torchbp.ops.activations.relu import relu
from torchbp.ops.activations.sigmoid import sigmoid
from torchbp.ops.activations.tanh import tanh
from torchbp.ops.layers.ensemble_linear import ensemble_linear
from torchbp.ops.layers.linear import linear
from torchbp.ops.losses.binary_cross_entropy import binary_cross_entropy
from torchbp.ops.losses.binary_cross_entropy_with_logits import binary_cross_entropy_with_logits
from torchbp.ops.losses.mse_loss import mse_loss
from torchbp.ops.mlp import mlp, mlp_binary_cross_entropy

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "ensemble_linear",
    "linear",
    "mlp",
    "mlp_binary_cross_entropy",
    "mse_loss",
    "relu",
    "sigmoid",
    "tanh",
]
