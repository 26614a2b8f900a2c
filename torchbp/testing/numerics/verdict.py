"""Which entries of a Jacobian are wrong, which lie at a kink, and which the numerical error leaves open."""

from dataclasses import dataclass

import torch

from torchbp.testing.numerics.finite_differences import HALF


@dataclass
class Block:
    """d out / d argument: rows are outputs or projections of them, columns entries of the argument or projections."""

    argument: int
    columns: list  # flat indices, then tensors of weights
    analytical: torch.Tensor
    mixed: torch.Tensor  # sums over several derivatives
    whole_outputs: bool  # all outputs are finite
    natural: torch.Tensor  # the size of a derivative in which nothing cancels
    roughest: float  # the error, beside the greatest derivative, from which on nothing is told
    numerical: torch.Tensor = None
    error: torch.Tensor = None
    tolerance: torch.Tensor = None
    left: torch.Tensor = None  # the slopes to either side
    right: torch.Tensor = None
    wrong: torch.Tensor = None
    at_kink: torch.Tensor = None
    uncertain: torch.Tensor = None
    folded: bool = False  # a projection leads over a kink
    tied: bool = False  # wrong at a tie, where derivatives do not add up
    symmetric: bool = False  # right for a symmetric argument that stays symmetric


def assembled(block, slopes, options, unit):
    """Fill a block with the slopes along its columns, and judge."""
    block.numerical, block.error, block.left, block.right = (
        torch.stack([getattr(s, name) for s in slopes], dim=1) for name in ("value", "error", "left", "right")
    )
    block.tolerance = tolerance_of(block, options, unit)
    judge(block)


def tolerance_of(block, options, unit):
    """rtol |N| + atol, where atol belongs to the scale of the Jacobian, and is no less than what may have cancelled."""
    finite = block.numerical[block.numerical.isfinite()].abs()
    scale = float(finite.max()) if finite.numel() else 0.0
    coarse = unit > 1e-10
    rtol = options.rtol if options.rtol is not None else max(1e-3 if coarse else 1e-6, 8 * unit)
    cancelled = max(1e-11, 2 * unit if unit > HALF else 0.0) * block.natural
    atol = cancelled.clamp(min=scale * max(1e-4 if coarse else 1e-9, 4 * unit))
    atol = atol if options.atol is None else options.atol
    return rtol * block.numerical.abs().nan_to_num(0, 0, 0) + atol


def judge(block):
    gap = (block.analytical - block.numerical).abs()
    undecided = ~(block.error <= block.tolerance)
    off = ~(gap <= block.tolerance + 3 * block.error)
    low, high = torch.minimum(block.left, block.right), torch.maximum(block.left, block.right)
    slack = block.tolerance + 1e-4 * (low.abs() + high.abs()).nan_to_num(0, 0, 0)
    bent = (block.right - block.left).abs() > 10 * slack + 6 * block.error
    margin = slack + 3 * block.error
    between = (block.analytical >= low - margin) & (block.analytical <= high + margin)
    unsettled = bent & (off | undecided)
    block.at_kink = unsettled & between & ~block.mixed
    folds = unsettled & block.mixed
    block.folded = bool(folds.any())
    known = block.error.isfinite() | ~block.analytical.isfinite()
    sizes = block.numerical.abs().nan_to_num(0, 0, 0)
    # too rough to tell a number from none: over a jump, the differences only grow as the step shrinks
    rough = undecided & (block.error > block.roughest * sizes.max())
    # 0 · ∞ spoils the other outputs too, as in sqrt at 0: a column without numerical values is left open
    blind = ~block.error.isfinite() & ~(block.left.isfinite() & block.right.isfinite())
    blind = blind.any(dim=0, keepdim=True).expand_as(blind)
    block.wrong = off & ~block.at_kink & ~folds & known & ~blind & ~rough
    if not block.whole_outputs:  # 0 · ∞ in the backward of an output that is ∞
        block.wrong &= block.analytical.isfinite()
    block.uncertain = (undecided | blind | folds | ~block.analytical.isfinite()) & ~block.wrong & ~block.at_kink


def stairs(block, coarse, coarse_error):
    """A function that rounds on its way is flat in small steps, and right in large ones: that is left open."""
    gap = (block.analytical - coarse).abs()
    flat = block.wrong & (block.numerical == 0) & (gap <= 3 * coarse_error + 0.3 * block.analytical.abs())
    block.wrong &= ~flat
    block.uncertain |= flat
    block.error = torch.where(flat, coarse_error, block.error)
