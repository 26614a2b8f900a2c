"""Packages of spiking networks: steps whose gradient is that of a smooth function."""

import torch

from tests.testing.packages.subject import Subject, numbers


def snntorch():
    from snntorch import surrogate

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
        "sigmoid", surrogate.sigmoid(slope=25), numbers(4, 3), options={"surrogate": lambda x: (25 * x).sigmoid()}
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
        "S2NN",
        "LogTailedReLU",
        "NonzeroSignLogAbs",
    ):
        spiking, smooth = (getattr(surrogate, name)(spiking=on) for on in (True, False))
        yield Subject(name, spiking.forward, numbers(4, 3), options={"surrogate": smooth.forward})


def norse():
    from norse.torch.functional.threshold import heavi_erfc_fn, heavi_tanh_fn, superspike_fn

    alpha = 10.0
    yield Subject(
        "superspike_fn",
        lambda x: superspike_fn(x, alpha),
        numbers(4, 3),
        options={"surrogate": lambda x: x / (1 + alpha * x.abs())},
    )
    yield Subject(
        "heavi_tanh_fn",
        lambda x: heavi_tanh_fn(x, alpha),
        numbers(4, 3),
        options={"surrogate": lambda x: 0.5 * (alpha * x).tanh()},
    )
    yield Subject(
        "heavi_erfc_fn",
        lambda x: heavi_erfc_fn(x, alpha),
        numbers(4, 3),
        options={"surrogate": lambda x: 0.5 * (alpha * x).erf()},
    )
