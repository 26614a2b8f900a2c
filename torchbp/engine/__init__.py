"""Backpropagation and gradient descent without an autograd graph."""

from torchbp.engine.dropout_seeds import seed_dropout
from torchbp.engine.gradients import backprop
from torchbp.engine.pack import Pack
from torchbp.engine.sgd import SGD

__all__ = ["SGD", "Pack", "backprop", "seed_dropout"]
