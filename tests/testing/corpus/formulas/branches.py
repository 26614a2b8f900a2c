"""Right at the inputs given, and wrong at the branches, ties and zeros of the formula."""

import torch
from torch.autograd import Function
from torch.nn.functional import hardswish

from tests.testing.corpus.entry import gradients
from tests.testing.corpus.formulas.elsewhere import Sine, at, entry


class HardSwish(Function):
    """x relu6(x + 3) / 6, whose slope is 1 from 3 on."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return hardswish(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        slope = torch.where(x >= 3, 1.0, (2 * x + 3) / 6)
        return grad * torch.where(x <= -3, 0.0, slope)


class HardSwishInTheMiddle(HardSwish):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (2 * x + 3) / 6


class Power4(Function):
    """x⁴."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**4

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 4 * x**3


class Power4OfPositives(Power4):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 4 * torch.exp(3 * torch.log(x.abs()))


class SineOfNonzeros(Sine):
    """Zeros are taken for padding."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x) * (x != 0)


def distance(x, y):
    return torch.linalg.vector_norm(x - y, dim=-1)


def distance_by_where(x, y):
    """The trap of the branch that is not taken: 0 · ∞ where x = y."""
    squares = (x - y).square().sum(-1)
    return torch.where(squares > 0, squares.sqrt(), 0.0)


class Root(Function):
    """√(x² + 0.01) − 0.1."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sqrt(x * x + 0.01) - 0.1

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x / torch.sqrt(x * x + 0.01)


class RootBySign(Root):
    """x / |x| with a guard that is 0 in half precision."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        size = (x.square() + 1e-30).sqrt()
        return grad * (x / size) * (size / torch.sqrt(x * x + 0.01))


def finite_in_half(subject):
    x = torch.zeros(3, dtype=torch.float16, requires_grad=True)
    return bool(gradients(subject, (x,))[0].isfinite().all()), True


FAR = "extremes"

DEFECTS = [
    # the formula of the middle branch, everywhere
    entry(
        "hardswish_middle",
        HardSwishInTheMiddle,
        HardSwish,
        FAR,
        at(hardswish, [5.0, -4.0]),
        8,
        source="pytorch/pytorch#51408: the gradient of hardsigmoid was 1/6 outside of its range, too",
    ),
    # x³ by its logarithm
    entry(
        "power_of_positives",
        Power4OfPositives,
        Power4,
        FAR,
        at(lambda x: x**4, [-1.0]),
        8,
        low=0.5,
        high=2.0,
        source="tenstorrent/tt-metal#54439: pow's gradient, by a logarithm, was infinite for negative bases",
    ),
    # zeros are no padding
    entry(
        "zeros_are_padding",
        SineOfNonzeros,
        Sine,
        FAR,
        at(torch.sin, [0.0, 1.0]),
        8,
        source="FudanNLP/fastNLP#142: an attention took every 0 among its inputs for padding",
    ),
    # equal points have the distance 0, and the gradient nan
    entry(
        "distance_of_equals",
        distance_by_where,
        distance,
        FAR,
        at(distance, [[1.0]], [[1.0]]),
        8,
        (2, 3),
        (2, 3),
        source="uw-ipd/tmol#146: the gradient of a distance of 0 was nan",
    ),
    # an eps that is 0 in half precision
    entry(
        "eps_of_half",
        RootBySign,
        Root,
        FAR,
        finite_in_half,
        10,
        low=0.5,
        high=2.0,
        source="lightonai/pylate#239: an eps of 1e-8 is 0 in float16, and all gradients were nan",
    ),
]
