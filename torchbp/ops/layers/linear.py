"""Linear: Z = X Wᵀ + b, and its derivatives from dZ = ∂L/∂Z.

    forward     Z  = X Wᵀ + b
    backward    dX = dZ conj(W)      dW = dZᵀ conj(X)      db = Σ_n dZ
    tangent     Ż  = Ẋ Wᵀ + X Ẇᵀ + ḃ

The sum over n runs over every leading dimension of X. For real numbers conj(·) is the number itself.
"""

import dataclasses
from functools import cache, partial

import torch
import torch.nn.functional as F

from torchbp.ops import _onednn
from torchbp.ops._accumulate import accumulate, per_member
from torchbp.ops._dispatch import VmappableFunction, lower_precision, operation, save_for_jvp
from torchbp.ops.layers import _linear_equations as equations
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer, Parameter

FEW_ROWS = 64


class Linear(VmappableFunction):
    """Z = X Wᵀ + b: X (…, in), W (out, in) or (in), b (out) or None, Z (…, out)."""

    @staticmethod
    def forward(x, weight, bias):
        z = F.linear(x, weight, bias)  # Z = X Wᵀ + b, one GEMM that starts from b
        # of other than two dimensions it may be a view of the GEMM's matrix, and autograd lets nobody write into a view
        # that a Function has made; detached it is the same memory, and no view
        return z if x.dim() == 2 else z.detach()

    @staticmethod
    def setup_context(ctx, inputs, z):
        x, weight, _ = inputs
        needs_dx, needs_dweight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_dweight else None, weight if needs_dx else None)
        save_for_jvp(ctx, x, weight)

    @staticmethod
    def backward(ctx, dz):
        if dz is None:
            return None, None, None
        needs_dx, needs_dweight, needs_dbias = ctx.needs_input_grad
        x, weight = ctx.saved_tensors
        dbias = linear_dbias(dz) if needs_dbias else None  # first: dZ is still in the cache
        dweight = linear_dweight(dz, x) if needs_dweight else None
        dx = linear_dx(dz, weight) if needs_dx else None
        return dx, dweight, dbias

    @staticmethod
    def jvp(ctx, x_t, weight_t, bias_t):
        x, weight = ctx.saved_tensors
        return F.linear(x_t, weight, bias_t) + F.linear(x, weight_t)  # (Ẋ Wᵀ + ḃ) + X Ẇᵀ


def linear_dx(dz, weight):
    """dX = dZ conj(W)."""
    if weight.dim() == 1:  # one output, without its dimension
        return dz.unsqueeze(-1) * weight.conj()
    return dz @ weight.conj()


def linear_dweight(dz, x):
    """dW = dZᵀ conj(X), summed over the leading dimensions."""
    if dz.dim() == 2 and x.dim() == 2:
        return dz.t() @ x.conj()
    # tensordot keeps its meaning under vmap and with symbolic shapes, where a flatten does not
    leading = list(range(x.dim() - 1))
    return torch.tensordot(dz, x.conj(), (leading, leading))


def linear_dbias(dz):
    """db = Σ_n dZ. Of a bias that is broadcast, autograd adds up the rest."""
    if dz.dim() == 2:
        return dz.sum(0)
    return dz.sum(tuple(range(dz.dim() - 1))) if dz.dim() > 1 else dz  # sum(()) would sum everything


def add_dweight(out, dz, x, beta, scale, addmm_=torch.Tensor.addmm_):
    """out ← β out + s dW in place, in one GEMM: a gradient, a velocity, or with s = −α a step of gradient descent.

    β and s are numbers, or tensors of one number; of an ensemble, of one for each member. `addmm_` is the GEMM.
    """
    if dz.dim() != 2:
        dz, x = dz.reshape(-1, dz.shape[-1]), x.reshape(-1, x.shape[-1])
    if isinstance(beta, torch.Tensor) or isinstance(scale, torch.Tensor):
        beta, dz, scale = fold_scales(out, beta, dz, scale)
    addmm_(out, dz.t(), x.conj(), beta=beta, alpha=scale)


def add_dbias(out, dz, ones, beta, scale):
    """out ← β out + s db in place, in one product: db = dZᵀ 1, with a 1 for each row."""
    if dz.dim() != 2:
        dz = dz.reshape(-1, dz.shape[-1])
    if isinstance(beta, torch.Tensor) or isinstance(scale, torch.Tensor):
        beta, dz, scale = fold_scales(out, beta, dz, scale)
    add_sum(out, dz, dz.t(), ones, beta, scale)


