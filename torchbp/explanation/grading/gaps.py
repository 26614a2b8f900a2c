"""A formula with a gap: dL/dZ1 = dL/dA1 ∘ ▢ ∘ (1 − A1). What belongs there, and what is offered beside it.

A gap is made from the equation's tree, and the wrong answers from the usual mistakes in what stood there.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from torchbp.explanation.grading.mistakes import Mistake, agrees, fitted, mistakes, turned, value_of, with_child
from torchbp.explanation.notation.quantities import Derivative, Quantity
from torchbp.explanation.render.printer import is_tensor
from torchbp.ops.expressions import (
    Call,
    Expression,
    Indicator,
    MatrixProduct,
    Negative,
    Number,
    Power,
    Product,
    Quotient,
    Sum,
    SumOfRow,
    SumOver,
)
from torchbp.ops.places import Multilinear

MOST_GAPS, MOST_WRONG = 3, 4
NEAR = 1e-6  # of two numbers: a choice that gives the right value is no wrong one


class Hidden(Quantity):
    """What is printed in the place of the part: the sign of a gap."""

    name = "▢"


@dataclass(frozen=True)
class Gap:
    """A part of an equation that is hidden.

    tree: the equation's right side with `Hidden` in it. part: what belongs there. wrong: what is offered beside it.
    """

    tree: Expression
    part: Expression
    wrong: tuple[Mistake, ...]

    def filled(self, part: Expression) -> Expression:
        """The equation's right side with a part in the gap."""
        return _filled(self.tree, part)


def gaps(tree: Expression, shapes: dict, values: dict) -> list[Gap]:
    """The gaps of an equation, the largest parts first; none where a text does not say all that its tree does.

    Args:
        tree: the right side. shapes: {quantity: shape} of all that may stand in a gap. values: {name: tensor}.
    """
    if takes_places(tree):
        return []
    right, found = value_of(tree, values), []
    for part, above, put in _hideable(tree):
        hidden = put(Hidden("▢", 0 if is_tensor(part) else None))
        wrong = {}
        for mistake in _others(part, above, shapes):
            value = value_of(_filled(hidden, mistake.tree), values)
            if value is None or not agrees(fitted(value, right), right, NEAR):
                wrong.setdefault(mistake.tree, mistake)
            if len(wrong) == MOST_WRONG:
                break
        if len(wrong) > 1:
            found.append(Gap(hidden, part, tuple(wrong.values())))
        if len(found) == MOST_GAPS:
            break
    return found


def takes_places(tree: Expression) -> bool:
    """Whether an equation takes numbers by their places in a row, which its text does not say."""
    return isinstance(tree, Multilinear) or any(map(takes_places, tree.children()))


def known_shapes(explanation, records) -> dict:
    """{quantity: shape} of the inputs, the parameters, and the quantities of some records."""
    chain = explanation.chain
    given = [chain.steps[0].takes, *(q for step in chain.steps for _, q in step.parameters)]
    shapes = {record.quantity: tuple(record.tensor.shape) for record in records}
    return shapes | {q: tuple(explanation.values[q.name].shape) for q in given}


def _hideable(root) -> Iterator:
    """(part, the node above it, a function that puts another part in its place), level by level."""
    level = [(root, None, lambda new: new)]
    while level:
        deeper = []
        for node, above, put in level:
            inside = isinstance(above, GAPPED) and not isinstance(node, Negative)
            if inside or (above is None and isinstance(node, ALONE)):
                yield node, above, put
            for place, child in enumerate(node.children()):
                if not isinstance(child, Number):
                    under = above if isinstance(node, Negative) and above else node
                    deeper.append((child, under, functools.partial(_put_in, put, node, place)))
        level = deeper


def _put_in(put, node, place, new):
    return put(with_child(node, place, new))


GAPPED = Product | MatrixProduct | Quotient | Sum
ALONE = Call | SumOver | SumOfRow | Power | Indicator  # the whole right side is a part


def _others(part, above, shapes):
    """What might stand in the place of a part: its transpose, a quantity that is near, a mistake in it, or nothing."""
    inside = [mistake for mistake in mistakes(part, shapes) if _is_plain(mistake.tree) or not _is_plain(part)]
    near = [mistake for mistake in inside if isinstance(mistake.tree, Quantity | Derivative)]
    if isinstance(above, MatrixProduct):
        yield Mistake(turned(part), (turned(part), " stands where ", part, " belongs"))
    yield from near[:2]
    if isinstance(above, Product):
        yield Mistake(Number(1), ("the factor ", part, " is missing"))
    yield from inside


def _is_plain(tree):
    """Whether there is no number such as ln 10 in it, and no product with a number or 1/α."""
    if isinstance(tree, Number):
        return tree.value == int(tree.value)
    if isinstance(tree, Product):
        parts = [factor.numerator if isinstance(factor, Quotient) else factor for factor in tree.factors]
        if any(isinstance(part, Number) for part in parts):
            return False
    return all(map(_is_plain, tree.children()))


def _filled(tree, part):
    if isinstance(tree, Hidden):
        return part
    for place, child in enumerate(tree.children()):
        new = _filled(child, part)
        if new is not child:
            return with_child(tree, place, new)
    return tree
