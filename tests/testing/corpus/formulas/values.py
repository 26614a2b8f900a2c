"""Wrong numbers that hide below gradcheck's tolerances (atol 1e-5, rtol 1e-3)."""

import math

import torch
from torch.autograd import Function

from tests.testing.corpus.entry import Defect, draw, gradients


def micro(x):
    return 4e-6 * torch.tanh(x)


class Micro(Function):
    """Metres from micrometres: four millionths of tanh."""

    @staticmethod
    def forward(ctx, x):
        y = torch.tanh(x)
        ctx.save_for_backward(x)
        return 4e-6 * y

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 4e-6 * (1 - torch.tanh(x).square())


class MicroWrongSign(Micro):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return -grad * 4e-6 * (1 - torch.tanh(x).square())


WINDOW = (1e-3, 5e-4, 9e-6)


def windowed(x):
    return x.square() * x.new_tensor(WINDOW)


class Windowed(Function):
    """Squares under a window that nearly vanishes at its end."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square() * x.new_tensor(WINDOW)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 2 * x * x.new_tensor(WINDOW)


class WindowedWithoutEnd(Windowed):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 2 * x * x.new_tensor((*WINDOW[:2], 0.0))


class Gelu(Function):
    """x·Φ(x)."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        phi = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        return grad * (phi + x / math.sqrt(2 * math.pi) * torch.exp(-0.5 * x.square()))


class GeluShortConstant(Gelu):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        phi = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        return grad * (phi + x * 0.3987 * torch.exp(-0.5 * x.square()))


EPS = 1e-4


def rstd_of(x, eps):
    """1 / √(mean of x² + eps); the squares of numbers over 256 overflow in float16."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps).to(x.dtype)


def rms_norm(x):
    return x * rstd_of(x, EPS)


class RMSNorm(Function):
    """Divided by the root of the mean square."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return rms_norm(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        rstd = rstd_of(x, EPS)
        normal = x * rstd  # first, as rstd³ overflows in half precision
        return rstd * (grad - normal * (grad * normal).mean(-1, keepdim=True))


class RMSNormWithoutEps(RMSNorm):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        rstd = rstd_of(x, 0)
        return rstd * grad - x * rstd.pow(3) * (grad * x).mean(-1, keepdim=True)


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 3 * x.square()


class CubeThroughHalf(Cube):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (3 * x.square()).to(torch.float16).to(grad.dtype)


def log_cosh(x):
    return torch.log(torch.cosh(x))


class LogCosh(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.abs() + torch.log1p(torch.exp(-2 * x.abs())) - math.log(2)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.tanh(x)


class LogCoshSeries(LogCosh):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x - x.pow(3) / 3 + 2 * x.pow(5) / 15)


def against(reference, *inputs):
    """Gradients beside those of the plain formula."""
    return lambda subject: (gradients(subject, inputs), gradients(reference, inputs))


DEFECTS = [
    # the sign is wrong everywhere, and everything is smaller than gradcheck's atol
    Defect(
        "sign_below_atol",
        MicroWrongSign,
        lambda: (draw(2, 3),),
        twin=Micro,
        checks=("values",),
        kind=1,
        shows=against(micro, draw(2, 3)),
        source="NVIDIA/warp#508: a relative error of 1.6e+03 passes a gradcheck whose absolute tolerance covers it",
    ),
    # the gradient of the last entry is left out, and it is smaller than gradcheck's atol
    Defect(
        "last_entry_below_atol",
        WindowedWithoutEnd,
        lambda: (draw(3, low=0.2, high=0.5),),
        twin=Windowed,
        checks=("values",),
        kind=1,
        shows=against(windowed, draw(3, low=0.2, high=0.5)),
        source="pytorch/glow#1559: with the gradient's body removed most gradient checks still passed",
    ),
    # 1/√(2π) as 0.3987: a relative error of some 1e-4, below gradcheck's rtol
    Defect(
        "gelu_short_constant",
        GeluShortConstant,
        lambda: (draw(2, 3),),
        twin=Gelu,
        checks=("values",),
        kind=1,
        shows=against(torch.nn.functional.gelu, draw(2, 3)),
        source="tenstorrent/tt-metal#54883: a term cut to bfloat16's digits made the gradient of gelu 0.3 % too large",
    ),
    # the backward forgets the eps of the forward
    Defect(
        "rms_norm_without_eps",
        RMSNormWithoutEps,
        lambda: (draw(2, 4, low=0.5, high=2.0),),
        twin=RMSNorm,
        checks=("values",),
        kind=1,
        shows=against(rms_norm, draw(2, 4, low=0.5, high=2.0)),
        source="chainer/chainer#4190: the backward of a normalisation was wrong where eps is not negligible",
    ),
    # the derivative is rounded to half precision on its way
    Defect(
        "half_inside_backward",
        CubeThroughHalf,
        lambda: (draw(2, 3, low=0.3, high=1.0),),
        twin=Cube,
        checks=("values",),
        kind=1,
        shows=against(lambda x: x**3, draw(2, 3, low=0.3, high=1.0)),
        source="pytorch/pytorch#87979: the backward of a bfloat16 autocast region silently ran in float16",
    ),
    # a series with three terms instead of tanh, good only near 0
    Defect(
        "series_near_zero",
        LogCoshSeries,
        lambda: (draw(2, 3, low=-0.4, high=0.4),),
        twin=LogCosh,
        checks=("values",),
        kind=1,
        shows=against(log_cosh, draw(2, 3, low=-0.4, high=0.4)),
        source="tenstorrent/tt-metal#55349: the derivative of tanh by a fitted polynomial had three correct digits",
    ),
]
