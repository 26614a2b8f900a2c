"""A backward that is a Function itself, whose rule for vmap differs from the formula."""

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import draw, function
from tests.testing.corpus.transforms.demonstrations import entry, matrix


class SumsBackward(Function):
    """Sums from each row on."""

    @staticmethod
    def forward(grad):
        return grad.flip(0).cumsum(0).flip(0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradgrad):
        return gradgrad.cumsum(0)

    @staticmethod
    def vmap(info, in_dims, grad):
        grad = grad.movedim(in_dims[0], 0)
        return grad.flip(1).cumsum(1).flip(1), 0


class SumsBackwardOverBatch(SumsBackward):
    @staticmethod
    def vmap(info, in_dims, grad):
        return SumsBackwardOverBatch.forward(grad), in_dims[0]


class Sums(Function):
    @staticmethod
    def forward(ctx, x):
        return torch.cumsum(x, 0)

    @staticmethod
    def backward(ctx, grad):
        return SumsBackward.apply(grad)


class SumsBatchedWrong(Sums):
    @staticmethod
    def backward(ctx, grad):
        return SumsBackwardOverBatch.apply(grad)


def batched_gradients(subject):
    x, batch = draw(3, 2), draw(4, 3, 2, seed=1, grad=False)

    def of(f):
        y = f(x)
        return torch.vmap(lambda grad: torch.autograd.grad(y, x, grad, retain_graph=True))(batch)

    return of(function(subject)), of(lambda x: torch.cumsum(x, 0))


DEFECTS = [
    # the backward is a Function whose vmap rule sums over the batch
    entry("batched_gradients", SumsBatchedWrong, Sums, matrix, batched_gradients, "batched_grad", "vmap"),
]
