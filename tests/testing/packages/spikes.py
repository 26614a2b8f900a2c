"""Packages of spiking networks: steps whose gradient is that of a smooth function."""

import torch

from tests.testing.packages.subject import Subject, numbers


def snntorch():
    from snntorch import surrogate

    words = "defect: exp(−25 x) overflows, of float32 from x = −4 on, and ∞/∞ is nan"
    overflow = {"dtypes": words, "extremes": words}
    yield Subject(
        "fast_sigmoid",
        surrogate.fast_sigmoid(slope=25),
        numbers(4, 3),
        options={"surrogate": lambda x: x / (1 + 25 * x.abs())},
    )
    yield Subject(
        "atan",
        surrogate.atan(alpha=2.0),
        numbers(4, 3),
        options={"surrogate": lambda x: (torch.pi * x).atan() / torch.pi},
    )
    yield Subject(
        "sigmoid", surrogate.sigmoid(slope=25), numbers(4, 3), overflow, {"surrogate": lambda x: (25 * x).sigmoid()}
    )
    yield Subject(
        "straight_through_estimator",
        surrogate.straight_through_estimator(),
        numbers(4, 3),
        options={"surrogate": lambda x: x},
    )


def spikingjelly():
    from spikingjelly.activation_based import surrogate

    for name in (
        "Sigmoid",
        "ATan",
        "PiecewiseQuadratic",
        "PiecewiseExp",
        "SoftSign",
        "Erf",
        "LeakyKReLU",
        "QPseudoSpike",
        "LogTailedReLU",
        "NonzeroSignLogAbs",
    ):
        spiking, smooth = (getattr(surrogate, name)(spiking=on) for on in (True, False))
        yield Subject(name, spiking.forward, numbers(4, 3), options={"surrogate": smooth.forward})


def norse():
    from norse.torch.functional.threshold import heavi_erfc_fn, heavi_tanh_fn, superspike_fn

    alpha = 10.0
    smooth = {
        superspike_fn: lambda x: x / (1 + alpha * x.abs()),
        heavi_tanh_fn: lambda x: (alpha * x).tanh() / alpha,
        heavi_erfc_fn: lambda x: (alpha * x).erf() / alpha,
    }
    known = {superspike_fn: {"values": "defect: alpha has no part in the gradient, which is 1/(1 + |x|)²"}}
    for step, surrogate in smooth.items():
        call = lambda x, step=step: step(x, alpha)  # noqa: E731
        name = "superspike_fn" if step is superspike_fn else step.__name__
        yield Subject(name, call, numbers(4, 3), known.get(step, {}), {"surrogate": surrogate})
