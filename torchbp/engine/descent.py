"""A step of gradient descent, as a function of tensors: forward, backward, and each parameter's update on the way."""

import torch

from torchbp.engine.losses import value_and_derivative
from torchbp.engine.rules import has
from torchbp.ops.rules import per_member


def derivatives(layers, loss, parameters, learns, x, y, rate=None):
    """L; s; a 1 for each row; and (number, dZ, A) of each Linear layer that learns or has one that learns under it.

    From the last layer to the first: s dZᵀ A is dL/dW, and s Σ_n dZ is dL/db. `learns` has a pair for each layer, of
    which something is true where W or b learns. `rate`, one for each member, multiplies both; s is 1 then.
    """
    lowest = 0
    while lowest < len(learns) and not any(learns[lowest]):
        lowest += 1
    outputs = layers.forward(parameters, x)
    value, derivative, scale = value_and_derivative(loss, outputs[-1], y, layers.members)
    if rate is not None:  # everything after this is linear in it
        derivative.mul_(per_member(rate * scale, derivative))
        scale = 1
    return value, scale, layers.ones(derivative), layers.backward(parameters, outputs, derivative, lowest)


def step(layers, loss, parameters, rules, x, y):
    """L of before the step, which `parameters` then have made. `rules` are of each (W, b), None where one is frozen."""
    rate, last = None, rules[-1][0]
    if (
        last is not None
        and last.velocity is None
        and isinstance(last.rate, torch.Tensor)
        and all(rule is None or rule is last for pair in rules for rule in pair)
    ):
        rate, unit = last.rate, last._replace(rate=1)  # once, and not in a copy of each layer's dZ
        rules = [tuple(rule and unit for rule in pair) for pair in rules]
    value, scale, ones, passes = derivatives(layers, loss, parameters, rules, x, y, rate)
    _, _, add_dweight, add_dbias = layers.formulas
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
    rate, decay, pull, exact, velocity, keep, share, ahead = rule
    if velocity is not None:
        add(velocity, dz, factor, keep, share * scale)
        if has(decay):
            add_multiple(velocity, share * decay, p)
        if ahead is None:
            add_multiple(p, rate, velocity)
            return
    if exact:
        gradient = p * decay
        add(gradient, dz, factor, 1, scale)
        if velocity is not None:
            add_multiple(gradient, ahead, velocity)
        add_multiple(p, rate, gradient)
        return
    if has(pull):  # not as a factor 1 − αλ of the product: that is rounded, in every step the same way
        add_multiple(p, pull, p)
    add(p, dz, factor, 1, rate * scale)
    if velocity is not None:
        add_multiple(p, rate * ahead, velocity)


def add_multiple(out, scale, tensor):
    """out ← out + s tensor in place; s is a number, or a tensor of one for each member."""
    if isinstance(scale, torch.Tensor):
        out.addcmul_(tensor, per_member(scale, tensor))
    else:
        out.add_(tensor, alpha=scale)


def add_gradient(out, gradient, _, beta, scale):
    """out ← β out + s G in place, for a gradient that is there."""
    if isinstance(beta, torch.Tensor):
        out.mul_(per_member(beta, out))
    elif beta != 1:
        out.mul_(beta) if beta else out.zero_()
    add_multiple(out, scale, gradient)
