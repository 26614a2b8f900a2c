"""Guess that a term of the derivative is missing, should not be there, or is wrong, such as z for σ(z) in σ(z) − y."""

from itertools import product

from torchbp.testing.diagnosis.missing_factor import FACTORS, broadcast, is_usable


def wrong_term(e):
    """A − N is a multiple of a simple function of one known number, or of the difference of two such functions."""
    extra = e.analytical - e.numerical
    if e.complex or not bool(extra.isfinite().all()) or not bool((extra.abs() > 10 * e.slack).any()):
        return None
    support = ((e.numerical.abs() > 10 * e.slack) | (e.analytical.abs() > 10 * e.slack)).to(extra.dtype)
    terms = [
        (text.format(name), function(table) * support)
        for name, values in e.values.items()
        for table in broadcast(e, values)
        for text, function in FACTORS.items()
    ]
    terms = [(words, term) for words, term in terms if is_usable(term)]
    for words, term in terms:
        scale = _multiple(extra, term)
        if scale and e.same(extra, scale * term):
            return f"a term with {words} is missing, should not be there, or has the wrong sign"
    few = terms[:60]
    for (words, term), (other, right) in product(few, few):
        if words != other:
            scale = _multiple(extra, term - right)
            if scale and e.same(extra, scale * (term - right)):
                return (
                    f"a term is {words} where {other} belongs"
                    if scale > 0
                    else f"a term in {words} or {other} is wrong"
                )
    return None


def _multiple(extra, term):
    """extra / term, at the entry where the term is greatest; 0 if there is none."""
    k = int(term.abs().reshape(-1).argmax())
    largest = float(term.reshape(-1)[k])
    return float(extra.reshape(-1)[k]) / largest if abs(largest) > 1e-9 else 0.0
