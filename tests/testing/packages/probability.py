"""Packages of probability: processes, flows, and special functions."""

import functools

import torch

from tests.testing.packages.subject import NO_GRAPH, Subject, numbers, positive


def gpytorch():
    from gpytorch.functions import MaternCovariance, RBFCovariance, log_normal_cdf

    def squared(x, y):
        return (x[:, None] - y[None]).square().sum(-1)

    def distance(x, y):
        return squared(x, y).sqrt()

    x, y = numbers(3, 2).detach(), numbers(4, 2).detach()  # it has gradients of the lengthscale alone
    yield Subject(
        "RBFCovariance",
        lambda scale: RBFCovariance.apply(x.to(scale), y.to(scale), scale, squared),
        positive(1, 1),
        {
            "second_order": NO_GRAPH,
            "precision": "defect: in float16 the square of a distance overflows, and 0 times that is nan",
        },
    )
    yield Subject(
        "MaternCovariance",
        lambda scale: MaternCovariance.apply(x.to(scale), y.to(scale), scale, 1.5, distance),
        positive(1, 1),
        {"second_order": NO_GRAPH},
    )
    approximate = "defect: value and gradient are approximations, which differ by up to 1e-4"
    yield Subject("log_normal_cdf", log_normal_cdf, numbers(5), {"values": approximate, "second_order": NO_GRAPH})


def zuko():
    from zuko.utils import bisection, gauss_legendre

    frozen = "defect: with a parameter in phi that requires no gradient the backward raises"

    yield Subject(
        "gauss_legendre",
        lambda a, b, c: gauss_legendre(lambda x: (c * x).sin(), a, b, n=32, phi=(c,)),
        (numbers(3), numbers(3), positive(1)),
        {"subsets": frozen},
    )
    yield Subject(
        "bisection",
        lambda y, c: bisection(lambda x: c * x + x**3, y, -10.0, 10.0, n=60, phi=(c,)),
        (numbers(3), positive(1)),
        {"subsets": frozen, "magnitudes": "convention: the bounds given do not include the root"},
    )


def pyro_ppl():
    from pyro.ops.special import log_beta, safe_log
    from pyro.ops.tensor_utils import safe_normalize

    yield Subject("safe_log", safe_log, positive(5), options={"domain": (0.01, 100)})
    yield Subject("log_beta", log_beta, (positive(4), positive(4)))
    yield Subject("safe_normalize", lambda x: safe_normalize(x), numbers(3, 4))


def botorch():
    from botorch.acquisition.analytic import _ei_helper, _log_ei_helper
    from botorch.utils import safe_math
    from botorch.utils.probability import utils

    for name in ("logexpit", "fatplus", "log_fatplus", "log_softplus", "cauchy", "sigmoid"):
        yield Subject(name, getattr(safe_math, name), numbers(3, 4))
    yield Subject("log1mexp", safe_math.log1mexp, (-numbers(3, 4).abs()).detach().requires_grad_())
    for name in ("smooth_amax", "fatmax", "logmeanexp"):
        yield Subject(name, functools.partial(getattr(safe_math, name), dim=-1), numbers(3, 4))
    yield Subject("logdiffexp", safe_math.logdiffexp, (numbers(4), (numbers(4).abs() + 2).detach().requires_grad_()))
    for name in ("ndtr", "phi", "log_phi", "log_ndtr", "log_erfc", "log_erfcx"):
        yield Subject(name, getattr(utils, name), numbers(3, 4))
    yield Subject(
        "log_prob_normal_in", utils.log_prob_normal_in, (numbers(4), (numbers(4).abs() + 2).detach().requires_grad_())
    )
    yield Subject("_ei_helper", _ei_helper, numbers(5))
    yield Subject("_log_ei_helper", _log_ei_helper, numbers(5))


def nflows():
    from nflows.transforms.splines import rational_quadratic_spline, unconstrained_rational_quadratic_spline
    from nflows.utils.torchutils import cbrt

    widths, heights, slopes = numbers(3, 4), numbers(3, 4), numbers(3, 5)
    inside = torch.rand(3, dtype=torch.float64, requires_grad=True)
    yield Subject(
        "rational_quadratic_spline",
        lambda x, w, h, d: rational_quadratic_spline(x, w, h, d),
        (inside, widths, heights, slopes),
        options={"domain": {"x": (0, 1)}},
    )
    yield Subject(
        "unconstrained_rational_quadratic_spline",
        lambda x, w, h, d: unconstrained_rational_quadratic_spline(x, w, h, d, tails="linear"),
        (numbers(3), widths, heights, numbers(3, 3)),
    )
    yield Subject("cbrt", cbrt, numbers(4))
