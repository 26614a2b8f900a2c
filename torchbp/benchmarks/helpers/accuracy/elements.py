"""The accuracy of the operations that work element by element: their rule has all that it needs.

An activation is computed over a sweep of Z, and a loss over a sweep of outputs and targets, forward and backward, by
our operation and by torch's; the exact numbers are the rule's equations', in mpmath. Each error is counted in the ulp
of its own element.
"""

import functools

import mpmath
import numpy as np
import torch

from torchbp.benchmarks.helpers.accuracy import exact_elements
from torchbp.benchmarks.helpers.accuracy.ulps import errors, long
from torchbp.ops.rules import Activation

REACH = 1e30  # of the sweep; as far as the dtype goes
TAILS = {torch.float64: 760.0, torch.float32: 120.0, torch.bfloat16: 120.0, torch.float16: 20.0}  # where eᶻ ends


def sweep(dtype, count):
    """Numbers of both signs: of every magnitude from 1e-30 to 1e30, and closer together where functions saturate."""
    magnitudes = torch.logspace(-30, 30, count, dtype=torch.float64)
    near = torch.linspace(0.01, 8, count, dtype=torch.float64)
    tail = torch.linspace(8, TAILS[dtype], count, dtype=torch.float64)
    numbers = torch.cat([magnitudes, near, tail])
    numbers = torch.cat([numbers, -numbers]).to(dtype).unique()
    # a subnormal number has fewer digits, and 0 is a kink of some
    return numbers[numbers.isfinite() & (numbers.abs() >= torch.finfo(dtype).smallest_normal)]


def probabilities(dtype, count):
    near_0 = torch.logspace(-30, -0.31, count, dtype=torch.float64)
    near_1 = 1 - torch.logspace(-16, -0.31, count, dtype=torch.float64)
    numbers = torch.cat([near_0, near_1]).to(dtype).unique()
    return numbers[(numbers < 1) & (numbers >= torch.finfo(dtype).smallest_normal)]


def incoming(like):
    """A gradient of the size of 1 for each element, of either sign."""
    generator = torch.Generator().manual_seed(1)
    size = 0.5 + 1.5 * torch.rand(like.shape, generator=generator, dtype=torch.float64)
    return (size * torch.randint(0, 2, like.shape, generator=generator).mul(2).sub(1)).to(like.dtype)


def constants(rule):
    """The numbers among the options of the module as it is made without arguments."""
    module = rule.module_class() if rule.module_class else None
    found = {} if module is None else rule.options_of(module)
    return {name: value for name, value in found.items() if isinstance(value, (int, float))}


def measured(rule, dtype, count, variant):
    """(direction, whose, error of each element, the numbers that it is of) of one dtype.

    variant: keywords of the operation, whose values are names, as of the approximations of gelu.
    """
    prepared = _activation if isinstance(rule, Activation) else _loss
    inputs, operations, exact = prepared(rule, dtype, count, variant)
    value, slope = exact_elements.values(exact, *(t.double().tolist() for t in inputs))
    gradient = long(incoming(inputs[0])) * slope
    for whose, operation in operations.items():
        x = inputs[0].clone().requires_grad_()
        output = operation(x, *inputs[1:])
        (dx,) = torch.autograd.grad(output, x, incoming(output))
        yield "forward", whose, errors(output, value, normwise=False), inputs
        yield "backward", whose, errors(dx, gradient, normwise=False), inputs


def _activation(rule, dtype, count, variant):
    options = constants(rule)

    def exact(z):
        symbols = {"Z": z, **{name: mpmath.mpf(option) for name, option in options.items()}}
        symbols["A"] = exact_elements.value(rule.tree("equation", **variant), symbols)
        return symbols["A"], exact_elements.value(rule.tree("slope", **variant), symbols)

    operations = {"ours": functools.partial(rule.apply, **variant), "torch": rule.torch_module(**variant)}
    return (sweep(dtype, count),), operations, exact


def _loss(rule, dtype, count, variant):
    options = constants(rule)
    symbols_of = dict(zip(rule.options, rule.option_symbols, strict=True))
    numbers = {symbols_of[name]: mpmath.mpf(option) for name, option in options.items()}

    def tree(name):
        computed = f"{name}_computed"
        return rule.tree(name, options, computed=getattr(rule, computed, None) is not None)

    def exact(output, y):
        symbols = {"Z": output, "A": output, "y": y, **numbers}
        if rule.answers is not None:
            symbols["A"] = exact_elements.value(rule.answers.tree("equation"), symbols)
        value = exact_elements.value(tree("equation"), symbols)
        if rule.error is not None:
            return value, exact_elements.value(tree("error"), symbols)
        slope = exact_elements.value(tree("slope"), symbols)
        if rule.answers is not None:
            slope = slope * exact_elements.value(rule.answers.tree("slope"), symbols)
        return value, slope

    ours = functools.partial(rule.apply, reduction="none", **variant)
    operations = {"ours": ours, "torch": rule.torch_module(reduction="none", **variant)}
    return targets_beside(rule, dtype, count), operations, exact


def targets_beside(rule, dtype, count):
    """Outputs over the sweep, and targets: hard and soft ones of a probability, otherwise near and far from each."""
    outputs = probabilities(dtype, count) if rule.domain and rule.answers is None else sweep(dtype, count // 2)
    if rule.domain:
        targets = [torch.full_like(outputs, y) for y in (0, 1, 0.3)]
    else:
        targets = [(outputs.double() * factor).to(dtype) for factor in (0, 1.01, 0.7, -2)]
    pairs = torch.stack([outputs.repeat(len(targets)), torch.cat(targets)])
    return pairs[:, pairs.isfinite().all(0)].unbind()


def worst(error, inputs):
    """The largest error, and the numbers that it is of."""
    if not error.size:
        return None, ""
    index = int(np.argmax(error))
    return float(error[index]), ", ".join(f"{t[index].item():.6g}" for t in inputs)
