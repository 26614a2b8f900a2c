"""The loss of rows that have weights.

    L = Σ_n w_n ℓ_n / Σ_n w_n        ∂L/∂output_n = w_n (∂ℓ_n/∂output) / Σ_n w_n

ℓ_n is the loss of row n, the mean over its outputs. A row of weight 2 counts as if it were there twice.
"""

import torch

from torchbp.engine.losses import checked_loss
from torchbp.ops.registry import attach, rule_of
from torchbp.ops.rules import Loss


class RowWeighted(torch.nn.Module):
    """The weighted mean of a loss, for targets that `with_weight` makes: their last column is the weight of the row.

    Args:
        loss: one that the engine knows, with reduction "mean" or "sum".

    Shapes: output (…, N, outputs); target (…, N, outputs + 1), or of a loss of classes (…, N, 2).

    Raises:
        TypeError: a loss that the engine does not know, or one with weights of its classes or elements.

    Example:
        >>> loss = torchbp.engine.RowWeighted(torchbp.nn.MSELoss())
        >>> y = torchbp.engine.with_weight(torch.zeros(2, 1), torch.tensor([1.0, 3.0]))
        >>> loss(torch.tensor([[2.0], [1.0]]), y)  # (1 · 4 + 3 · 1)/4 = 1.75
    """

    def __init__(self, loss: torch.nn.Module) -> None:
        super().__init__()
        self.loss = checked_loss(loss)
        self.reduction = loss.reduction
        if any(isinstance(value, torch.Tensor) for value in rule_of(loss).options_of(loss).values()):
            raise TypeError(f"{loss!r} has weights of its own; multiply the weights of the rows by them instead")

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        y, weight = parts(target, self.loss)
        rule = rule_of(self.loss)
        each = rule.apply(output, y, reduction="none", **rule.options_of(self.loss))
        total = (each * of_elements(weight, each)).sum()
        return total if self.reduction == "sum" else total / count(target, self.loss)


def with_weight(y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The target of `RowWeighted`: y, and beside it the weight of each row.

    Args:
        y: numbers (…, N, outputs), floating; or classes (…, N), int64.
        weight: (…, N), floating.

    Returns:
        (…, N, outputs + 1); of classes (…, N, 2), in the dtype of `weight`.

    Example:
        >>> torchbp.engine.with_weight(torch.tensor([0, 2]), torch.tensor([1.0, 0.5]))  # tensor([[0, 1], [2, 0.5]])
    """
    if not y.is_floating_point():
        y = y.to(weight.dtype).unsqueeze(-1)
    return torch.cat([y, weight.to(y.dtype).unsqueeze(-1)], -1)


def parts(target, loss):
    """y, as the loss takes it, and the weights of the rows."""
    if rule_of(loss).target == "classes":
        return target[..., 0].long(), target[..., 1]
    return target[..., :-1], target[..., -1]


def of_elements(weight, each):
    """The weights (…, N) beside the losses of rows, or of elements (…, N, outputs)."""
    return weight.view(*weight.shape, *[1] * (each.dim() - weight.dim()))


def terms(output, target, loss):
    """w ℓ, w ∂ℓ/∂output, and what the mean divides by."""
    rule, (y, weight) = rule_of(loss), parts(target, loss)
    options = rule.options_of(loss)
    rule.check(output, y)
    if rule.terms is not None:
        each, derivative, _ = rule.terms(output, y, **options)
    else:
        each, derivative = rule.each(output, y, **options), rule.derivative(output, y, **options)
    return each * of_elements(weight, each), derivative * weight.unsqueeze(-1), count(target, loss)


def count(target, loss):
    """Σ w, of each output; of an ensemble's target for each member."""
    outputs = 1 if rule_of(loss).target == "classes" else target.shape[-1] - 1
    return target[..., -1].sum(-1) * outputs


def check(output, target):
    """Raises a ValueError for a target without weights."""
    if output.shape[:-1] != target.shape[:-1] or target.shape[-1] not in (2, output.shape[-1] + 1):
        raise ValueError(
            f"the target has the shape {tuple(target.shape)}, and the output {tuple(output.shape)}; the last column of "
            "the target is the weight of the row, as torchbp.engine.with_weight puts it there"
        )


def apply(output, target, loss, reduction="mean"):
    return RowWeighted(loss)(output, target)


attach(
    Loss(
        name="row_weighted",
        apply=apply,
        options=("loss",),
        option_symbols=("ℓ",),
        each=lambda output, target, loss: terms(output, target, loss)[0],
        derivative=lambda output, target, loss: terms(output, target, loss)[1],
        terms=terms,
        check=check,
        count=count,
        uncounted=0.0,
        equation=None,
        slope=None,
        description="The loss of each row counts as much as the row's weight says.",
    ),
    RowWeighted,
)
