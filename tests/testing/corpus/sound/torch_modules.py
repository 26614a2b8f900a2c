"""Modules of torch, and some that are made of them."""

import torch
from torch import nn

from tests.testing.corpus.entry import Sound, draw


class Linear(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)


class Conv2d(nn.Conv2d):
    def __init__(self):
        super().__init__(2, 3, 2, padding=1)


class LayerNorm(nn.LayerNorm):
    def __init__(self):
        super().__init__(4)


class BatchNorm1d(nn.BatchNorm1d):
    def __init__(self):
        super().__init__(3)


class GRUCell(nn.GRUCell):
    def __init__(self):
        super().__init__(3, 2)


class LSTM(nn.LSTM):
    def __init__(self):
        super().__init__(3, 2, batch_first=True)


class MultiheadAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class Dropout(nn.Dropout):
    pass


class Embedding(nn.Embedding):
    def __init__(self):
        super().__init__(5, 3)


class CrossEntropy(nn.CrossEntropyLoss):
    pass


class Tied(nn.Module):
    """Decodes with the weight that it encodes with."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(3, 2, bias=False)
        self.decode = nn.Linear(2, 3)
        self.decode.weight = nn.Parameter(torch.randn(3, 2))
        self.again = nn.Linear(2, 3)
        self.again.weight = self.decode.weight

    def forward(self, x):
        hidden = torch.tanh(self.encode(x))
        return self.decode(hidden) + self.again(torch.tanh(hidden))


class Shifted(nn.Module):
    """Has a buffer and a parameter."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(3) + 0.5)
        self.register_buffer("shift", torch.randn(3))

    def forward(self, x):
        return x * self.scale + self.shift


class FrozenPart(nn.Module):
    """One of its parameters takes no gradient, on purpose."""

    def __init__(self):
        super().__init__()
        self.features = nn.Linear(3, 4).requires_grad_(False)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.features(x)))


class Sequence(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(3, 4), nn.GELU(), nn.Dropout(0.2), nn.Linear(4, 1))


SOUND = [
    Sound("linear", Linear, lambda: (draw(4, 3),), {"batch_dims": 1}),
    Sound("conv2d", Conv2d, lambda: (draw(2, 2, 3, 3),)),
    Sound("layer_norm", LayerNorm, lambda: (draw(2, 4),), {"batch_dims": 1}),
    Sound("batch_norm_train", BatchNorm1d, lambda: (draw(4, 3),)),
    Sound("batch_norm_eval", BatchNorm1d, lambda: (draw(4, 3),), train=False),
    Sound("gru_cell", GRUCell, lambda: (draw(2, 3), draw(2, 2, seed=1))),
    Sound("lstm", LSTM, lambda: (draw(2, 3, 3),)),
    Sound("multihead_attention", MultiheadAttention, lambda: (draw(2, 3, 4),)),
    Sound("dropout", Dropout, lambda: (draw(4, 3),)),
    Sound("embedding", Embedding, lambda: (torch.tensor([0, 3, 3]),)),
    Sound("cross_entropy", CrossEntropy, lambda: (draw(4, 3), torch.tensor([0, 2, 1, 1]))),
    Sound("tied_weights", Tied, lambda: (draw(4, 3),)),
    Sound("buffer", Shifted, lambda: (draw(4, 3),), {"batch_dims": 1}),
    Sound("frozen_part", FrozenPart, lambda: (draw(4, 3),)),
    Sound("sequence", Sequence, lambda: (draw(4, 3),)),
]
