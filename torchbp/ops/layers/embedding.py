"""Embedding: each index is replaced by its row of W.

    forward     Z_n  = W_{i_n}
    backward    dW_v = Σ_{n: i_n = v} dZ_n        where the gradient is scaled by frequency, divided by the count of v
    tangent     Ż_n  = Ẇ_{i_n}

Z = O W with the one-hot matrix O, so dW = Oᵀ dZ; neither O nor W is saved, only the indices. The row of `padding_idx`
gets no gradient.
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import VmappableFunction, may_overwrite, operation, save_for_jvp, widened
from torchbp.ops.registry import register
from torchbp.ops.rules import Layer, Parameter


class Embedding(VmappableFunction):
    """Z = W[i]: W (V, d), i (…) of integers, Z (…, d). padding_idx is below 0 where there is none."""

    @staticmethod
    def forward(weight, i, padding_idx, by_frequency, sparse):
        return torch.embedding(weight, i)

    @staticmethod
    def setup_context(ctx, inputs, z):
        weight, i, *ctx.options = inputs
        ctx.rows = weight.shape[0]
        ctx.save_for_backward(i)
        save_for_jvp(ctx, i)

    @staticmethod
    def backward(ctx, dz):
        if dz is None:
            return None, None, None, None, None
        return embedding_dweight(dz, *ctx.saved_tensors, ctx.rows, *ctx.options), None, None, None, None

    @staticmethod
    def jvp(ctx, weight_t, *_):
        return torch.embedding(weight_t, *ctx.saved_tensors)


def embedding_dweight(dz, i, rows, padding_idx=-1, by_frequency=False, sparse=False):
    """dW_v = Σ_{n: i_n = v} dZ_n, without the row of the padding; sums of half precision are made in float32."""
    i, dz = i.reshape(-1).long(), dz.reshape(i.numel(), dz.shape[-1])
    if sparse:
        used = i != padding_idx
        return torch.sparse_coo_tensor(i[used].unsqueeze(0), dz[used], (rows, dz.shape[1]), check_invariants=False)
    if by_frequency:
        dz = dz / counts(i, rows)[i].unsqueeze(-1).to(dz.dtype)
    if padding_idx >= 0:
        dz = dz.masked_fill((i == padding_idx).unsqueeze(-1), 0)
    zeros = widened(dz.new_zeros(rows, dz.shape[1]))
    add = zeros.index_add_ if may_overwrite() else zeros.index_add
    return add(0, i, widened(dz)).to(dz.dtype)


def counts(i, rows):
    """How often each index occurs."""
    return torch.zeros(rows, dtype=i.dtype, device=i.device).index_add(0, i, torch.ones_like(i))


def _by_torch(weight, i, padding_idx, by_frequency, sparse):
    return F.embedding(i, weight, padding_idx if padding_idx >= 0 else None, None, 2.0, by_frequency, sparse)


apply_embedding = operation(Embedding, _by_torch)


def embedding(
    input: torch.Tensor,
    weight: torch.Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> torch.Tensor:
    r"""The rows of a table, `Z_n = W_{i_n}` (equations at the top of this file).

    Args:
        input: i, any shape, int32 or int64.
        weight: W, shape (V, d).
        padding_idx: a row that gets no gradient; negative ones count from the end.
        max_norm, norm_type: rows that are read are first scaled down to this norm, in place.
        scale_grad_by_freq: divide each row's gradient by the count of its index in `input`.
        sparse: the gradient is a sparse tensor of the rows that occur.

    Returns:
        Z, the shape of `input` and one dimension of d.

    Raises:
        IndexError: an index that is not in [0, V).
        AssertionError: `padding_idx` is not in [−V, V).
        RuntimeError: an `input` that holds no integers, or `sparse` together with `scale_grad_by_freq`.

    Example:
        >>> torchbp.ops.embedding(torch.tensor([2, 0]), torch.eye(3))  # the last row and the first
    """
    if weight.dim() != 2:
        raise RuntimeError(f"embedding: weight has the shape {tuple(weight.shape)}; give two dimensions, (V, d)")
    rows = weight.size(0)
    if padding_idx is None:
        padding_idx = -1
    elif not -rows <= padding_idx < rows:
        raise AssertionError(f"padding_idx={padding_idx} is not in [−{rows}, {rows}), the rows of weight")
    else:
        padding_idx %= rows
    if sparse and scale_grad_by_freq:
        raise RuntimeError("embedding: sparse=True has no scale_grad_by_freq; give one of them")
    if max_norm is not None:
        with torch.no_grad():
            torch.embedding_renorm_(weight, input.contiguous(), max_norm, norm_type)
    if input.is_nested:
        return torch.embedding(weight, input, padding_idx, scale_grad_by_freq, sparse)
    try:
        return apply_embedding(weight, input, padding_idx, scale_grad_by_freq, sparse)
    except IndexError:  # torch names neither
        least, largest = input.aminmax()
        raise IndexError(
            f"embedding: input {tuple(input.shape)} has indices from {least} to {largest}, which are out of range for "
            f"the {rows} rows of weight {tuple(weight.shape)}"
        ) from None


def embedding_of_torch(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
    """`embedding` with the arguments of `torch.embedding`."""
    padding_idx = padding_idx if padding_idx >= 0 else None
    return embedding(indices, weight, padding_idx, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)


def _dweight(dz, i, num_embeddings, padding_idx, scale_grad_by_freq):
    return embedding_dweight(dz, i, num_embeddings, -1 if padding_idx is None else padding_idx, scale_grad_by_freq)


def _refuses(module):
    if module.max_norm is not None:
        return "its max_norm is not None"
    return "its gradient is sparse" if module.sparse else None


RULE = register(
    Layer(
        name="embedding",
        apply=embedding,
        torch_module=torch.nn.Embedding,
        torch_functions={F.embedding: embedding, torch.embedding: embedding_of_torch},
        options=("num_embeddings", "padding_idx", "scale_grad_by_freq"),
        refuses=_refuses,
        forward=lambda i, weight, **options: torch.embedding(weight, i),
        backward=lambda dz, i, weight, **options: None,
        saves="input",
        new_memory=True,
        parameters=(Parameter("weight", "W", gradient=_dweight, equation=None),),
        equation=None,
        backward_equation=None,
        description="Each index is replaced by its row of W.",
    )
)
