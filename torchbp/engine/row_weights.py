"""The loss of rows that have weights.

    divide_by="weights"     L = Σ_n w_n ℓ_n / Σ_n w_n      ∂L/∂z_n = w_n (∂ℓ_n/∂z_n) / Σ_n w_n
    divide_by="rows"        L = (1/N) Σ_n w_n ℓ_n          ∂L/∂z_n = w_n (∂ℓ_n/∂z_n) / N

ℓ_n is the loss of row n, the mean over its outputs z_n. A row of weight 2 counts as if it were there twice. Divided by
rows, the gradients of the parts of a batch add up to that of the whole, each in its share of the rows, whatever the
weights are.

The weights travel in the target, so that the engine and its programs gather, stack and share them as targets: as a last
column; of classes in the place of the ones of a one-hot row, w_n onehot(y_n). A loss of classes is

    ℓ = −Σ_c q_c ln P_c     q = (1 − ε) w onehot(y) + (ε/C) w      of logits ∂ℓ/∂z = P Σ_c q_c − q, of z = ln P it is −q
"""

import torch
import torch.nn.functional as F

from torchbp.engine.losses import checked_loss, has_options_of_members
from torchbp.ops.layers.log_softmax import log_softmax
from torchbp.ops.losses.cross_entropy import RULE as CROSS_ENTROPY
from torchbp.ops.losses.cross_entropy import probabilities_dz
from torchbp.ops.registry import attach, rule_of
from torchbp.ops.rules import Loss

DIVISORS = "weights", "rows"


class RowWeighted(torch.nn.Module):
    """The weighted mean of a loss, for targets that `with_weight` makes.

    Args:
        loss: one that the engine knows, with reduction "mean" or "sum".
        divide_by: what a mean divides by: "weights", Σ w; or "rows", their number N. A training whose batches have
            other Σ w makes the steps of the whole with "rows".

    Shapes: output (…, N, outputs); target (…, N, outputs + 1), or of a loss of classes (…, N, classes).

    Raises:
        TypeError: a loss that the engine does not know, or one of classes with weights of its own or an `ignore_index`
            that is a class.
        ValueError: an unknown divide_by.

    Example:
        >>> y = torchbp.engine.with_weight(torch.zeros(2, 1), torch.tensor([1.0, 3.0]))
        >>> loss = torchbp.engine.RowWeighted(torchbp.nn.MSELoss())
        >>> loss(torch.tensor([[2.0], [1.0]]), y)  # (1 · 4 + 3 · 1)/4 = 1.75
        >>> loss = torchbp.engine.RowWeighted(torchbp.nn.MSELoss(), divide_by="rows")
        >>> loss(torch.tensor([[2.0], [1.0]]), y)  # (1 · 4 + 3 · 1)/2 = 3.5
    """

    def __init__(self, loss: torch.nn.Module, divide_by: str = "weights") -> None:
        super().__init__()
        if divide_by not in DIVISORS:
            raise ValueError(f"divide_by={divide_by!r} is not known; use {' or '.join(DIVISORS)}")
        self.loss, self.divide_by = checked_loss(loss), divide_by
        self.reduction = loss.reduction
        options = rule_of(loss).options_of(loss)
        of_classes = rule_of(loss).target == "classes"
        if has_options_of_members(loss) or (of_classes and options["weight"] is not None):
            raise TypeError(f"{loss!r} has weights of its own; multiply the weights of the rows by them instead")
        if of_classes and options["ignore_index"] >= 0:
            raise TypeError(f"{loss!r} ignores a class; give its rows the weight 0 instead")

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return row_weighted(output, target, self.reduction, loss=self.loss, divide_by=self.divide_by)


