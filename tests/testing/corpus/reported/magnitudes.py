"""Right at the numbers that are given, and wrong at zeros, at large ones, and in single and half precision."""

import torch
from torch.nn import functional as F

from tests.testing.corpus.entry import DOUBLE, draw, gradients
from tests.testing.corpus.reported.entry import entry
from tests.testing.corpus.unseen import pair

# a product, whose gradient is divided out


def _other_products(x):
    """Of each entry the product of the others in its row."""
    columns = range(x.shape[-1])
    return torch.stack([torch.cat([x[..., :k], x[..., k + 1 :]], -1).prod(-1) for k in columns], -1) if x.numel() else x


Product, ProductTwin = pair(
    "Product",
    lambda x: (x.prod(-1), (x,)),
    lambda g, x: (g * x.prod(-1)).unsqueeze(-1) / x,
    lambda g, x: g.unsqueeze(-1) * _other_products(x),
)

RunningProduct, RunningProductTwin = pair(
    "RunningProduct",
    lambda x: (x.cumprod(-1), (x,)),
    lambda g, x: (g * x.cumprod(-1)).flip(-1).cumsum(-1).flip(-1) / x,
    lambda g, x: _running_product_gradient(g, x),
)


def _running_product_gradient(g, x):
    before, after, columns = torch.ones_like(x[..., :1]), [], x.shape[-1]
    before = torch.cat([before, x[..., :-1].cumprod(-1)], -1) if columns else x
    total = torch.zeros_like(g.sum(-1))
    for k in reversed(range(columns)):
        total = g[..., k] + (x[..., k + 1] * total if k + 1 < columns else 0)
        after.append(total)
    return before * torch.stack(after[::-1], -1) if columns else x


def deviation(x):
    return x.var(-1, correction=0).sqrt()


def deviation_twin(x):
    variance = x.var(-1, correction=0)
    return torch.where(variance > 0, torch.where(variance > 0, variance, 1.0).sqrt(), 0.0)


def bell(x):
    return (-x * x).exp().sqrt()


def bell_twin(x):
    return (-x * x / 2).exp()


def sinc(x):
    return torch.sinc(x / torch.pi)


Sinc, SincTwin = pair(
    "Sinc",
    lambda x: (sinc(x), (x,)),
    lambda g, x: g * (x * x.cos() - x.sin()) / (x * x),
    lambda g, x: g * torch.where(x.abs() < 0.1, -x / 3 + x**3 / 30 - x**5 / 840 + x**7 / 45360,
                                 (x * x.cos() - x.sin()) / torch.where(x.abs() < 0.1, 1.0, x * x)),
)  # fmt: skip


def sinc_by_cases(x):
    """1 at 0: a constant, whose second derivative is 0."""
    safe = torch.where(x == 0, 1.0, x)
    return torch.where(x == 0, 1.0, safe.sin() / safe)


def sinc_by_series(x):
    near = x.abs() < 0.1
    safe, small = torch.where(near, 1.0, x), torch.where(near, x, 0.0)
    series = 1 - small**2 / 6 + small**4 / 120 - small**6 / 5040 + small**8 / 362880
    return torch.where(near, series, safe.sin() / safe)


PowerOfZero, PowerOfZeroTwin = pair(
    "PowerOfZero",
    lambda x, n: (x**n, (x, n)),
    lambda g, x, n: (g * n * x ** (n - 1), g * x**n * x.log()),
    lambda g, x, n: (g * n * x ** (n - 1), g * torch.where(x == 0, 0.0, x**n * torch.where(x == 0, 1.0, x).log())),
)

HyperbolicSine, HyperbolicSineTwin = pair(
    "HyperbolicSine",
    lambda x: (x.sinh(), (x,)),
    lambda g, x: g * torch.where(x.abs() > 88.5, torch.inf, x.cosh()),
    lambda g, x: g * x.cosh(),
)

# single and half precision

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

# a forward that overflows


def softmax(x):
    return x.exp() / x.exp().sum(-1, keepdim=True)


def softmax_twin(x):
    return x.softmax(-1)


def log_sigmoid(x):
    return -torch.log(1 + torch.exp(-x))


def at(reference, *points):
    def shows(subject):
        inputs = [torch.tensor(p, dtype=DOUBLE, requires_grad=True) for p in points]
        return gradients(subject, inputs), gradients(reference, inputs)

    return shows


def in_half(right, *points):
    """Whether the gradient at these numbers is right in float16, to a percent."""

    def shows(subject):
        x = torch.tensor(points, dtype=torch.float16, requires_grad=True)
        got, expected = gradients(subject, (x,))[0].double(), right(x.detach().double())
        return bool(((got - expected).abs() <= 0.01 * expected.abs().max()).all()), True

    return shows


