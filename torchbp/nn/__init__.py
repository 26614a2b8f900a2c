"""`torch.nn`'s modules over the operations of `torchbp.ops`: same signatures, initialisation and state_dict."""

from torchbp.nn.activation import Sigmoid
from torchbp.nn.linear import Linear
from torchbp.nn.loss import BCELoss, BCEWithLogitsLoss
from torchbp.nn.mlp import MLP

__all__ = ["MLP", "BCELoss", "BCEWithLogitsLoss", "Linear", "Sigmoid"]
