"""Is a term of the derivative missing, too much, or another than it should be, such as z for σ(z) in σ(z) − y?"""

from itertools import product

from torchbp.testing.diagnosis.factors import FACTORS, aligned, usable


def wrong_term(e):
    """A − N is a multiple of a simple function of one known number, or of the difference of two such functions."""
    extra = e.analytical - e.numerical
    if e.complex or not bool(extra.isfinite().all()) or not bool((extra.abs() > 10 * e.slack).any()):
        return None
    support = ((e.numerical.abs() > 10 * e.slack) | (e.analytical.abs() > 10 * e.slack)).to(extra.dtype)
    terms = [
        (text.format(name), function(table) * support)
        for name, values in e.values.items()
        for table in aligned(e, values)
        for text, function in FACTORS.items()
    ]
    terms = [(said, term) for said, term in terms if usable(term)]
    for said, term in terms:
        scale = multiple(extra, term)
        if scale and e.same(extra, scale * term):
            return f"a term with {said} is missing, too much, or has the wrong sign"
    few = terms[:60]
    for (said, term), (other, right) in product(few, few):
        if said != other:
            scale = multiple(extra, term - right)
            if scale and e.same(extra, scale * (term - right)):
                return (
                    f"a term is {said} where {other} belongs"
                    if scale > 0
                    else f"a term with {said} or {other} is another"
                )
    return None


def multiple(extra, term):
    """The factor between the two, from the entry where the term is greatest; 0 if there is none."""
    k = int(term.abs().reshape(-1).argmax())
    largest = float(term.reshape(-1)[k])
    return float(extra.reshape(-1)[k]) / largest if abs(largest) > 1e-9 else 0.0
