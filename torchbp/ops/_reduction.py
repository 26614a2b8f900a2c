"""The reduction of a loss over its elements, and its derivative. Nothing here knows which loss."""


def reduce(loss, reduction):
    """L = Σ ℓ / N for "mean", Σ ℓ for "sum", ℓ itself for "none"."""
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


def reduce_backward(dloss, reduction, numel):
    """∂L/∂ℓ times the incoming gradient: it is 1/N for "mean", where N counts every element, and 1 otherwise."""
    return dloss / numel if reduction == "mean" else dloss


def check_reduction(reduction):
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f'reduction={reduction!r} is not valid; use "mean", "sum" or "none"')
