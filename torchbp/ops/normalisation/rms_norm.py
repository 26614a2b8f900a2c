"""RMS norm: each row is divided by its root mean square, then w scales each feature.

    forward     r  = 1 / √(mean(x²) + eps)      x̂ = x r      z = x̂ ∘ w
    backward    g  = dz ∘ w                     dx = r (g − x̂ ∘ mean(g ∘ x̂))
                dw = Σ dz ∘ x̂
    tangent     ż  = x̂̇ ∘ w + x̂ ∘ ẇ,  with x̂̇ = r (ẋ − x̂ ∘ mean(ẋ ∘ x̂))

The means run over the features of a row, the last dimensions, and the sum over the rows. It is layer norm without μ and
b. Both sums of the backward are products of u = dz ∘ x: Σ g ∘ x̂ = r (u w) for each row, and dw = rᵀ u. So it reads
memory less often than torch's, which on a CPU differentiates each step of the forward. x, r and w are saved. Of complex
numbers, x², without |·|, is what torch takes; x, r and w are then conjugated in the backward.
"""

import math

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import (
    HALVES,
    VmappableFunction,
    float32_on_cuda,
    is_differentiated,
    may_overwrite,
    operation,
    save_for_jvp,
    widened,
)
from torchbp.ops.expressions import X, dZ, sqrt
from torchbp.ops.normalisation._equations import ONE, ROOT, LastDimensions, U, W, of_last
from torchbp.ops.normalisation._normalised import features, scaled_and_shifted, times
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer, Parameter


class RMSNorm(VmappableFunction):
    """z = x̂ ∘ w, and r: x (…, *shape), w of that shape or None."""

    @staticmethod
    def forward(x, weight, shape, eps):
        return forward_and_scale(x, weight, shape, eps)

    @staticmethod
    def setup_context(ctx, inputs, outputs):
        x, weight, ctx.shape, ctx.eps = inputs
        ctx.mark_non_differentiable(outputs[1])
        ctx.save_for_backward(x, *((outputs[1], weight) if ctx.needs_input_grad[0] else (None, None)))
        save_for_jvp(ctx, x, weight)

    @staticmethod
    def backward(ctx, dz, *_):
        if dz is None:
            return None, None, None, None
        x, r, weight = ctx.saved_tensors
        if r is None or is_differentiated():
            r = scale(widened(x), ctx.shape, ctx.eps)
        return *rms_norm_gradients(dz, x, r, weight, ctx.shape, ctx.needs_input_grad), None, None

    @staticmethod
    def jvp(ctx, x_t, weight_t, *_):
        x, weight = ctx.saved_tensors
        dtype, x, x_t = x.dtype, widened(x), widened(x_t)
        r = scale(x, ctx.shape, ctx.eps)
        xhat = x * r
        tangent = r * (x_t - xhat * (x_t * xhat).mean(features(ctx.shape), keepdim=True))
        return scaled_and_shifted(tangent, xhat, weight, weight_t, None).to(dtype), None


def forward_and_scale(x, weight, shape, eps):
    """z and r; of half precision r, and what lies between, in float32."""
    dtype, x = x.dtype, widened(x)
    r = scale(x, shape, eps)
    z = x * r
    if weight is not None:
        z = z.mul_(weight) if may_overwrite() else z * weight
    return z.to(dtype), r


def scale(x, shape, eps):
    """r = 1 / √(mean(x²) + eps)."""
    return (x.square().mean(features(shape), keepdim=True) + eps).rsqrt()


def rms_norm_gradients(dz, x, r, weight, shape, needs):
    """dx and dw, those that are needed."""
    needs_dx, needs_dweight, *_ = needs
    dtype, dz, x, r = x.dtype, widened(dz), widened(x).conj(), r.conj()
    u = dz * x
    dweight = rms_norm_dweight(u, r, shape) if needs_dweight else None
    dx = rms_norm_dx(dz, u, x, r, None if weight is None else weight.conj(), shape).to(dtype) if needs_dx else None
    return dx, dweight


def rms_norm_dx(dz, u, x, r, weight, shape):
    """dx = r (g − x̂ ∘ mean(g ∘ x̂)), of g = dz ∘ w and u = dz ∘ x: mean(g ∘ x̂) is r (u w) / n, n features in a row."""
    if weight is None:
        sums = u.sum(features(shape), keepdim=True)
    else:
        sums = torch.tensordot(u, weight.to(u.dtype), len(shape)).view_as(r)
    mean = sums * r / math.prod(shape)
    if may_overwrite():
        g = dz.mul(1 if weight is None else weight)
        return g.addcmul_(x, mean * r, value=-1).mul_(r)
    return r * (times(dz, weight) - x * (mean * r))


