"""First derivatives right, second ones silently wrong."""

import numpy as np
import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from tests.testing.corpus.entry import Defect, draw, second


def doubled_square(x):
    return (2 * x).square()


class DoubledSquare(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (2 * x).square()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 8 * x


class DoubledSquareKept(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.inner = 2 * x
        return ctx.inner.square()

    @staticmethod
    def backward(ctx, grad):
        return grad * 4 * ctx.inner


class Exp(Function):
    @staticmethod
    def forward(x):
        return torch.exp(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * y


class ExpSavedAgain(Exp):
    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(torch.exp(inputs[0]))


class Sine(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sin(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x)


class SineOnce(Sine):
    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x)


class SineData(Sine):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x.data)


class SineNoGrad(Sine):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        with torch.no_grad():
            return grad * torch.cos(x)


class SineNumpy(Sine):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.from_numpy(np.cos(x.detach().numpy()))


class SineBackward(Function):
    """grad·cos(x), with the formula of its own derivatives."""

    @staticmethod
    def forward(ctx, grad, x):
        ctx.save_for_backward(grad, x)
        return grad * torch.cos(x)

    @staticmethod
    def backward(ctx, gradgrad):
        grad, x = ctx.saved_tensors
        return gradgrad * torch.cos(x), -gradgrad * grad * torch.sin(x)


class SineBackwardWithoutX(SineBackward):
    @staticmethod
    def backward(ctx, gradgrad):
        _, x = ctx.saved_tensors
        return gradgrad * torch.cos(x), None


class SineTwice(Sine):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return SineBackward.apply(grad, x)


class SineTwiceWithoutX(Sine):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return SineBackwardWithoutX.apply(grad, x)


def against(reference, *inputs):
    def shows(subject):
        try:
            seen = second(subject, inputs)
        except RuntimeError as error:  # refused, as once_differentiable does: an honest answer
            assert "once_differentiable" in str(error)  # noqa: PT017
            seen = second(reference, inputs)
        return seen, second(reference, inputs)

    return shows


def entry(name, what, twin, reference, inputs, source=""):
    return Defect(
        name,
        what,
        lambda: (inputs(),),
        twin=twin,
        checks=("second_order", "hessian"),
        kind=2,
        shows=against(reference, inputs()),
        source=source,
    )


DEFECTS = [
    # an intermediate value on ctx has no graph: its share of the second derivative is missing
    entry(
        "intermediate_on_ctx",
        DoubledSquareKept,
        DoubledSquare,
        doubled_square,
        lambda: draw(2, 3),
        "pytorch/pytorch#58509: an intermediate kept on ctx passes gradcheck and its double backward is ignored",
    ),
    # the output computed anew in setup_context is no output: a constant for the second derivative
    entry(
        "intermediate_in_setup_context",
        ExpSavedAgain,
        Exp,
        torch.exp,
        lambda: draw(2, 3),
        "pytorch/pytorch#104040: intermediates saved for backward make the double backward silently incorrect",
    ),
    # .data in the backward
    entry(
        "data_in_backward",
        SineData,
        Sine,
        torch.sin,
        lambda: draw(2, 3),
        "pytorch/functorch#353: detached values in a function gave wrong second derivatives",
    ),
    # no_grad in the backward, without once_differentiable
    entry("no_grad_in_backward", SineNoGrad, SineOnce, torch.sin, lambda: draw(2, 3)),
    # the backward leaves torch for numpy, without once_differentiable
    entry(
        "numpy_in_backward",
        SineNumpy,
        SineOnce,
        torch.sin,
        lambda: draw(2, 3),
        "pytorch/pytorch#76185: values outside the graph are ignored by a custom Function's double backward",
    ),
    # the backward is a Function of its own, whose backward forgets one argument
    entry(
        "double_backward_drops_argument",
        SineTwiceWithoutX,
        SineTwice,
        torch.sin,
        lambda: draw(2, 3),
        "pytorch/pytorch#106789: prod's double backward was zero where it should not be",
    ),
]
