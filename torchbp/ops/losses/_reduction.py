"""What the losses share: the checks of their arguments, and the reduction. Nothing here knows which loss."""

import torch
from torch.nn._reduction import legacy_get_string

from torchbp.ops._dispatch import may_overwrite


def chosen_reduction(size_average, reduce, reduction):
    """The reduction, which torch's old arguments decide where one of them is given, with its warning."""
    return reduction if size_average is None and reduce is None else legacy_get_string(size_average, reduce)


def check(input, target, reduction):
    """Raises a ValueError where torch does."""
    check_shape(input, target)
    check_reduction(reduction)


def check_shape(input, target):
    """Raises a ValueError for a target of another shape."""
    if target.shape != input.shape:
        raise ValueError(
            f"target has the shape {tuple(target.shape)} and input {tuple(input.shape)}; they must be the same"
        )


def check_reduction(reduction, *more):
    if reduction not in ("mean", "sum", "none", *more):
        others = "".join(f'"{name}", ' for name in more)
        raise ValueError(f'reduction={reduction!r} is not known; use {others}"mean", "sum" or "none"')


def broadcast(input, target):
    """Both in the shape that they broadcast to."""
    try:
        return torch.broadcast_tensors(input, target)
    except RuntimeError:
        raise RuntimeError(
            f"target has the shape {tuple(target.shape)} and input {tuple(input.shape)}, which do not broadcast"
        ) from None


def fit_weight(name, weight, input):
    """A loss's weight in the shape of its input. It is a constant to torch, which refuses one that requires grad.

    Raises:
        RuntimeError: it does not broadcast to the input, is complex or on another device, or requires grad.
    """
    check_constant(name, weight, input)
    if weight.requires_grad and torch.is_grad_enabled():
        raise RuntimeError(wants_gradient(name, weight))
    try:
        return weight.expand(input.shape)
    except RuntimeError:
        raise RuntimeError(
            f"{name} has the shape {tuple(weight.shape)}, which does not broadcast to that of input, "
            f"{tuple(input.shape)}"
        ) from None


def wants_gradient(name, weight):
    """The message about a weight that requires grad."""
    return (
        f"{name}, of the shape {tuple(weight.shape)}, requires grad, but a loss is not differentiable in its {name}; "
        f"give {name}.detach()"
    )


def check_tensor(name, weight):
    if not isinstance(weight, torch.Tensor):
        raise TypeError(f"{name}={weight!r} is no tensor; give torch.tensor({weight!r})")


def check_same_shape(name, weight, input):
    """A weight with a number for each element.

    Raises:
        ValueError: another shape.
        RuntimeError: it is complex or on another device.
    """
    check_constant(name, weight, input)
    if weight.shape != input.shape:
        raise ValueError(f"{name} has the shape {tuple(weight.shape)} and input {tuple(input.shape)}; use the same")


def check_constant(name, weight, input):
    """Raises a TypeError for a weight that is no tensor, a RuntimeError for one that is complex or elsewhere."""
    check_tensor(name, weight)
    if weight.is_complex():
        raise RuntimeError(
            f"{name}, of the shape {tuple(weight.shape)}, is {weight.dtype} and input {input.dtype}; give real numbers"
        )
    if weight.device != input.device and weight.dim():  # torch takes a single number from the CPU
        raise RuntimeError(
            f"{name} of the shape {tuple(weight.shape)} is on {weight.device} and input of the shape "
            f"{tuple(input.shape)} on {input.device}; give {name}.to({str(input.device)!r})"
        )


def reduced(loss, reduction):
    """L = Σ ℓ / N for "mean", Σ ℓ for "sum", ℓ itself for "none"."""
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


def reduce_backward(dloss, reduction, numel):
    """dℓ = dL ∂L/∂ℓ: it is dL/N for "mean", where N counts every element, and dL otherwise."""
    return dloss / numel if reduction == "mean" else dloss


def times(new, factor):
    """`new` ∘ factor, over `new` itself where that may be: memory that was just made, and is its dtype's."""
    if may_overwrite() and torch.result_type(new, factor) is new.dtype:
        return new.mul_(factor)
    return new * factor
