"""Weights of rows in a loss: the mean over the rows of w_n ℓ_n, of any loss that has a rule.

    L = (1/N) Σ_n w_n ℓ_n        ∂L/∂z_n = (w_n/N) ∂ℓ_n/∂z_n

It divides by N, where `torchbp.engine.RowWeighted` divides by Σ w: the gradients of the parts of a batch then add up to
that of the whole, in several processes too.

The weights travel in the target, so that the engine and its programs gather, stack and share them as targets: as a
last column, or of classes in the place of the ones of a one-hot row, w_n onehot(y_n).
"""

import torch
import torch.nn.functional as F

from torchbp.ops.losses.cross_entropy import probabilities_dz
from torchbp.ops.registry import attach, rule_of
from torchbp.ops.rules import Loss


def with_weights(y: torch.Tensor, w: torch.Tensor, classes: int | None = None) -> torch.Tensor:
    """The target of a `MeanOverRows`: of y `(N, outputs)` and weights `(N)` side by side, `(N, outputs + 1)`; of the
    indices of so many classes, `(N)`, the shares `(N, classes)`."""
    if classes is None:
        return torch.cat([y.to(w.dtype), w.unsqueeze(-1)], -1)
    return F.one_hot(y, classes).to(w.dtype) * w.unsqueeze(-1)


class MeanOverRows(torch.nn.Module):
    """The loss `base` with a weight for each row.

    Args:
        base: a loss with reduction "mean", of elements, or the cross-entropy of classes.

    Shapes: the output `(N, outputs)`; the target as `with_weights` makes it.

    Example:
        >>> loss = MeanOverRows(torchbp.nn.MSELoss())
        >>> loss(torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0, 0.5], [1.0, 1.5]]))  # (0.5 · 1 + 1.5 · 4)/2 = 3.25
    """

    reduction = "mean"

    def __init__(self, base: torch.nn.Module) -> None:
        super().__init__()
        self.__dict__["base"] = base  # no submodule: the `state_dict` would have its buffers twice

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return weighted_loss(output, target, base=self.base)


def weighted_loss(output, target, reduction="mean", *, base):
    """L of a `MeanOverRows`, by the operation of its base, which autograd goes through."""
    rule = rule_of(base)
    if rule.target == "classes":
        each = rule.apply(output, smoothed(target, base), reduction="none")
    else:
        each = target[..., -1:] * rule.apply(output, target[..., :-1], reduction="none", **rule.options_of(base))
    return each.mean() if reduction == "mean" else each.sum()


def smoothed(shares, base):
    """q = (1 − ε) w onehot(y) + (ε/C) w, of the shares w onehot(y)."""
    smoothing = base.label_smoothing
    if not smoothing:
        return shares
    return (1 - smoothing) * shares + smoothing / shares.shape[-1] * shares.sum(-1, keepdim=True)


def _terms(output, target, base):
    """w ℓ, w ∂ℓ/∂z, and what the mean of one network divides by."""
    rule = rule_of(base)
    if rule.target == "classes":
        log_p, q = output.log_softmax(-1), smoothed(target, base)
        each, derivative = -(q * log_p).sum(-1), probabilities_dz(1, log_p, q, -1)
    else:
        options, y, w = rule.options_of(base), target[..., :-1], target[..., -1:]
        each, derivative = w * rule.each(output, y, **options), w * rule.derivative(output, y, **options)
    members = len(output) if output.dim() > 2 else 1
    return each, derivative, max(1, each.numel() // members)


def _check(output, target):
    extra = target.shape[-1] - output.shape[-1] if target.dim() == output.dim() else None
    if extra not in (0, 1) or target.shape[:-1] != output.shape[:-1]:
        raise ValueError(
            f"the target has the shape {tuple(target.shape)}, and the output {tuple(output.shape)}; give it as "
            "`with_weights` makes it"
        )


attach(
    Loss(
        name="row_weighted",
        apply=weighted_loss,
        options=("base",),
        option_symbols=("b",),
        each=lambda output, target, base: _terms(output, target, base)[0],
        derivative=lambda output, target, base: _terms(output, target, base)[1],
        terms=_terms,
        count=lambda target, base: max(1, target.shape[-2]),
        check=_check,
        equation=None,
        slope=None,
        description="A loss in which each row has a weight.",
    ),
    MeanOverRows,
)