def with_weight(y: torch.Tensor, weight: torch.Tensor, classes: int | None = None) -> torch.Tensor:
    """The target of `RowWeighted`: y, and the weight of each row.

    Args:
        y: numbers (…, N, outputs), floating; or classes (…, N), int64.
        weight: (…, N), floating.
        classes: how many there are, of a y of classes.

    Returns:
        (…, N, outputs + 1), in the dtype of y; of classes w onehot(y), (…, N, classes), in the dtype of `weight`.

    Raises:
        ValueError: classes whose number is not given, or a class that is not from 0 to it.

    Example:
        >>> torchbp.engine.with_weight(torch.tensor([0, 2]), torch.tensor([1.0, 0.5]), 3)
        >>> # tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.5]])
    """
    if y.is_floating_point():
        return torch.cat([y, weight.to(y.dtype).unsqueeze(-1)], -1)
    if classes is None:
        raise ValueError(f"y is {y.dtype}, so it has classes; say how many: with_weight(y, weight, classes=…)")
    lowest, largest = y.aminmax() if y.numel() else (0, 0)
    if not 0 <= lowest <= largest < classes:
        raise ValueError(f"y has classes from {lowest} to {largest}, and the {classes} are from 0 to {classes - 1}")
    return F.one_hot(y.long(), classes).to(weight.dtype) * weight.unsqueeze(-1)


def row_weighted(output, target, reduction="mean", *, loss, divide_by):
    """L of a `RowWeighted`, by operations that autograd goes through."""
    rule = rule_of(loss)
    if rule.target == "classes":
        each = -(shares(target, loss) * log_probabilities(output, rule, log_softmax)).sum(-1)
    else:
        options = rule.options_of(loss)
        each = target[..., -1:] * rule.apply(output, target[..., :-1], reduction="none", **options)
    return each.sum() if reduction == "sum" else each.sum() / count(target, loss, divide_by)


def terms(output, target, loss, divide_by):
    """w ℓ, w ∂ℓ/∂output, and what the mean divides by."""
    rule, counts = rule_of(loss), count(target, loss, divide_by)
    of_classes = rule.target == "classes"
    check(output, target, (0 if of_classes else 1,))
    if of_classes:
        log_p, q = log_probabilities(output, rule, torch.log_softmax), shares(target, loss)
        derivative = probabilities_dz(1, log_p, q, -1) if rule is CROSS_ENTROPY else -q
        return -(q * log_p).sum(-1), derivative, counts
    options, y, weight = rule.options_of(loss), target[..., :-1], target[..., -1:]
    return weight * rule.each(output, y, **options), weight * rule.derivative(output, y, **options), counts


def log_probabilities(output, rule, log_softmax):
    """ln P, of logits, or as the loss takes it."""
    return log_softmax(output, -1) if rule is CROSS_ENTROPY else output


def shares(target, loss):
    """q, of the shares w onehot(y)."""
    smoothing = getattr(loss, "label_smoothing", 0)
    if not smoothing:
        return target
    return (1 - smoothing) * target + smoothing / target.shape[-1] * target.sum(-1, keepdim=True)


def count(target, loss, divide_by):
    """Σ w or N, of each output; of an ensemble's target Σ w of each member."""
    of_classes = rule_of(loss).target == "classes"
    outputs = 1 if of_classes else target.shape[-1] - 1
    if divide_by == "rows":
        return max(1, target.shape[-2] * outputs)
    return target.sum((-2, -1)) if of_classes else target[..., -1].sum(-1) * outputs


def of_no_row(loss, divide_by):
    """The weight of rows that fill up a batch; with "rows" they would count."""
    if divide_by == "rows":
        raise ValueError('divide_by="rows" needs as many rows of each member; use divide_by="weights"')
    return 0.0


def check(output, target, extra=(0, 1)):
    """Raises a ValueError for a target without weights. extra: how many columns more than the output it may have."""
    if output.shape[:-1] != target.shape[:-1] or target.shape[-1] - output.shape[-1] not in extra:
        raise ValueError(
            f"the target has the shape {tuple(target.shape)}, and the output {tuple(output.shape)}; the last column of "
            "the target is the weight of the row, or it is the share of each class, as torchbp.engine.with_weight "
            "makes it"
        )


attach(
    Loss(
        name="row_weighted",
        apply=row_weighted,
        options=("loss", "divide_by"),
        option_symbols=("ℓ", "d"),
        each=lambda output, target, loss, divide_by: terms(output, target, loss, divide_by)[0],
        derivative=lambda output, target, loss, divide_by: terms(output, target, loss, divide_by)[1],
        terms=terms,
        check=check,
        count=count,
        uncounted=of_no_row,
        equation=None,
        slope=None,
        description="The loss of each row counts as much as the row's weight says.",
    ),
    RowWeighted,
)
