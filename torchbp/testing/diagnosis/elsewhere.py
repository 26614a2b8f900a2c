"""The gradient at other points than the inputs: one direction shows whether it is right, and the rest is for people."""

import torch

from torchbp.testing.diagnosis.message import is_excused, judged
from torchbp.testing.numerics.gradients import backward, generator, gradients, incoming_of, vanishes
from torchbp.testing.numerics.jacobian import along_two_and_their_sum, compare, is_additive, vector_function
from torchbp.testing.numerics.screen import seems_right
from torchbp.testing.numerics.tensors import coarseness, direction_like, flat, largest, symmetric, weights
from torchbp.testing.report import ROUNDED, WRONG_GRADIENT, Defect, Skipped
from torchbp.testing.subject.naming import six_digits, unlike

_FURTHER = (41, 42, 43, 44)  # seeds of pairs of directions
_FEW = 12  # entries of a tensor up to which it is looked at whole, for the message


def expect_right_along(given, point, index, words, screened=True):
    """Raise a Defect if the gradient of one argument is wrong at a point.

    Where the derivatives along two directions do not add up to that along their sum, the point is a kink or a tie, and
    has no gradient to compare with. Where the function raises, there is nothing to compare either.

    Args:
        given: the subject at the inputs given.
        point: the other point.
        index: of the argument.
        words: on the point, before the message.
        screened: look along one direction first, which is enough where the gradient is right.
    """
    subject = given.at(point)
    try:
        if screened and seems_right(subject, [index]):
            return
        block = along_two_and_their_sum(subject, index, subject.point[index], whole=0)
    except Exception:  # outside of its domain
        return
    wrong = block.wrong & is_additive(block)[:, None]
    if not bool(wrong.any()) or is_excused(subject, block) or vanishes(subject, given):
        return
    if _is_kink(subject, index, wrong.any(dim=1)) or _is_rounding_error(block, wrong):
        return
    try:
        judged(compare(subject, [index], whole=_FEW))
    except Defect as defect:
        raise defect.within(f"{words}: ") from None
    except Skipped:
        pass
    row, column = wrong.nonzero()[0].tolist()
    a, n, error = (float(m[row, column]) for m in (block.analytical, block.numerical, block.error))
    analytical, numerical = unlike(a, n)
    raise Defect(
        f"{words}: the gradient of {subject.arguments[index].name} is wrong",
        [f"along a random direction: analytical {analytical}, numerical {numerical} ± {error:.1g}"],
        ROUNDED if _is_rounded(subject, index, a, n) else WRONG_GRADIENT,
    )


def expect_between_slopes(given, point, index, words):
    """Raise a Defect if at a kink the gradient by the first entry is far from the slopes to both of its sides.

    Whatever is taken for the gradient there, 0 or 1 or ½ for |x|, lies between them.
    """
    subject, like = given.at(point), point[index]
    if like.is_complex() or not like.numel() or symmetric(like):
        return
    function, source, entry = vector_function(subject), generator(subject, 22), torch.zeros_like(like).contiguous()
    entry.view(-1)[0] = 1.0
    unit = max(largest(like), 1.0)

    def sides(h):
        left, right = (function([x + t * entry if i == index else x for i, x in enumerate(point)]) for t in (-h, h))
        return torch.stack([at_0 - left, right - at_0]) / h

    try:
        at_0 = function(point)
        slopes, coarse = sides(1e-6 * unit), sides(1e-5 * unit)
        row = weights((len(at_0),), source)
        tensors = subject.fresh_tensors([index])
        outputs = subject.call(tensors)
        found = float(backward(outputs, [tensors[index]], incoming_of(row, outputs))[0].reshape(-1)[0])
    except Exception:  # outside of its domain, or what raises is told by others
        return
    if not bool(slopes.isfinite().all()) or largest(slopes - coarse) > 1e-3 * (1 + largest(slopes)):
        return
    low, high = (row * slopes).amin(0).sum(), (row * slopes).amax(0).sum()
    margin = 0.25 * (high - low)
    is_kink = margin > 1e-3 * (1 + largest(slopes))
    if is_kink and not low - margin <= found <= high + margin and not _is_tied(subject, index):
        numbers = [six_digits(float(number)) for number in (found, low, high)]
        raise Defect(
            f"{words}: the gradient of {subject.arguments[index].name} is wrong at a kink",
            [f"of its first entry: {numbers[0]}, and the slopes to both sides are {numbers[1]} and {numbers[2]}"],
            WRONG_GRADIENT,
        )


def _is_tied(subject, index):
    """Whether entries that are equal compete, as in a sort: there each of them may have the place of any other."""
    block = along_two_and_their_sum(subject, index, subject.point[index], whole=0)
    return not bool(is_additive(block).all())


def _is_rounded(subject, index, analytical, numerical):
    """Whether the gradient has the numbers of a lower precision, and is off by little."""
    rounding_unit = coarseness(flat(gradients(subject)[subject.differentiable.index(index)]))
    return bool(rounding_unit) and abs(analytical - numerical) < 1e4 * rounding_unit * abs(numerical)


def _is_rounding_error(block, wrong):
    """Whether the derivative is 0, and the gradient is nearly 0 beside |out| / |argument|.

    So it is of a layer norm of one number, whose output is a constant.
    """
    is_small = (block.numerical.abs() <= 10 * block.error) & (block.analytical.abs() <= 1e-9 * block.typical)
    return bool(is_small[wrong].all())


def _is_kink(subject, index, wrong_rows):
    """Whether there is no gradient, along some direction, however small the step is.

    Where the slopes to either side differ; where they grow as the step shrinks, as of √x; and where those along further
    directions do not add up. (In a median of equal numbers they do for two directions that have one median by chance.)
    """
    for salt in _FURTHER:
        block = along_two_and_their_sum(subject, index, subject.point[index], whole=0, salt=salt)
        if not bool(is_additive(block)[wrong_rows].all()):
            return True
    function, source = vector_function(subject), generator(subject, 20)
    at_0, like = function(subject.point), subject.point[index]
    rows = torch.stack([weights((len(at_0),), source) for _ in range(4)])

    def bend_and_slope(direction, h):
        left, right = (
            function([x + t * direction if i == index else x for i, x in enumerate(subject.point)]) for t in (-h, h)
        )
        differences = torch.stack([left + right - 2 * at_0, (right - left) / 2])
        return (rows @ differences.nan_to_num(0, 0, 0).T).abs().T / h

    for _ in range(3):
        direction = direction_like(like, source) * (largest(like) or 1.0)
        coarse, fine, finest = (bend_and_slope(direction, h) for h in (1e-4, 1e-5, 1e-6))
        noise = 1e-14 * rows.abs() @ at_0.abs().nan_to_num(0, 0, 0)
        at_least = torch.tensor([[0.5], [1.2]])  # of a bend that stays, and of a slope that grows
        kink = (fine > at_least * coarse) & (finest > at_least * fine) & (finest > 100 * noise / 1e-6)
        if bool(kink.any()):
            return True
    return False
