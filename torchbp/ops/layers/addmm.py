"""A product and a sum: Z = β C + α A B, and its derivatives from dZ = ∂L/∂Z. For real numbers conj(·) is the number.

    forward     Z  = β C + α A B
    backward    dA = conj(α) dZ Bᴴ      dB = conj(α) Aᴴ dZ      dC = conj(β) dZ
    tangent     Ż  = β Ċ + α (Ȧ B + A Ḃ)

C is broadcast, and gets the sum of its gradients.
"""

import functools

import torch

from torchbp.ops._dispatch import VmappableFunction, lower_precision, operation, save_for_jvp
from torchbp.ops.layers.matmul import are_strided, functions
from torchbp.ops.registry import register
from torchbp.ops.rules import Operation


class AddMatmul(VmappableFunction):
    """Z = β C + α A B: A (n, k), B (k, m), C that broadcasts to (n, m); or all with a dimension E before, a batch."""

    @staticmethod
    def forward(c, a, b, beta, alpha):
        return _by_torch(c, a, b, beta, alpha)

    @staticmethod
    def setup_context(ctx, inputs, z):
        c, a, b, ctx.beta, ctx.alpha = inputs
        _, needs_da, needs_db, *_ = ctx.needs_input_grad
        ctx.shape_of_c = c.shape
        ctx.save_for_backward(a if needs_db else None, b if needs_da else None)
        save_for_jvp(ctx, a, b)

    @staticmethod
    def backward(ctx, dz):
        if dz is None:
            return None, None, None, None, None
        a, b = ctx.saved_tensors
        needs_dc, needs_da, needs_db, *_ = ctx.needs_input_grad
        dc = addmm_dc(dz, ctx.beta, ctx.shape_of_c) if needs_dc else None
        da = addmm_da(dz, b, ctx.alpha) if needs_da else None
        db = addmm_db(dz, a, ctx.alpha) if needs_db else None
        return dc, da, db, None, None

    @staticmethod
    def jvp(ctx, c_t, a_t, b_t, *_):
        a, b = ctx.saved_tensors
        return ctx.beta * c_t + ctx.alpha * (a_t @ b + a @ b_t)


def addmm_dc(dz, beta, shape):
    """dC = conj(β) dZ, in the shape of C."""
    return _times(beta, dz.sum_to_size(shape))


def addmm_da(dz, b, alpha):
    """dA = conj(α) dZ Bᴴ."""
    return _times(alpha, dz @ b.mH)


def addmm_db(dz, a, alpha):
    """dB = conj(α) Aᴴ dZ."""
    return _times(alpha, a.mH @ dz)


def _times(factor, tensor):
    """conj(factor) · tensor."""
    return tensor if factor == 1 else tensor * factor.conjugate()


def _by_torch(c, a, b, beta, alpha):
    return (torch.addmm if a.dim() == 2 else torch.baddbmm)(c, a, b, beta=beta, alpha=alpha)


apply_addmm = operation(AddMatmul, _by_torch, cast=lower_precision)


def addmm(
    input: torch.Tensor, mat1: torch.Tensor, mat2: torch.Tensor, *, beta: float = 1, alpha: float = 1
) -> torch.Tensor:
    r"""A product and a sum, `Z = β C + α A B` (equations at the top of this file).

    Args:
        input: C, which broadcasts to `(n, m)`, such as a bias `(m)`.
        mat1, mat2: A, shape `(n, k)`, and B, shape `(k, m)`; floating or complex, of one dtype.
        beta, alpha: numbers.

    Returns:
        Z, shape `(n, m)`.

    Raises:
        RuntimeError: shapes or dtypes that do not fit, as `torch.addmm` words it.

    Example:
        >>> z = torchbp.ops.addmm(torch.zeros(16), torch.randn(32, 30), torch.randn(30, 16))  # (32, 16)
    """
    if mat1.dim() != 2 or mat2.dim() != 2 or not are_strided(input, mat1, mat2):
        return torch.addmm(input, mat1, mat2, beta=beta, alpha=alpha)  # torch's error, or sparse
    return apply_addmm(input, mat1, mat2, beta, alpha)


def baddbmm(
    input: torch.Tensor, batch1: torch.Tensor, batch2: torch.Tensor, *, beta: float = 1, alpha: float = 1
) -> torch.Tensor:
    r"""`Z = β C + α A B` of each pair of matrices in two batches (equations at the top of this file).

    Args:
        input: C, which broadcasts to `(E, n, m)`.
        batch1, batch2: A, shape `(E, n, k)`, and B, shape `(E, k, m)`; floating or complex, of one dtype.
        beta, alpha: numbers.

    Returns:
        Z, shape `(E, n, m)`.

    Raises:
        RuntimeError: shapes or dtypes that do not fit, as `torch.baddbmm` words it.

    Example:
        >>> torchbp.ops.baddbmm(torch.zeros(3), torch.randn(8, 2, 4), torch.randn(8, 4, 3)).shape  # (8, 2, 3)
    """
    if batch1.dim() != 3 or batch2.dim() != 3 or batch1.shape[0] != batch2.shape[0]:
        return torch.baddbmm(input, batch1, batch2, beta=beta, alpha=alpha)  # torch's error
    return apply_addmm(input, batch1, batch2, beta, alpha)


def _in_old_order(ours, torchs):
    """Ours; torch's, where β and α are given by position, which torch calls deprecated."""

    @functools.wraps(ours)
    def product(*args, **kwargs):
        return (ours if len(args) <= 3 else torchs)(*args, **kwargs)

    return product


ADDMM = register(
    Operation(name="addmm", apply=addmm, torch_functions=functions("addmm", _in_old_order(addmm, torch.addmm)))
)
BADDBMM = register(
    Operation(
        name="baddbmm", apply=baddbmm, torch_functions=functions("baddbmm", _in_old_order(baddbmm, torch.baddbmm))
    )
)
