"""The way back: from the loss to the first weight, a record for each derivative, by the formulas of ops."""

import torch

from torchbp.engine.losses import value_and_derivative
from torchbp.explanation import equations
from torchbp.explanation import numeric_examples as worked
from torchbp.explanation.equations import d
from torchbp.ops.binary_cross_entropy import bce_da
from torchbp.ops.linear import linear_dbias, linear_dweight, linear_dx
from torchbp.ops.rules import activation


def backward(derivation):
    values, steps = derivation.values, derivation.chain.steps
    gradient, scale = value_and_derivative(derivation.loss, values[derivation.chain.output], values["y"])[1:]
    gradient = gradient * scale
    of_answer(derivation, gradient, scale)
    for position in range(len(steps) - 1, -1, -1):
        step = steps[position]
        values[d(step.gives)] = gradient
        if step.kind == "linear":
            of_parameters(derivation, step, gradient)
            if step.number == 1:  # nothing that learns lies below
                return
            gradient = linear_dx(gradient, values[step.weight])
            of_input(derivation, step, steps[position - 1], gradient)
        else:
            gradient = of_activation(derivation, step, gradient)


def of_answer(derivation, gradient, scale):
    """dL/dA of the answers, and, where the loss takes logits, dL/dZ."""
    a, y = derivation.values[derivation.answer], derivation.values["y"]
    last, output = derivation.chain.steps[-1], derivation.chain.output
    equation = equations.loss_slope(derivation.kind, derivation.answer, **derivation.settings())
    why = "How the loss changes with each answer: here the way back begins."
    if derivation.kind != "squared" and worked.held(derivation).any():
        why += f" As in torch {derivation.answer} (1 − {derivation.answer}) is at least 1e−12: no slope is infinite."
    da = answer_slope(derivation, a, y, scale) if derivation.logits else gradient
    numbers = worked.answer_slope(derivation, da)
    derivation.add(
        d(derivation.answer), "backward", last, equation, da, why, rule=f"∂L/∂{derivation.answer}", numbers=numbers
    )
    if not derivation.logits:
        return
    slope = activation("sigmoid").backward(torch.ones_like(a), a)
    rule = f"∂L/∂{output} = ∂L/∂{derivation.answer} · ∂{derivation.answer}/∂{output}"
    equation = equations.fused(output, derivation.answer, **derivation.settings())
    why = (
        "Chain rule, through σ, whose slope cancels the denominator: what is left is the answer minus the truth"
        + (", times p where y is 1" if derivation.pos_weight is not None else "")
        + (", times w" if derivation.weight is not None else "")
        + ", exact even where σ is saturated and the product is not."
    )
    factors = (f"∂L/∂{derivation.answer}", da), (f"∂{derivation.answer}/∂{output}", slope)
    derivation.add(
        d(output), "backward", last, equation, gradient, why, factors, rule, worked.error(derivation, gradient)
    )


def answer_slope(derivation, a, y, scale):
    """dL/dA of A = σ(Z) for a loss that takes Z: that of the cross-entropy of probabilities."""
    dloss = torch.full_like(a, scale) if derivation.weight is None else derivation.weight * scale * torch.ones_like(a)
    if derivation.pos_weight is None:
        return bce_da(dloss, a, y)
    positive, negative = torch.ones_like(y), torch.zeros_like(y)
    return bce_da(dloss * derivation.pos_weight * y, a, positive) + bce_da(dloss * (1 - y), a, negative)


def of_activation(derivation, step, da):
    values, a, z = derivation.values, derivation.values[step.gives], step.takes
    formula = activation(step.kind).backward
    dz = formula(da, a)
    equation, slope = equations.SLOPES[step.kind]
    equation = equation.format(dz=d(z), da=d(step.gives), a=step.gives)
    rule = f"∂L/∂{z} = ∂L/∂{step.gives} · ∂{step.gives}/∂{z}"
    why = f"Chain rule, through the activation: its slope ∂{step.gives}/∂{z} is {slope.format(a=step.gives)}."
    factors = (f"∂L/∂{step.gives}", da), (f"∂{step.gives}/∂{z}", formula(torch.ones_like(a), a))
    numbers = worked.slope(step, values, da, dz)
    derivation.add(d(z), "backward", step, equation, dz, why, factors, rule, numbers)
    return dz


def of_parameters(derivation, step, dz):
    values, z = derivation.values, step.gives
    a = values[step.takes]
    rows = ", and rows add up" if len(a) > 1 else ""
    for name, gradient, equation, factor, why in (
        (
            step.weight,
            linear_dweight(dz, a),
            f"{d(step.weight)} = ({d(z)})ᵀ {step.takes}",
            (f"∂{z}/∂{step.weight}", a),
            f"Chain rule: {z} contains each weight times the number that the weight multiplies, so its derivative "
            f"by the weight is that number{rows}.",
        ),
        (
            step.bias,
            linear_dbias(dz),
            f"{d(step.bias)} = Σₙ {d(z)}",
            (f"∂{z}/∂{step.bias}", torch.ones_like(dz)),
            f"Chain rule: {z} contains each bias as it is, so the factor is 1{rows}.",
        ),
    ):
        if name not in derivation.chain.parameters:
            continue
        rule = f"∂L/∂{name} = ∂L/∂{z} · ∂{z}/∂{name}"
        factors = (f"∂L/∂{z}", dz), factor
        numbers = worked.parameter(step, name, values, dz, gradient)
        derivation.add(d(name), "backward", step, equation, gradient, why, factors, rule, numbers)


def of_input(derivation, step, below, gradient):
    a, z = step.takes, step.gives
    rule = f"∂L/∂{a} = ∂L/∂{z} · ∂{z}/∂{a}"
    why = (
        f"Chain rule: each number of {a} went into every unit of layer {step.number}, by its weight; the same "
        "weights bring the blame back."
    )
    factors = (f"∂L/∂{z}", derivation.values[d(z)]), (f"∂{z}/∂{a}", derivation.values[step.weight])
    equation = f"{d(a)} = {d(z)} {step.weight}"
    numbers = worked.blame(step, derivation.values, gradient)
    derivation.add(d(a), "backward", below, equation, gradient, why, factors, rule, numbers)
