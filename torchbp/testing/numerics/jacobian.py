"""The analytical Jacobian beside the numerical one: whole where it is small, else in samples and projections."""

import contextlib
import itertools
import math
from dataclasses import dataclass, field

import torch

from torchbp.testing.numerics import finite_differences as numerical
from torchbp.testing.numerics.gradients import backward, generator
from torchbp.testing.numerics.tensors import as_real, direction_like, flat, symmetric, weights
from torchbp.testing.numerics.verdict import Block, assembled, stairs

WHOLE = 64  # entries of the outputs, or of one argument, that are all looked at
SAMPLES, PROJECTIONS = 4, 4
SINGLE = 1.2e-7  # the rounding unit of float32
LARGE = 100_000  # entries of all arguments, from which on fewer projections are taken


@dataclass
class Comparison:
    subject: object  # at the point that was looked at
    rows: list  # flat indices into all outputs, then tensors of weights
    blocks: list = field(default_factory=list)
    outputs: torch.Tensor = None
    moved: bool = False  # from a point with kinks

    @property
    def whole(self):
        return all(isinstance(d, int) for block in self.blocks for d in [*self.rows, *block.columns])


def directions(size, source, whole, few):
    """Every entry, or some of them and random projections over all; or `few` projections alone."""
    if size <= (min(whole, 8) if few else whole):
        return list(range(size))
    samples, projections = (0, few) if few else (SAMPLES, PROJECTIONS)
    sampled = torch.randint(size, (samples,), generator=source).tolist()
    return sampled + [weights((size,), source) for _ in range(projections)]


def vector(subject):
    """All outputs as one vector of float64, without a graph."""

    def function(tensors):
        outputs = subject.exact_numbers(tensors)
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
    found = []
    for row in rows:
        gradients = backward(outputs, leaves, incoming_of(row, outputs), retain_graph=True)
        found.append([g.clone() for g in gradients])  # a backward may return one buffer again and again
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

    def sizes(self, columns):
        """Of each row and column, how large the sum is of derivatives of the size 1 and either sign."""
        rows = torch.tensor([1.0] * len(self.index) + [float(row.norm()) for row in self.weights], dtype=torch.float64)
        across = [1.0 if isinstance(column, int) else float(column.norm()) for column in columns]
        return rows[:, None] * torch.tensor(across, dtype=torch.float64)

    def mixed(self, columns):
        """Of each row and column, whether it is a sum over several derivatives."""
        rows = torch.tensor([False] * len(self.index) + [True] * len(self.weights))
        return rows[:, None] | torch.tensor([not isinstance(column, int) for column in columns])


class Changes:
    """f − f(x) of a function, in projections: at once, as the outputs may be many; of differences, as they are small.

    Outputs that are not finite at x, such as masked scores of −∞, are constants. Where they are none, nothing is known:
    ∞ − ∞ and 0 · ∞ spoil the others, too.
    """

    def __init__(self, function, at_0, rows):
        self.function, self.at_0, self.projection = function, at_0, Projection(rows)
        self.finite = at_0.isfinite()
        self.hidden = None if bool(self.finite.all()) else at_0[~self.finite]
        self.unknown = torch.full((len(rows),), math.nan, dtype=torch.float64)

    def __call__(self, point):
        try:
            found = self.function(point)
        except Exception:  # out of its domain, as it says itself
            return self.unknown
        if self.hidden is None:
            return self.projection(found - self.at_0)
        if not torch.allclose(found[~self.finite], self.hidden, 0, 0, equal_nan=True):
            return self.unknown
        return self.projection(torch.where(self.finite, found - self.at_0, 0.0))


def take(columns, matrix):
    return torch.stack([matrix[:, c] if isinstance(c, int) else matrix @ c for c in columns], dim=1)


def compare(subject, wanted=None, whole=None):
    """Both Jacobians, and where they differ by more than the tolerance and the numerical error.

    Another point is looked at where this one settles nothing: where nothing is certain, and where a projection leads
    over kinks, and so shows one of the many values that the sum may have.
    """
    comparison = compared(subject, wanted, whole)
    for block in comparison.blocks:
        if bool(block.wrong.any()):
            leave_ties_open(comparison, block)
    blocks = comparison.blocks
    open_ = any(block.folded for block in blocks) or all(bool(block.uncertain.all()) for block in blocks)
    wrong, tied = any(bool(block.wrong.any()) for block in blocks), any(block.tied for block in blocks)
    # a tie tells of no entry for sure; in half precision a kink may lie on the other side of the point
    if tied or (wrong and subject.half) or (open_ and not wrong):
        with contextlib.suppress(Exception):  # it may lie outside of the domain
            comparison = compared(nearby(subject), wanted, whole)
            comparison.moved = True
    return comparison


def leave_ties_open(comparison, block):
    """What is wrong at a tie, as of the entries that a sort finds equal, is left open.

    There the derivatives along two directions do not add up to that along their sum. (At the kink of a single entry,
    as of |x|, the means of the slopes to either side do.)
    """
    subject, source = comparison.subject, generator(comparison.subject, 9)
    first, second = (flat(direction_like(subject.point[block.argument], source)).double() for _ in range(2))
    rows = comparison.rows
    try:
        (other,) = compared(subject, [block.argument], columns=[first, second, first + second], rows=rows).blocks
    except Exception:  # outside of its domain
        return
    tied = block.wrong & ~additive(other)[:, None]
    block.tied = bool(tied.any())
    block.wrong &= ~tied
    block.uncertain |= tied


