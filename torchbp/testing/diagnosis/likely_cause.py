"""The likely cause of a wrong gradient, from the analytical and the numerical Jacobian of one argument.

Each guess is a function of an `Evidence` that returns a line or None; the first that fits is reported. A guess must
explain every known entry: no guess is better than a false one.
"""

import math

import torch

from torchbp.testing.diagnosis import jacobian_patterns, wrong_region
from torchbp.testing.diagnosis.missing_factor import missing_factor
from torchbp.testing.diagnosis.wrong_term import wrong_term
from torchbp.testing.subject.naming import entry, six_digits

REVERSED = "the sign is wrong everywhere"
ZERO = "zero everywhere: the graph is cut (detach, .data, .item(), numpy, a copy), or None is returned"


def likely_cause(evidence):
    """The first guess that fits; None if none does, or if the error is so small that it may fit by chance."""
    if evidence.same(evidence.analytical, evidence.numerical):
        return None
    for guess, choices, fitted in GUESSES:
        found = guess(evidence) if not choices or evidence.is_more_than_chance(choices, fitted) else None
        if found:
            return found
    return None


def _not_finite(e):
    bad = ~e.analytical.isfinite()
    if not bool(bad.any()):
        return None
    columns = bad.any(dim=0).nonzero().flatten().tolist()
    kind = "nan" if bool(e.analytical.isnan().any()) else "inf"
    if e.complex:
        return f"{kind}: a division by zero or an overflow in the backward"
    where = entry(e.argument, columns[0], e.argument_shape)
    value = e.values.get(e.argument)
    at = f" = {six_digits(float(value[columns[0]]))}" if value is not None else ""
    return f"{kind} where {where}{at}: a division by zero or an overflow in the backward"


def _zero(e):
    return ZERO if float(e.analytical.abs().max()) <= 1e-12 * float(e.numerical.abs().max()) else None


def _constant_ratio(e):
    found = ratio_of(e.analytical, e.numerical, e.slack)
    if found is None:
        return None
    r, error = found

    def close(a, b):
        return abs(a - b) <= max(error, 1e-5 * b)

    if close(-r, 1):
        return REVERSED
    wrong_sign = "the sign is wrong, and " if r < 0 else ""
    r = abs(r)
    for size, what in _sizes(e):
        for right, times, hint in ((size, f"{size} times", "mean"), (1 / size, f"1/{size} of", "sum")):
            if close(r, right):
                other = "sum" if hint == "mean" else "mean"
                missing = f" (or a factor {'½' if hint == 'mean' else '2'} is missing)" if size == 2 else ""
                words = f"{wrong_sign}{times} the right value, and {size} is {what}"
                return f"{words}: a {hint} in the forward, a {other} in the backward?{missing}"
    if close(r, 2):
        return f"{wrong_sign}twice the right value everywhere: a factor ½ is missing, or a term is added twice"
    if close(r, 0.5):
        return f"{wrong_sign}half of the right value everywhere: a factor 2 or one of two equal terms is missing"
    if not e.is_more_than_chance(1, fitted=1):  # any one entry is some number times another
        return None
    constant = "a constant factor is missing or should not be there"
    return f"{wrong_sign}{digits(r, error)} times the right value everywhere: {constant}"


def ratio_of(analytical, numerical, slack):
    """(r, its error) if every entry is r times the right one within the slack, and r is not 1; else None."""
    known = analytical.isfinite() & numerical.isfinite() & (numerical.abs() > 10 * slack)
    if not bool(known.any()):
        return None
    errors = torch.where(known, (1 + (analytical / numerical).abs()) * slack / numerical.abs(), torch.inf)
    k = int(errors.argmin())  # the entry with the smallest relative error
    r, error = float((analytical / numerical).reshape(-1)[k]), float(errors.reshape(-1)[k])
    fits = (analytical - r * numerical).abs() <= (1 + abs(r)) * slack + error * numerical.abs()
    if not bool(fits.all()) or abs(r - 1) <= max(10 * error, 1e-5) or error > 0.1 * abs(r):
        return None
    return r, error


def digits(r, error):
    """The number, with its certain digits."""
    certain = math.floor(math.log10(abs(r) / max(error, 1e-12 * abs(r))))
    return f"{r:.{min(max(certain, 1), 6)}g}"


def _sizes(e):
    """(size, what it is): the sizes of dimensions, then the numbers of entries."""
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


# (guess, how many possibilities it tries, how many numbers it fits to the entries); 0: it reports what is plain to see
GUESSES = (
    (_not_finite, 0, 0),
    (_zero, 0, 0),
    (_constant_ratio, 10, 0),
    (jacobian_patterns.conj, 1, 0),
    (jacobian_patterns.transposed, 2, 0),
    (jacobian_patterns.jacobian_transposed, 1, 0),
    (jacobian_patterns.kernel_not_flipped, 2, 0),
    (jacobian_patterns.not_centred, 4, 0),
    (jacobian_patterns.not_projected, 4, 0),
    (jacobian_patterns.swapped, 5, 0),
    (missing_factor, 1e4, 0),
    (jacobian_patterns.permuted, 1e4, 0),
    (jacobian_patterns.summed, 10, 0),
    (jacobian_patterns.signs, 2, 0),
    (jacobian_patterns.diagonal_only, 0, 0),
    (jacobian_patterns.extra_term, 3, 1),
    (wrong_term, 1e4, 1),
    (wrong_region.one_index, 0, 0),
    (wrong_region.partly_zero, 0, 0),
    (wrong_region.one_branch, 0, 0),
)
