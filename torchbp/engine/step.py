"""A step of gradient descent, as a function of tensors: forward, backward, and each parameter's update on the way."""

import torch

from torchbp.engine.losses import value_and_derivative
from torchbp.engine.update_rule import is_used
from torchbp.ops._accumulate import accumulate as accumulate_gradient
from torchbp.ops._accumulate import add_multiple, per_member


def derivatives(network, loss, parameters, learns, x, y, rate=None):
    """L; s; a 1 for each row; and (place, dZ, what the layer saved) of each layer down to the lowest that learns.

    From the last layer to the first: s times what the rule of a parameter makes of dZ and of what was saved is the
    gradient. `learns` has a tuple for each layer, with something true for each parameter that learns. `rate`, one for
    each member, multiplies all of it; s is 1 then.
    """
    lowest = 0
    while lowest < len(learns) and not any(learns[lowest]):
        lowest += 1
    output, saved = network.forward(parameters, x)
    value, derivative, scale = value_and_derivative(loss, output, y, network.members)
    if rate is not None:  # everything after this is linear in it
        derivative.mul_(per_member(rate * scale, derivative))
        scale = 1
    return value, scale, network.ones(derivative), network.backward(parameters, saved, derivative, lowest)


def step(network, loss, parameters, rules, x, y):
    """L of before the step, which `parameters` then have made. `rules` are `update_rules`, None for what is frozen."""
    rate, last = None, rules[-1][0] if rules[-1] else None
    if (
        last is not None
        and last.momentum_buffer is None
        and isinstance(last.rate, torch.Tensor)
        and all(rule is None or rule is last for of_layer in rules for rule in of_layer)
    ):
        rate, unit = last.rate, last._replace(rate=1)  # once, and not in a copy of each layer's dZ
        rules = [tuple(rule and unit for rule in of_layer) for of_layer in rules]
    value, scale, ones, passes = derivatives(network, loss, parameters, rules, x, y, rate)
    forms = network.accumulate
    for place, dz, saved in passes:
        for p, rule, (accumulate, of_ones) in zip(parameters[place], rules[place], forms[place]):  # noqa: B905
            if rule is not None:
                descend(p, rule, scale, accumulate, dz, ones if of_ones else saved)
        del dz, saved  # so that they are freed before the next layer's are made
    return value


def descend(p, rule, scale, accumulate, dz, saved):
    """p after its step. `accumulate(out, dZ, saved, β, s)` is out ← β out + s dL/dp, but for the factor `scale`."""
    rate, decay, decay_step, decay_first, buffer, momentum, undampened, nesterov = rule
    if buffer is not None:
        accumulate(buffer, dz, saved, momentum, undampened * scale)
        if is_used(decay):
            add_multiple(buffer, undampened * decay, p)
        if nesterov is None:
            add_multiple(p, rate, buffer)
            return
    if decay_first:
        gradient = p * decay
        accumulate(gradient, dz, saved, 1, scale)
        if buffer is not None:
            add_multiple(gradient, nesterov, buffer)
        add_multiple(p, rate, gradient)
        return
    if is_used(decay_step):  # not as a factor 1 − αλ of the product: that is rounded, in every step the same way
        add_multiple(p, decay_step, p)
    accumulate(p, dz, saved, 1, rate * scale)
    if buffer is not None:
        add_multiple(p, rate * nesterov, buffer)


def add_gradient(out, gradient, _, beta, scale):
    """out ← β out + s G in place, for a gradient that is there."""
    accumulate_gradient(lambda dz, saved: dz, out, gradient, None, beta, scale)
