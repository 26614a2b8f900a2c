"""The checks: every record against the modules, torch's or the user's, autograd and torch.optim; every derivative
against its definition; and every equation against the tensor that it is of."""

import torch

from torchbp.explanation.comparison.difference_quotients import DifferenceQuotients
from torchbp.explanation.comparison.references import by_torch, share
from torchbp.explanation.notation import equations
from torchbp.explanation.notation.quantities import d
from torchbp.explanation.notation.records import Check
from torchbp.explanation.notation.rounding import carried_error, rounding_of

ROUNDING = 100  # times eps · size: how much two orders of the same operations may differ
EXAMPLE = "its equation with these numbers"


def checked(step):
    """The records with their checks. A record whose equation does not give its tensor, in whatever element, has a check
    more, which fails; one that agrees has none of it."""
    references, exact = by_torch(step), by_torch(step, torch.float64)
    bounds = _bounds_of(step, references)
    derivatives = {}
    for record in step.records:
        if record.stage == "backward":
            rounded = (references[record.name] - exact[record.name]).abs().max()
            derivatives[record.by] = record.tensor, bounds[record.name] + 2 * rounded
    quotients = DifferenceQuotients(step, exact).checks(derivatives)
    records = []
    for record in step.records:
        bound, checks = bounds[record.name], []
        if record.stage == "backward":
            checks.append(quotients[record.by])
        if not record.example.agrees:  # the rule's equation is not what its formulas compute
            error = abs(record.example.exact - record.example.value)
            checks.append(Check(EXAMPLE, error, record.example.bound))
        elif record.name in step.disagreements:
            checks.append(step.disagreements[record.name])
        records.append(record.checked(references[record.name], bound, *checks))
    return records


def _bounds_of(step, references):
    """How far rounding may bring each element from torch's: 100 eps, times the tensor's largest number or 1. The error
    of a derivative goes through the same chain rule as the derivative, without cancellation:

        E(∂L/∂Z) = 100 eps (|∂L/∂Z| + 1/N) of the answers, then  E(∂L/∂q) = E(∂L/∂p) |∂p/∂q|

    So the bound of a gradient that has vanished has vanished too, up to 100 times the least number of its dtype.
    """
    bounds, started = {}, (d(step.criterion.answer), d(step.chain.output))
    derivatives = {record.name for record in step.records if record.stage == "backward"}
    for record in step.records:
        reference = references[record.name]
        eps = torch.finfo(reference.dtype).eps
        if record.quantity in started:
            if record.quantity == d(step.criterion.answer) and step.bounded.any():
                eps = torch.finfo(torch.float32).eps  # torch's bound 1e−12 has that precision
            bound = ROUNDING * eps * (reference.abs() + share(step))
        elif record.stage == "backward":
            above, _ = record.chain
            names = [name for name in record.sides[0].symbols() if name in derivatives]
            carried = (carried_error(record.sides[0], n, bounds[n], step.symbols) for n in names)
            bound = sum(carried) + ROUNDING * eps * torch.finfo(reference.dtype).tiny
            slope = equations.local_factor(record.sides[0], above.name)
            if record.elementwise and slope is not None and record.by.name in slope.symbols():
                # a slope that is computed from the input may be a small difference of large numbers
                size = rounding_of(slope, step.symbols)
                bound = bound + ROUNDING * eps * size * step.values[above.name].abs()
        else:
            numbers = reference[reference.isfinite()].abs()
            bound = ROUNDING * eps * max(1.0, numbers.max().item() if numbers.numel() else 0.0)
        if record.name in step.written_out:  # differences on the way, such as that to the mean, may cancel
            bound = bound + ROUNDING * eps * rounding_of(step.written_out[record.name], step.symbols)
        bounds[record.name] = bound
    return bounds
