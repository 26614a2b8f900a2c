"""The analytical and the numerical Jacobian: whole if they are small, else in samples and projections."""

import contextlib
import itertools
import math

import torch

from torchbp.testing.numerics import finite_differences
from torchbp.testing.numerics.directions import PROJECTIONS, Directions, chosen_directions
from torchbp.testing.numerics.gradients import analytical_rows, generator
from torchbp.testing.numerics.tensors import as_real, direction_like, flat, symmetric
from torchbp.testing.numerics.verdict import Block, judge_slopes, mark_quantised

WHOLE = 64  # entries of the outputs, or of one argument, that are all looked at
SINGLE_UNIT = 1.2e-7  # the rounding unit of float32
LARGE = 100_000  # entries of all arguments, from which on fewer projections are taken


class Comparison:
    """Both Jacobians of each argument, at one point: a `Block` for each."""

    def __init__(self, subject, at_0, rows):
        self.subject, self.at_0 = subject, at_0  # the point, and all outputs there
        self.finite = at_0.isfinite()
        self.all_finite = bool(self.finite.all())
        rows = [row if isinstance(row, int) else row * self.finite for row in rows]
        self.rows = Directions(row for row in rows if not isinstance(row, int) or bool(self.finite[row]))
        self.blocks = []
        self.moved = False  # from a point with kinks
        self.function = vector_function(subject)
        self.noise, self.unit = None, 0.0  # the rounding error of each row, and the rounding unit

    def measure_noise(self, wanted, source):
        precision = self.subject.precision
        unit = precision.input_unit if precision.removes_rounding else precision.unit
        noise, self.unit = finite_differences.noise_of(
            self.function, self.at_0, self.subject.point, wanted, source, unit
        )
        self.noise = self.rows.of_errors(noise.where(self.finite, 0.0))

    @property
    def whole(self):
        return self.rows.are_entries and all(block.columns.are_entries for block in self.blocks)

    @property
    def any_wrong(self):
        return any(bool(block.wrong.any()) for block in self.blocks)

    def _change(self, point):
        """The rows of f(point) − f(x): projected at once, as the outputs may be many.

        Outputs that are not finite at x, such as masked scores of −∞, are constants, and left out: ∞ − ∞ and 0 · ∞
        would spoil the other ones. If they change, nothing is known.
        """
        unknown = torch.full((len(self.rows),), math.nan, dtype=torch.float64)
        try:
            outputs = self.function(point)
        except Exception:  # outside of its domain
            return unknown
        if self.all_finite:
            return self.rows.of_vector(outputs - self.at_0)
        if not torch.allclose(outputs[~self.finite], self.at_0[~self.finite], 0, 0, equal_nan=True):
            return unknown
        return self.rows.of_vector(torch.where(self.finite, outputs - self.at_0, 0.0))

    def block_of_symmetric(self, argument, columns, matrix):
        """The Jacobian of one argument; of a symmetric one that is wrong, in directions in which it stays symmetric.

        A function of symmetric matrices (cholesky, eigh) has a gradient that is right in these alone.
        """
        block, tensor = self._block(argument, columns, matrix), self.subject.point[argument]
        if bool(block.wrong.any()) and symmetric(tensor):
            other = self._block(argument, _symmetric_directions(tensor, generator(self.subject, 4)), matrix)
            if not bool(other.wrong.any()):
                other.symmetric = True
                return other
        return block

    def _block(self, argument, columns, matrix):
        """Both Jacobians along the columns, with further steps where the first one does not settle the matter."""
        subject, options, precision = self.subject, self.subject.options, self.subject.precision
        tensor = subject.point[argument]
        is_half = precision.is_half and not precision.removes_rounding
        lines = [finite_differences.along(self._change, subject.point, argument, column) for column in columns]
        step_lists = [finite_differences.steps(tensor, column, self.unit, is_half) for column in columns]
        first_steps = [first if options.eps is None else options.eps for first, _ in step_lists]
        slopes = [self._slopes(line, h) for line, h in zip(lines, first_steps, strict=True)]
        if is_half:  # a small step does not distinguish a curve from a line
            for line, h, found in zip(lines, first_steps, slopes, strict=True):
                found.widen_error(self._slopes(line, 0.6 * h))
        unit = max(self.unit, precision.unit)
        unit = unit if precision.is_half else min(unit, SINGLE_UNIT)  # a few constants look like half precision
        block = self._empty_block(argument, columns, matrix)
        judge_slopes(block, slopes, options, unit)
        first = block.numerical, block.error
        if options.eps is None:
            self._try_further_steps(block, lines, [further for _, further in step_lists], slopes, unit)
        mark_quantised(block, *first)
        return block

    def _slopes(self, line, h):
        return finite_differences.slopes(line, h, self.noise)

    def _empty_block(self, argument, columns, matrix):
        subject, rows = self.subject, self.rows
        sizes = rows.norms()[:, None] * columns.norms()
        typical = subject.typical_gradient(subject.arguments[argument].name) * sizes
        is_projection = rows.is_projection()[:, None] | columns.is_projection()
        max_error = 0.25 if subject.precision.is_half else 1e-2  # what is lost to rounding is no jump
        return Block(argument, columns, columns.of_columns(matrix), is_projection, self.all_finite, typical, max_error)

    def _try_further_steps(self, block, lines, step_lists, slopes, unit):
        """Improve the slopes along the columns that are wrong, at a kink or uncertain, and judge again."""
        doubtful = (block.wrong | block.at_kink | block.uncertain).any(dim=0).nonzero().flatten().tolist()
        if as_real(self.subject.point[block.argument]).numel() > LARGE:
            doubtful = doubtful[:4]
        for steps in itertools.zip_longest(*step_lists):
            if not doubtful:
                return
            for k in doubtful:
                if steps[k] is not None:
                    slopes[k].improve(self._slopes(lines[k], steps[k]))
            judge_slopes(block, slopes, self.subject.options, unit)
            unsettled = (block.wrong | block.uncertain).any(dim=0)
            doubtful = [k for k in doubtful if unsettled[k]]


