"""The record of L: its equation, and the losses of the elements that it adds up."""

from dataclasses import replace

from torchbp.explanation.comparison.agreement import disagreement, errors_of, expected_of
from torchbp.explanation.comparison.reference_modules import module_of
from torchbp.explanation.notation import equations
from torchbp.explanation.notation.numeric_examples import example, is_close, shortened_sum
from torchbp.explanation.notation.quantities import LOSS, TARGET
from torchbp.explanation.notation.records import Record
from torchbp.ops.expressions import SumOfRow


def loss_record(step, output, prime):
    """The record of L, or, with `prime`, of L′ after the update, where the network gives `output`."""
    criterion, loss, y = step.criterion, LOSS.after() if prime else LOSS, step.values[TARGET.name]
    value, _ = criterion.value_and_derivative(output)
    each = criterion.each(output)
    step.values[loss.name] = value
    tree = criterion.tree("equation", prime)
    side = equations.reduced(tree, criterion.count_symbol())
    reason = "The same loss with the new parameters." if prime else criterion.rule.description
    wrong = _disagreement_of(step, tree, each, prime)
    if wrong is not None:
        _, step.disagreements[loss.name] = wrong
    if each.numel() > 1:
        by_tree, _ = _expected_of(step, tree, each)
        exact = _all_close(by_tree, each)
        terms = each if wrong is None else by_tree  # what is wrong is shown as wrong
        found = _example_of(step, loss, shortened_sum(terms.reshape(-1).tolist(), 6), value)
    else:
        found = _example_of(step, loss, _of_all_units(tree, y), value)
        exact = found.agrees and found.is_close
    if criterion.rule.equation_computed and wrong is None and not exact:
        reason += f" {criterion.computed_how('equation', prime)}"
        if each.numel() == 1:
            found = _example_of(step, loss, _of_all_units(criterion.tree("equation", prime, computed=True), y), value)
    return Record(
        loss,
        "loss",
        "again" if prime else "loss",
        None,
        "",
        (side,),
        value,
        (reason,),
        example=found,
        shapes={name: tuple(step.values[name].shape) for name in side.symbols() if name in step.values},
        compared_with=module_of(step.loss),
    )


def _example_of(step, loss, tree, value):
    """L with its numbers: of the first element, which is the only one, or of a sum of numbers."""
    place = (0,) * step.values[TARGET.name].dim()
    return replace(example(loss, step.criterion.divided(tree), place, value.item(), step.symbols, step.fixed), place=())


def _disagreement_of(step, tree, each, prime):
    """The `disagreement` of ℓ with its equation, or None. Near a bound of the answers ℓ may be `Computed` instead."""
    criterion, y = step.criterion, step.values[TARGET.name]
    errors, bounds = _differences_of(step, tree, each)
    if criterion.rule.equation_computed is not None:
        answer = criterion.answer.after() if prime else criterion.answer
        near = criterion.near_a_bound(step.values[answer.name])
        others, other_bounds = _differences_of(step, criterion.tree("equation", prime, computed=True), each)
        excused = (near if each.numel() == y.numel() else near.any(1)).reshape(errors.shape) & (others <= other_bounds)
        errors = errors.where(~excused, 0.0)
    return disagreement(errors, bounds)


def _of_all_units(tree, y):
    """The loss of the only row, which is the sum over its units."""
    return tree if y.numel() == 1 else SumOfRow(tree)


def _differences_of(step, tree, each):
    """(errors, bounds) of ℓ, a number for each element of y or for each row."""
    expected, bounds = _expected_of(step, tree, each)
    return errors_of(each.reshape(expected.shape), expected, bounds), bounds


def _expected_of(step, tree, each):
    """(what the tree gives, the bounds of its rounding), a number for each element of y or for each row."""
    y = step.values[TARGET.name]
    found = expected_of(tree, each, y.shape, step.symbols)
    return found if each.numel() == y.numel() else tuple(tensor.sum(1) for tensor in found)


def _all_close(computed, each):
    pairs = zip(computed.reshape(-1).tolist(), each.double().reshape(-1).tolist(), strict=True)
    return all(is_close(value, true) for value, true in pairs)
