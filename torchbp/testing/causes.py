"""The likely cause of a wrong gradient, from the analytical and the numerical Jacobian of one argument.

Each guess is a function of one `Evidence` that returns a line or None; the first that fits is reported. A guess must
explain every entry that is known, so that none is better than a false one.
"""

from torchbp.testing import regions, structure
from torchbp.testing.factors import missing_factor
from torchbp.testing.names import entry, number
from torchbp.testing.terms import wrong_term

ZERO = "zero everywhere: the graph is cut (detach, .data, .item(), numpy, a copy), or None is returned"


def cause(evidence):
    """The first guess that fits, or None; of an error too small to tell a guess from the truth, None."""
    if evidence.same(evidence.analytical, evidence.numerical):
        return None
    for guess in GUESSES:
        found = guess(evidence)
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
    return ZERO if not bool(e.analytical.any()) else None


def constant_ratio(e):
    large = e.numerical.abs() > 1e-4 * e.numerical.abs().max()
    if not bool(large.any()):
        return None
    r = float((e.analytical[large] / e.numerical[large]).median())
    if r == 0 or close(r, 1) or not e.same(e.analytical, r * e.numerical):
        return None
    if close(r, -1):
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
    return f"{wrong_sign}{number(r)} times the right value everywhere: a constant factor is missing or too much"


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


def close(a, b):
    return abs(a - b) <= 1e-5 * abs(b)


GUESSES = (
    not_finite,
    zero,
    constant_ratio,
    structure.conj,
    structure.transposed,
    structure.jacobian_transposed,
    structure.swapped,
    missing_factor,
    structure.permuted,
    structure.summed,
    structure.signs,
    structure.diagonal_only,
    structure.extra_term,
    wrong_term,
    regions.one_index,
    regions.partly_zero,
    regions.part,
)
