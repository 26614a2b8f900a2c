"""A product with a matrix, right, from which defects of several kinds are derived."""

import torch
from torch import nn
from torch.autograd import Function


class Multiply(Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.t()

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        return grad @ weight, grad.t() @ x


class Linear(nn.Module):
    multiply = Multiply

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3))

    def forward(self, x):
        return self.multiply.apply(x, self.weight)
