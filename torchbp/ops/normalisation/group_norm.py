"""Group norm: the numbers of each group of channels of a row have mean 0 and variance 1; then w scales and b shifts.

    forward     μ  = mean(x)      rstd = 1 / √(mean((x − μ)²) + eps)      x̂ = (x − μ) rstd      z = x̂ ∘ w + b
    backward    g  = dz ∘ w       dx = rstd ∘ (g − mean(g) − x̂ ∘ mean(g ∘ x̂))
                dw = Σ dz ∘ x̂     db = Σ dz
    tangent     ż  = x̂̇ ∘ w + x̂ ∘ ẇ + ḃ,  with x̂̇ = rstd ∘ (ẋ − mean(ẋ) − x̂ ∘ mean(ẋ ∘ x̂))

The means run over the channels of a group and their places, in each row. w and b have a number for each channel, and
the sums run over the rows and the places. x, μ, rstd and w are saved. Where no graph is recorded, torch's kernel
`native_group_norm_backward` computes the three gradients. A test compares both.
"""

import torch
import torch.nn.functional as F
from torch._prims_common import suggest_memory_format
from torch.compiler import is_dynamo_compiling

from torchbp.ops._dispatch import (
    VmappableFunction,
    float32_on_cuda,
    is_differentiated,
    operation,
    save_for_jvp,
    transforms_active,
    widened,
)
from torchbp.ops.normalisation._equations import WHY_B, WHY_W, WHY_X, NormEquations, of_groups
from torchbp.ops.normalisation._normalised import (
    channel_dbias,
    channel_dweight,
    check_dtypes,
    normalised,
    normalised_dx,
    per_channel,
    scaled_and_shifted,
    statistics,
    times,
    wide_beside,
    wide_weight,
)
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer, Parameter

fused_backward = torch.ops.aten.native_group_norm_backward.default


class GroupNorm(VmappableFunction):
    """z, μ and rstd: x (N, C, …), w and b (C), μ and rstd (N, groups)."""

    @staticmethod
    def forward(x, weight, bias, groups, eps):
        return forward_and_statistics(x, weight, bias, groups, eps)

    @staticmethod
    def setup_context(ctx, inputs, outputs):
        x, weight, _, ctx.groups, ctx.eps = inputs
        _, mean, rstd = outputs
        needs_dx, needs_dweight, *_ = ctx.needs_input_grad
        ctx.mark_non_differentiable(mean, rstd)
        ctx.save_for_backward(*((x, mean, rstd, weight) if needs_dx or needs_dweight else [None] * 4))
        save_for_jvp(ctx, x, weight)

    @staticmethod
    def backward(ctx, dz, *_):
        if dz is None:
            return None, None, None, None, None
        x, mean, rstd, weight = ctx.saved_tensors
        if x is None:
            return None, None, channel_dbias(dz), None, None
        needs = list(ctx.needs_input_grad[:3])
        if is_differentiated():
            return *group_norm_by_formulas(dz, x, weight, ctx.groups, ctx.eps, needs), None, None
        return *group_norm_by_kernel(dz, x, mean, rstd, weight, ctx.groups, needs), None, None

    @staticmethod
    def jvp(ctx, x_t, weight_t, bias_t, *_):
        x, weight = ctx.saved_tensors
        grouped = in_groups(widened(x), ctx.groups)
        mean, rstd = statistics(grouped, -1, ctx.eps)
        xhat = normalised(grouped, mean, rstd)
        tangent = normalised_dx(in_groups(widened(x_t), ctx.groups), xhat, rstd, -1).reshape(x.shape)
        weight, weight_t, bias_t = (per_channel(p, x) for p in (weight, weight_t, bias_t))
        return scaled_and_shifted(tangent, xhat.reshape(x.shape), weight, weight_t, bias_t).to(x.dtype), None, None


def forward_and_statistics(x, weight, bias, groups, eps):
    """z, μ and rstd by torch's kernel, which gives all three. Of half precision μ and rstd are in float32."""
    weight, bias = wide_weight(weight, x, x.shape[1]), wide_beside(x, bias)
    z, mean, rstd = torch.native_group_norm(x, weight, bias, *sizes(x), groups, eps)
    return z.to(x.dtype), mean, rstd  # under vmap z is float32


def group_norm_by_kernel(dz, x, mean, rstd, weight, groups, needs):
    """dx, dw and db by torch's kernel, those that are needed. In half precision w is in float32, and so are its
    sums."""
    weight = wide_weight(weight, x, x.shape[1])
    return fused_backward(laid_out(dz, like=x), x, mean, rstd, weight, *sizes(x), groups, needs)


def group_norm_by_formulas(dz, x, weight, groups, eps, needs):
    """dx, dw and db by the equations, as functions of x: those that are needed."""
    needs_dx, needs_dweight, needs_dbias = needs
    dtype, dz = x.dtype, widened(dz)
    x = in_groups(widened(x), groups)
    mean, rstd = statistics(x, -1, eps)
    xhat = normalised(x, mean, rstd)
    dx = group_norm_dx(dz, xhat, rstd, weight, groups).to(dtype) if needs_dx else None
    dweight = channel_dweight(dz, xhat.reshape(dz.shape)) if needs_dweight else None
    return dx, dweight, channel_dbias(dz) if needs_dbias else None


