"""Instance norm: each channel of each row has mean 0 and variance 1 over its places; then w scales and b shifts it.

    forward     μ  = mean(x)      rstd = 1 / √(mean((x − μ)²) + eps)      x̂ = (x − μ) rstd      z = x̂ ∘ w + b
    backward    g  = dz ∘ w       dx = rstd ∘ (g − mean(g) − x̂ ∘ mean(g ∘ x̂))
                dw = Σ dz ∘ x̂     db = Σ dz
    running     μ_r ← (1 − m) μ_r + m mean_N(μ)      σ²_r ← (1 − m) σ²_r + m mean_N(n/(n − 1) mean((x − μ)²))

The means run over the n places of a channel in a row, and mean_N over the rows. So it is batch norm of one row with N·C
channels, whose formulas compute it: w and b are repeated for each row, and their gradients are summed over the rows. In
evaluation μ_r and σ²_r take the place of μ and of the variance of every row, as in batch norm.
"""

import functools

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, is_differentiated, operation, save_for_jvp, widened
from torchbp.ops.normalisation._batch_kernels import batch_norm_by_kernel, forward_by_batch
from torchbp.ops.normalisation._equations import RUNNING, WHY_B, WHY_W, WHY_X, NormEquations, of_groups
from torchbp.ops.normalisation._in_evaluation import (
    apply_in_evaluation,
    by_torch_in_evaluation,
    in_evaluation_dx,
    running_rstd,
)
from torchbp.ops.normalisation._normalised import (
    channel_dbias,
    dweight_of_statistics,
    normalised,
    normalised_dx,
    per_channel,
    scaled_and_shifted,
    statistics,
)
from torchbp.ops.normalisation._running_statistics import check_dims, check_tensors
from torchbp.ops.normalisation.batch_norm import batch_norm_by_formulas
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer, Parameter


class InstanceNorm(VmappableFunction):
    """z, and μ and rstd of each channel of each row: x (N, C, …), w, b and the running statistics (C), or None."""

    @staticmethod
    def forward(x, weight, bias, running_mean, running_var, momentum, eps):
        return forward_by_rows(x, weight, bias, running_mean, running_var, momentum, eps)

    @staticmethod
    def setup_context(ctx, inputs, outputs):
        x, weight, *_, ctx.eps = inputs
        _, mean, rstd = outputs
        needs_dx, needs_dweight, *_ = ctx.needs_input_grad
        ctx.mark_non_differentiable(mean, rstd)
        saved = (x, mean, rstd) if needs_dx or needs_dweight else (None, None, None)
        ctx.save_for_backward(*saved, weight if needs_dx else None)
        save_for_jvp(ctx, x, weight)

    @staticmethod
    def backward(ctx, dz, *_):
        if dz is None:
            return (None,) * 7
        needs = list(ctx.needs_input_grad[:3])
        x, mean, rstd, weight = ctx.saved_tensors
        if x is None:
            return None, None, channel_dbias(dz), None, None, None, None
        one_row, of_dz, repeated = as_one_row(x), as_one_row(dz), of_each_row(weight, x)
        if is_differentiated():
            gradients = batch_norm_by_formulas(of_dz, one_row, repeated, ctx.eps, needs)
        else:
            gradients = batch_norm_by_kernel(of_dz, one_row, repeated, None, None, mean, rstd, True, ctx.eps, needs)
        dx, *others = gradients
        dweight, dbias = (None if g is None else over_rows(g, x) for g in others)
        return None if dx is None else dx.reshape(x.shape), dweight, dbias, None, None, None, None

    @staticmethod
    def jvp(ctx, x_t, weight_t, bias_t, *_):
        x, weight = ctx.saved_tensors
        dtype, x, x_t, places = x.dtype, widened(x), widened(x_t), tuple(range(2, x.dim()))
        mean, rstd = statistics(x, places, ctx.eps)
        xhat = normalised(x, mean, rstd)
        tangent = normalised_dx(x_t, xhat, rstd, places)
        weight, weight_t, bias_t = (per_channel(p, x) for p in (weight, weight_t, bias_t))
        return scaled_and_shifted(tangent, xhat, weight, weight_t, bias_t).to(dtype), None, None


def forward_by_rows(x, weight, bias, running_mean, running_var, momentum, eps):
    """z, μ and rstd, by batch norm's forward. The running statistics become the means of what each row makes of
    them."""
    mean, var, weight, bias = (of_each_row(tensor, x) for tensor in (running_mean, running_var, weight, bias))
    z, *statistics = forward_by_batch(as_one_row(x), weight, bias, mean, var, momentum, eps)
    if running_mean is not None:
        running_mean.copy_(over_rows(mean, x) / x.shape[0])
        running_var.copy_(over_rows(var, x) / x.shape[0])
    return torch.ops.aten._unsafe_view(z, x.shape), *statistics  # a view could not be written over


def as_one_row(x):
    """(N, C, …) as (1, N·C, …)."""
    return x.reshape(1, -1, *x.shape[2:])


def of_each_row(tensor, x):
    """(C) once for each row of x, as (N·C)."""
    return None if tensor is None else tensor.repeat(x.shape[0])


def over_rows(tensor, x):
    """Σ over the rows: (N·C) → (C)."""
    return tensor.view(x.shape[0], -1).sum(0)


