"""What the losses of classes share: the classes of the rows, their weights, and what a mean divides by.

A row is what one class is given for: of Z `(N, C)` each of the N rows, of Z `(N, C, d1, …)` each place of each row.
"""

import torch

from torchbp.ops._dispatch import is_dynamo_compiling, transforms_active


def class_dim(z):
    """The dimension of the classes: 1, or of an input without a batch 0."""
    return 1 if z.dim() > 1 else 0


def per_class(weight, z, dim):
    """w in a shape that broadcasts to Z along its dimension of classes."""
    return weight.view([-1 if d == dim else 1 for d in range(z.dim())])


def class_weights(y, weight, ignore_index, dtype):
    """(y with 0 in the place of `ignore_index`; w_y of each row, 0 where it is ignored; which rows are kept)."""
    kept = y != ignore_index
    index = torch.where(kept, y, 0)
    return index, kept.to(dtype) if weight is None else torch.where(kept, weight[index], 0), kept


def row_gradient(dloss, w_y, kept, reduction):
    """dℓ of each row: dL for a sum, dL / Σ w_y for a mean, and 0 where the row is ignored, also where all are."""
    if reduction == "mean":
        dloss = dloss / w_y.sum()
    return torch.where(kept, dloss, 0)


def may_write():
    """Whether a formula may write into the tensor that it has just made: nobody records it or maps over it."""
    return not (torch.is_grad_enabled() or is_dynamo_compiling() or transforms_active())


def put(out, dim, index, values):
    """`out` with these values at the class of each row; over `out` itself where that may be."""
    scatter = out.scatter_ if may_write() else out.scatter
    return scatter(dim, index.unsqueeze(dim), values.unsqueeze(dim))


def pick(x, dim, index):
    """The number at the class of each row."""
    return x.gather(dim, index.unsqueeze(dim)).squeeze(dim)


def check_class_weight(weight, z):
    """A weight for each class.

    Raises:
        RuntimeError: it has another shape, dtype or device, or requires a gradient, which torch does not have either.
    """
    if weight is None:
        return
    dim = class_dim(z)
    classes = z.shape[dim] if z.dim() else 1
    if weight.shape != (classes,):
        raise RuntimeError(
            f"weight has the shape {tuple(weight.shape)}; give one number for each of the {classes} classes of input, "
            f"whose shape is {tuple(z.shape)}"
        )
    if weight.dtype is not z.dtype and not torch.is_autocast_enabled(z.device.type):
        raise RuntimeError(f"weight is {weight.dtype} and input {z.dtype}; give weight.to({z.dtype})")
    if weight.device != z.device:
        raise RuntimeError(f"weight is on {weight.device} and input on {z.device}; give weight.to({str(z.device)!r})")
    if weight.requires_grad and torch.is_grad_enabled():
        raise RuntimeError("weight requires grad, but a loss is not differentiable in its weight; use .detach()")