def additive(block):
    """For each row, whether the derivative along the third direction is the sum of those along the other two."""
    gap = (block.numerical[:, 2] - block.numerical[:, 0] - block.numerical[:, 1]).abs()
    return gap <= (block.tolerance + 3 * block.error).sum(dim=1)


def nearby(subject):
    """The subject at a point without ties and zeros, further away than the steps of the differences."""
    source, point = generator(subject, 3), list(subject.point)
    for i in subject.differentiable:
        sizes = point[i].abs()
        if sizes.numel():
            sizes = sizes.clamp(min=max(float(sizes.median()), 0.1))
            point[i] = point[i] + 0.05 * sizes * direction_like(point[i], source)
    return subject.at(subject.inside(point))


def compared(subject, wanted=None, whole=None, columns=None, rows=None):
    wanted = subject.differentiable if wanted is None else wanted
    source = generator(subject, 2)
    function = vector(subject)
    at_0 = function(subject.point)
    large = sum(subject.point[i].numel() for i in wanted) > LARGE
    few = (2 if whole is None else 1) if large else 0  # the values themselves are looked at most closely
    whole = WHOLE if whole is None else whole
    finite = at_0.isfinite()
    rows = directions(len(at_0), source, whole, large * 2) if rows is None else rows
    rows = [row if isinstance(row, int) else row * finite for row in rows]
    rows = [row for row in rows if not isinstance(row, int) or bool(finite[row])]
    comparison = Comparison(subject, rows, outputs=at_0)
    if not rows or not wanted:
        return comparison
    found = analytical_rows(subject, rows, wanted)
    unit = subject.eps if subject.lifts else subject.unit
    noise, unit = numerical.noise_of(function, at_0, subject.point, wanted, source, unit)
    changes = Changes(function, at_0, rows)
    for i, full in zip(wanted, found, strict=True):
        along = columns or directions(full.shape[1], source, whole, few)
        if along:
            comparison.blocks.append(measured(subject, changes, i, along, full, noise, unit))
    return comparison


def measured(subject, changes, argument, columns, full, noise, unit):
    """The Jacobian of one argument; of a symmetric one that is wrong, in directions in which it stays symmetric.

    A function of symmetric matrices (cholesky, eigh) has a gradient that is right in these alone.
    """
    row_noise = changes.projection.of_errors(noise.where(changes.finite, 0.0))
    block = block_of(subject, changes, argument, columns, full, row_noise, unit)
    tensor = subject.point[argument]
    if bool(block.wrong.any()) and symmetric(tensor):
        columns = symmetric_directions(tensor, generator(subject, 4))
        other = block_of(subject, changes, argument, columns, full, row_noise, unit)
        if not bool(other.wrong.any()):
            other.symmetric = True
            return other
    return block


def symmetric_directions(tensor, source):
    """Every pair of an entry and its mirror image; or some projections, of large tensors."""
    if tensor.numel() > WHOLE:
        return [flat(direction_like(tensor, source)).double() for _ in range(PROJECTIONS)]
    mirror = torch.arange(tensor.numel()).view(tensor.shape).mT.reshape(-1).tolist()
    unit = torch.eye(tensor.numel(), dtype=torch.float64)
    return [unit[i] + unit[j] if i != j else i for i, j in enumerate(mirror) if i <= j]


def block_of(subject, changes, argument, columns, full, row_noise, unit):
    """Both Jacobians along the columns, with further steps where the first one does not settle the matter."""
    lines = [numerical.Line(changes, subject.point, argument, c) for c in columns]
    options = subject.options
    wide = subject.half and not subject.lifts
    steps = [numerical.first_step(line, unit, options.eps, wide) for line in lines]
    slopes = [numerical.slopes(line, h, row_noise) for line, h in zip(lines, steps, strict=True)]
    if wide:  # where no small step tells a curve from a line
        for line, h, found in zip(lines, steps, slopes, strict=True):
            found.doubt(numerical.slopes(line, 0.6 * h, row_noise))
    natural = subject.natural(subject.arguments[argument].name) * changes.projection.sizes(columns)
    mixed, finite = changes.projection.mixed(columns), changes.hidden is None
    rounded = max(unit, subject.unit)
    rounded = rounded if subject.half else min(rounded, SINGLE)  # a few constants look like half precision
    roughest = 0.25 if subject.half else 1e-2  # what is lost to rounding is no jump
    block = Block(argument, columns, take(columns, full), mixed, finite, natural, roughest)
    assembled(block, slopes, options, rounded)
    first = block.numerical, block.error
    if options.eps is None:
        ladders = [line.ladder(h) for line, h in zip(lines, steps, strict=True)]
        doubtful = (block.wrong | block.at_kink | block.uncertain).any(dim=0).nonzero().flatten().tolist()
        doubtful = doubtful if len(full[0]) <= LARGE else doubtful[:4]
        for rungs in itertools.zip_longest(*ladders):
            if not doubtful:
                break
            for k in doubtful:
                if rungs[k] is not None:
                    slopes[k].improve(numerical.slopes(lines[k], rungs[k], row_noise))
            assembled(block, slopes, options, rounded)
            left = (block.wrong | block.uncertain).any(dim=0)
            doubtful = [k for k in doubtful if left[k]]
    stairs(block, *first)
    return block
