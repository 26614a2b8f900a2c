"""Right in double precision, where gradcheck looks."""

import torch
from torch import nn
from torch.autograd import Function

from tests.testing.corpus.entry import DOUBLE, Defect, draw, gradients, raised

TABLE = torch.tensor([[0.5, -0.25, 1.0], [0.75, 0.5, -1.0]], dtype=DOUBLE)


class Mix(nn.Module):
    def forward(self, x):
        return x @ TABLE.to(x).t()


class MixInDouble(nn.Module):
    def forward(self, x):
        return x @ TABLE.t()


class Silu(Function):
    """x·σ(x)."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        y = torch.sigmoid(x)
        return grad * (y + x * y * (1 - y))


class SiluFastFloat(Silu):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        y = torch.sigmoid(x)
        if x.dtype == torch.float32:
            return grad * (y + y * (1 - y))
        return grad * (y + x * y * (1 - y))


class SiluFastHalf(Silu):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        y = torch.sigmoid(x)
        if x.dtype in (torch.bfloat16, torch.float16):
            return grad * y
        return grad * (y + x * y * (1 - y))


class Angle(Function):
    """atan2."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return torch.atan2(a, b)

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        size = torch.hypot(a, b)
        return grad * (b / size) / size, -grad * (a / size) / size


class AngleByReciprocal(Angle):
    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        reciprocal = 1 / (a * a + b * b)
        return grad * b * reciprocal, -grad * a * reciprocal


def variance(x):
    return x.var(-1, correction=0)


def variance_by_difference(x):
    return x.square().mean(-1) - x.mean(-1).square()


class Product(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad * b.conj(), grad * a.conj()


class ProductWithoutConj(Product):
    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad * b, grad * a


def in_float32(subject):
    return raised(lambda: subject(draw(2, 3, dtype=torch.float32))), "nothing"


def in_dtype(dtype):
    def shows(subject):
        x = draw(4, low=0.5, high=3.0, dtype=dtype)
        (seen,) = gradients(subject, (x,))
        (right,) = gradients(torch.nn.functional.silu, (x,))
        return torch.allclose(seen, right, rtol=0.05), True

    return shows


def small_in_half(subject):
    a, b = (draw(3, seed=s, low=2e-3, high=4e-3, dtype=torch.float16) for s in (0, 1))
    return [bool(g.isfinite().all()) for g in gradients(subject, (a, b))], [True, True]


def far_from_zero(subject):
    x = draw(2, 4, low=999.0, high=1001.0, grad=False)
    return torch.allclose(subject(x.float()).double(), variance(x), rtol=1e-3), True


def complex_product(subject):
    a, b = (torch.complex(draw(3, seed=s).detach(), draw(3, seed=s + 1).detach()).requires_grad_() for s in (0, 2))
    return gradients(subject, (a, b)), gradients(torch.mul, (a, b))


DEFECTS = [
    # a table in double precision: a product with anything else raises
    Defect(
        "double_table",
        MixInDouble(),
        lambda: (draw(2, 3),),
        twin=Mix(),
        checks=("dtypes", "extremes"),
        kind=10,
        shows=in_float32,
        source="siraxe/ComfyUI-LTX-FDG#2: a convolution's kernel had one dtype, whatever that of the input",
    ),
    # the fast path of float32 forgets a factor
    Defect(
        "wrong_in_float32",
        SiluFastFloat,
        lambda: (draw(2, 3, low=0.5, high=3.0),),
        twin=Silu,
        checks=("dtypes", "extremes"),
        kind=10,
        shows=in_dtype(torch.float32),
        source="ooples/AiDotNet.Tensors#234: another path for float than for double, one of them wrong",
    ),
    # the path of half precision forgets a term
    Defect(
        "wrong_in_half",
        SiluFastHalf,
        lambda: (draw(2, 3, low=0.5, high=3.0),),
        twin=Silu,
        checks=("dtypes",),
        kind=10,
        shows=in_dtype(torch.bfloat16),
        source="tinygrad/tinygrad#15036: the gradient of max was zero in half precision only",
    ),
    # the reciprocal of a square overflows in half precision, where the gradient does not
    Defect(
        "reciprocal_overflows_in_half",
        AngleByReciprocal,
        lambda: (draw(3, low=2e-3, high=4e-3), draw(3, seed=1, low=2e-3, high=4e-3)),
        twin=Angle,
        checks=("dtypes",),
        kind=10,
        shows=small_in_half,
        source="pytorch/pytorch#193040: atan2's backward was infinite in float16 where the gradient is 250",
    ),
    # the difference of two large numbers: right in double precision, noise in float32
    Defect(
        "variance_by_difference",
        variance_by_difference,
        lambda: (draw(2, 4, low=999.0, high=1001.0),),
        twin=variance,
        checks=("dtypes", "extremes"),
        kind=10,
        shows=far_from_zero,
        source="tenstorrent/tt-metal#45968: E[x²] − E[x]² cancelled, and batch norm gave nan",
    ),
    # no conjugate: right for real numbers
    Defect(
        "conj_missing",
        ProductWithoutConj,
        lambda: (draw(3), draw(3, seed=1)),
        {"require": ("complex",)},
        twin=Product,
        checks=("complex", "dtypes"),
        kind=10,
        shows=complex_product,
        source="HIPS/autograd#393: a conjugate missing in the gradient of the norm of complex vectors",
    ),
]
