"""A step of gradient descent, as a function of tensors: forward, backward, and each parameter's update on the way."""

from typing import NamedTuple

import torch

from torchbp.engine.losses import value_and_derivative
from torchbp.ops.linear import spread


class Rule(NamedTuple):
    """How a parameter descends. Each number may be a tensor of one for each member of an ensemble.

        V ← keep V + share (dL/dW + decay W);   W ← shrink W + rate dL/dW without V;   W ← W + rate V with it

    rate is −α, shrink 1 − αλ, decay λ, and `ahead` the μ of Nesterov, None without. In the first step of a velocity
    keep is 0 and share 1; otherwise μ and 1 − τ.
    """

    rate: float
    shrink: float
    decay: float
    velocity: torch.Tensor | None = None
    keep: float = 0
    share: float = 1
    ahead: float | None = None

    def numbers(self):
        """Those that are not fixed, name: value. 0, 1 and None stand for terms and factors that are not there."""
        fields = self._asdict()
        del fields["velocity"]
        return {k: v for k, v in fields.items() if isinstance(v, torch.Tensor) or v not in (0, 1, None)}

    def of(self, members):
        """The rule of these members, a slice."""
        return Rule(*(v[members] if isinstance(v, torch.Tensor) and v.dim() else v for v in self))


def step(layers, loss, parameters, rules, x, y):
    """L of before the step, which `parameters` then have made. `rules` are of each (W, b), None where one is frozen."""
    lowest = 0
    while lowest < len(rules) and rules[lowest] == (None, None):
        lowest += 1
    outputs = layers.forward(parameters, x)
    value, derivative, scale = value_and_derivative(loss, outputs[-1], y, layers.members)
    ones = layers.ones(derivative)
    _, _, add_dweight, add_dbias = layers.formulas
    passes = layers.backward(parameters, outputs, derivative, lowest)
    del derivative
    for number, dz, a in passes:
        (weight, bias), (of_weight, of_bias) = parameters[number], rules[number]
        if of_weight is not None:
            descend(weight, of_weight, scale, add_dweight, dz, a)
        if of_bias is not None:
            descend(bias, of_bias, scale, add_dbias, dz, ones)
        del dz, a  # so that they are freed before the next layer's are made
    return value


def descend(p, rule, scale, add, dz, factor):
    """p after its step. `add(out, dZ, factor, β, s)` is out ← β out + s dL/dp, but for the factor `scale` of dL."""
    rate, shrink, decay, velocity, keep, share, ahead = rule
    if velocity is None:
        add(p, dz, factor, shrink, rate * scale)
        return
    add(velocity, dz, factor, keep, share * scale)
    if isinstance(decay, torch.Tensor) or decay:
        add_multiple(velocity, share * decay, p)
    if ahead is None:
        add_multiple(p, rate, velocity)
    else:
        add(p, dz, factor, shrink, rate * scale)
        add_multiple(p, rate * ahead, velocity)


def add_multiple(out, scale, tensor):
    """out ← out + s tensor in place; s is a number, or a tensor of one for each member."""
    if isinstance(scale, torch.Tensor):
        out.addcmul_(tensor, spread(scale, tensor))
    else:
        out.add_(tensor, alpha=scale)


def add_gradient(out, gradient, _, beta, scale):
    """out ← β out + s G in place, for a gradient that is there."""
    if isinstance(beta, torch.Tensor) or beta not in (0, 1):
        out.mul_(spread(beta, out) if isinstance(beta, torch.Tensor) else beta)
    elif beta == 0:
        out.zero_()
    add_multiple(out, scale, gradient)
