"""Find one wrong entry of a Jacobian that is too large to look at: halve the directions, follow the larger error."""

import torch

from torchbp.testing.numerics import finite_differences
from torchbp.testing.numerics.gradients import analytical_rows
from torchbp.testing.numerics.jacobian import vector_function
from torchbp.testing.numerics.tensors import as_real, weights


def find_wrong_entry(subject, block):
    """(output, entry, analytical, numerical, error) of one wrong entry."""
    function, argument = vector_function(subject), block.argument
    at_0 = function(subject.point)
    source = torch.Generator().manual_seed(subject.options.seed)
    row = weights((len(at_0),), source) * at_0.isfinite()
    gradient = analytical_rows(subject, [row], [argument])[0][0]
    size = as_real(subject.point[argument]).numel()
    column_weights = weights((size,), source)
    noise = subject.precision.input_unit * at_0.abs()

    def change(point):
        return (function(point) - at_0).nan_to_num(0, 0, 0)

    def slopes(direction):
        line = finite_differences.along(change, subject.point, argument, direction)
        step, _ = finite_differences.steps(subject.point[argument], direction)
        return finite_differences.slopes(line, step, noise)

    def error_of_entries(half):
        direction = torch.zeros_like(column_weights)
        direction[half] = column_weights[half]
        return abs(float(row @ slopes(direction).value - gradient @ direction))

    column = _bisect(torch.arange(size), error_of_entries)
    found = slopes(column)

    def error_of_outputs(half):
        part = torch.zeros_like(row)
        part[half] = row[half]
        return abs(float(analytical_rows(subject, [part], [argument])[0][0, column] - part @ found.value))

    output = _bisect(torch.arange(len(at_0)), error_of_outputs)
    analytical = analytical_rows(subject, [output], [argument])[0][0, column]
    return output, column, float(analytical), float(found.value[output]), float(found.error[output])


def _bisect(candidates, error):
    while len(candidates) > 1:
        middle = len(candidates) // 2
        candidates = max((candidates[:middle], candidates[middle:]), key=error)
    return int(candidates[0])
