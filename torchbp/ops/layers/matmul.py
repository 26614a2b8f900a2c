"""Matrix products: Z = A B, and Z = β C + α A B, with their derivatives from dZ = ∂L/∂Z.

    forward     Z  = A B                        Z  = β C + α A B
    backward    dA = dZ Bᴴ                      dA = conj(α) dZ Bᴴ
                dB = Aᴴ dZ                      dB = conj(α) Aᴴ dZ
                                                dC = conj(β) dZ
    tangent     Ż  = Ȧ B + A Ḃ                  Ż  = β Ċ + α (Ȧ B + A Ḃ)

Of batches there is one product for each pair of matrices. A factor that several of them share, by broadcasting, gets
the sum of its gradients. A vector is a matrix of one row, or of one column.
"""

import torch

from torchbp.ops._dispatch import VmappableFunction, lower_precision, operation, save_for_jvp
from torchbp.ops.registry import register
from torchbp.ops.rules import Operation


class Matmul(VmappableFunction):
    """Z = A B: A (…, n, k) or (k), B (…, k, m) or (k), Z (…, n, m) without the dimension of a vector."""

    @staticmethod
    def forward(a, b):
        return torch.matmul(a, b)

    @staticmethod
    def setup_context(ctx, inputs, z):
        a, b = inputs
        needs_da, needs_db = ctx.needs_input_grad
        ctx.shapes = a.shape, b.shape
        ctx.save_for_backward(a if needs_db else None, b if needs_da else None)
        save_for_jvp(ctx, a, b)

    @staticmethod
    def backward(ctx, dz):
        if dz is None:
            return None, None
        a, b = ctx.saved_tensors
        needs_da, needs_db = ctx.needs_input_grad
        shape_of_a, shape_of_b = ctx.shapes
        da = matmul_da(dz, b, shape_of_a) if needs_da else None
        db = matmul_db(dz, a, shape_of_b) if needs_db else None
        return da, db

    @staticmethod
    def jvp(ctx, a_t, b_t):
        a, b = ctx.saved_tensors
        return torch.matmul(a_t, b) + torch.matmul(a, b_t)


def matmul_da(dz, b, shape):
    """dA = dZ Bᴴ, in the shape of A."""
    if b.dim() == 1:  # A has a column for each number of B, and Z has no last dimension
        return (dz.unsqueeze(-1) * b.conj()).sum_to_size(shape)
    dz = dz.unsqueeze(-2) if len(shape) == 1 else dz
    return (dz @ b.mH).sum_to_size(shape) if len(shape) > 1 else _vector(dz @ b.mH)


def matmul_db(dz, a, shape):
    """dB = Aᴴ dZ, in the shape of B."""
    if a.dim() == 1:
        if len(shape) == 1:
            return dz * a.conj()
        return a.conj().unsqueeze(-1) * dz.unsqueeze(-2)
    if len(shape) == 1:  # Z has no last dimension
        leading = list(range(dz.dim()))
        return torch.tensordot(dz, a.conj(), (leading, leading))
    if len(shape) == 2:  # one matrix for all rows: one product
        leading = list(range(a.dim() - 1))
        return torch.tensordot(a.conj(), dz, (leading, leading))
    return (a.mH @ dz).sum_to_size(shape)


def _vector(rows):
    """The sum of all rows, as a vector."""
    return rows.sum(tuple(range(rows.dim() - 1)))


apply_matmul = operation(Matmul, torch.matmul, cast=lower_precision)


def matmul(input: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    r"""Product of matrices, of vectors, or of batches of matrices, `Z = A B` (equations at the top of this file).

    Args:
        input: A, shape `(…, n, k)` or `(k)`, any strides; floating or complex.
        other: B, shape `(…, k, m)` or `(k)`, the dtype of `input`. The leading dimensions are broadcast.

    Returns:
        Z, shape `(…, n, m)`, without the dimension of a vector.

    Raises:
        RuntimeError: shapes or dtypes that do not fit, as `torch.matmul` words it.

    Example:
        >>> z = torchbp.ops.matmul(torch.randn(8, 32, 30), torch.randn(30, 16))  # (8, 32, 16)
    """
    return apply_matmul(input, other)


def _of_matrices(dim, by_torch):
    """torch's product of two tensors of so many dimensions; what has others is torch's error."""

    def product(input, mat2):
        fits = input.dim() == dim == mat2.dim() and (dim == 2 or input.shape[0] == mat2.shape[0])
        return apply_matmul(input, mat2) if fits else by_torch(input, mat2)

    return product


_mm, _bmm = _of_matrices(2, torch.mm), _of_matrices(3, torch.bmm)


class AddMatmul(VmappableFunction):
    """Z = β C + α A B: A (n, k), B (k, m), C that broadcasts to (n, m); or all with a dimension E before, a batch."""

    @staticmethod
    def forward(c, a, b, beta, alpha):
        return (torch.addmm if a.dim() == 2 else torch.baddbmm)(c, a, b, beta=beta, alpha=alpha)

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
        dc = _times(ctx.beta, dz.sum_to_size(ctx.shape_of_c)) if needs_dc else None
        da = _times(ctx.alpha, dz @ b.mH) if needs_da else None
        db = _times(ctx.alpha, a.mH @ dz) if needs_db else None
        return dc, da, db, None, None

    @staticmethod
    def jvp(ctx, c_t, a_t, b_t, *_):
        a, b = ctx.saved_tensors
        return ctx.beta * c_t + ctx.alpha * (a_t @ b + a @ b_t)


def _times(factor, tensor):
    """conj(factor) · tensor."""
    return tensor if factor == 1 else tensor * factor.conjugate()


def _add_by_torch(c, a, b, beta, alpha):
    return (torch.addmm if a.dim() == 2 else torch.baddbmm)(c, a, b, beta=beta, alpha=alpha)


apply_addmm = operation(AddMatmul, _add_by_torch, cast=lower_precision)


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
    if mat1.dim() != 2 or mat2.dim() != 2:
        return torch.addmm(input, mat1, mat2, beta=beta, alpha=alpha)  # torch's error
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


PRODUCTS = dict.fromkeys((torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__), matmul)
PRODUCTS |= {torch.mm: _mm, torch.Tensor.mm: _mm, torch.bmm: _bmm, torch.Tensor.bmm: _bmm}

RULE = register(Operation(name="matmul", apply=matmul, torch_functions=PRODUCTS))
ADDMM = register(
    Operation(name="addmm", apply=addmm, torch_functions=dict.fromkeys((torch.addmm, torch.Tensor.addmm), addmm))
)
BADDBMM = register(
    Operation(
        name="baddbmm", apply=baddbmm, torch_functions=dict.fromkeys((torch.baddbmm, torch.Tensor.baddbmm), baddbmm)
    )
)
