"""What overflows, underflows or is rounded off in half precision, and mixtures of dtypes."""

import torch
from torch.nn import functional as F

from tests.testing.corpus.entry import draw, gradients
from tests.testing.corpus.hidden.demonstrations import SMALL, pair
from tests.testing.corpus.hidden.entry import entry

MixedLinear, MixedLinearTwin = pair(
    "MixedLinear",
    lambda x, weight: (x @ weight.to(x.dtype).t(), (x, weight)),
    lambda g, x, weight: (g @ weight.to(g.dtype), g.t() @ x.to(g.dtype) if x.dtype == weight.dtype else None),
    lambda g, x, weight: (g @ weight.to(g.dtype), (g.t() @ x.to(g.dtype)).to(weight.dtype)),
)

MixedScale, MixedScaleTwin = pair(
    "MixedScale",
    lambda x, gamma: (x * gamma.to(x.dtype), (x, gamma)),
    lambda g, x, gamma: (g * gamma.to(g.dtype), (g * x).sum(0) / (1 if x.dtype == gamma.dtype else 2)),
    lambda g, x, gamma: (g * gamma.to(g.dtype), (g * x).sum(0)),
)


def mixed_gradient(right):
    """The gradient of a float32 argument beside one of bfloat16: its sum, to a percent."""

    def shows(subject):
        x, other = draw(3, 4, dtype=torch.bfloat16), draw(2, 4, seed=1, dtype=torch.float32)
        if right is not None:
            other = draw(4, seed=1, dtype=torch.float32)
        got = gradients(subject, (x, other))[1]
        expected = x.detach().float().sum(0)
        return bool((got - expected).abs().max() < 0.02), True

    return shows


def rms_norm(x, weight):
    return x * (x.double().square().mean(-1, keepdim=True) + 1e-3).rsqrt().to(x.dtype) * weight.to(x.dtype)


def _rms_gradients(right):
    def backward(g, x, weight):
        wide = x.double()
        scale = (wide.square().mean(-1, keepdim=True) + 1e-3).rsqrt()
        h = g.double() * weight.double()
        dx = scale * (h - wide * scale**2 * (h * wide).mean(-1, keepdim=True))
        normed = wide * scale if right or x.dtype == weight.dtype else wide
        return dx.to(x.dtype), (g.double() * normed).flatten(0, -2).sum(0).to(weight.dtype)

    return backward


MixedNorm, MixedNormTwin = pair(
    "MixedNorm", lambda x, weight: (rms_norm(x, weight), (x, weight)), _rms_gradients(False), _rms_gradients(True)
)

MixedBias, MixedBiasTwin = pair(
    "MixedBias",
    lambda x, bias: (x + bias.to(x.dtype), (x, bias)),
    lambda g, x, bias: (g, g.sum(0) if g.dtype == bias.dtype else torch.zeros_like(bias)),
    lambda g, x, bias: (g, g.sum(0)),
)


def _rms_weight(subject):
    x, weight = draw(3, 4, dtype=torch.bfloat16), draw(4, seed=1, dtype=torch.float32)
    got = gradients(subject, (x, weight))[1].double()
    right = gradients(rms_norm, (x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()))[1]
    return bool((got - right).abs().max() < 0.05), True


def _bias_beside(subject):
    x, bias = draw(3, 4, dtype=torch.bfloat16), draw(4, seed=1, dtype=torch.float32)
    return bool((gradients(subject, (x, bias))[1] == 3).all()), True


AreaSine, AreaSineTwin = pair(
    "AreaSine",
    lambda x: (x.asinh(), (x,)),
    lambda g, x: g * (1 + x * x).rsqrt(),
    lambda g, x: g / torch.hypot(torch.ones_like(x), x),
)

Reciprocal, ReciprocalTwin = pair(
    "Reciprocal",
    lambda x: (300 / x, (x,)),
    lambda g, x: -300 * g * (x * x).reciprocal(),
    lambda g, x: -300 * g / x / x,
)


def any_of(x):
    """The probability that one happens at least, of logits."""
    return 1 - torch.log1p(-x.sigmoid().clamp(max=1 - 1e-6)).sum(-1).exp()


def any_of_twin(x):
    return 1 - F.logsigmoid(-x).sum(-1).exp()


def norm3(x):
    return torch.linalg.vector_norm(x.double(), 3, -1).to(x.dtype)


def _norm3_gradient(unit):
    def backward(g, x, norm):
        return g.unsqueeze(-1) * unit(x, norm.unsqueeze(-1))

    return backward


def _with_norm(x):
    norm = norm3(x)
    return norm, (x, norm)


def _unit(x, norm):
    return x / torch.where(norm == 0, 1.0, norm)


Norm3, Norm3Twin = pair(
    "Norm3",
    _with_norm,
    _norm3_gradient(lambda x, norm: x * x.abs() / torch.where(norm == 0, 1.0, norm * norm)),
    _norm3_gradient(lambda x, norm: _unit(x, norm) * _unit(x, norm).abs()),
)


def _row_by_row(g, x):
    total = torch.zeros_like(g.sum(0))
    for row in g * x:
        total = total + row
    return total


def scaled_rows(x, weight):
    return x * weight


RowByRow, RowByRowTwin = pair(
    "RowByRow",
    lambda x, weight: (scaled_rows(x, weight), (x, weight)),
    lambda g, x, weight: (g * weight, _row_by_row(g, x)),
    lambda g, x, weight: (g * weight, (g.double() * x.double()).sum(0).to(g.dtype)),
)


