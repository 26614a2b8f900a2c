"""A formula that a learner types, read into an expression: `dA1 * A1 * (1 - A1)`, `dZ1ᵀ X`, `Z1.T @ X / N`.

Products are written as on paper or as in Python: `∘`, `·` and `*` multiply element by element; a space, or `@`,
multiplies matrices, and numbers such as α. `ᵀ` and `.T` transpose, `Σₙ` and `sum` add up the rows, `Σₖ` the units of a
row, and `Σ` all.
"""

import re

from torchbp.explanation.render.printer import is_tensor
from torchbp.ops import expressions
from torchbp.ops.expressions import (
    Function,
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
    Transpose,
)

FUNCTIONS = {f.name: f for f in vars(expressions).values() if isinstance(f, Function)}
FUNCTIONS |= {"sigmoid": expressions.sigma, "log": expressions.ln}
SUMS = {"Σₙ": lambda tree: SumOver(tree, rows=True), "Σₖ": SumOfRow, "Σ": SumOver}
SUMS["sum"] = SUMS["Σₙ"]
RELATIONS = {">": ">", "<": "<", ">=": "≥", "<=": "≤", "≥": "≥", "≤": "≤"}
RAISED = {"²": 2, "³": 3}
BRACKETS = {"(": ")", "[": "]"}
NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:e[-−+]?\d+)?"
MARKS = r"\.T\b|\*\*|[<>]=|[-−+*·∘@/^ᵀ²³()\[\],<>≤≥]"


class FormulaError(ValueError):
    """What is typed is no formula of the known quantities."""


def read_formula(text, names):
    """The expression that a text stands for. `names` has {text: quantity} of all that it may use.

    Raises:
        FormulaError: a name that is not known, or a bracket or a factor that is missing.
    """
    return _Reader(text.replace("∂", "d").replace("'", "′"), names).formula()


class _Reader:
    """Reads from left to right; each method reads what holds together more strongly than the one before it."""

    def __init__(self, text, names):
        self.names, self.of_numbers = names, False
        words = "|".join(map(re.escape, sorted([*names, *FUNCTIONS, *SUMS], key=len, reverse=True)))
        self.tokens, at = [], 0
        pattern = re.compile(rf"\s*({NUMBER}|[NK](?=[NK]*(?![A-Za-z0-9_′]))|(?:{words})(?![A-Za-z0-9_′])|{MARKS}|$)")
        while at < len(text):
            found = pattern.match(text, at)
            if not found:
                unknown = re.match(r"\s*([^\W_]+|\S)", text[at:])[1]
                raise FormulaError(f"{unknown!r} is not known; the formula may use {', '.join(self._shown())}")
            self.tokens.append(found[1])
            at = found.end()
        self.tokens = [token for token in self.tokens if token]

    def _shown(self):
        return dict.fromkeys(name for tree in self.names.values() for name in tree.symbols())

    def _next(self, *wanted):
        """The next token if it is one of those that are wanted; None otherwise."""
        return self.tokens.pop(0) if self.tokens and self.tokens[0] in wanted else None

    def formula(self):
        tree = self._sum()
        if self.tokens:
            raise FormulaError(f"there is nothing that {self.tokens[0]!r} belongs to")
        return tree

    def _sum(self):
        sign = self._next("-", "−", "+")
        term = self._product()
        terms = [Negative(term) if sign in ("-", "−") else term]
        while sign := self._next("-", "−", "+"):
            term = self._product()
            terms.append(term if sign == "+" else Negative(term))
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))

    def _product(self):
        tree = self._side_by_side()
        while mark := self._next("*", "·", "∘", "/", "@"):
            right = self._side_by_side()
            if mark == "@":
                tree = MatrixProduct(tree, right)
            else:
                tree = Quotient(tree, right) if mark == "/" else Product((tree, right))
        return tree

    def _side_by_side(self):
        tree = self._power()
        while self.tokens and (self.tokens[0] in ("(", "[") or re.match(r"[\w.Σ∂]", self.tokens[0])):
            right = self._power()
            matrices = not self.of_numbers and is_tensor(tree) and is_tensor(right)
            tree = MatrixProduct(tree, right) if matrices else Product((tree, right))
        return tree

    def _power(self):
        tree = self._atom()
        while mark := self._next("ᵀ", ".T", "²", "³", "^", "**"):
            if mark in ("ᵀ", ".T"):
                tree = Transpose(tree)
            else:
                tree = Power(tree, Number(RAISED[mark]) if mark in RAISED else self._exponent())
        return tree

    def _exponent(self):
        sign = self._next("-", "−")
        tree = self._atom()
        return Negative(tree) if sign else tree

    def _atom(self):
        if not self.tokens:
            raise FormulaError("the formula ends too early")
        token = self.tokens.pop(0)
        if token in self.names:
            return self.names[token]
        if token in SUMS:
            return SUMS[token](self._power() if token == "sum" else self._summed(token == "Σ"))
        if token in FUNCTIONS:
            return FUNCTIONS[token](*self._arguments())
        if re.fullmatch(NUMBER, token):
            return Number(float(token.replace("−", "-")) if re.search(r"[.e]", token) else int(token))
        if token in BRACKETS:
            left = self._sum()
            relation = self._next(*RELATIONS)
            tree = Indicator(left, RELATIONS[relation], self._sum()) if relation else left
            self._close(BRACKETS[token])
            return tree
        raise FormulaError(f"{token!r} stands where a quantity or a number belongs")

    def _summed(self, all_elements):
        """The product after a Σ. In a sum of all elements each product is one of numbers."""
        before, self.of_numbers = self.of_numbers, all_elements
        tree = self._product()
        self.of_numbers = before
        return tree

    def _arguments(self):
        if not self._next("("):
            return [self._power()]
        found = [self._sum()]
        while self._next(","):
            found.append(self._sum())
        self._close(")")
        return found

    def _close(self, bracket):
        if not self._next(bracket):
            raise FormulaError(f"a bracket is missing: {bracket!r}")
