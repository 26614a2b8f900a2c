"""What y and the loss's weights leave out of a line: products with a 0 among them, and factors of 1."""

from dataclasses import replace

from torchbp.explanation.notation.digits import compute, in_float64, leaves_of
from torchbp.explanation.notation.equations import rebuilt
from torchbp.explanation.notation.numbers import Value
from torchbp.ops.expressions import Negative, Number, Product, Quotient, Sum

ZERO = Number(0)


def without_zeros(tree):
    """The tree without the products that have a 0 among the fixed numbers, and without such factors of 1."""
    if not tree.children():
        return tree
    children = [without_zeros(child) for child in tree.children()]
    if not isinstance(tree, Sum):
        children = [_positive(child) for child in children]
    if isinstance(tree, Product):
        if 0 in map(fixed_value, children) or any(child is ZERO for child in children):
            return ZERO
        children = [child for child in children if fixed_value(child) != 1] or [Number(1)]
    elif isinstance(tree, Sum):
        children = [child for child in children if child is not ZERO] or [ZERO]
    elif isinstance(tree, Negative) and children[0] is ZERO:
        return ZERO
    elif isinstance(tree, Quotient):
        if children[0] is ZERO or fixed_value(children[0]) == 0:
            return ZERO
        if fixed_value(children[1]) == 1:
            return children[0]
    return children[0] if isinstance(tree, Product | Sum) and len(children) == 1 else rebuilt(tree, children)


def _positive(tree):
    """3 for −(−3)."""
    if isinstance(tree, Negative) and isinstance(tree.operand, Value) and tree.operand.value < 0:
        return replace(tree.operand, value=-tree.operand.value)
    return tree


def fixed_value(tree):
    """The value of a tree whose quantities are all fixed; None of another one, and of one without quantities."""
    leaves = leaves_of(tree)
    if any(isinstance(leaf, Value) for leaf in leaves) and all(
        isinstance(leaf, Number) or (isinstance(leaf, Value) and leaf.fixed) for leaf in leaves
    ):
        return compute(tree, lambda leaf: leaf.value, in_float64)
    return None