def compare(subject, wanted=None, whole=None):
    """Both Jacobians, and where they differ by more than the tolerance and the numerical error.

    Another point is looked at where this one settles nothing: where nothing is certain, and where a projection leads
    over kinks, and so shows one of the many values that the sum may have.
    """
    comparison = compare_here(subject, wanted, whole)
    for block in comparison.blocks:
        if bool(block.wrong.any()):
            _leave_ties_open(comparison, block)
    blocks = comparison.blocks
    is_open = any(block.kink_in_projection for block in blocks) or all(bool(b.uncertain.all()) for b in blocks)
    wrong, tied = comparison.any_wrong, any(block.tied for block in blocks)
    # At a tie no entry is known to be wrong; in half precision a kink may lie on the other side of the point.
    if tied or (wrong and subject.precision.is_half) or (is_open and not wrong):
        with contextlib.suppress(Exception):  # it may lie outside of the domain
            comparison = compare_here(_point_nearby(subject), wanted, whole)
            comparison.moved = True
    return comparison


def compare_here(subject, wanted=None, whole=None, columns=None, rows=None):
    """Both Jacobians at the point of the subject, by default in directions that suit the sizes."""
    wanted = subject.differentiable if wanted is None else wanted
    source = generator(subject, 2)
    at_0 = vector_function(subject)(subject.point)
    large = sum(subject.point[i].numel() for i in wanted) > LARGE
    few = (2 if whole is None else 1) if large else 0  # the values themselves are looked at most closely
    whole = WHOLE if whole is None else whole
    rows = chosen_directions(len(at_0), source, whole, large * 2) if rows is None else rows
    comparison = Comparison(subject, at_0, rows)
    if not len(comparison.rows) or not wanted:
        return comparison
    matrices = analytical_rows(subject, comparison.rows, wanted)
    comparison.measure_noise(wanted, source)
    for i, matrix in zip(wanted, matrices, strict=True):
        directions = columns or chosen_directions(matrix.shape[1], source, whole, few)
        if directions:
            comparison.blocks.append(comparison.block_of_symmetric(i, Directions(directions), matrix))
    return comparison


def vector_function(subject):
    """All outputs as one vector of float64, without a graph."""

    def function(tensors):
        outputs = subject.call_unrounded(tensors)
        return torch.cat([flat(output).double().cpu() for output in outputs]) if outputs else torch.zeros(0)

    return function


def _leave_ties_open(comparison, block):
    """What is wrong at a tie, as of entries that a sort finds equal, is left open.

    There the derivatives along two directions do not add up to that along their sum. (At the kink of a single entry,
    as of |x|, the means of the slopes to either side do.)
    """
    subject = comparison.subject
    try:
        other = along_two_and_their_sum(subject, block.argument, subject.point[block.argument], rows=comparison.rows)
    except Exception:  # outside of its domain
        return
    tied = block.wrong & ~is_additive(other)[:, None]
    block.tied = bool(tied.any())
    block.wrong &= ~tied
    block.uncertain |= tied


def along_two_and_their_sum(subject, argument, like, whole=None, rows=None, salt=9):
    """Both Jacobians of one argument along two random directions and their sum; see `direction_like`."""
    source = generator(subject, salt)
    first, second = (flat(direction_like(like, source)).double() for _ in range(2))
    (block,) = compare_here(subject, [argument], whole, [first, second, first + second], rows).blocks
    return block


def is_additive(block):
    """For each row, whether the derivative along the third direction is the sum of those along the other two."""
    gap = (block.numerical[:, 2] - block.numerical[:, 0] - block.numerical[:, 1]).abs()
    return gap <= (block.tolerance + 3 * block.error).sum(dim=1)


def _point_nearby(subject):
    """The subject at a point without ties and zeros, further away than the steps of the differences."""
    source, point = generator(subject, 3), list(subject.point)
    for i in subject.differentiable:
        sizes = point[i].abs()
        if sizes.numel():
            sizes = sizes.clamp(min=max(float(sizes.median()), 0.1))
            point[i] = point[i] + 0.05 * sizes * direction_like(point[i], source)
    return subject.at(subject.clamp_to_domain(point))


def _symmetric_directions(tensor, source):
    """Every pair of an entry and its mirror image; or some projections, of large tensors."""
    if tensor.numel() > WHOLE:
        return Directions(flat(direction_like(tensor, source)).double() for _ in range(PROJECTIONS))
    mirror = torch.arange(tensor.numel()).view(tensor.shape).mT.reshape(-1).tolist()
    unit = torch.eye(tensor.numel(), dtype=torch.float64)
    return Directions(unit[i] + unit[j] if i != j else i for i, j in enumerate(mirror) if i <= j)
