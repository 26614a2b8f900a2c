"""The numbers of a step without its records: forward, the loss, and backward by the rules' formulas."""

from torchbp.explanation.notation.quantities import LOSS, d


def gradients(chain, criterion, x):
    """Every quantity by its name, X, W1, Z1, …, L, dL/dZ2, dL/dW2, …, dL/dX, where the network has its `start`."""
    saved = {}
    values = {**chain.start, **chain.drawn, **chain.constants, **criterion.weights, "y": criterion.y}
    values |= chain.forward(chain.start, x, saved=saved)
    output = values[chain.output.name]
    values[LOSS.name], gradient = criterion.value_and_derivative(output)
    if criterion.rule.answers:
        values[criterion.answer.name] = criterion.answers_of(output)
    values[d(chain.output).name] = gradient
    for step in reversed(chain.steps):
        needed = saved[step.gives.name]
        if step.drawn is None:
            gradient = chain.in_row_shape(gradient, step.gives)
        for parameter, quantity in step.parameters:
            of = parameter.gradient(gradient, needed, **step.options)
            values[d(quantity).name] = of.to(values[quantity.name])  # of half precision a norm adds up in float32
        gradient = step.rule.backward(gradient, needed, *step.arguments(chain.start), **step.options).flatten(1)
        values[d(step.takes).name] = gradient
    return values