def group_norm_dx(dz, xhat, rstd, weight, groups):
    """dx = rstd ∘ (g − mean(g) − x̂ ∘ mean(g ∘ x̂)), g = dz ∘ w; the means over a group. x̂ and rstd are `in_groups`."""
    g = in_groups(times(dz, per_channel(weight, dz)), groups)
    return normalised_dx(g, xhat, rstd, -1).reshape(dz.shape)


def in_groups(x, groups):
    """x (N, C, …) as (N, groups, numbers of a group)."""
    return x.reshape(x.shape[0], groups, -1)


def sizes(x):
    """Rows, channels and places."""
    return x.shape[0], x.shape[1], x.shape[2:].numel()


def laid_out(tensor, like=None):
    """The tensor in an order that torch's kernel takes, where it is given that of `like`, which is in such an order."""
    if tensor.device.type != "cpu" or transforms_active() or is_dynamo_compiling():
        return tensor.contiguous()
    return tensor.contiguous(memory_format=suggest_memory_format(tensor if like is None else like))


def _by_torch(x, weight, bias, groups, eps):
    return (F.group_norm(x, groups, weight, bias, eps),)


apply_group_norm = operation(GroupNorm, _by_torch, float32_on_cuda)


def group_norm(
    input: torch.Tensor,
    num_groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor:
    r"""Each group of channels at mean 0 and variance 1, then scaled and shifted (equations at the top of this file).

    Args:
        input: X, shape (N, C, …), any strides; floating.
        num_groups: into how many groups of neighbours the channels are divided, a divisor of C.
        weight, bias: w and b of shape (C), or None; float32 beside a half precision `input` too.
        eps: is added to the variance.

    Returns:
        Z, the shape and dtype of `input`.

    Raises:
        RuntimeError: shapes or dtypes that do not fit, as `torch.nn.functional.group_norm` words it.
        ValueError: a single number in each group of a single row.
        ZeroDivisionError: `num_groups` is 0.

    Example:
        >>> x = torch.tensor([[[1.0], [3.0], [2.0], [6.0]]])
        >>> torchbp.ops.group_norm(x, 2).flatten()  # tensor([-1., 1., -1., 1.])
    """
    if num_groups == 0:
        shape = tuple(input.shape)
        raise ZeroDivisionError(f"group_norm: num_groups=0; give a divisor of the channels of input {shape}")
    check_dtypes("group_norm", input, weight=weight, bias=bias)
    if not fits(input, num_groups, weight, bias):
        return F.group_norm(input, num_groups, weight, bias, eps)  # it says why, or there is nothing to normalise
    weight, bias = (p if p is None else p.contiguous() for p in (weight, bias))  # the kernel reads them so
    return apply_group_norm(laid_out(input), weight, bias, num_groups, eps)[0]


def fits(x, groups, weight, bias):
    """Whether there are numbers to normalise, and each group has as many channels."""
    if x.dim() < 2 or groups <= 0 or x.shape[1] % groups or x.numel() in (0, groups):
        return False
    return all(p is None or p.shape == (x.shape[1],) for p in (weight, bias))


def group_norm_of_torch(input, num_groups, weight=None, bias=None, eps=1e-5, cudnn_enabled=True):
    """`group_norm` with the arguments of `torch.group_norm`."""
    return group_norm(input, num_groups, weight, bias, eps)


def _forward(x, weight, bias, num_groups, eps):
    if not fits(x, num_groups, weight, bias):
        return F.group_norm(x, num_groups, weight, bias, eps), None
    x = laid_out(x)
    z, mean, rstd = forward_and_statistics(x, weight, bias, num_groups, eps)
    return z, (x, mean, rstd)


def _backward(dz, saved, weight, bias, num_groups, eps):
    return group_norm_by_kernel(dz, *saved, weight, num_groups, [True, False, False])[0]


def _dweight(dz, saved, num_groups, eps):
    x, *statistics = saved
    mean, rstd = (s.unsqueeze(-1) for s in statistics)
    return channel_dweight(widened(dz), normalised(in_groups(widened(x), num_groups), mean, rstd).reshape(x.shape))


def _dbias(dz, saved, num_groups, eps):
    return channel_dbias(dz)


def _statistics(shape, num_groups=1):
    return of_groups(shape, num_groups)


EQUATIONS = NormEquations(_statistics, "each group of channels in a row")

RULE = register(
    Layer(
        name="group_norm",
        apply=group_norm,
        torch_module=torch.nn.GroupNorm,
        torch_functions={F.group_norm: group_norm, torch.group_norm: group_norm_of_torch},
        options=("num_groups", "eps"),
        forward=_forward,
        backward=_backward,
        saves="returned",
        parameters=(
            Parameter("weight", "w", gradient=_dweight, equation=EQUATIONS.dweight, why=WHY_W),
            Parameter("bias", "b", gradient=_dbias, equation=EQUATIONS.dbias, why=WHY_B),
        ),
        parts=EQUATIONS.parts,
        equation=EQUATIONS.z,
        backward_equation=EQUATIONS.dx,
        backward_why=WHY_X,
        description="Each group of channels is shifted to mean 0 and scaled to variance 1; then each channel is scaled "
        "and shifted.",
    )
)
