"""Cross-entropy of classes, of logits Z, with P = softmax(Z): the softmax and the negative log-likelihood in one.

    forward     ℓ  = −Σ_c q_c ln P_c                    L = Σ ℓ / Σ w_y
    backward    dZ = dℓ (P Σ_c q_c − q)                 dℓ = dL / Σ w_y
    tangent     ℓ̇  = −Σ_c q_c (ln P)˙_c                 (ln P)˙ = Ż − Σ_c P_c Ż_c

q says how much each class counts in a row:

    of a class y                       q = w_y onehot(y)                            dZ = dℓ w_y (P − onehot(y))
    with label smoothing ε             q = (1 − ε) w_y onehot(y) + (ε/C) w
    of probabilities y                 q = w ∘ ((1 − ε) y + ε/C)                    dy = −dℓ (1 − ε) w ∘ ln P

The mean divides by Σ w_y, and of probabilities by the number of rows. Where P_y is nearly 1, P_y − 1 rounds to 0, as in
torch. Of a class y, without smoothing, it is computed as −Σ of the other classes' P, so a class that is right keeps its
small gradient: in float32 −2.06e−9 at Z = (20, 0) and y = 0. Its relative error is that of ln P. With smoothing, and of
probabilities y, dZ is exact to the rounding of q.
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, float32, operation, save_for_jvp
from torchbp.ops.expressions import A, K, SumOfRow, Symbol, Z, exp, ln, maximum, w, y
from torchbp.ops.layers.log_softmax import log_softmax_dx, log_softmax_tangent
from torchbp.ops.layers.softmax import RULE as SOFTMAX
from torchbp.ops.losses._classes import (
    as_index,
    check_class_weight,
    check_classes,
    check_probabilities,
    class_dim,
    class_weights,
    count,
    nll_of,
    no_view,
    outside,
    per_class,
    put,
    reduced_rows,
    row_gradient,
    shares,
    weighted,
)
from torchbp.ops.losses._reduction import check_reduction, chosen_reduction, times
from torchbp.ops.registry import register
from torchbp.ops.rules import Computed, Loss

EPSILON = Symbol("ε")
LEAST = 1e-30  # as a probability that is divided by


class CrossEntropy(VmappableFunction):
    """(L, ln P): Z (N, C, …) or (C), y classes or probabilities, w (C) or None, ε = `smoothing`.

    ln P is an output, and the only tensor of Z's size that is saved: the second derivative goes through it back to Z.
    """

    @staticmethod
    def forward(z, y, weight, ignore_index, reduction, smoothing):
        log_p = torch.log_softmax(z, class_dim(z))
        loss = cross_entropy_of(log_p, y, weight, ignore_index, reduction, smoothing)
        return no_view(loss, z), log_p

    @staticmethod
    def setup_context(ctx, inputs, outputs):
        z, y, weight, *ctx.settings = inputs
        ctx.of_classes = y.shape != z.shape
        ctx.save_for_backward(outputs[1], y if ctx.of_classes or ctx.needs_input_grad[0] else None, weight)
        save_for_jvp(ctx, outputs[1], y, weight)

    @staticmethod
    def backward(ctx, dloss, dlog_p):
        log_p, y, weight = ctx.saved_tensors
        dz = dy = None
        if dloss is not None:
            if ctx.of_classes:
                dz = classes_backward(dloss, log_p, y, weight, *ctx.settings)
            else:
                dz, dy = probabilities_backward(dloss, log_p, y, weight, *ctx.settings[1:], ctx.needs_input_grad)
        if dlog_p is not None and ctx.needs_input_grad[0]:
            of_log_p = log_softmax_dx(dlog_p, log_p, class_dim(log_p))
            dz = of_log_p if dz is None else dz + of_log_p
        return dz, dy, None, None, None, None

    @staticmethod
    def jvp(ctx, z_t, y_t, *_):
        log_p, y, weight = ctx.saved_tensors
        log_p_t = log_softmax_tangent(z_t, log_p, class_dim(log_p))
        return cross_entropy_tangent(log_p_t, y_t, log_p, y, weight, *ctx.settings), log_p_t


def cross_entropy_of(log_p, y, weight, ignore_index, reduction, smoothing):
    """L, of the logarithms of the probabilities."""
    dim = class_dim(log_p)
    if y.shape == log_p.shape:
        loss = -(shares(y, weight, smoothing, dim) * log_p).sum(dim)
        return loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss
    loss = nll_of(log_p, y, weight, ignore_index, reduction)  # −w_y ln P_y
    if not smoothing:
        return loss
    _, w_y, kept = class_weights(y, weight, ignore_index, log_p.dtype)
    even = torch.where(kept, -weighted(log_p, weight, dim).sum(dim), 0)
    return (1 - smoothing) * loss + smoothing / log_p.shape[dim] * reduced_rows(even, w_y, reduction)


def classes_backward(dloss, log_p, y, weight, ignore_index, reduction, smoothing):
    """dZ, of classes y."""
    dim = class_dim(log_p)
    index, w_y, kept = class_weights(y, weight, ignore_index, log_p.dtype)
    dloss = row_gradient(dloss, w_y, kept, reduction)
    if not smoothing:
        return cross_entropy_dz(dloss * w_y, log_p, index, dim)
    return smoothed_dz(dloss, log_p, index, w_y, weight, smoothing, dim)


def probabilities_backward(dloss, log_p, y, weight, reduction, smoothing, needs):
    """dZ and dy of probabilities y, each of them None where it is not needed."""
    dim = class_dim(log_p)
    if reduction == "mean":
        dloss = dloss / (log_p.numel() // (log_p.shape[dim] or 1))
    if dloss.dim():
        dloss = dloss.unsqueeze(dim)
    dz = probabilities_dz(dloss, log_p, shares(y, weight, smoothing, dim), dim) if needs[0] else None
    dy = -dloss * (1 - smoothing) * weighted(log_p, weight, dim) if needs[1] else None
    return dz, dy


def cross_entropy_dz(dloss, log_p, index, dim, log_p_y=None):
    """dZ = dℓ (P − onehot(y)), where dℓ has w_y in it; of numbers of 16 bits computed in float32. `log_p_y` is ln P_y,
    with the dimension of classes, where it is known."""
    if log_p.dtype.itemsize == 2:  # in float16 a P below 3e-8 would be 0
        return cross_entropy_dz(dloss.float(), log_p.float(), index, dim).to(log_p.dtype)
    at = index.unsqueeze(dim)
    if log_p_y is None:
        log_p_y = log_p.gather(dim, at)
    p = put(torch.exp(log_p), dim, at, 0)
    of_others = -p.sum(dim, keepdim=True)  # P_y − 1, exact from P_y = ½ on; below, e^(ln P_y) − 1 is
    dz = put(p, dim, at, torch.where(log_p_y < -0.7, torch.expm1(log_p_y), of_others))
    return times(dz, dloss.unsqueeze(dim))


def smoothed_dz(dloss, log_p, index, w_y, weight, smoothing, dim):
    """dZ = dℓ (P Σ q − q), with q = (1 − ε) w_y onehot(y) + (ε/C) w."""
    even = smoothing / log_p.shape[dim]
    q = log_p.new_full((1,) * log_p.dim(), even) if weight is None else even * per_class(weight, log_p, dim)
    total = (1 - smoothing) * w_y + (smoothing if weight is None else even * weight.sum())
    dz = torch.exp(log_p) * total.unsqueeze(dim) - q
    at = index.unsqueeze(dim)
    dz = put(dz, dim, at, dz.gather(dim, at) - (1 - smoothing) * w_y.unsqueeze(dim))
    return times(dz, dloss.unsqueeze(dim))


def probabilities_dz(dloss, log_p, q, dim):
    """dZ = dℓ (P Σ q − q)."""
    return dloss * (torch.exp(log_p) * q.sum(dim, keepdim=True) - q)


def cross_entropy_tangent(log_p_t, y_t, log_p, y, weight, ignore_index, reduction, smoothing):
    """L̇ = −Σ q ∘ (ln P)˙, and of probabilities − Σ q̇ ∘ ln P, too."""
    tangent = cross_entropy_of(log_p_t, y, weight, ignore_index, reduction, smoothing)  # it is linear in ln P
    if y.shape != log_p.shape:
        return tangent
    return tangent + cross_entropy_of(log_p, (1 - smoothing) * y_t, weight, ignore_index, reduction, 0.0)


def _by_torch(z, y, weight, ignore_index, reduction, smoothing):
    return F.cross_entropy(
        z, y, weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=smoothing
    ), None


apply_cross_entropy = operation(CrossEntropy, _by_torch, float32)


def cross_entropy(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    r"""Cross-entropy between `softmax(input)` and classes or probabilities (equations at the top of this file).

    Args:
        input: Z, logits, shape `(C)`, `(N, C)` or `(N, C, d1, …)`, floating.
        target: y, the index of a class for each row, shape `()`, `(N)` or `(N, d1, …)`, int64; or probabilities in the
            shape of `input`, floating.
        weight: w, a number for each class, shape `(C)`, the dtype of `input`, or None; it gets no gradient.
        size_average, reduce: torch's old way to say the reduction.
        ignore_index: rows of this class do not count.
        reduction: "mean", the sum divided by Σ w_y (of probabilities, by the number of rows), "sum", or "none".
        label_smoothing: ε in [0, 1].

    Returns:
        L, a scalar in nats, or ℓ without the dimension of classes for "none".

    Raises:
        IndexError: a class that is not below C.
        ValueError: another number of rows, or an unknown reduction.
        RuntimeError: other shapes, dtypes or settings that do not fit, or a weight that requires grad.
        NotImplementedError: integers or complex numbers as `input`.

    Example:
        >>> torchbp.ops.cross_entropy(torch.zeros(1, 4), torch.tensor([2]))  # ln 4 = 1.3863
    """
    reduction = chosen_reduction(size_average, reduce, reduction)
    check_reduction(reduction)
    check_class_weight(weight, input)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing={label_smoothing!r} is not in [0, 1]")
    if target.shape == input.shape:
        check_probabilities(input, target, ignore_index)
    else:
        target = as_index(target, input)
    try:
        return apply_cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)[0]
    except IndexError as error:
        raise outside(error, input) from None


def _terms(z, y, weight=None, ignore_index=-100, label_smoothing=0.0):
    """ℓ, D = ∂ℓ/∂Z and Σ w_y of classes y, where those of Z are the last dimension."""
    log_p, y = torch.log_softmax(z, -1), y.long()
    if y.dim() < z.dim() - 1:
        y = y.expand(z.shape[:-1])
    index, w_y, kept = class_weights(y, weight, ignore_index, z.dtype)
    log_p_y = log_p.gather(-1, index.unsqueeze(-1))
    loss = torch.where(kept, -log_p_y.squeeze(-1) if weight is None else -w_y * log_p_y.squeeze(-1), 0)
    if not label_smoothing:
        return loss, cross_entropy_dz(w_y, log_p, index, z.dim() - 1, log_p_y), w_y.sum(-1)
    even = torch.where(kept, -weighted(log_p, weight, z.dim() - 1).sum(-1), 0)
    loss = (1 - label_smoothing) * loss + label_smoothing / z.shape[-1] * even
    dz = smoothed_dz(kept.to(z.dtype), log_p, index, w_y, weight, label_smoothing, z.dim() - 1)
    return loss, dz, w_y.sum(-1)


def counted_shares(given):
    """q as an expression: how much each class counts in a row, of y = 1 for its class and 0 for the others."""
    q = (1 - EPSILON) * y + EPSILON / K if "label_smoothing" in given else y
    return w * q if "weight" in given else q


def entropy(given):
    """The part of ℓ of each class, as an expression."""
    return -(counted_shares(given) * ln(A))


def slope(given):
    """∂ℓ/∂P of each class, as an expression."""
    return -(counted_shares(given) / A)


def bounded_slope(given):
    return -(counted_shares(given) / maximum(A, LEAST))


def error(given):
    """∂ℓ/∂Z as an expression: that times the derivative of the softmax."""
    q = counted_shares(given)
    if "weight" not in given:
        return A - q
    if "label_smoothing" in given:
        return A * SumOfRow(q) - q
    return SumOfRow(q) * (A - y)


def entropy_of_logits(given):
    return -(counted_shares(given) * (Z - ln(SumOfRow(exp(Z)))))


def error_of_others(given):
    """∂ℓ/∂Z as it is computed without smoothing: of the row's class −Σ of the other classes' P."""
    if "label_smoothing" in given:
        return error(given)
    of_others = (1 - y) * A - y * SumOfRow((1 - y) * A)
    return SumOfRow(w * y) * of_others if "weight" in given else of_others


def explained_error(given):
    smoothed, weighted_by = "label_smoothing" in given, "weight" in given
    target = "the smoothed target" if smoothed else "1 for the row's class and 0 for the others"
    times = "" if not weighted_by else ", times the classes' weights w" if smoothed else ", times the class's weight w"
    return (
        "Chain rule: all logits {z} of a row change all its {a}, since they share one sum. Added up over the classes, "
        f"the products leave prediction minus target, {{a}} − y, where the target is {target}{times}."
    )


RULE = register(
    Loss(
        name="cross_entropy",
        apply=cross_entropy,
        torch_module=torch.nn.CrossEntropyLoss,
        torch_functions={F.cross_entropy: cross_entropy},
        options=("weight", "ignore_index", "label_smoothing"),
        option_symbols=("w", "i", "ε"),
        answers=SOFTMAX,
        answers_options={"dim": -1},
        domain=(0.0, 1.0),
        each=lambda z, y, **options: _terms(z, y, **options)[0],
        derivative=lambda z, y, **options: _terms(z, y, **options)[1],
        terms=_terms,
        check=check_classes,
        count=count,
        target="classes",
        equation=entropy,
        slope=slope,
        error=error,
        equation_computed=Computed(
            expression=entropy_of_logits,
            why="Where {a} rounds to 0 or 1, this equation is not accurate: ln {a} is computed from {z}, as {z} − ln "
            "Σₖ exp({z}).",
        ),
        slope_computed=Computed(
            expression=bounded_slope, why="Here {a} is taken as at least 1e−30: no slope is infinite."
        ),
        error_computed=Computed(
            expression=error_of_others,
            why="Where {a} is almost 1, {a} − 1 has few digits: it is computed as minus the sum of the other classes' "
            "{a}.",
        ),
        description="The loss is small when the network gives the right class a high probability: it is minus the "
        "logarithm of that probability.",
        answers_description="The answers are probabilities: the softmax turns the logits {z} of a row into {a}, "
        "positive numbers whose sum is 1.",
        error_description=explained_error,
    )
)
