"""Another formula where it is compiled."""

import warnings

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import draw, function
from tests.testing.corpus.transforms.demonstrations import entry, matrix


def gelu(x):
    return torch.nn.functional.gelu(x)


def gelu_compiled_otherwise(x):
    if torch.compiler.is_compiling():
        return x * torch.sigmoid(1.702 * x)
    return torch.nn.functional.gelu(x)


class Curved(Function):
    """exp, with another backward for tracing."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.exp(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.exp(x)


class CurvedTracedOtherwise(Curved):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        if torch.compiler.is_compiling():
            return grad * (1 + x)
        return grad * torch.exp(x)


def compiled(reference):
    def shows(subject):
        torch._dynamo.reset()
        x = draw(2, 3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler's own parts
            seen = torch.compile(function(subject), backend="aot_eager")(x)
        right = reference(x)
        return (seen, *torch.autograd.grad(seen.sum(), x)), (right, *torch.autograd.grad(right.sum(), x))

    return shows


DEFECTS = [
    # another formula where it is compiled
    entry(
        "another_formula_compiled",
        gelu_compiled_otherwise,
        gelu,
        matrix,
        compiled(torch.nn.functional.gelu),
        "compile",
        source="pytorch/pytorch#100075: compiled, the gradients of a group norm were others than eager ones",
    ),
    # another backward where it is traced
    entry(
        "another_backward_compiled",
        CurvedTracedOtherwise,
        Curved,
        matrix,
        compiled(torch.exp),
        "compile",
        source="pytorch/pytorch#180642: compiled, a Function that adds in place had wrong gradients",
    ),
]
