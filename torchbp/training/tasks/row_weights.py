"""Weights of rows in a loss: the mean over the rows of w_n ℓ_n, of any loss that has a rule.

    L = (1/N) Σ_n w_n ℓ_n        ∂L/∂z_n = (w_n/N) ∂ℓ_n/∂z_n

The weights travel in the target, as its last column: so the engine gathers, stacks and shares them as it does targets.
"""

import torch

from torchbp.ops.registry import attach, rule_of
from torchbp.ops.rules import Loss


def with_weights(y, w):
    """The target of a `RowWeighted`: y, `(N)` of classes or `(N, outputs)`, and w, `(N)`, side by side."""
    y = y.unsqueeze(-1) if y.dim() == 1 else y
    return torch.cat([y.to(w.dtype), w.unsqueeze(-1)], -1)


class RowWeighted(torch.nn.Module):
    """The loss `base` with a weight for each row.

    Args:
        base: a loss with reduction "mean", of elements or of classes.

    Shapes: the output `(N, outputs)`; the target as `with_weights` makes it, `(N, 2)` of classes, otherwise
    `(N, outputs + 1)`. The class of a row is exact in float32 below 2²⁴.

    Example:
        >>> loss = RowWeighted(torchbp.nn.MSELoss())
        >>> loss(torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0, 0.5], [1.0, 1.5]]))  # (0.5 · 1 + 1.5 · 4)/2 = 3.25
    """

    reduction = "mean"

    def __init__(self, base: torch.nn.Module) -> None:
        super().__init__()
        self.__dict__["base"] = base  # no submodule: the `state_dict` would have its buffers twice

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return weighted_loss(output, target, base=self.base)


def weighted_loss(output, target, reduction="mean", *, base):
    """L of a `RowWeighted`, by the operation of its base, which autograd goes through."""
    y, w = split(target, base)
    rule = rule_of(base)
    each = rule.apply(output, y, reduction="none", **rule.options_of(base))
    total = each * (w if each.dim() == w.dim() else w.squeeze(-1))
    return total.mean() if reduction == "mean" else total.sum()


def split(target, base):
    """y, as the base takes it, and w `(…, N, 1)`."""
    y, w = target[..., :-1], target[..., -1:]
    return (y.squeeze(-1).long() if rule_of(base).target == "classes" else y), w


def _terms(output, target, base):
    """w ℓ, w ∂ℓ/∂z, and what the mean of one network divides by."""
    y, w = split(target, base)
    rule = rule_of(base)
    options = rule.options_of(base)
    if rule.terms is not None:
        each, derivative, _ = rule.terms(output, y, **options)
    else:
        each, derivative = rule.each(output, y, **options), rule.derivative(output, y, **options)
    members = len(output) if output.dim() > 2 else 1
    return each * (w if each.dim() == w.dim() else w.squeeze(-1)), derivative * w, max(1, each.numel() // members)


def _check(output, target):
    if target.dim() != output.dim() or target.shape[:-1] != output.shape[:-1] or target.shape[-1] < 2:
        raise ValueError(
            f"the target has the shape {tuple(target.shape)}, and the output {tuple(output.shape)}; give y and, as its "
            "last column, the weight of each row"
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
    RowWeighted,
)
