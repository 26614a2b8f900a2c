"""The likely cause of a wrong gradient, from the analytical and the numerical Jacobian of one argument.

Each guess is a function of one `Evidence` that returns a line or None; the first that fits is reported. A guess must
explain every entry that is known, so that none is better than a false one.
"""

import math

import torch

from torchbp.testing.diagnosis import regions, structure
from torchbp.testing.diagnosis.factors import missing_factor
from torchbp.testing.diagnosis.terms import wrong_term
from torchbp.testing.subject.naming import entry, number

ZERO = "zero everywhere: the graph is cut (detach, .data, .item(), numpy, a copy), or None is returned"


def cause(evidence):
    """The first guess that fits, or None; of an error too small, or entries too few to tell it from chance, None."""
    if evidence.same(evidence.analytical, evidence.numerical):
        return None
    for guess, choices, fitted in GUESSES:
        found = guess(evidence) if not choices or evidence.tells(choices, fitted) else None
        if found:
            return found
    return None


def not_finite(e):
    bad = ~e.analytical.isfinite()
    if not bool(bad.any()):
        return None
    columns = bad.any(dim=0).nonzero().flatten().tolist()
    kind = "nan" if bool(e.analytical.isnan().any()) else "inf"
    if e.complex:
        return f"{kind}: a division by zero or an overflow in the backward"
    where = entry(e.argument, columns[0], e.argument_shape)
    value = e.values.get(e.argument)
    at = f" = {number(float(value[columns[0]]))}" if value is not None else ""
    return f"{kind} where {where}{at}: a division by zero or an overflow in the backward"


def zero(e):
    """But for what rounding leaves."""
    return ZERO if float(e.analytical.abs().max()) <= 1e-12 * float(e.numerical.abs().max()) else None


def constant_ratio(e):
    found = ratio_of(e.analytical, e.numerical, e.slack)
    if found is None:
        return None
    r, error = found

    def close(a, b):
        return abs(a - b) <= max(error, 1e-5 * b)

    if close(-r, 1):
        return "the sign is wrong everywhere"
    wrong_sign = "the sign is wrong, and " if r < 0 else ""
    r = abs(r)
    for size, what in sizes_of(e):
        half = " (or a factor ½ is missing)" if size == 2 else ""
        twice = " (or a factor 2 is missing)" if size == 2 else ""
        if close(r, size):
            return (
                f"{wrong_sign}{size} times the right value, {what}: a mean in the forward, a sum in the backward?{half}"
            )
        if close(r, 1 / size):
            return (
                f"{wrong_sign}1/{size} of the right value, {what}: a sum in the forward, a mean in the backward?{twice}"
            )
    if close(r, 2):
        return f"{wrong_sign}twice the right value everywhere: a factor ½ is missing, or a term is added twice"
    if close(r, 0.5):
        return f"{wrong_sign}half of the right value everywhere: a factor 2 or one of two equal terms is missing"
    if not e.tells(1, fitted=1):  # any one entry is some number times another
        return None
    return f"{wrong_sign}{digits(r, error)} times the right value everywhere: a constant factor is missing or too much"


def ratio_of(analytical, numerical, slack):
    """(r, its error) where every entry is r times the right one within the slack, and r is not 1; else None."""
    known = analytical.isfinite() & numerical.isfinite() & (numerical.abs() > 10 * slack)
    if not bool(known.any()):
        return None
    errors = torch.where(known, (1 + (analytical / numerical).abs()) * slack / numerical.abs(), torch.inf)
    k = int(errors.argmin())  # the entry that is known best
    r, error = float((analytical / numerical).reshape(-1)[k]), float(errors.reshape(-1)[k])
    fits = (analytical - r * numerical).abs() <= (1 + abs(r)) * slack + error * numerical.abs()
    if not bool(fits.all()) or abs(r - 1) <= max(10 * error, 1e-5) or error > 0.1 * abs(r):
        return None
    return r, error


def digits(r, error):
    """The number with the digits that are certain."""
    certain = math.floor(math.log10(abs(r) / max(error, 1e-12 * abs(r))))
    return f"{r:.{min(max(certain, 1), 6)}g}"


def sizes_of(e):
    """(a size, what it is): dimensions before products of dimensions."""
    sizes = {}
    shapes = {"out": e.output_shape, **e.shapes}
    for name, shape in shapes.items():
        for dim, size in enumerate(shape):
            sizes.setdefault(size, f"the size of dimension {dim} of {name}")
    for name, shape in shapes.items():
        total = 1
        for size in shape:
            total *= size
        sizes.setdefault(total, f"the number of entries of {name}")
    return [(size, what) for size, what in sizes.items() if size > 1]


# of each guess, how many it tries and how many numbers it fits to the entries; 0 where it says what is there to see
GUESSES = (
    (not_finite, 0, 0),
    (zero, 0, 0),
    (constant_ratio, 10, 0),
    (structure.conj, 1, 0),
    (structure.transposed, 2, 0),
    (structure.jacobian_transposed, 1, 0),
    (structure.swapped, 5, 0),
    (missing_factor, 1e4, 0),
    (structure.permuted, 1e4, 0),
    (structure.summed, 10, 0),
    (structure.signs, 2, 0),
    (structure.diagonal_only, 0, 0),
    (structure.extra_term, 3, 1),
    (wrong_term, 1e4, 1),
    (regions.one_index, 0, 0),
    (regions.partly_zero, 0, 0),
    (regions.part, 0, 0),
)