def add_sum(out, dz, transposed, ones, beta, scale):
    """out ← β out + s Σ_n dZ in place. Of few rows it is dZᵀ 1, one product; that adds row after row to `out`, and each
    sum is rounded as a number of the size of `out`, so many rows are added up first."""
    if len(ones) < FEW_ROWS:
        out.addmv_(transposed, ones, beta=beta, alpha=scale)
    else:
        accumulate(lambda dz, saved: dz.sum(0), out, dz, None, beta, scale)


def add_both(weight, bias, dz, x, ones, scale):
    """W ← W + s dW and b ← b + s db in place, of a number s: as the two above, and dZᵀ is taken once."""
    if dz.dim() != 2:
        dz, x = dz.reshape(-1, dz.shape[-1]), x.reshape(-1, x.shape[-1])
    transposed = dz.t()
    weight.addmm_(transposed, x.conj(), alpha=scale)
    add_sum(bias, dz, transposed, ones, 1, scale)


def fold_scales(out, beta, dz, scale):
    """β, dZ and s for a product, which takes numbers: tensors of them are multiplied into out and dZ."""
    if isinstance(beta, torch.Tensor):
        out.mul_(per_member(beta, out))
        beta = 1
    if isinstance(scale, torch.Tensor):
        dz, scale = (dz * per_member(scale, dz)).to(dz.dtype), 1  # numbers may be more precise than dZ
    return beta, dz, scale


apply_linear = operation(Linear, F.linear, cast=lower_precision)


def linear(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    r"""Affine map of the last dimension, `Z = X Wᵀ + b` (equations at the top of this file).

    Args:
        input: X, shape `(…, in_features)`, any strides; floating or complex.
        weight: W, shape `(out_features, in_features)` or `(in_features)`, the dtype of `input`.
        bias: b, shape `(out_features)` or `()`, or None.

    Returns:
        Z, shape `(…, out_features)`, or `(…)` where `weight` has one dimension.

    Raises:
        RuntimeError: shapes or dtypes that do not fit, as `torch.nn.functional.linear` words it.

    Example:
        >>> z = torchbp.ops.linear(torch.randn(32, 30), torch.randn(16, 30), torch.zeros(16))  # (32, 16)
    """
    return apply_linear(input, weight, bias)


def _backward(dz, x, weight, bias):
    return linear_dx(dz, weight)


@cache
def _large(gives_dx):
    """The rule with products that oneDNN may compute; of a layer without dX, they may take as much memory as that."""
    add_large_dweight = partial(add_dweight, addmm_=partial(_onednn.addmm_, part=_onednn.PART if gives_dx else 1))
    return dataclasses.replace(
        RULE,
        forward=_onednn.linear,
        backward=lambda dz, x, weight, bias: _onednn.matmul(dz, weight),
        parameters=parameters(linear_dweight, linear_dbias, add_large_dweight, add_dbias),
        accumulate_all=None,
    )


def parameters(dweight, dbias, add_dweight, add_dbias):
    """W and b, of one network or of an ensemble: the equations of a member are the same."""
    return (
        Parameter(
            name="weight",
            symbol="W",
            gradient=dweight,
            accumulate=add_dweight,
            equation=equations.dweight,
            why="{z} = … + w·x + …, so its derivative by a weight w is the number x of {x} that w multiplies. The "
            "gradient of a weight is the error above it times the number below it",
        ),
        Parameter(
            name="bias",
            symbol="b",
            gradient=lambda dz, saved: dbias(dz),
            accumulate=add_dbias,
            ones=True,
            equation=equations.dbias,
            why="the bias is simply added, so the factor is 1",
        ),
    )


EQUATIONS = {"equation": equations.z, "backward_equation": equations.dx}
WORDS = {
    "description": "Each unit multiplies every input by a weight, adds the products, and adds its bias.",
    "description_without": {("bias",): "Each unit multiplies every input by a weight, and adds the products."},
    "backward_why": "each number of {x} went into every unit of {z} through a weight, so its error is the sum of their "
    "errors, each times that weight itself; the gradient of the weight is for the update alone",
}

RULE = register(
    Layer(
        name="linear",
        apply=linear,
        torch_module=torch.nn.Linear,
        torch_functions={F.linear: linear},
        forward=F.linear,
        backward=_backward,
        saves="input",
        new_memory=True,
        large=_large,
        parameters=parameters(linear_dweight, linear_dbias, add_dweight, add_dbias),
        accumulate_all=add_both,
        **EQUATIONS,
        **WORDS,
    )
)
