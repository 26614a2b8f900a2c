"""The analytical Jacobian beside the numerical one: whole where it is small, else in samples and projections."""

from dataclasses import dataclass, field

import torch

from torchbp.testing import numerical
from torchbp.testing.gradient import backward, generator
from torchbp.testing.judgement import Block, assembled, stairs, symmetrise
from torchbp.testing.tensors import as_real, flat, weights

WHOLE = 64  # entries of the outputs, or of one argument, that are all looked at
SAMPLES, PROJECTIONS = 4, 4
LARGE = 100_000  # entries of all arguments, from which on fewer projections are taken
REFINED = 40  # directions of an argument for which further steps are tried


@dataclass
class Comparison:
    rows: list  # flat indices into all outputs, then tensors of weights
    blocks: list = field(default_factory=list)
    outputs: torch.Tensor = None

    @property
    def whole(self):
        return all(isinstance(d, int) for block in self.blocks for d in [*self.rows, *block.columns])


def directions(size, source, whole=None, few=False):
    """Every entry, or some of them and random projections over all."""
    if size <= (WHOLE if whole is None else whole):
        return list(range(size))
    samples, projections = (1, 2) if few else (SAMPLES, PROJECTIONS)
    sampled = torch.randint(size, (samples,), generator=source).tolist()
    return sampled + [weights((size,), source) for _ in range(projections)]


def vector(subject):
    """All outputs as one vector of float64, without a graph."""

    def function(tensors):
        with torch.no_grad():
            outputs = subject(tensors)
        return torch.cat([flat(output).double().cpu() for output in outputs]) if outputs else torch.zeros(0)

    return function


def incoming_of(row, outputs):
    """The incoming gradients whose backward gives this row of the Jacobian."""
    sizes = [as_real(output).numel() for output in outputs]
    total = torch.zeros(sum(sizes), dtype=torch.float64)
    if isinstance(row, int):
        total[row] = 1.0
    else:
        total = row
    pieces = []
    for piece, output in zip(total.split(sizes), outputs, strict=True):
        piece = piece.view(as_real(output).shape).to(as_real(output))
        pieces.append(torch.view_as_complex(piece.contiguous()) if output.is_complex() else piece)
    return pieces


def analytical_rows(subject, rows, wanted):
    """One backward for each row: for each argument a matrix."""
    tensors = subject.tensors(wanted)
    outputs = subject(tensors)
    leaves = [tensors[i] for i in wanted]
    found = [backward(outputs, leaves, incoming_of(row, outputs), retain_graph=True) for row in rows]
    return [torch.stack([flat(row[k]).double().cpu() for row in found]) for k in range(len(wanted))]


class Projection:
    """Entries of a vector over the outputs, and projections of it: what the rows are."""

    def __init__(self, rows):
        self.index = torch.tensor([row for row in rows if isinstance(row, int)], dtype=torch.long)
        self.weights = [row for row in rows if not isinstance(row, int)]

    def __call__(self, numbers):
        return torch.cat([numbers[self.index], *((row @ numbers)[None] for row in self.weights)])

    def of_errors(self, sizes):
        """What independent errors of such sizes are in the entries and projections."""
        return torch.cat([sizes[self.index], *((row * sizes).norm()[None] for row in self.weights)])


def take(columns, matrix):
    return torch.stack([matrix[:, c] if isinstance(c, int) else matrix @ c for c in columns], dim=1)


def compare(subject, wanted=None, whole=None):
    """Both Jacobians, and where they differ by more than the tolerance and the numerical error."""
    wanted = subject.differentiable if wanted is None else wanted
    source = generator(subject, 2)
    function = vector(subject)
    at_0 = function(subject.point)
    few = sum(subject.point[i].numel() for i in wanted) > LARGE
    rows = directions(len(at_0), source, whole, few)
    comparison = Comparison(rows, outputs=at_0)
    if not rows or not wanted:
        return comparison
    found = analytical_rows(subject, rows, wanted)
    noise, unit = numerical.noise_of(function, subject.point, wanted, source, subject.eps)
    for i, full in zip(wanted, found, strict=True):
        columns = directions(full.shape[1], source, whole, few)
        if columns:
            comparison.blocks.append(measured(subject, function, i, columns, rows, full, at_0, noise, unit))
    return comparison


def measured(subject, function, argument, columns, rows, full, at_0, noise, unit):
    """The Jacobian of one argument, with further steps where the first one does not settle the matter."""
    projection = Projection(rows)
    row_noise = projection.of_errors(noise)

    def change(point):  # projected at once, as the outputs may be many; after the subtraction, as it is small
        return projection(function(point) - at_0)

    lines = [numerical.Line(change, subject.point, argument, c) for c in columns]
    options = subject.options
    steps = [numerical.first_step(line, unit, options.eps) for line in lines]
    slopes = [numerical.slopes(line, h, row_noise) for line, h in zip(lines, steps, strict=True)]
    block = Block(argument, columns, take(columns, full))
    assembled(block, slopes, options, unit, at_0)
    first = block.numerical, block.error
    if options.eps is None:
        doubtful = (block.wrong | block.at_kink | block.uncertain).any(dim=0).nonzero().flatten().tolist()
        doubtful = doubtful[: REFINED if len(full[0]) <= LARGE else 4]
        for factor in numerical.LADDER:
            for k in doubtful:
                slopes[k].improve(numerical.slopes(lines[k], steps[k] * factor, row_noise))
            if doubtful:
                assembled(block, slopes, options, unit, at_0)
            left = (block.wrong | block.uncertain).any(dim=0)
            doubtful = [k for k in doubtful if left[k]]
    stairs(block, *first)
    symmetrise(subject.point[argument], block)
    return block
