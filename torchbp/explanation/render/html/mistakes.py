"""The usual mistakes in an equation, each with the tree that makes it: by its number the page knows what went wrong.

dL/dZ1 = dL/dA1 ∘ A1 ∘ (1 − A1)      without a factor: dL/dA1 alone
W1′ = W1 − α dL/dW1                  with the wrong sign: W1 + α dL/dW1
"""

from torchbp.explanation.equations import ALPHA, K, N, rebuilt
from torchbp.explanation.render.plain_text import partial
from torchbp.ops.expressions import Negative, Number, Product, Quotient, Sum

SIGN = "The sign is wrong."


def mistakes(record):
    """[(a sentence, the tree that gives the wrong number)] of all sides of a record's equation; the sign comes last."""
    found = [mistake for side in record.sides for mistake in _inside(side)]
    return [*found, (SIGN, Negative(record.sides[-1]))]


def _inside(tree):
    """The mistakes in a tree, each the whole tree with one part of it wrong."""
    yield from _at(tree)
    children = tree.children()
    for place, child in enumerate(children):
        for said, wrong in _inside(child):
            yield said, rebuilt(tree, [wrong if i == place else c for i, c in enumerate(children)])


def _at(tree):
    """The mistakes at the root of a tree."""
    if isinstance(tree, Quotient):
        if set(tree.denominator.symbols()) & {N.name, K.name}:
            yield f"The division by {partial(tree.denominator)} is missing: L is a mean.", tree.numerator
        elif tree.numerator != Number(1):
            yield f"The division by {partial(tree.denominator)} is missing.", tree.numerator
    if isinstance(tree, Product):
        for place, factor in enumerate(tree.factors):
            rest = [f for i, f in enumerate(tree.factors) if i != place]
            yield f"{_named(factor)} is missing.", rest[0] if len(rest) == 1 else Product(tuple(rest))
    if isinstance(tree, Sum):
        for place, term in enumerate(tree.terms):
            rest = [t for i, t in enumerate(tree.terms) if i != place]
            inside = term.operand if isinstance(term, Negative) else term
            if any(t.symbols() for t in rest):
                yield f"The term {partial(inside)} is missing.", rest[0] if len(rest) == 1 else Sum(tuple(rest))
            if place:
                turned = inside if isinstance(term, Negative) else Negative(inside)
                yield (
                    f"The sign of {partial(inside)} is wrong.",
                    Sum((*tree.terms[:place], turned, *tree.terms[place + 1 :])),
                )


def _named(factor):
    if factor == ALPHA:
        return "The learning rate α"
    if isinstance(factor, Quotient) and set(factor.denominator.symbols()) & {N.name, K.name}:
        return f"The factor {partial(factor)} of the mean"
    return f"The factor {partial(factor)}"