def rms_norm_dweight(u, r, shape):
    """dw = Σ dz ∘ x̂ = rᵀ u, of u = dz ∘ x: over the rows."""
    rows = u.dim() - len(shape)
    return torch.tensordot(r.reshape(u.shape[:rows]), u, rows)


def _by_torch(x, weight, shape, eps):
    return (F.rms_norm(x, shape, weight, eps),)


apply_rms_norm = operation(RMSNorm, _by_torch, float32_on_cuda)


def rms_norm(
    input: torch.Tensor,
    normalized_shape: list[int],
    weight: torch.Tensor | None = None,
    eps: float | None = None,
) -> torch.Tensor:
    r"""Each row divided by its root mean square, and scaled: `Z = X r ∘ w` (equations at the top of this file).

    Args:
        input: X, shape `(…, *normalized_shape)`, any strides; floating or complex.
        normalized_shape: the last dimensions of `input`, over which the mean runs.
        weight: w of the shape `normalized_shape`, or None.
        eps: is added to the mean square; None is the distance from 1 to the next number of the dtype of `input`, of
            float32 where that is half precision.

    Returns:
        Z, the shape and dtype of `input`.

    Raises:
        RuntimeError: shapes that do not fit, as `torch.nn.functional.rms_norm` words it.
        NotImplementedError: an `input` of integers.

    Example:
        >>> torchbp.ops.rms_norm(torch.tensor([[3.0, 4.0, 0.0, 0.0]]), (4,))  # tensor([[1.2, 1.6, 0.0, 0.0]])
    """
    shape = tuple(normalized_shape)
    fits = shape and input.shape[-len(shape) :] == shape and (weight is None or weight.shape == shape)
    if not fits or not (input.is_floating_point() or input.is_complex()):
        return F.rms_norm(input, shape, weight, eps)  # which says what does not fit
    if not input.requires_grad:  # it is saved for dw alone; a view would keep all of the memory that it is a part of
        input = input.contiguous()
    return apply_rms_norm(input, weight, shape, smallest(input.dtype) if eps is None else eps)[0]


def smallest(dtype):
    """What `eps` is where it is not given."""
    return torch.finfo(torch.float32 if dtype in HALVES else dtype).eps


def _forward(x, weight, normalized_shape, eps):
    z, r = forward_and_scale(x, weight, normalized_shape, smallest(x.dtype) if eps is None else eps)
    return z, (x, r)


def _backward(dz, saved, weight, normalized_shape, eps):
    return rms_norm_gradients(dz, *saved, weight, normalized_shape, (True, False))[0]


def _dweight(dz, saved, normalized_shape, eps):
    return rms_norm_gradients(dz, *saved, None, normalized_shape, (False, True))[1]


class RootMeanSquare(LastDimensions):
    """r and U without a mean that is taken away."""

    def parts(self, normalized_shape=(1,), eps=None, dtype=torch.float32, shapes=ONE):
        mean, spread = of_last(shapes["X"], normalized_shape)
        eps = smallest(dtype) if eps is None else eps
        return {
            "r": (1 / sqrt(mean(X**2) + eps), "One over the root of the mean square of the features."),
            "U": (X * spread(ROOT), "The features with a mean square of 1."),
        }

    def z(self, normalized_shape=(1,), eps=None, shapes=ONE):
        return U * self.spread(W, shapes["X"], normalized_shape)

    def dx(self, normalized_shape=(1,), eps=None, shapes=ONE):
        mean, spread = of_last(shapes["X"], normalized_shape)
        g = dZ * self.spread(W, shapes["X"], normalized_shape)
        return spread(ROOT) * (g - U * spread(mean(g * U)))


EQUATIONS = RootMeanSquare()

RULE = register(
    Layer(
        name="rms_norm",
        apply=rms_norm,
        torch_module=torch.nn.RMSNorm,
        torch_functions={F.rms_norm: rms_norm, torch.rms_norm: rms_norm},
        options=("normalized_shape", "eps"),
        forward=_forward,
        backward=_backward,
        saves="returned",
        new_memory=True,
        parameters=(
            Parameter(
                "weight",
                "w",
                gradient=_dweight,
                equation=EQUATIONS.dweight,
                why="each scale multiplies one feature, so the factor is that feature, normalised",
            ),
        ),
        parts=EQUATIONS.parts,
        equation=EQUATIONS.z,
        backward_equation=EQUATIONS.dx,
        backward_why="each {x} of a row also moves the mean square of the row; the mean takes that away",
        description="Each row is divided by its root mean square; then each feature is scaled.",
    )
)