def _by_torch(x, weight, bias, running_mean, running_var, momentum, eps):
    return (F.instance_norm(x, running_mean, running_var, weight, bias, True, momentum, eps),)


apply_instance_norm = operation(InstanceNorm, _by_torch)


def instance_norm(
    input: torch.Tensor,
    running_mean: torch.Tensor | None = None,
    running_var: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    r"""Each channel of each row at mean 0 and variance 1, scaled and shifted (equations at the top of this file).

    Args:
        input: X, shape (N, C, …), floating.
        running_mean, running_var: μ_r and σ²_r of shape (C), or None. With `use_input_stats` they are updated in place.
        weight, bias: w and b of shape (C), or None.
        use_input_stats: whether the statistics are those of `input`, or μ_r and σ²_r.
        momentum: m of the running statistics.
        eps: is added to the variance.

    Returns:
        Z, the shape of `input`.

    Raises:
        ValueError: one number in a channel, whose variance is 0, so also an `input` of less than three dimensions; or
            one of the running statistics without the other.
        RuntimeError: shapes or dtypes that do not fit.
        IndexError: without `use_input_stats`, an `input` of less than two dimensions.

    Example:
        >>> torchbp.ops.instance_norm(torch.tensor([[[1.0, 3.0], [2.0, 6.0]]]))  # tensor([[[-1., 1.], [-1., 1.]]])
    """
    check_input(input, running_mean, running_var, weight, bias, use_input_stats)
    if input.numel() == 0:
        return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    if not use_input_stats:
        return apply_in_evaluation(input, weight, bias, running_mean, running_var, eps)
    return apply_instance_norm(input.contiguous(), weight, bias, running_mean, running_var, momentum, eps)[0]


def instance_norm_of_torch(
    input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled
):
    """`instance_norm` with the arguments of `torch.instance_norm`."""
    return instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def check_input(x, running_mean, running_var, weight, bias, use_input_stats):
    """Raise torch's class of error for what does not fit."""
    if use_input_stats and x.shape[2:].numel() == 1:
        raise ValueError(f"instance_norm: input {tuple(x.shape)} has one number in each channel; it needs more than 1")
    check_dims("instance_norm", x, IndexError)
    check_tensors("instance_norm", x, running_mean, running_var, weight, bias, use_input_stats)


def _forward(x, weight, bias, running_mean, running_var, track_running_stats, training, momentum, eps, places):
    rows = x if x.dim() == 2 + places else x.unsqueeze(0)
    of_input = training or not track_running_stats
    check_input(rows, running_mean, running_var, weight, bias, of_input)
    if not of_input:
        z = by_torch_in_evaluation(rows, weight, bias, running_mean, running_var, eps)
        return z.view(x.shape), (rows, running_mean, running_rstd(running_var, eps), False)
    momentum = 0.0 if momentum is None else momentum
    z, mean, rstd = forward_by_rows(rows, weight, bias, running_mean, running_var, momentum, eps)
    return z.view(x.shape), (rows, mean, rstd, True)


def _backward(dz, saved, weight, bias, eps, **options):
    x, mean, rstd, of_input = saved
    rows = dz.reshape(x.shape)
    if not of_input:
        return in_evaluation_dx(rows, weight, rstd).reshape(dz.shape)
    rows, x, weight, needs = as_one_row(rows), as_one_row(x), of_each_row(weight, x), [True, False, False]
    return batch_norm_by_kernel(rows, x, weight, None, None, mean, rstd, True, eps, needs)[0].reshape(dz.shape)


def _dweight(dz, saved, **options):
    x, mean, rstd, of_input = saved
    rows = dz.reshape(x.shape)
    if not of_input:
        return dweight_of_statistics(rows, x, mean, rstd)
    return over_rows(dweight_of_statistics(as_one_row(rows), as_one_row(x), mean, rstd), x)


def _dbias(dz, saved, **options):
    return channel_dbias(dz.reshape(saved[0].shape))


def _statistics(shape, running_mean=None, track_running_stats=False, training=True, **others):
    return of_groups(shape, shape[0]) if training or not track_running_stats else None


EQUATIONS = NormEquations(_statistics, "each channel in a row")


def _rule(places, module, functions):
    return register(
        Layer(
            name=f"instance_norm{places}d",
            apply=instance_norm,
            torch_module=module,
            torch_functions=functions,
            options=("running_mean", "running_var", "track_running_stats", "training", "momentum", "eps"),
            forward=functools.partial(_forward, places=places),
            backward=_backward,
            saves="returned",
            new_memory=True,
            parameters=(
                Parameter("weight", "w", gradient=_dweight, equation=EQUATIONS.dweight, why=WHY_W),
                Parameter("bias", "b", gradient=_dbias, equation=EQUATIONS.dbias, why=WHY_B),
            ),
            parts=EQUATIONS.parts,
            option_symbols=RUNNING,
            equation=EQUATIONS.z,
            backward_equation=EQUATIONS.dx,
            backward_why=WHY_X,
            description="Each channel of a row is shifted to mean 0 and scaled to variance 1; then it is scaled and "
            "shifted.",
        )
    )


RULE1D = _rule(
    1, torch.nn.InstanceNorm1d, {F.instance_norm: instance_norm, torch.instance_norm: instance_norm_of_torch}
)
RULE2D = _rule(2, torch.nn.InstanceNorm2d, {})
RULE3D = _rule(3, torch.nn.InstanceNorm3d, {})
