"""`torch.nn`'s modules over the operations of `torchbp.ops`: same signatures, initialisation and state_dict."""

from torchbp.nn.activation import ReLU, Sigmoid, Tanh
from torchbp.nn.convolution import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from torchbp.nn.ensemble import EnsembleLinear
from torchbp.nn.linear import Linear
from torchbp.nn.loss import BCELoss, BCEWithLogitsLoss, MSELoss
from torchbp.nn.mlp import MLP, FusedMLP
from torchbp.nn.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)

__all__ = [
    "MLP",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "EnsembleLinear",
    "FusedMLP",
    "Linear",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "ReLU",
    "Sigmoid",
    "Tanh",
]
