"""Equations as lines of NumPy: dZ1 = dA1 * A1 * (1 - A1)."""

import math

from torchbp.explanation.notation.quantities import Derivative, Quantity
from torchbp.ops.expressions import (
    Call,
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
    Symbol,
    Transpose,
)
from torchbp.ops.places import Beside, Collect, Contraction, FirstLargest, Folded, Gather

SUM, SIGN, PRODUCT, FACTOR, POWER, ATOM = range(6)  # how strongly a piece of code holds together
FUNCTIONS = {  # the name in equations: (its name in the code, its definition)
    "σ": ("sigma", "def sigma(z):\n    return 1 / (1 + np.exp(-z))"),
    "softplus": ("softplus", "def softplus(z):\n    return np.logaddexp(z, 0)"),
    "erf": ("erf", "erf = np.vectorize(math.erf, otypes=[float])"),
    "ln": ("np.log", ""),
    "max": ("np.maximum", ""),
    "min": ("np.minimum", ""),
    "sgn": ("np.sign", ""),
    **{name: (f"np.{name}", "") for name in ("tanh", "exp", "sin", "cos", "sqrt", "abs")},
}
FUNCTIONS["collected"] = (
    "collected",
    "def collected(a, index, count):\n    out = np.zeros((len(a), count))\n"
    "    np.add.at(out, (slice(None), index), a)\n    return out",
)
FUNCTIONS["contraction"] = (
    "contraction",
    "def contraction(a, b, places, count):\n    sums, left, right = np.array(places).T\n"
    "    return collected(a[:, left] * b[..., right], sums, count)",
)
FUNCTIONS["largest"] = (
    "largest",
    "def largest(a, groups):\n    out = np.zeros_like(a)\n    for group in range(max(groups) + 1):\n"
    "        places = np.flatnonzero(np.equal(groups, group))\n"
    "        out[np.arange(len(a)), places[a[:, places].argmax(axis=1)]] = 1\n    return out",
)
MOST_PLACES = 30_000  # that a line of code lists
RELATIONS = {"≥": ">=", "≤": "<="}
SYMBOLS = {"α": "lr"}


class NoCode(Exception):
    """A function or a name that has no code in NumPy."""


def name_of(quantity: Quantity | Derivative) -> str:
    """The variable of a quantity: W1_new of W1′, and dZ1 of dL/dZ1, as in the founding article."""
    if isinstance(quantity, Derivative):
        return f"d{name_of(quantity.by)}"
    name = f"{quantity.letter}{'' if quantity.number is None else quantity.number}"
    if not name.isidentifier():
        raise NoCode(name)
    return f"{name}_new" if quantity.prime else name


def functions(trees):
    """The names of the functions in trees, as the equations call them, each once."""
    found = {}
    for tree in trees:
        if isinstance(tree, Call):
            found[tree.function.name] = True
        if isinstance(tree, Collect | Contraction):
            found["collected"] = True
        if isinstance(tree, Contraction):
            found["contraction"] = True
        if isinstance(tree, FirstLargest):
            found["largest"] = True
        found |= dict.fromkeys(functions(tree.children()))
    return list(found)


def definitions(names):
    """The definitions of those functions that NumPy does not have."""
    return [FUNCTIONS[name][1] for name in names if name in FUNCTIONS and FUNCTIONS[name][1]]


def code(tree):
    """The tree in NumPy.

    Raises:
        NoCode: a function, a name or a node that has no code.
    """
    return _code(tree)[0]


def _code(tree):
    """(text, how strongly it holds together)."""
    for cls in type(tree).__mro__:
        if cls in WRITERS:
            return WRITERS[cls](tree)
    raise NoCode(type(tree).__name__)


def _at_least(level, tree):
    text, found = _code(tree)
    return text if found >= level else f"({text})"


def _sum(tree):
    text = _at_least(SIGN, tree.terms[0])
    for term in tree.terms[1:]:
        negative = isinstance(term, Negative)
        text += f" {'-' if negative else '+'} {_at_least(PRODUCT, term.operand if negative else term)}"
    return text, SUM


