"""Points, norms and samples: right but for poles, zeros, borders, and other ways of alignment."""

import torch

from tests.testing.corpus.entry import DOUBLE, draw, gradients, second
from tests.testing.corpus.hidden.demonstrations import compared, pair
from tests.testing.corpus.hidden.entry import entry


def harmonics(points):
    """x, y and z on the unit sphere."""
    return points / (points.square().sum(-1, keepdim=True) + 1e-12).sqrt()


def harmonics_by_angles(points):
    x, y, z = points.unbind(-1)
    r = (points.square().sum(-1) + 1e-12).sqrt()
    flat = (x.square() + y.square()).sqrt()
    longitude = torch.atan2(y, x)
    return torch.stack([flat / r * longitude.cos(), flat / r * longitude.sin(), z / r], -1)


def _at_the_pole(subject):
    inputs = (torch.tensor([[0.0, 0.0, 2.0]], dtype=DOUBLE, requires_grad=True),)
    return gradients(subject, inputs), gradients(harmonics, inputs)


METRIC = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=DOUBLE)


def tangent_norm(u):
    return (u @ METRIC.to(u.dtype) * u).sum(-1).sqrt()


def tangent_norm_twin(u):
    square = (u @ METRIC.to(u.dtype) * u).sum(-1)
    return torch.where(square > 0, square.where(square > 0, 1.0).sqrt(), 0.0)


def _at_rest(subject):
    u = torch.zeros(1, 2, dtype=DOUBLE, requires_grad=True)
    return gradients(subject, (u,)), (torch.zeros_like(u),)


VALUES = torch.tensor([0.0, 2.0, 4.0, 6.0, 8.0], dtype=DOUBLE)


def border_sample(x):
    """Linear between five values at −1, −½, 0, ½ and 1; what is outside is the border's."""
    place = ((x + 1) * 2).clamp(0, 4)
    left = place.detach().floor().clamp(max=3)
    values = VALUES.to(x.dtype)
    slope = values[left.long() + 1] - values[left.long()]
    return values[left.long()] + slope * (place - left)


def _border_backward(at_the_border):
    def backward(g, x):
        inside = (x > -1) & (x < 1)
        return torch.where(inside, 4 * g, at_the_border * g * (x == 1))

    return backward


AtTheBorder, AtTheBorderTwin = pair(
    "AtTheBorder",  # at the last value the next one is taken for 0
    lambda x: (border_sample(x), (x,)),
    _border_backward(-16),
    _border_backward(0),
)


def sample(x, align_corners):
    """Squares at places between the first and the last of ten numbers."""
    scale = 4.5 if align_corners else 5.0
    return (x * scale + 4.5).square()


def _sample_backward(scale_of):
    def backward(g, x, align_corners):
        scale = 4.5 if align_corners else 5.0
        return 2 * g * (x * scale + 4.5) * scale_of(scale), None

    return backward


AlwaysAligned, AlwaysAlignedTwin = pair(
    "AlwaysAligned",
    lambda x, align_corners: (sample(x, align_corners), (x, align_corners)),
    _sample_backward(lambda scale: 4.5),
    _sample_backward(lambda scale: scale),
)


def nearest_cost(x):
    """The least of (t − x)² + t², at t = x / 2, where the slope by t is 0."""
    t = (x / 2).detach()
    return (t - x).square() + t.square()


def nearest_cost_twin(x):
    t = x / 2
    return (t - x).square() + t.square()


def _curvature(subject):
    inputs = (draw(3),)
    return second(subject, inputs), second(nearest_cost_twin, inputs)


def _aligned(align_corners):
    return lambda: (draw(4), align_corners)


def _border():
    return (torch.tensor([-0.3, 0.2, 1.0], dtype=DOUBLE, requires_grad=True),)


DEFECTS = [
    entry("pole_of_a_sphere", harmonics_by_angles, harmonics, lambda: (draw(2, 3, low=0.2),), 3, _at_the_pole,
          "e3nn/e3nn#112: the gradient of spherical harmonics was nan for points on the axis", checks=("extremes",)),
    entry("norm_of_a_zero_tangent", tangent_norm, tangent_norm_twin, lambda: (draw(2, 2),), 3, _at_rest,
          "geoopt/geoopt#243: the gradient of the norm of a zero tangent was nan", checks=("extremes",)),
    entry("sample_at_the_border", AtTheBorder, AtTheBorderTwin, lambda: (draw(4, low=0.1, high=0.4),), 3,
          compared(_border, AtTheBorderTwin.apply),
          "pytorch/pytorch#23925: on the border the gradient was that of an image padded by zeros",
          checks=("extremes",)),
    entry("corners_always_aligned", AlwaysAligned, AlwaysAlignedTwin, _aligned(True), 2,
          compared(_aligned(False), sample),
          "ooples/AiDotNet.Tensors#582: the backward of a grid sample knew one alignment of corners only"),
    entry("curvature_of_a_least_cost", nearest_cost, nearest_cost_twin, lambda: (draw(3),), 3, _curvature,
          "jeanfeydy/geomloss#14: weights are detached, and second derivatives are not guaranteed",
          checks=("second_order",)),
]  # fmt: skip
