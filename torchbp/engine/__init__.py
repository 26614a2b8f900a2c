"""Backpropagation and gradient descent without an autograd graph."""

from torchbp.engine.dropout_seeds import seed_dropout
from torchbp.engine.fitting.pack import Pack
from torchbp.engine.gradients import backprop
from torchbp.engine.optimizers.adam import Adam, AdamW
from torchbp.engine.optimizers.sgd import SGD
from torchbp.engine.row_weights import RowWeighted, with_weight

__all__ = ["SGD", "Adam", "AdamW", "Pack", "RowWeighted", "backprop", "seed_dropout", "with_weight"]
