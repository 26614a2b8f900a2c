"""`torch.nn`'s modules over the operations of `torchbp.ops`: same signatures, initialisation and state_dict."""

from torchbp.nn.activation import (
    ELU,
    GELU,
    GLU,
    SELU,
    Hardsigmoid,
    Hardswish,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from torchbp.nn.ensemble import EnsembleLinear
from torchbp.nn.linear import Linear
from torchbp.nn.loss import BCELoss, BCEWithLogitsLoss, MSELoss
from torchbp.nn.mlp import MLP, FusedMLP

__all__ = [
    "ELU",
    "GELU",
    "GLU",
    "MLP",
    "SELU",
    "BCELoss",
    "BCEWithLogitsLoss",
    "EnsembleLinear",
    "FusedMLP",
    "Hardsigmoid",
    "Hardswish",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "Mish",
    "PReLU",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]
