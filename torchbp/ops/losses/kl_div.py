"""Kullback-Leibler divergence of log-probabilities X from a target Y, and its derivatives.

    forward     ℓ  = Y ∘ (ln Y − X)                L = (1/N) Σ ℓ, or Σ ℓ over the rows for "batchmean"
    backward    dX = −dℓ ∘ Y                       dℓ = dL/N
                dY = dℓ ∘ (ln Y − X + 1)
    tangent     ℓ̇  = −Y ∘ Ẋ + (ln Y − X + 1) ∘ Ẏ

Where Y = 0, Y ln Y is 0. With `log_target` the target is T = ln Y:

    forward     ℓ  = e^T ∘ (T − X)
    backward    dX = −dℓ ∘ e^T     dT = dℓ ∘ e^T ∘ (T − X + 1)
"""

import functools
import warnings

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, float32, operation, save_for_jvp
from torchbp.ops.expressions import A, exp, ln, maximum, y
from torchbp.ops.losses._reduction import broadcast, check_reduction, chosen_reduction, reduce_backward, reduced
from torchbp.ops.registry import register
from torchbp.ops.rules import Loss


class KLDiv(VmappableFunction):
    """L = reduced(ℓ): X and Y (or T, with `log_target`) of one shape and dtype."""

    @staticmethod
    def forward(x, y, reduction, log_target):
        return reduced_by_rows(divergence(x, y, log_target), reduction)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, y, ctx.reduction, ctx.log_target = inputs
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, y)
        save_for_jvp(ctx, x, y)

    @staticmethod
    def backward(ctx, dloss):
        if dloss is None:
            return (None,) * 4
        x, y = ctx.saved_tensors
        if ctx.reduction == "batchmean":
            dloss = dloss / rows(y)
        dloss = reduce_backward(dloss, ctx.reduction, y.numel())
        needs_dx, needs_dy, *_ = ctx.needs_input_grad
        dx = kl_dx(dloss, y, ctx.log_target) if needs_dx else None
        dy = kl_dy(dloss, x, y, ctx.log_target) if needs_dy else None
        return dx, dy, None, None

    @staticmethod
    def jvp(ctx, x_t, y_t, *_):
        x, y = ctx.saved_tensors
        tangent = kl_dx(x_t, y, ctx.log_target) + kl_dy(y_t, x, y, ctx.log_target)
        return reduced_by_rows(tangent, ctx.reduction)


def rows(x):
    return x.shape[0] if x.dim() else 1


def reduced_by_rows(loss, reduction):
    """As `reduced`, and Σ ℓ over the rows for "batchmean"."""
    return loss.sum() / rows(loss) if reduction == "batchmean" else reduced(loss, reduction)


def divergence(x, y, log_target):
    """ℓ = Y ∘ (ln Y − X), 0 where Y = 0; or e^T ∘ (T − X) where the target is T."""
    if log_target:
        return y.exp() * (y - x)
    return torch.xlogy(y, y) - y * x


def kl_dx(dloss, y, log_target):
    """dX = −dℓ ∘ Y, with Y = e^T where the target is T."""
    return -dloss * (y.exp() if log_target else y)


def kl_dy(dloss, x, y, log_target):
    """dY = dℓ ∘ (ln Y − X + 1), or dT = dℓ ∘ e^T ∘ (T − X + 1) where the target is T."""
    if log_target:
        return dloss * y.exp() * (y - x + 1)
    return dloss * (y.log() + 1 - x)


SMALLEST = 1e-300  # whose logarithm is taken: that of 0 is −∞
REDUCTIONS = {"none": 0, "mean": 1, "sum": 2, "batchmean": 2}


def _by_torch(x, y, reduction, log_target):
    loss = torch.kl_div(x, y, REDUCTIONS[reduction], log_target=log_target)
    return loss / rows(x) if reduction == "batchmean" else loss


apply_kl_div = operation(KLDiv, _by_torch, float32)


def kl_div(
    input: torch.Tensor,
    target: torch.Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> torch.Tensor:
    r"""How much the distribution `exp(input)` differs from `target` (equations at the top of this file).

    Args:
        input: X, log-probabilities, any shape, real floating.
        target: Y, probabilities, of a shape that broadcasts with `input`; or their logarithms with `log_target`.
        size_average, reduce: torch's old way to say the reduction.
        reduction: "batchmean", the sum over the number of rows of `input`, which is the divergence's mean; "mean" over
            all elements, with torch's warning; "sum"; or "none".
        log_target: whether `target` holds logarithms.

    Returns:
        L, a scalar in nats, or ℓ for "none".

    Raises:
        ValueError: an unknown `reduction`.
        RuntimeError: integers or complex numbers, or shapes that do not broadcast.

    Example:
        >>> x, y = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]])
        >>> torchbp.ops.kl_div(x, y, reduction="batchmean")  # ln 2 = 0.6931
    """
    if size_average is None and reduce is None and reduction == "mean":
        warnings.warn(
            'reduction="mean" divides by the number of all elements; the divergence is reduction="batchmean", which '
            "divides by that of the rows",
            stacklevel=2,
        )
    reduction = chosen_reduction(size_average, reduce, reduction)
    check_reduction(reduction, "batchmean")
    if not (input.is_floating_point() and target.is_floating_point()):
        raise RuntimeError(f"input is {input.dtype} and target {target.dtype}; give real floating numbers")
    if input.dtype is not target.dtype:
        dtype = torch.promote_types(input.dtype, target.dtype)
        input, target = input.to(dtype), target.to(dtype)
    if input.shape == target.shape:
        return apply_kl_div(input, target, reduction, log_target)
    pair = broadcast(input, target)
    if reduction == "batchmean":  # the rows are those of `input` itself
        return apply_kl_div(*pair, "sum", log_target) / rows(input)
    return apply_kl_div(*pair, reduction, log_target)


def _derivative(x, y, log_target):
    return kl_dx(1, y, log_target)


def _equation(given):
    if "log_target" in given:
        return exp(y) * (y - A)
    return y * (ln(maximum(y, SMALLEST)) - A)  # 0 ln 0 is 0


def _reference(module, x, y):
    """torch's module warns of the mean over all elements."""
    return _by_torch(x, y, module.reduction, module.log_target)


RULE = register(
    Loss(
        name="kl_div",
        apply=kl_div,
        torch_module=torch.nn.KLDivLoss,
        torch_functions={F.kl_div: kl_div},
        options=("log_target",),
        each=functools.partial(_by_torch, reduction="none"),
        value=_by_torch,
        derivative=_derivative,
        option_symbols=("t",),
        equation=_equation,
        slope=lambda given: -exp(y) if "log_target" in given else -y,
        as_target=lambda x, log_target: x if log_target else x.exp(),
        reference=_reference,
        description="How much the distribution of the answers, which are logarithms, differs from that of y.",
    )
)
