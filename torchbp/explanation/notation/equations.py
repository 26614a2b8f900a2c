"""The rules' expressions with the quantities of one step in them, and what is computed from an equation."""

from dataclasses import replace

from torchbp.explanation.notation.quantities import d
from torchbp.ops.expressions import (
    Call,
    Expression,
    Indicator,
    MatrixProduct,
    Negative,
    Number,
    Product,
    Quotient,
    Sum,
    SumOfRow,
    SumOver,
    Symbol,
    Transpose,
)
from torchbp.ops.places import Contraction, FirstLargest, Multilinear

CONDITIONS = Indicator | FirstLargest  # their value is 1 or 0, and rounding does not change it
N, K, ALPHA = map(Symbol, ("N", "K", "α"))  # rows, outputs, the learning rate


def in_step(step, tree, prime=False):
    """An expression of the rule in the quantities of the step, without a missing parameter, such as a bias.

    Raises:
        TypeError: the expression does not say what a missing parameter changes.
    """
    return _present(step, tree).replace(nodes(step, prime))


def parts_of(step, prime=False):
    """(quantity, equation, what it is) of each part on the way to what a layer gives, such as the mean of a row."""
    found = nodes(step, prime)
    return [
        (found[symbol], _present(step, tree).replace(found), words) for symbol, (tree, words) in step.trees_of_parts()
    ]


def backward_parts_of(step):
    """(∂L/∂part, equation, why) of each part on the way back."""
    found = nodes(step)
    return [(found[symbol], _present(step, tree).replace(found), why) for symbol, (tree, why) in step.backward_trees()]


def written_out(step, tree, prime=False):
    """A tree of a rule with the equations of its parts in the place of their symbols: with all that is rounded."""
    parts = {}
    for symbol, (part, _) in (*step.trees_of_parts(), *step.backward_trees()):
        parts[symbol] = _present(step, part).replace(parts)
    return _present(step, tree).replace(parts).replace(nodes(step, prime))


def products(tree):
    """How many products the convolutions of an equation add up in each row."""
    here = len(tree.places) if isinstance(tree, Contraction) else 0
    return here + sum(map(products, tree.children()))


def _present(step, tree):
    """The tree without the missing parameters: the terms that are one, and such factors."""
    for parameter in step.missing:
        symbol = Symbol(parameter.symbol)
        if symbol.name not in tree.symbols():
            continue
        tree = _without(tree, symbol)
        if tree is None or symbol.name in tree.symbols():
            raise TypeError(
                f"layer {step.layer!r} has no {parameter.name}, and its equation does not say what it computes without"
            )
    return tree


def _without(tree, symbol):
    """The tree without the terms that are the symbol, and without such factors of a product element by element. None
    where nothing is left. Where it is anything else, such as a side of a matrix product, the tree still has it."""
    if tree == symbol:
        return None
    if symbol.name not in tree.symbols():
        return tree
    children = [_without(child, symbol) for child in tree.children()]
    if isinstance(tree, SumOver):
        return tree if children == [None] else SumOver(children[0], tree.rows)
    if isinstance(tree, Multilinear) and children == [None]:
        return None
    if isinstance(tree, Indicator):
        return tree
    if None not in children:
        return rebuilt(tree, children)
    if not isinstance(tree, Sum | Product):
        return tree
    children = [child for child in children if child is not None]
    return rebuilt(tree, children) if len(children) > 1 else children[0] if children else None


def nodes(step, prime=False):
    """The quantity, or the number, for each symbol of a rule of a layer or an activation."""
    takes = step.takes.after() if prime and step.takes.number is not None else step.takes
    gives = step.gives.after() if prime else step.gives
    found = {"Z": takes, "A": gives} if step.is_activation else {"X": takes, "Z": gives, "dZ": d(step.gives)}
    found |= {p.symbol: quantity.after() if prime else quantity for p, quantity in step.parameters}
    found |= {step.rule.drawn: step.drawn} if step.drawn else {}
    found |= {symbol: part.after() if prime else part for symbol, part in step.parts.items()}
    found |= {f"d{symbol}": d(part) for symbol, part in step.parts.items()}
    found |= {symbol: constant for symbol, (constant, _) in step.constants.items()}
    return found | {name: Number(value) for name, value in step.options.items() if isinstance(value, int | float)}


def _pulled_sign(tree):
    """(whether the tree is negative, the tree without its sign). The sign of a factor is moved before the product."""
    if isinstance(tree, Negative):
        return True, tree.operand
    if isinstance(tree, Product):
        factors = [factor.operand if isinstance(factor, Negative) else factor for factor in tree.factors]
        return sum(isinstance(factor, Negative) for factor in tree.factors) % 2 == 1, Product(tuple(factors))
    return False, tree


def reduced(tree, count):
    """L of the loss of each element: (1/count) Σ, or Σ where count is None."""
    negative, tree = _pulled_sign(tree)
    total = SumOver(tree) if count is None else Quotient(Number(1), count) * SumOver(tree)
    return Negative(total) if negative else total


def local_factor(tree, name):
    """What multiplies the quantity `name` in the tree, a factor of the chain rule: X in (dZ)ᵀ X, and 1 in Σₙ dZ. None
    where the tree is not one product."""
    if tree.symbols() == (name,) and not tree.children():
        return Number(1)
    if isinstance(tree, SumOver | Transpose | Negative):
        factor = local_factor(tree.operand, name)
        return Negative(factor) if factor is not None and isinstance(tree, Negative) else factor
    if isinstance(tree, Quotient) and name not in tree.denominator.symbols():
        factor = local_factor(tree.numerator, name)
        return None if factor is None else factor / tree.denominator
    if not isinstance(tree, Product | MatrixProduct):
        return None
    sides = tree.factors if isinstance(tree, Product) else (tree.left, tree.right)
    (inside, *more), others = _split(sides, name)
    factor = None if more else local_factor(inside, name)
    if factor is None or isinstance(tree, Product):
        for other in others:
            factor = None if factor is None else other if factor == Number(1) else factor * other
        return factor
    return others[0] if factor == Number(1) else None


def _split(nodes, name):
    inside = [node for node in nodes if name in node.symbols()]
    return inside or [None, None], [node for node in nodes if name not in node.symbols()]


def indicators(tree):
    """The conditions in a tree, such as [A > 0]: where one changes, the tree's value jumps."""
    found = [tree] if isinstance(tree, CONDITIONS) else []
    return found + [inside for child in tree.children() for inside in indicators(child)]


def is_elementwise(tree):
    """Whether each element of the result depends only on the elements at the same place."""
    return not isinstance(tree, MatrixProduct | SumOver | SumOfRow | Multilinear | FirstLargest) and all(
        map(is_elementwise, tree.children())
    )


def sums_rows(tree):
    """Whether there is a sum over the units of each row in it."""
    return isinstance(tree, SumOfRow) or any(map(sums_rows, tree.children()))


def rebuilt(tree, children):
    """A node of the same kind with other children. A sum within a sum, or a product within a product, is flattened."""
    if isinstance(tree, Call):
        return Call(tree.function, tuple(children))
    if not isinstance(tree, Sum | Product):
        names = [name for name in tree.__dataclass_fields__ if isinstance(getattr(tree, name), Expression)]
        return replace(tree, **dict(zip(names, children, strict=True)))  # with its rows, or its relation
    kind = type(tree)
    return kind(
        tuple(
            part
            for c in children
            for part in ((c.terms if kind is Sum else c.factors) if isinstance(c, kind) else (c,))
        )
    )
