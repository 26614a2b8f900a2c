"""Equations in LaTeX's mathematics."""

from torchbp.explanation.notation.quantities import Derivative, Quantity
from torchbp.explanation.render.printer import ATOM, SUM, Printer, strength
from torchbp.ops.expressions import Sum

GREEK = {"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "η": "eta", "θ": "theta"}
GREEK |= {"λ": "lambda", "μ": "mu", "σ": "sigma", "ρ": "rho", "τ": "tau", "φ": "varphi"}
RELATIONS = {"≥": r"\ge", "≤": r"\le"}
OPERATORS = {"⋆": r" \star ", "⋆ᵀ": r" \star^\top "}


class LaTeX(Printer):
    plus, minus, sign, dot, elementwise, space = " + ", " - ", "-", r" \cdot ", r" \circ ", r" \, "
    comma = ", "

    def row(self, parts):
        return "".join(parts)

    def bracket(self, text):
        return rf"\left({text}\right)"

    def square(self, text):
        return rf"\left[{text}\right]"

    def words(self, text):
        return rf"\text{{{text}}}"

    def operator(self, sign):
        return OPERATORS[sign]

    def function(self, function):
        return function.latex or rf"\mathrm{{{function.name}}}"

    def quotient(self, tree, of_numbers):
        above, below = (self._node(side, of_numbers) for side in (tree.numerator, tree.denominator))
        return rf"\frac{{{above}}}{{{below}}}"

    def power(self, tree, of_numbers):
        base = self._node(tree.base, of_numbers)
        if strength(tree.base) < ATOM or isinstance(tree.base, Derivative):
            base = self.bracket(base)
        elif isinstance(tree.base, Quantity) and tree.base.prime:
            base = f"{{{base}}}"
        return f"{base}^{{{self._node(tree.exponent, of_numbers)}}}"

    def transpose(self, tree, of_numbers):
        text = self._node(tree.operand, of_numbers)
        return f"{{{text}}}^\\top" if isinstance(tree.operand, Quantity) else rf"{self.bracket(text)}^\top"

    def sum_over(self, tree, of_numbers):
        inside = self._node(tree.operand, of_numbers or not tree.rows)
        return rf"\sum{'_n' if tree.rows else ''} {self.bracket(inside) if isinstance(tree.operand, Sum) else inside}"

    def sum_of_row(self, tree, of_numbers):
        inside = self._node(tree.operand, of_numbers)
        return rf"\sum_k {self.bracket(inside) if isinstance(tree.operand, Sum) else inside}"

    def indicator(self, tree, of_numbers):
        left, right = (self._at_least(side, SUM, of_numbers) for side in (tree.left, tree.right))
        return rf"\left[{left} {RELATIONS.get(tree.relation, tree.relation)} {right}\right]"

    def constant(self, tree, of_numbers):
        return number(f"{tree.value:.12g}")

    def value(self, tree, of_numbers):
        return number(tree.text())

    def rest(self, tree, of_numbers):
        return rf"\left[\text{{{tree.count} more: }}{number(tree.text())}\right]"

    def symbol(self, tree, of_numbers):
        return letters(tree.name)

    def quantity(self, tree, of_numbers=False):
        number = "" if tree.number is None else f"_{{{tree.number}}}"
        return f"{letters(tree.letter)}{number}{chr(39) * tree.prime}"

    def derivative(self, tree, of_numbers=False):
        of, by = (self.quantity(q) for q in (tree.of, tree.by))
        return rf"\frac{{\partial {of}}}{{\partial {by}}}"


def letters(name):
    r"""A name with LaTeX's Greek letters: β1 as {\beta}1."""
    if name in GREEK:
        return f"\\{GREEK[name]}"
    return "".join(f"{{\\{GREEK[c]}}}" if c in GREEK else c for c in name)


def number(text):
    """1.5e−05 as 1.5 · 10⁻⁵."""
    mantissa, _, exponent = text.replace("−", "-").partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa


latex = LaTeX()
