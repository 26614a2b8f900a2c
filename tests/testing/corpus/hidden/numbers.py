"""Right at the numbers that are given, and wrong at zeros, at larger ones, or in between."""

import torch
from torch.nn import functional as F

from tests.testing.corpus.entry import DOUBLE, draw, gradients
from tests.testing.corpus.hidden.demonstrations import EXTREMES, compared, pair
from tests.testing.corpus.hidden.entry import entry


def _mish_slope(x):
    tanh, sigmoid = torch.tanh(F.softplus(x)), torch.sigmoid(x)
    return tanh + x * (1 - tanh * tanh) * sigmoid


Mish, MishTwin = pair(
    "Mish",
    lambda x: (F.mish(x), (x,)),
    lambda g, x: g * torch.where((x > 12) & (x < 18), 0, _mish_slope(x)),
    lambda g, x: g * _mish_slope(x),
)


def _gelu_slope(x):
    return 0.5 * (1 + torch.erf(x / 2**0.5)) + x * torch.exp(-x * x / 2) / (2 * torch.pi) ** 0.5


GeluTail, GeluTailTwin = pair(
    "GeluTail",
    lambda x: (F.gelu(x), (x,)),
    lambda g, x: g * torch.where(x > 2.5, 1.0, _gelu_slope(x)),
    lambda g, x: g * _gelu_slope(x),
)


def sinc_with_one(x):
    return torch.where(x == 0, 1.0, x.sin() / torch.where(x == 0, 1.0, x))


def _sinc_slope(near):
    def slope(g, x):
        far = torch.where(x.abs() < 0.2, 1.0, x)
        return g * torch.where(x.abs() < 0.2, near(x), (far * far.cos() - far.sin()) / (far * far))

    return slope


SincNearZero, SincNearZeroTwin = pair(
    "SincNearZero",
    lambda x: (sinc_with_one(x), (x,)),
    _sinc_slope(lambda x: 0 * x),
    _sinc_slope(lambda x: -x / 3 + x**3 / 30 - x**5 / 840 + x**7 / 45360),
)


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


def at(reference, *points):
    def shows(subject):
        inputs = [torch.tensor(p, dtype=DOUBLE, requires_grad=True) for p in points]
        return gradients(subject, inputs), gradients(reference, inputs)

    return shows


def _second_at_zero(subject):
    points = (torch.tensor([0.0, 0.0], dtype=DOUBLE),)
    x = points[0].clone().requires_grad_()
    (first,) = torch.autograd.grad(subject(x).sum(), x, create_graph=True)
    return torch.autograd.grad(first.sum(), x)[0], torch.full((2,), -1 / 3, dtype=DOUBLE)


def _of_equals(subject):
    x = torch.ones(1, 4, requires_grad=True)
    return torch.autograd.grad(subject(x).sum(), x)[0], torch.zeros(1, 4)


DEFECTS = [
    entry("unseen: between twelve and eighteen", Mish, MishTwin, lambda: (draw(4),), 3,
          compared(lambda: (draw(4, low=13, high=17),), F.mish)),
    entry("gelu_beyond_two_and_a_half", GeluTail, GeluTailTwin, lambda: (draw(4),), 3,
          compared(lambda: (draw(4, low=2.6, high=3.5),), F.gelu),
          source="tenstorrent/tt-metal#54867: the gradient of gelu was 1 from 3.17 on, where it is 1.0075"),
    entry("sinc_near_zero", SincNearZero, SincNearZeroTwin, lambda: (draw(4, low=0.5, high=2),), 3,
          compared(lambda: (draw(4, low=0.1, high=0.19),), sinc_with_one),
          source="jax-ml/jax#34139: the gradient of sinc_with_one was far off near 0"),
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
]  # fmt: skip
