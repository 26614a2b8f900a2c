"""Equations as MathML, which browsers draw and read aloud."""

from html import escape

from torchbp.explanation.notation.quantities import Derivative, Quantity
from torchbp.explanation.render.plain_text import plain
from torchbp.explanation.render.printer import ATOM, SUM, Printer, strength, whole


class MathML(Printer):
    """shapes: name → shape; each quantity that has one stands over its size."""

    plus, minus, sign, dot, elementwise, comma = (f"<mo>{sign}</mo>" for sign in "+−−·∘,")
    space = '<mspace width=".2em"/>'

    def __init__(self, shapes=None):
        self.shapes = shapes or {}

    def row(self, parts):
        return "".join(parts)

    def bracket(self, inside):
        return f"<mrow><mo>(</mo>{inside}<mo>)</mo></mrow>"

    def square(self, inside):
        return f"<mrow><mo>[</mo>{inside}<mo>]</mo></mrow>"

    def words(self, text):
        return f"<mtext>{escape(text)}</mtext>"

    def operator(self, sign):
        raised = sign.removesuffix("ᵀ")
        return f"<mo>{sign}</mo>" if raised == sign else f"<msup><mo>{raised}</mo><mi>T</mi></msup>"

    def function(self, function):
        return f"<mi>{escape(function.name)}</mi>"

    def quotient(self, tree, of_numbers):
        above, below = (self._node(side, of_numbers) for side in (tree.numerator, tree.denominator))
        return _fraction(above, below)

    def power(self, tree, of_numbers):
        exponent = self._node(tree.exponent, of_numbers)
        if isinstance(tree.base, Quantity) and whole(tree.exponent) is not None:
            return self._sized(_letter(tree.base, exponent), tree.base)
        base = self._node(tree.base, of_numbers)
        if strength(tree.base) < ATOM or isinstance(tree.base, Derivative):
            base = self.bracket(base)
        return f"<msup><mrow>{base}</mrow><mrow>{exponent}</mrow></msup>"

    def transpose(self, tree, of_numbers):
        above = "<mi>T</mi>"
        if isinstance(tree.operand, Quantity):
            return self._sized(_letter(tree.operand, above), tree.operand, turned=True)
        if isinstance(tree.operand, Derivative):
            drawn = f"<msup>{self.bracket(_derivative(tree.operand))}{above}</msup>"
            return self._sized(drawn, tree.operand, turned=True)
        return f"<msup>{self.bracket(self._node(tree.operand, of_numbers))}{above}</msup>"

    def sum_over(self, tree, of_numbers):
        inside = self._at_least(tree.operand, ATOM - 1, of_numbers or not tree.rows)
        return f"{'<munder><mo>∑</mo><mi>n</mi></munder>' if tree.rows else '<mo>∑</mo>'}{inside}"

    def sum_of_row(self, tree, of_numbers):
        inside = self._at_least(tree.operand, ATOM - 1, of_numbers)
        return f"<munder><mo>∑</mo><mi>k</mi></munder>{inside}"

    def indicator(self, tree, of_numbers):
        left, right = (self._at_least(side, SUM, of_numbers) for side in (tree.left, tree.right))
        return f"<mrow><mo>[</mo>{left}<mo>{escape(tree.relation)}</mo>{right}<mo>]</mo></mrow>"

    def constant(self, tree, of_numbers):
        return f"<mn>{plain(tree)}</mn>"

    def value(self, tree, of_numbers):
        return f"<mn>{tree.text()}</mn>"

    def rest(self, tree, of_numbers):
        return f"<mtext>{plain(tree)}</mtext>"

    def symbol(self, tree, of_numbers):
        return f"<mi>{escape(tree.name)}</mi>"

    def quantity(self, tree, of_numbers=False):
        return self._sized(_letter(tree), tree)

    def derivative(self, tree, of_numbers=False):
        return self._sized(_derivative(tree), tree)

    def _sized(self, drawn, tree, turned=False):
        shape = self.shapes.get(tree.name)
        if not shape:
            return drawn
        size = "×".join(map(str, reversed(shape) if turned else shape))
        return f'<munder>{drawn}<mtext class="size">{size}</mtext></munder>'


def _letter(quantity, above=""):
    """Z₁ or W₁′; `above` is what stands at the upper right."""
    above = f"<mrow>{'<mo>′</mo>' if quantity.prime else ''}{above}</mrow>" if quantity.prime or above else ""
    letter = f"<mi>{escape(quantity.letter)}</mi>"
    if quantity.number is None:
        return f"<msup>{letter}{above}</msup>" if above else letter
    base = f"{letter}<mn>{quantity.number}</mn>"
    return f"<msubsup>{base}{above}</msubsup>" if above else f"<msub>{base}</msub>"


def _derivative(tree):
    above, below = (f"<mi>∂</mi>{_letter(quantity)}" for quantity in (tree.of, tree.by))
    return _fraction(above, below)


def _fraction(above, below):
    return f"<mfrac><mrow>{above}</mrow><mrow>{below}</mrow></mfrac>"


def drawn_quantity(tree):
    """A quantity or a derivative within a line of text."""
    return f"<math>{MathML()(tree)}</math>"


def drawn_equation(left, sides, alttext, shapes=None):
    """`left` and what it is equal to, each further side in a line of its own. With `shapes`, name → shape, the first
    line has the sizes of its quantities beneath them."""
    equals = "<mo>=</mo>"
    lines = [f"{MathML(shapes)(left)}{equals}{MathML(shapes)(sides[0])}"]
    lines += [f"{equals}{MathML(shapes)(side)}" for side in sides[1:]]
    if len(lines) == 1:
        (inside,) = lines
    else:
        inside = f"<mtable>{''.join(f'<mtr><mtd>{line}</mtd></mtr>' for line in lines)}</mtable>"
    return f'<math display="block" alttext="{escape(alttext)}">{inside}</math>'


def drawn_chain_rule(left, factors, alttext):
    """∂L/∂W1 = ∂L/∂Z1 · ∂Z1/∂W1."""
    printer = MathML()
    right = "<mo>·</mo>".join(map(printer, factors))
    return f'<math display="block" alttext="{escape(alttext)}">{printer(left)}<mo>=</mo>{right}</math>'
