"""Right for one incoming gradient of a single one, wrong for others, and for several outputs."""

import torch
from torch.autograd import Function

from tests.testing.corpus.calls.incoming import vector
from tests.testing.corpus.entry import Defect, gradients


class Scale(Function):
    """Three times x."""

    @staticmethod
    def forward(ctx, x):
        return 3 * x

    @staticmethod
    def backward(ctx, grad):
        return 3 * grad


class ScaleClipped(Scale):
    @staticmethod
    def backward(ctx, grad):
        return 3 * grad.clamp(-1, 1)


class ScaleNormalised(Scale):
    @staticmethod
    def backward(ctx, grad):
        return 3 * grad / grad.norm().clamp_min(1e-12)


class ScaleLargestOnly(Scale):
    @staticmethod
    def backward(ctx, grad):
        return 3 * torch.where(grad.abs() >= grad.abs().max(), grad, torch.zeros_like(grad))


class SineCosine(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.set_materialize_grads(False)
        return torch.sin(x), torch.cos(x)

    @staticmethod
    def backward(ctx, of_sine, of_cosine):
        (x,) = ctx.saved_tensors
        grad = None
        if of_sine is not None:
            grad = of_sine * torch.cos(x)
        if of_cosine is not None:
            share = -of_cosine * torch.sin(x)
            grad = share if grad is None else grad + share
        return grad


class SineCosineOverwritten(SineCosine):
    @staticmethod
    def backward(ctx, of_sine, of_cosine):
        (x,) = ctx.saved_tensors
        grad = None
        if of_sine is not None:
            grad = of_sine * torch.cos(x)
        if of_cosine is not None:
            grad = -of_cosine * torch.sin(x)
        return grad


def with_incoming(reference, inputs, *incoming):
    return lambda subject: (gradients(subject, inputs(), incoming), gradients(reference, inputs(), incoming))


def nonlinear(name, what, source=""):
    incoming = torch.tensor([3.0, -2.0, 0.5, 1.0, 4.0], dtype=torch.float64)
    return Defect(
        name,
        what,
        vector,
        twin=Scale,
        checks=("linearity",),
        kind=3,
        shows=with_incoming(lambda x: 3 * x, vector, incoming),
        source=source,
    )


DEFECTS = [
    # the incoming gradient is clipped to ±1
    nonlinear("incoming_clipped", ScaleClipped),
    # the incoming gradient is normalised
    nonlinear("incoming_normalised", ScaleNormalised),
    # only the largest entry of the incoming gradient is passed on
    nonlinear("incoming_largest_only", ScaleLargestOnly),
    # the second output's share overwrites the first's: wrong where both are used
    Defect(
        "outputs_overwrite",
        SineCosineOverwritten,
        vector,
        twin=SineCosine,
        checks=("linearity",),
        kind=3,
        shows=with_incoming(
            lambda x: (torch.sin(x), torch.cos(x)), vector, torch.ones(5).double(), torch.ones(5).double()
        ),
        source="huggingface/candle#3507: a backward overwrote a gradient instead of adding to it",
    ),
]
