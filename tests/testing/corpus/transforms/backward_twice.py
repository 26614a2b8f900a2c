"""What a second backward over the same graph gives."""

import numpy as np
import torch

from tests.testing.corpus.entry import draw
from tests.testing.corpus.products import Linear, Multiply
from tests.testing.corpus.transforms.demonstrations import entry


class MultiplyConsumes(Multiply):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(weight)
        ctx.rows = x.detach().clone()
        return x @ weight.t()

    @staticmethod
    def backward(ctx, grad):
        (weight,) = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        of_weight = grad.t() @ ctx.rows
        ctx.rows.zero_()  # its memory is used again
        return grad @ weight, of_weight


class MultiplyJitters(Multiply):
    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        noise = torch.from_numpy(np.random.rand(*weight.shape)).to(weight)  # noqa: NPY002
        return grad @ weight, (grad.t() @ x) * (1 + 1e-3 * noise)


class LinearConsumes(Linear):
    multiply = MultiplyConsumes


class LinearJitters(Linear):
    multiply = MultiplyJitters


def backward_twice(subject):
    y = subject(draw(2, 3)).sum()
    return tuple(torch.autograd.grad(y, subject.weight, retain_graph=True)[0] for _ in range(2))


DEFECTS = [
    # the first backward uses up what the second needs
    entry(
        "backward_consumes",
        LinearConsumes,
        Linear,
        lambda: (draw(2, 3),),
        backward_twice,
        "determinism",
        "side_effects",
        "second_order",
        "memory",
        "module",
        source="axolotl-ai-cloud/axolotl#3892: a second backward over the same graph silently returned garbage",
        kind=12,
    ),
    # the weight's gradient is another one each time
    entry(
        "random_weight_gradient",
        LinearJitters,
        Linear,
        lambda: (draw(2, 3),),
        backward_twice,
        "determinism",
        "values",
        kind=12,
        source="AllenInstitute/bmtk#472: a weight's gradient was added to memory that nobody had zeroed",
    ),
]
