"""What a learner takes for something else: another activation, another loss, another quantity, σ twice.

Each is yielded as the parts of a sentence, texts and trees, and the value that it gives.
"""

from dataclasses import replace

from torchbp.explanation.grading.mistakes import product_of, substituted, value_of
from torchbp.explanation.notation.equations import ALPHA, K, N, reduced
from torchbp.explanation.notation.quantities import TARGET, Derivative, Quantity, d
from torchbp.ops.expressions import Named, Product, sigma, sqrt, tanh
from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation, Loss


def mixed_up(record, shapes, values, criterion):
    """All of one record, the likeliest first.

    Args:
        record: of the quantity. shapes: {quantity: shape} of all of the step. values: {name: tensor} of them.
        criterion: of the step.
    """
    tree = record.sides[-1]
    found = [*_other_activations(record, tree), *_functions_twice(tree, shapes), *_other_factors(tree, shapes)]
    found += _other_losses(record, criterion) + _plain_descent(record, shapes) + _quantities(record, shapes)
    for parts, wrong in found:
        if (value := value_of(wrong, values)) is not None:
            yield parts, value


def _other_activations(record, tree):
    """f(Z) of another activation for A, and dL/dA ∘ f′ for dL/dZ."""
    if record.kind in ("output", "answer") and len(tree.symbols()) == 1:
        nodes = {"A": record.quantity, "Z": Quantity("Z", record.quantity.number, record.quantity.prime)}
        for rule in rules(Activation).values() if nodes["Z"].name in tree.symbols() else ():
            yield (f"{rule.name} stands where ", tree, " belongs"), rule.tree("equation").replace(nodes)
    first = tree.factors[0] if isinstance(tree, Product) else None
    if not isinstance(first, Derivative) or not isinstance(record.by, Quantity):
        return
    nodes, (_, *right) = {"A": first.by, "Z": record.by}, tree.factors
    for rule in rules(Activation).values():
        slope = rule.tree("slope").replace(nodes)
        yield (f"the slope of {rule.name}, ", slope, ", stands where ", product_of(right), " belongs"), first * slope


def _functions_twice(tree, shapes):
    """σ or tanh of a number, in the place of a quantity: σ(A1) for A1, or σ(Z2) for a softmax."""
    by_name = {quantity.name: quantity for quantity in shapes}
    for quantity in [by_name[name] for name in tree.symbols() if isinstance(by_name.get(name), Quantity)]:
        near = [quantity, *(q for q in shapes if isinstance(q, Quantity) and q.number == quantity.number)]
        for other in near if quantity.number is not None else ():
            for function in (sigma, tanh):
                if shapes[other] == shapes[quantity]:
                    wrong = substituted(tree, quantity, function(other))
                    yield (function(other), " stands where ", quantity, " belongs"), wrong


def _other_factors(tree, shapes):
    """A quantity in the place of a factor that is none, such as Z1 in that of [A1 > 0]; and one more factor."""
    factors = tree.factors if isinstance(tree, Product) else ()
    for quantity in shapes:
        for place, factor in enumerate(factors):
            if not isinstance(factor, Named):
                others = (*factors[:place], quantity, *factors[place + 1 :])
                yield (quantity, " stands where ", factor, " belongs"), Product(others)
    for quantity in shapes:
        yield ("it is multiplied by ", quantity, ", which does not belong there"), tree * quantity


def _other_losses(record, criterion):
    """The mean or the sum of another loss of the same answers, and the root of a mean."""
    found, nodes = [], {"A": criterion.answer, "y": TARGET}
    for rule in rules(Loss).values() if record.kind == "loss" else ():
        if rule.target != "elements" or rule.equation is None or rule in (criterion.rule, criterion.rule.of_answers):
            continue
        tree = rule.tree("equation", frozenset()).replace(nodes)
        if rule.answers is None and set(tree.symbols()) <= {criterion.answer.name, TARGET.name}:
            mean = reduced(tree, N * K)
            found.append((("this is the mean of ", tree), mean))
            found.append((("this is the sum of ", tree), reduced(tree, None)))
            found.append((("this is the root of the mean of ", tree), sqrt(mean)))
    return found


def _plain_descent(record, shapes):
    """The step without what an optimizer adds to it."""
    before = replace(record.quantity, prime=False) if isinstance(record.quantity, Quantity) else None
    if record.kind != "update" or d(before) not in shapes:
        return []
    step = before - ALPHA * d(before)
    return [(("this is plain gradient descent, ", step), step)]


def _quantities(record, shapes):
    """Another quantity, as it is."""
    others = [q for q in shapes if q not in (record.quantity, TARGET)]
    return [(("this is ", other), other) for other in others]
