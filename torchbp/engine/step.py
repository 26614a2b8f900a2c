"""A step of gradient descent, as a function of tensors: forward, backward, and each parameter's update on the way."""

import torch

from torchbp.engine.losses import value_and_derivative
from torchbp.engine.optimizers.update_rule import common_rate
from torchbp.ops._accumulate import accumulate as accumulate_gradient
from torchbp.ops._accumulate import per_member


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


def step(network, loss, parameters, rules, x, y, max_norm=None):
    """L of before the step, which `parameters` then have made. `rules` are `update_rules`, None for what is frozen.

    With `max_norm` the gradient of all parameters, of each member its own, is at most so long.
    """
    if max_norm is not None:
        return clipped_step(network, loss, parameters, rules, x, y, max_norm)
    rate, rules = common_rate(rules)
    value, scale, ones, passes = derivatives(network, loss, parameters, rules, x, y, rate)
    forms = network.accumulate
    for place, dz, saved in passes:
        for p, rule, (accumulate, of_ones) in zip(parameters[place], rules[place], forms[place]):  # noqa: B905
            if rule is not None:
                rule.descend(p, scale, accumulate, dz, ones if of_ones else saved)
        del dz, saved  # so that they are freed before the next layer's are made
    return value


def clipped_step(network, loss, parameters, rules, x, y, max_norm):
    """`step` by G min(1, max_norm / (‖G‖ + 1e-6)), as `torch.nn.utils.clip_grad_norm_` makes it of the gradient G.

    All of G is in memory at once, since its norm is known only when the last part of it is there.
    """
    value, scale, ones, passes = derivatives(network, loss, parameters, rules, x, y)
    gradients = []
    for place, dz, saved in passes:
        for p, rule, (accumulate, of_ones) in zip(parameters[place], rules[place], network.accumulate[place]):  # noqa: B905
            if rule is not None:
                gradient = torch.empty_like(p)
                accumulate(gradient, dz, ones if of_ones else saved, 0, scale)
                gradients.append((p, rule, gradient))
        del dz, saved
    squares = sum(g.square().flatten(1 if network.members else 0).sum(-1) for _, _, g in gradients)
    factor = (max_norm / (squares.sqrt() + 1e-6)).clamp(max=1)
    for p, rule, gradient in gradients:
        rule.descend(p, 1.0, add_gradient, gradient * per_member(factor, gradient), None)
    return value


def add_gradient(out, gradient, _, beta, scale):
    """out ← β out + s G in place, for a gradient that is there."""
    accumulate_gradient(lambda dz, saved: dz, out, gradient, None, beta, scale)
