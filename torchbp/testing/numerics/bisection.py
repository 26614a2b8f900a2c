"""A wrong entry of a Jacobian that is too large to look at: halve the directions, and follow the greater error."""

import torch

from torchbp.testing.numerics import finite_differences as numerical
from torchbp.testing.numerics.jacobian import analytical_rows, vector
from torchbp.testing.numerics.tensors import as_real, weights


def located(subject, block):
    """(output, entry, analytical, numerical, error) of one wrong entry."""
    function, index = vector(subject), block.argument
    at_0 = function(subject.point)
    source = torch.Generator().manual_seed(subject.options.seed)
    row = weights((len(at_0),), source) * at_0.isfinite()
    gradient = analytical_rows(subject, [row], [index])[0][0]
    size = as_real(subject.point[index]).numel()
    column_weights = weights((size,), source)

    def slopes(direction):
        line = numerical.Line(
            lambda point: (function(point) - at_0).nan_to_num(0, 0, 0), subject.point, index, direction
        )
        return numerical.slopes(line, line.step, subject.eps * at_0.abs())

    def gap_of_entries(half):
        direction = torch.zeros_like(column_weights)
        direction[half] = column_weights[half]
        return abs(float(row @ slopes(direction).value - gradient @ direction))

    column = halved(torch.arange(size), gap_of_entries)
    found = slopes(column)

    def gap_of_outputs(half):
        part = torch.zeros_like(row)
        part[half] = row[half]
        return abs(float(analytical_rows(subject, [part], [index])[0][0, column] - part @ found.value))

    place = halved(torch.arange(len(at_0)), gap_of_outputs)
    analytical = analytical_rows(subject, [place], [index])[0][0, column]
    return place, column, float(analytical), float(found.value[place]), float(found.error[place])


def halved(candidates, gap):
    while len(candidates) > 1:
        middle = len(candidates) // 2
        candidates = max((candidates[:middle], candidates[middle:]), key=gap)
    return int(candidates[0])
