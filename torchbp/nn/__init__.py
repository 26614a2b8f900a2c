"""`torch.nn`'s modules over the operations of `torchbp.ops`: same signatures, initialisation and state_dict."""

from torchbp.nn.activation import ReLU, Sigmoid, Tanh
from torchbp.nn.ensemble import EnsembleLinear
from torchbp.nn.linear import Linear
from torchbp.nn.loss import BCELoss, BCEWithLogitsLoss, MSELoss
from torchbp.nn.mlp import MLP, FusedMLP

__all__ = [
    "MLP",
    "BCELoss",
    "BCEWithLogitsLoss",
    "EnsembleLinear",
    "FusedMLP",
    "Linear",
    "MSELoss",
    "ReLU",
    "Sigmoid",
    "Tanh",
]
