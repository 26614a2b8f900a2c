"""How far rounding may move the value of an equation, and how far an error of one quantity moves it."""

import functools
import operator

import torch

from torchbp.explanation.notation.equations import CONDITIONS, rebuilt
from torchbp.ops.expressions import (
    Call,
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
from torchbp.ops.places import Beside, Multilinear


def carried_error(tree, name, error, values):
    """The largest error of each element of a tree that is linear in the quantity `name`, if that has errors of up to
    `error`."""
    if name not in tree.symbols():
        value = tree.evaluate(values)
        return abs(value) if isinstance(value, int | float) else value.abs()
    carry = lambda node: carried_error(node, name, error, values)  # noqa: E731
    if not tree.children():
        return error
    if isinstance(tree, Negative):
        return carry(tree.operand)
    if isinstance(tree, Sum):
        first, *rest = (carry(term) for term in tree.terms if name in term.symbols())
        return sum(rest, first)
    if isinstance(tree, Product):
        first, *rest = map(carry, tree.factors)
        for factor in rest:
            first = first * factor
        return first
    if isinstance(tree, Call):  # a linear function, such as a mean
        return tree.function.compute(*map(carry, tree.arguments)).abs()
    if isinstance(tree, MatrixProduct):
        return carry(tree.left) @ carry(tree.right)
    if isinstance(tree, Transpose):
        return carry(tree.operand).mT
    if isinstance(tree, SumOver):
        return carry(tree.operand).sum(0) if tree.rows else carry(tree.operand).sum()
    if isinstance(tree, SumOfRow):
        return carry(tree.operand).sum(-1, keepdim=True)
    if isinstance(tree, Quotient):
        return carry(tree.numerator) / carry(tree.denominator)
    if isinstance(tree, Beside):
        sides = [(name in side.symbols()) * carry(side) for side in tree.children()]
        return tree.compute(*sides)
    if isinstance(tree, Multilinear):
        return tree.compute(*map(carry, tree.children()))
    raise TypeError(f"explain cannot bound the rounding of {type(tree).__name__} in a derivative's equation")


def rounding_of(tree, values):
    """The size of a tree, as `rounded_size` defines it, for each element."""
    return value_and_rounding(tree, values)[1]


def value_and_rounding(tree, values):
    """(value, size) of a tree, for each element."""

    def leaf(tree):
        value = _evaluate(tree, values)
        return value, value.abs()

    return rounded_size(tree, leaf)


def rounded_size(tree, leaf):
    """(value, size), tensors. Rounding changes the value by about eps · size: the size is the value that the tree has
    when no terms cancel. `leaf` returns both for a node without children."""
    if not tree.children() or isinstance(tree, CONDITIONS):
        return leaf(tree)
    values, sizes = zip(*(rounded_size(child, leaf) for child in tree.children()), strict=True)
    if isinstance(tree, Negative):
        return -values[0], sizes[0]
    if isinstance(tree, Sum):
        return sum(values[1:], values[0]), sum(sizes[1:], sizes[0])
    if isinstance(tree, Product):
        return functools.reduce(operator.mul, values), functools.reduce(operator.mul, sizes)
    if isinstance(tree, MatrixProduct):
        return operator.matmul(*values), operator.matmul(*sizes)
    if isinstance(tree, Transpose):
        return values[0].mT, sizes[0].mT
    if isinstance(tree, SumOver):
        return tuple(tensor.sum(-2) if tree.rows else tensor.sum() for tensor in (values[0], sizes[0]))
    if isinstance(tree, SumOfRow):
        return tuple(tensor.sum(-1, keepdim=True) for tensor in (values[0], sizes[0]))
    if isinstance(tree, Multilinear):
        return tree.compute(*values), tree.compute(*sizes)
    constant = [_is_constant(child) for child in tree.children()]
    arguments = [value.detach().clone().requires_grad_(not c) for value, c in zip(values, constant, strict=True)]
    with torch.enable_grad():
        names = [str(place) for place in range(len(arguments))]
        value = rebuilt(tree, map(Symbol, names)).evaluate(dict(zip(names, arguments, strict=True)))
        moving = [argument for argument in arguments if argument.requires_grad]
        slopes = torch.autograd.grad(value.sum(), moving, allow_unused=True, materialize_grads=True) if moving else ()
    sizes = [size for size, c in zip(sizes, constant, strict=True) if not c]
    moved = sum((slope.abs() * size for slope, size in zip(slopes, sizes, strict=True)), torch.zeros_like(value))
    if moved.shape != value.shape:  # of a function of several elements, such as a mean
        moved = moved.sum()
    return value.detach(), value.detach().abs() + moved


def _is_constant(tree):
    """Whether there is nothing but constants in a tree. They are not rounded: the 2 in Z², which has no slope by it."""
    children = tree.children()
    return all(map(_is_constant, children)) if children else isinstance(tree, Number)


def _evaluate(tree, values):
    """The tree's value as a tensor, also where the tree has no symbol."""
    value = tree.evaluate(values)
    return value if isinstance(value, torch.Tensor) else torch.tensor(float(value), dtype=torch.float64)