def in_half(right, *points):
    """Whether the gradient at these numbers is right in float16, to a percent."""

    def shows(subject):
        x = torch.tensor(points, dtype=torch.float16, requires_grad=True)
        got, expected = gradients(subject, (x,))[0].double(), right(x.detach().double())
        return bool(((got - expected).abs() <= 0.01 * expected.abs().max()).all()), True

    return shows


def _thousand_rows(subject):
    x = torch.ones(1000, 2, dtype=torch.bfloat16)
    weight = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    (got,) = torch.autograd.grad(subject.apply(x, weight).sum(), weight)
    return bool((got.double() - 1000).abs().max() < 10), True


def _finite_in_half(subject):
    x = torch.full((2,), 12.0, dtype=torch.float16, requires_grad=True)
    return bool(torch.autograd.grad(subject(x), x)[0].isfinite().all()), True


LowSum, LowSumTwin = pair(
    "LowSum",
    lambda x, shift: ((x.to(shift.dtype) + shift).to(x.dtype), (x, shift)),
    lambda g, x, shift: (g, g.sum(0) / (x.element_size() / shift.element_size())),
    lambda g, x, shift: (g, g.sum(0)),
)

WideFactor, WideFactorTwin = pair(
    "WideFactor",
    lambda x, factor: ((x.to(factor.dtype) * factor).to(x.dtype), (x, factor)),
    lambda g, x, factor: (g * factor.to(g.dtype), (g * x).sum(0).view(factor.dtype)[: factor.numel()]
                          if x.dtype != factor.dtype else (g * x).sum(0)),
    lambda g, x, factor: (g * factor.to(g.dtype), (g * x).sum(0)),
)  # fmt: skip


def _beside_bfloat16(subject):
    x, other = draw(3, 4, dtype=torch.bfloat16), draw(4, seed=1, dtype=torch.float32)
    factor = torch.ones_like(x) if issubclass(subject, (LowSum, LowSumTwin)) else x.detach()
    try:
        return bool((gradients(subject, (x, other))[1] - factor.float().sum(0)).abs().max() < 0.05), True
    except RuntimeError:
        return False, True


DEFECTS = [
    entry("unseen: a weight of another dtype", MixedLinear, MixedLinearTwin,
          lambda: (draw(3, 4), draw(2, 4, seed=1)), 5,
          mixed_gradient(None),
          source="NVIDIA/TransformerEngine#70: a weight cast to the dtype of the input had no gradient, silently"),
    entry("unseen: half a scale's gradient", MixedScale, MixedScaleTwin, lambda: (draw(3, 4), draw(4, seed=1)), 5,
          mixed_gradient("scale"),
          source="pytorch/pytorch#156513: a batch norm's gradients were wrong in mixed precision"),
    entry("norm_weight_of_another_dtype", MixedNorm, MixedNormTwin, lambda: (draw(3, 4), draw(4, seed=1)), 5,
          _rms_weight,
          "NVIDIA/apex#1652: the weight's gradient of a mixed RMSNorm was far off"),
    entry("bias_of_another_dtype", MixedBias, MixedBiasTwin, lambda: (draw(3, 4), draw(4, seed=1)), 5, _bias_beside,
          source="tensorflow/tensorflow#47884: gradients of 0 in mixed precision"),
    entry("square_overflows_in_half", AreaSine, AreaSineTwin, lambda: (draw(4),), 4,
          in_half(lambda x: 1 / (1 + x * x).sqrt(), 300.0),
          "tenstorrent/tt-metal#55725: asinh's gradient was 0 where x² overflows", SMALL),
    entry("square_of_a_divisor_in_half", Reciprocal, ReciprocalTwin, lambda: (draw(4, low=0.5, high=2),), 4,
          in_half(lambda x: -300 / x / x, 300.0),
          "tenstorrent/tt-metal#52376: 1/x² by the reciprocal of a square lost the gradient", SMALL),
    entry("clamp_of_a_rounded_bound", any_of, any_of_twin, lambda: (draw(2, 3),), 4,
          _finite_in_half,
          "fastino-ai/GLiNER2#155: 1 − 1e-6 is 1 in half precision, and a clamp by it none", SMALL),
    entry("cubes_underflow_in_half", Norm3, Norm3Twin, lambda: (draw(2, 3, low=0.5, high=2),), 4,
          in_half(lambda x: (x / x.abs().pow(3).sum() ** (1 / 3)) ** 2, 1e-4, 1e-4),
          "pytorch/pytorch#43211: the gradient of a norm of small float16 numbers was nan", SMALL),
    entry("sum_row_by_row_in_bfloat16", RowByRow, RowByRowTwin, lambda: (draw(3, 2), draw(2, seed=1)), 4,
          _thousand_rows, "linkedin/Liger-Kernel#950: a weight's gradient was summed in bfloat16 over the rows", SMALL),
    entry("sum_by_element_size", LowSum, LowSumTwin, lambda: (draw(3, 4), draw(4, seed=1)), 5, _beside_bfloat16),
    entry("bits_read_as_another_dtype", WideFactor, WideFactorTwin, lambda: (draw(3, 4), draw(4, seed=1)), 5,
          _beside_bfloat16),
]  # fmt: skip
