"""A comparison of Jacobians in words: what is wrong, where, and why."""

import math

import torch

from torchbp.testing.diagnosis.evidence import evidence_of
from torchbp.testing.diagnosis.likely_cause import REVERSED, ZERO, digits, likely_cause, ratio_of
from torchbp.testing.numerics.bisection import find_wrong_entry
from torchbp.testing.report import WRONG_GRADIENT, Defect, Skipped
from torchbp.testing.subject.naming import entry, listing, six_digits, unlike

_APPROXIMATE = 1e-2  # relative error of a gradient that is meant to be one
_STATED_ERROR = 100.0  # in tolerances: the report states the chance that a larger error is missed


def judged(comparison):
    """Raise a Defect if a gradient is wrong, Skipped if nothing can be decided; else return what was compared."""
    subject = comparison.subject
    any_gradient = any(bool(block.analytical.any()) for block in comparison.blocks)  # else the graph is cut for all
    wrong = [b for b in comparison.blocks if bool(b.wrong.any()) and not (any_gradient and is_excused(subject, b))]
    if wrong:
        wrong.sort(key=_largest_relative_error, reverse=True)
        names = listing(subject.arguments[block.argument].name for block in wrong)
        subject_of = "the gradient of" if len(wrong) == 1 else "the gradients of"
        rest = [_one_line(subject, comparison, block) for block in wrong[1:4]]
        message = f"{subject_of} {names} {'is' if len(wrong) == 1 else 'are'} wrong"
        raise Defect(message, [*_lines_on_argument(subject, comparison, wrong[0]), *rest], WRONG_GRADIENT)
    return _what_was_compared(subject, comparison)


def is_excused(subject, block):
    """Whether it is a zero gradient of an argument that was assumed to be differentiable."""
    return subject.arguments[block.argument].assumed and not bool(block.analytical.any())


def _largest_relative_error(block):
    gap = (block.analytical - block.numerical).abs() / (block.numerical.abs() + block.tolerance)
    return float(torch.where(block.wrong, gap, 0.0).nan_to_num(torch.inf).max())


