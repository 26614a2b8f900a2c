"""Which entries of a Jacobian are wrong, which lie at a kink, and which the numerical error leaves open."""

from dataclasses import dataclass

import torch

from torchbp.testing.numerics.directions import Directions
from torchbp.testing.numerics.rounding import HALF_UNIT


@dataclass
class Block:
    """d out / d argument: rows are directions of the outputs, columns directions of the argument."""

    argument: int  # its index
    columns: Directions
    analytical: torch.Tensor
    is_projection: torch.Tensor  # whether an entry is a sum over several derivatives
    outputs_finite: bool
    typical: torch.Tensor  # the size of a derivative in which nothing cancels
    max_error: float  # relative to the greatest derivative: with a larger error, nothing is decided
    numerical: torch.Tensor = None
    error: torch.Tensor = None
    tolerance: torch.Tensor = None
    left: torch.Tensor = None  # the slopes to either side
    right: torch.Tensor = None
    wrong: torch.Tensor = None
    at_kink: torch.Tensor = None
    uncertain: torch.Tensor = None
    kink_in_projection: bool = False
    tied: bool = False  # wrong at a tie, where derivatives do not add up
    symmetric: bool = False  # right for a symmetric argument that stays symmetric


def judge_slopes(block, slopes, options, unit):
    """Fill a block with the slopes along its columns, and judge."""
    block.numerical, block.error, block.left, block.right = (
        torch.stack([getattr(s, name) for s in slopes], dim=1) for name in ("value", "error", "left", "right")
    )
    block.tolerance = _tolerance(block, options, unit)
    judge(block)


def _tolerance(block, options, unit):
    """rtol |N| + atol. By default atol suits the greatest entry of N, and is no less than the error of cancellation."""
    finite = block.numerical[block.numerical.isfinite()].abs()
    scale = float(finite.max()) if finite.numel() else 0.0
    coarse = unit > 1e-10
    rtol = options.rtol if options.rtol is not None else max(1e-3 if coarse else 1e-6, 8 * unit)
    cancelled = max(1e-11, 2 * unit if unit > HALF_UNIT else 0.0) * block.typical
    atol = cancelled.clamp(min=scale * max(1e-4 if coarse else 1e-9, 4 * unit))
    atol = atol if options.atol is None else options.atol
    return rtol * block.numerical.abs().nan_to_num(0, 0, 0) + atol


def judge(block):
    """Set `wrong`, `at_kink` and `uncertain` of each entry."""
    gap = (block.analytical - block.numerical).abs()
    undecided = ~(block.error <= block.tolerance)
    off = ~(gap <= block.tolerance + 3 * block.error)
    low, high = torch.minimum(block.left, block.right), torch.maximum(block.left, block.right)
    slack = block.tolerance + 1e-4 * (low.abs() + high.abs()).nan_to_num(0, 0, 0)
    bent = (block.right - block.left).abs() > 10 * slack + 6 * block.error
    margin = slack + 3 * block.error
    between = (block.analytical >= low - margin) & (block.analytical <= high + margin)
    unsettled = bent & (off | undecided)
    block.at_kink = unsettled & between & ~block.is_projection
    kinks_in_projections = unsettled & block.is_projection
    block.kink_in_projection = bool(kinks_in_projections.any())
    known = block.error.isfinite() | ~block.analytical.isfinite()
    # Over a jump the differences grow as the step shrinks: the error is too large to tell a number from none.
    sizes = block.numerical.abs().nan_to_num(0, 0, 0)
    rough = undecided & (block.error > block.max_error * sizes.max())
    # 0 · ∞ spoils the other outputs too, as in sqrt at 0: a column without numerical values is left open.
    blind = ~block.error.isfinite() & ~(block.left.isfinite() & block.right.isfinite())
    blind = blind.any(dim=0, keepdim=True).expand_as(blind)
    block.wrong = off & ~block.at_kink & ~kinks_in_projections & known & ~blind & ~rough
    if not block.outputs_finite:  # 0 · ∞ in the backward of an output that is ∞
        block.wrong &= block.analytical.isfinite()
    is_open = undecided | blind | kinks_in_projections | ~block.analytical.isfinite()
    block.uncertain = is_open & ~block.wrong & ~block.at_kink


def mark_quantised(block, coarse, coarse_error):
    """If the function quantises inside, small steps give 0 and large ones the right slope: that is inconclusive."""
    gap = (block.analytical - coarse).abs()
    flat = block.wrong & (block.numerical == 0) & (gap <= 3 * coarse_error + 0.3 * block.analytical.abs())
    block.wrong &= ~flat
    block.uncertain |= flat
    block.error = torch.where(flat, coarse_error, block.error)
