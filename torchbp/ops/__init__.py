"""The operations: one a file, each with its equations, its formulas and its `autograd.Function`.

Every function here has the signature and the results of its namesake in `torch.nn.functional`, where there is one.
"""

from torchbp.ops.binary_cross_entropy import binary_cross_entropy
from torchbp.ops.binary_cross_entropy_with_logits import binary_cross_entropy_with_logits
from torchbp.ops.ensemble_linear import ensemble_linear
from torchbp.ops.linear import linear
from torchbp.ops.mlp import mlp, mlp_binary_cross_entropy
from torchbp.ops.mse_loss import mse_loss
from torchbp.ops.relu import relu
from torchbp.ops.sigmoid import sigmoid
from torchbp.ops.tanh import tanh

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
