"""What the losses of classes share: the classes of the rows, their weights, and what a mean divides by.

A row is what one class is given for: of Z `(N, C)` each of the N rows, of Z `(N, C, d1, …)` each place of each row.
"""

import torch
import torch.nn.functional as F

from torchbp.ops._dispatch import may_overwrite, widened
from torchbp.ops.losses._reduction import check_tensor, wants_gradient


def class_dim(z):
    """The dimension of the classes: 1, or of an input without a batch 0."""
    return 1 if z.dim() > 1 else 0


def per_class(weight, z, dim):
    """w in a shape that broadcasts to Z along its dimension of classes."""
    return weight.view([-1 if d == dim else 1 for d in range(z.dim())])


def weighted(x, weight, dim):
    """w ∘ X."""
    return x if weight is None else x * per_class(weight, x, dim)


def shares(y, weight, smoothing, dim):
    """q = w ∘ ((1 − ε) y + ε/C) of probabilities y."""
    return weighted((1 - smoothing) * y + smoothing / y.shape[dim] if smoothing else y, weight, dim)


def class_weights(y, weight, ignore_index, dtype):
    """(y with 0 in the place of `ignore_index`; w_y of each row, 0 where it is ignored; which rows are kept)."""
    kept = y != ignore_index
    index = torch.where(kept, y, 0)
    return index, kept.to(dtype) if weight is None else torch.where(kept, weight[index], 0), kept


def row_gradient(dloss, w_y, kept, reduction):
    """dℓ of each row: dL for a sum, dL / Σ w_y for a mean, and 0 where the row is ignored, also where all are."""
    if reduction == "mean":
        dloss = (dloss / widened(w_y).sum()).to(dloss.dtype)  # float16 counts to 65504
    return torch.where(kept, dloss, 0)


def put(out, dim, at, values):
    """`out` with these values, or this number, at the classes `at`; over `out` itself where that may be."""
    return (out.scatter_ if may_overwrite() else out.scatter)(dim, at, values)


def reduced_rows(loss, w_y, reduction):
    """L = Σ ℓ / Σ w_y for "mean", Σ ℓ for "sum", ℓ itself for "none"."""
    if reduction == "mean":
        return loss.sum() / w_y.sum()
    return loss.sum() if reduction == "sum" else loss


def nll_of(x, y, weight, ignore_index, reduction):
    """L = reduced(−w_y X_y), by torch's function."""
    return F.nll_loss(x, y, weight, ignore_index=ignore_index, reduction=reduction)


def no_view(loss, x):
    """ℓ, which torch's function may return as a view: autograd lets nobody write into a view that a Function made."""
    return loss.detach() if x.dim() > 2 else loss


def check_rows(z, y):
    """Classes y, one for each row of Z.

    Raises:
        NotImplementedError: Z has no real floating numbers.
        ValueError, RuntimeError: y has another shape, of which torch raises a ValueError for another number of rows.
        RuntimeError: y has another dtype than int64 or uint8.
    """
    check_floating(z)
    if not z.dim():
        raise ValueError("input is a single number; give a number for each class")
    rows = (*z.shape[:1], *z.shape[2:]) if z.dim() > 1 else ()
    fits = y.shape == rows or (z.dim() == 1 and y.shape == (1,))
    is_index = y.dtype in (torch.int64, torch.uint8)
    if fits and is_index:
        return
    error = ValueError if is_index and (z.dim() == 1 or y.shape[:1] != z.shape[:1]) else RuntimeError
    raise error(
        f"target is {y.dtype} in the shape {tuple(y.shape)}, and input has the shape {tuple(z.shape)}; give the class "
        f"of each row, as int64 in the shape {rows}"
    )


def check_probabilities(z, y, ignore_index):
    """Raises a NotImplementedError for integers or complex numbers as Z, a RuntimeError for integers as y, and for a
    class to ignore, where there are no classes."""
    check_floating(z)
    if not y.is_floating_point():
        raise RuntimeError(
            f"target has the shape of input, {tuple(z.shape)}, as probabilities have, and is {y.dtype}; "
            "give probabilities as floats, or classes without the dimension of classes"
        )
    if ignore_index >= 0:
        raise RuntimeError(f"ignore_index={ignore_index} has no meaning for a target of probabilities; leave it out")


def as_index(y, z):
    """Classes, checked, as an int64 tensor without a dimension of 1 that Z has not; of N-D ones a contiguous one, as
    torch does it: less to save."""
    check_rows(z, y)
    if y.dtype is not torch.int64:
        y = y.long()
    if y.dim() > 1:
        return y.contiguous()
    return y if z.dim() > 1 else y.reshape(())


def check_floating(z):
    if not z.is_floating_point():
        raise NotImplementedError(f"input is {z.dtype}; give real floating numbers")


def outside(error, z):
    """torch's IndexError about a class, which names that class, with what it should be."""
    last = z.shape[class_dim(z)] - 1
    return IndexError(f"{str(error).rstrip('.')}: input has the shape {tuple(z.shape)}, so classes are 0 to {last}")


def check_class_weight(weight, z):
    """A weight for each class.

    Raises:
        RuntimeError: it has another shape, dtype or device, or requires a gradient, which torch does not have either.
    """
    if weight is None:
        return
    check_tensor("weight", weight)
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
        raise RuntimeError(wants_gradient("weight", weight))


# --- the engine's forms: the classes are the last dimension ---------------------------------------------------------


def check_classes(output, y):
    """A class for each row of the network's output.

    Raises:
        ValueError: another shape, or numbers that are no classes.
    """
    if y.is_floating_point() or y.shape != output.shape[:-1]:
        raise ValueError(
            f"y has the shape {tuple(y.shape)} and dtype {y.dtype}; give a class for each of "
            f"{tuple(output.shape[:-1])} rows, as int64"
        )


def count(y, weight=None, ignore_index=-100, **_):
    """What the mean of one network's loss, or of each member's, divides by: Σ w_y."""
    if weight is None:
        return (y != ignore_index).sum(-1)
    _, w_y, _ = class_weights(y, weight, ignore_index, torch.get_default_dtype())
    return w_y.sum(-1)