def _product(tree):
    first, *others = tree.factors
    return " * ".join([_at_least(PRODUCT, first), *(_at_least(FACTOR, other) for other in others)]), PRODUCT


def _matrix_product(tree):
    return f"{_at_least(FACTOR, tree.left)} @ {_at_least(FACTOR, tree.right)}", PRODUCT


def _number(tree):
    text = repr(tree.value)
    if not text.lstrip("-")[0].isdigit():
        raise NoCode(text)  # inf and nan
    return text, SIGN if text.startswith("-") else ATOM


def _call(tree):
    if tree.function.name not in FUNCTIONS:
        raise NoCode(tree.function.name)
    return f"{FUNCTIONS[tree.function.name][0]}({', '.join(map(code, tree.arguments))})", ATOM


def _indicator(tree):
    relation = RELATIONS.get(tree.relation, tree.relation)
    return f"np.where({code(tree.left)} {relation} {code(tree.right)}, 1.0, 0.0)", ATOM


def _gather(tree):
    inside, index = _at_least(ATOM, tree.operand), tree.index
    along = list(range(index[0], index[-1] + 1)) == list(index)
    if tree.shape is None:
        return f"{inside}[:, {f'{index[0]}:{index[-1] + 1}' if along else list(index)}]", ATOM
    inside = f"{inside}.reshape(-1)"
    inside = inside if along and index[0] == 0 else f"{inside}[{list(index)}]"
    return inside if len(tree.shape) == 1 else f"{inside}.reshape{tree.shape}", ATOM


def _collect(tree):
    return _summed(tree, f"collected({code(tree.operand)}, {list(tree.index)}, {math.prod(tree.shape)})")


def _contraction(tree):
    if len(tree.places) > MOST_PLACES:
        raise NoCode(f"a sum of {len(tree.places):,} products")
    right = code(tree.right) if tree.rows else f"{_at_least(ATOM, tree.right)}.reshape(-1)"
    return _summed(tree, f"contraction({code(tree.left)}, {right}, {list(tree.places)}, {math.prod(tree.shape)})")


def _summed(tree, text):
    return (f"{text}.sum(axis=0).reshape{tuple(tree.shape)}" if tree.rows else text), ATOM


WRITERS = {
    Gather: _gather,
    Folded: lambda tree: (f"{_at_least(ATOM, tree.operand)}.reshape(-1, {tree.columns})", ATOM),
    FirstLargest: lambda tree: (f"largest({code(tree.operand)}, {list(tree.groups)})", ATOM),
    Collect: _collect,
    Contraction: _contraction,
    Beside: lambda tree: (f"np.concatenate([{code(tree.left)}, {code(tree.right)}], axis=1)", ATOM),
    Sum: _sum,
    Negative: lambda tree: (f"-{_at_least(PRODUCT, tree.operand)}", SIGN),
    Product: _product,
    MatrixProduct: _matrix_product,
    Quotient: lambda tree: (
        f"{_at_least(PRODUCT, tree.numerator)} / {_at_least(FACTOR, tree.denominator)}",
        PRODUCT,
    ),
    Power: lambda tree: (f"{_at_least(ATOM, tree.base)} ** {_at_least(ATOM, tree.exponent)}", POWER),
    Transpose: lambda tree: (f"{_at_least(ATOM, tree.operand)}.T", ATOM),
    SumOver: lambda tree: (f"np.sum({code(tree.operand)}{', axis=0' if tree.rows else ''})", ATOM),
    SumOfRow: lambda tree: (f"np.sum({code(tree.operand)}, axis=1, keepdims=True)", ATOM),
    Indicator: _indicator,
    Call: _call,
    Number: _number,
    Quantity: lambda tree: (name_of(tree), ATOM),
    Derivative: lambda tree: (name_of(tree), ATOM),
    Symbol: lambda tree: (SYMBOLS.get(tree.name, tree.name), ATOM),
}