def _second_at_zero(subject):
    points = (torch.tensor([0.0, 0.0], dtype=DOUBLE),)
    x = points[0].clone().requires_grad_()
    (first,) = torch.autograd.grad(subject(x).sum(), x, create_graph=True)
    return torch.autograd.grad(first.sum(), x)[0], torch.full((2,), -1 / 3, dtype=DOUBLE)


def _thousand_rows(subject):
    x = torch.ones(1000, 2, dtype=torch.bfloat16)
    weight = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    (got,) = torch.autograd.grad(subject.apply(x, weight).sum(), weight)
    return bool((got.double() - 1000).abs().max() < 10), True


def _finite_in_half(subject):
    x = torch.full((2,), 12.0, dtype=torch.float16, requires_grad=True)
    return bool(torch.autograd.grad(subject(x), x)[0].isfinite().all()), True


def _of_equals(subject):
    x = torch.ones(1, 4, requires_grad=True)
    return torch.autograd.grad(subject(x).sum(), x)[0], torch.zeros(1, 4)


def _finite(subject, x):
    return bool(subject(torch.tensor([x])).isfinite().all()), True


EXTREMES, SMALL = ("extremes",), ("precision", "dtypes", "extremes", "magnitudes")

DEFECTS = [
    entry("product_divided_by_its_factors", Product, ProductTwin, lambda: (draw(2, 3, low=0.5, high=2),), 3,
          at(lambda x: x.prod(-1), [2.0, 0.0, 4.0]),
          "tenstorrent/tt-metal#54551: prod's gradient was not finite where an entry is 0", EXTREMES),
    entry("running_product_divided", RunningProduct, RunningProductTwin, lambda: (draw(2, 3, low=0.5, high=2),), 3,
          at(lambda x: x.cumprod(-1), [2.0, 0.0, 4.0]),
          "tracel-ai/burn#5141: cumprod's gradient, divided by the input, was nan at zeros", EXTREMES),
    entry("deviation_of_equals", deviation, deviation_twin, lambda: (draw(2, 4),), 3,
          _of_equals,
          "pytorch/pytorch#4320: the gradient of std was nan where all entries are equal", ("extremes", "shapes")),
    entry("root_of_an_underflow", bell, bell_twin, lambda: (draw(4),), 3, at(bell_twin, [40.0, -0.5]),
          "seantalts/stanli#144: the root of what underflows to 0 had the gradient nan", ("extremes", "magnitudes")),
    entry("sinc_at_zero", Sinc, SincTwin, lambda: (draw(4, low=0.5, high=2),), 3, at(sinc_by_series, [0.0, 1.0]),
          "pytorch/pytorch#56760: the derivative of sinc at 0 was nan", EXTREMES),
    entry("sinc_is_constant_at_zero", sinc_by_cases, sinc_by_series, lambda: (draw(4, low=0.5, high=2),), 3,
          _second_at_zero, "jax-ml/jax#5077: sinc by cases had the second derivative 0 at 0",
          ("extremes", "second_order", "hessian")),
    entry("exponent_of_a_power_of_zero", PowerOfZero, PowerOfZeroTwin,
          lambda: (draw(3, low=0.5, high=2), draw(3, seed=1, low=1.5, high=3)), 3,
          at(PowerOfZeroTwin.apply, [0.0, 2.0], [2.0, 2.0]),
          "tensorflow/tfjs#346: pow's gradient by the exponent was nan at the base 0", EXTREMES,
          domain={"inputs[0]": (0, 1e4)}),
    entry("hyperbolic_sine_beyond_88", HyperbolicSine, HyperbolicSineTwin, lambda: (draw(4),), 3,
          at(torch.sinh, [100.0]),
          "tenstorrent/tt-metal#52612: sinh's gradient was infinite from 88.5 on, below the overflow",
          ("extremes", "magnitudes")),
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
    entry("softmax_overflows", softmax, softmax_twin, lambda: (draw(2, 3),), 12, lambda s: _finite(s, [100.0, 0.0]),
          "uTensor/uTensor#175: softmax without the largest logit subtracted was nan"),
    entry("log_sigmoid_overflows", log_sigmoid, F.logsigmoid, lambda: (draw(2, 3),), 12, lambda s: _finite(s, [-100.0]),
          "pytorch/pytorch#1835: the logarithm of sigmoid was infinite for large negative numbers"),
]  # fmt: skip