def _row_name(subject, row):
    """The output entry that a row of the Jacobian belongs to."""
    for i in subject.outputs.compared:
        shape, name = subject.outputs.shapes[i], subject.outputs.names[i]
        pair = subject.outputs.dtypes[i].is_complex
        size = shape.numel() * (2 if pair else 1)
        if row < size:
            return entry(name, row // 2, shape) + (".real", ".imag")[row % 2] if pair else entry(name, row, shape)
        row -= size
    raise IndexError(row)


def _column_name(argument, column):
    shape = argument.tensor.shape
    if argument.tensor.is_complex():
        return entry(argument.name, column // 2, shape) + (".real", ".imag")[column % 2]
    return entry(argument.name, column, shape)


def _entry_line(subject, block, row, column, a, n, error):
    where = f"d {_row_name(subject, row)} / d {_column_name(subject.arguments[block.argument], column)}"
    ratio = f", ratio {six_digits(a / n)}" if a and n and six_digits(a / n) != "1" else ""
    analytical, numerical = unlike(a, n)
    return f"  {where}: analytical {analytical}, numerical {numerical} ± {error:.1g}{ratio}"


def _point_line(argument, column):
    flat = argument.tensor.reshape(-1)
    value = complex(flat[column // 2]) if argument.tensor.is_complex() else six_digits(float(flat[column]))
    return f"  at {_column_name(argument, column)} = {value}"


def _lines_on_argument(subject, comparison, block):
    """How many derivatives are wrong, the worst, the next few, and the likely cause."""
    argument = subject.arguments[block.argument]
    rows, columns = comparison.rows, block.columns
    if all(isinstance(d, int) for d in [*rows, *columns]):
        gap = torch.where(block.wrong, (block.analytical - block.numerical).abs(), -1.0).nan_to_num(torch.inf)
        count = int(block.wrong.sum())
        lines = [_count_wrong(block, f"derivatives by {argument.name}") + ("; the worst:" if count > 1 else ":")]
        for k, place in enumerate(gap.flatten().argsort(descending=True).tolist()[: min(count, 4)]):
            r, c = divmod(place, len(columns))
            numbers = [float(m[r, c]) for m in (block.analytical, block.numerical, block.error)]
            lines.append(_entry_line(subject, block, rows[r], columns[c], *numbers))
            if k == 0:
                lines.append(_point_line(argument, columns[c]))
        if len(lines) > 3:
            lines.insert(3, "the next:")
    else:
        row, column, *numbers = find_wrong_entry(subject, block)
        lines = [f"random projections show that derivatives by {argument.name} are wrong; one of them:"]
        lines += [_entry_line(subject, block, row, column, *numbers), _point_line(argument, column)]
    likely = _cause_of(subject, comparison, block)
    lines += [f"likely cause: {likely}"] if likely else []
    return lines + _if_it_is_meant(block, likely)


def _if_it_is_meant(block, likely):
    """A line on the option for a gradient that is no derivative of the function, or is one to a few digits."""
    gap = (block.analytical - block.numerical).abs()[block.wrong] / block.numerical.abs()[block.wrong].clamp(min=1e-300)
    if bool(block.analytical.any()) and (not bool(block.numerical.any()) or likely == REVERSED):
        return [
            "if this gradient is deliberate, as of a straight-through estimator: give surrogate=, a function whose "
            "derivative it is"
        ]
    if gap.numel() and float(gap.max()) < _APPROXIMATE:
        return [
            f"if it is an approximation on purpose, as of a continuous adjoint: give rtol={2 * float(gap.max()):.0e}"
        ]
    return []


def _cause_of(subject, comparison, block):
    evidence = evidence_of(subject, comparison, block)
    if evidence is not None:
        return likely_cause(evidence)
    if not bool(block.analytical.any()):
        return ZERO
    if not bool(block.analytical.isfinite().all()):
        return "not finite: a division by zero or an overflow in the backward"
    found = ratio_of(block.analytical, block.numerical, block.tolerance + 3 * block.error)
    if found is None or block.numerical.numel() < 2:
        return None
    r, error = found
    return REVERSED if abs(r + 1) <= error else f"{digits(r, error)} times the right value everywhere"


def _one_line(subject, comparison, block):
    likely = _cause_of(subject, comparison, block)
    return f"{subject.arguments[block.argument].name}: {likely or _count_wrong(block, 'derivatives')}"


def _count_wrong(block, what):
    """“3 of 16 derivatives by weight are wrong”."""
    count = int(block.wrong.sum())
    return f"{count} of {block.wrong.numel()} {what} {'is' if count == 1 else 'are'} wrong"


def chance_to_miss(rows, columns, k):
    """An upper bound of the chance that no projection shows a matrix of errors E whose greatest entry is k tolerances.

    The weights have a density of at most ½, so |Σ wᵢeᵢ| < t has at most the chance t / max |eᵢ|, whatever the other
    errors are. For n projections r of the outputs, max |rᵀE| / max |E| is less than x with at most the chance xⁿ; then
    m projections c of the argument miss with (1/kx)ᵐ:  ∫₀¹ n xⁿ⁻¹ min(1, (kx)⁻ᵐ) dx.
    """
    n, m = (sum(not isinstance(d, int) for d in directions) for directions in (rows, columns))
    if not n or not m:
        return k ** -(n + m) if n or m else 0.0
    if n == m:
        return k**-n * (1 + n * math.log(k))
    return k**-n + n / (n - m) * (k**-m - k**-n)


def _bound_of_projections(comparison):
    """What the projections may have missed, in the columns that are certain."""
    tolerance, chance = 0.0, 0.0
    for block in comparison.blocks:
        is_open = block.uncertain.any(dim=0)
        columns = [column for column, left in zip(block.columns, is_open.tolist(), strict=True) if not left]
        if not columns:
            return "compared in random projections, of which some show nothing"
        certain = (block.tolerance + 3 * block.error)[:, ~is_open]
        tolerance = max(tolerance, float(certain.nan_to_num(0, 0, 0).max()))
        chance = max(chance, chance_to_miss(comparison.rows, columns, _STATED_ERROR))
    return (
        f"compared in random projections: an error of {_STATED_ERROR * tolerance:.1g} in one entry would be missed "
        f"with a probability of at most {chance:.1g}"
    )


def _what_was_compared(subject, comparison):
    """Where, and how well."""
    notes, blocks = [], comparison.blocks
    if comparison.moved:
        notes.append("at a point nearby, since too little can be decided at the one given")
    if not comparison.whole:
        notes.append(_bound_of_projections(comparison))
    kinks = sum(int(block.at_kink.sum()) for block in blocks)
    if kinks:
        lie = "entry lies" if kinks == 1 else "entries lie"
        notes.append(f"{kinks} {lie} at a kink, with the gradient between the slopes to either side")
    if any(block.symmetric for block in blocks):
        notes.append("right for a symmetric argument that stays symmetric")
    zero = [subject.arguments[b.argument].name for b in blocks if is_excused(subject, b) and bool(b.wrong.any())]
    if zero:
        notes.append(
            f"no gradient for {listing(zero)}, {'which has' if len(zero) == 1 else 'which have'} no requires_grad"
        )
    total = sum(block.wrong.numel() for block in blocks)
    uncertain = sum(int(block.uncertain.sum()) for block in blocks)
    if uncertain:
        errors = torch.cat([block.error[block.uncertain] for block in blocks])
        scale = max(float(block.numerical.abs().nan_to_num(0, 0, 0).max()) for block in blocks)
        worst = f"{float(errors.max()):.1g}"
        words = f"{uncertain} of {total} entries are inconclusive: numerical error up to {worst}"
        if uncertain == total and not float(errors.min()) < blocks[0].max_error * scale:
            raise Skipped("; ".join([*notes, words]))
        all_alike = f"right to within {worst}, the error of the numerical derivatives; a smaller mistake is not seen"
        notes.append(words if uncertain < total else all_alike)
    return "; ".join(notes)
