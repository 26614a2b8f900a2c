"""Matrix products: Z = A B, and its derivatives from dZ = ∂L/∂Z.

    forward     Z  = A B
    backward    dA = dZ Bᴴ      dB = Aᴴ dZ
    tangent     Ż  = Ȧ B + A Ḃ

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


def are_strided(*tensors):
    """Whether none of them is sparse: those are torch's own."""
    return all(tensor.layout is torch.strided for tensor in tensors)


def matmul(input: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    r"""Product of matrices, of vectors, or of batches of matrices, `Z = A B` (equations at the top of this file).

    Args:
        input: A, shape `(…, n, k)` or `(k)`, any strides; floating or complex.
        other: B, shape `(…, k, m)` or `(k)`, the dtype of `input`. The leading dimensions are broadcast.

    Returns:
        Z, shape `(…, n, m)`, without the dimension of a vector. Of a sparse tensor it is torch's own product.

    Raises:
        RuntimeError: shapes or dtypes that do not fit, as `torch.matmul` words it.

    Example:
        >>> z = torchbp.ops.matmul(torch.randn(8, 32, 30), torch.randn(30, 16))  # (8, 32, 16)
    """
    return apply_matmul(input, other) if are_strided(input, other) else torch.matmul(input, other)


def _mm(input, mat2):
    return _product(input, mat2, 2, 2, torch.mm)


def _mv(input, vec):
    return _product(input, vec, 2, 1, torch.mv)


def _dot(input, tensor):
    return _product(input, tensor, 1, 1, torch.dot)


def _bmm(input, mat2):
    fits = input.dim() != 3 or mat2.dim() != 3 or input.shape[0] == mat2.shape[0]  # nothing is broadcast
    return _product(input, mat2, 3, 3, torch.bmm) if fits else torch.bmm(input, mat2)


def _product(a, b, dims_of_a, dims_of_b, by_torch):
    """A B of tensors with so many dimensions; what has others is torch's error."""
    fits = a.dim() == dims_of_a and b.dim() == dims_of_b and are_strided(a, b)
    return apply_matmul(a, b) if fits else by_torch(a, b)


def functions(name, ours):
    """{torch.name: ours, torch.Tensor.name: ours}."""
    return dict.fromkeys((getattr(torch, name), getattr(torch.Tensor, name)), ours)


PRODUCTS = {torch.Tensor.__matmul__: matmul, torch.linalg.matmul: matmul, **functions("matmul", matmul)}
PRODUCTS |= {**functions("mm", _mm), **functions("bmm", _bmm), **functions("mv", _mv), **functions("dot", _dot)}

RULE = register(Operation(name="matmul", apply=matmul, torch_functions=PRODUCTS))
