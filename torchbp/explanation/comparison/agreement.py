"""Whether a rule's equation gives the tensor that the rule's formulas compute, in every element."""

import torch

from torchbp.explanation.notation.records import Check, worst
from torchbp.explanation.notation.rounding import value_and_rounding

EQUATION = "its equation"
ROUNDING = 100  # eps, of the size of what is rounded


def differences(tree, tensor, values):
    """(errors, bounds): how far each element of the tensor is from what the tree gives in float64, and how far rounding
    may bring it. The error of what overflows, in the tensor or on the way to it, is 0.

    Raises:
        ValueError: the tree gives another shape.
    """
    expected, bounds = expected_of(tree, tensor, tensor.shape, values)
    return errors_of(tensor, expected, bounds), bounds


def expected_of(tree, like, shape, values):
    """(what the tree gives in float64, the bounds of its rounding in the dtype of `like`), both of this shape."""
    exact = {name: _in_float64(values[name]) for name in tree.symbols()}
    try:
        expected, size = (tensor.to(like.device).expand(shape) for tensor in value_and_rounding(tree, exact))
    except RuntimeError as error:
        words = " ".join(str(error).split())
        raise ValueError(f"an equation of the rule does not give the shape {tuple(shape)}: {words}") from None
    found = torch.finfo(like.dtype)
    return expected, ROUNDING * found.eps * size + found.tiny


def errors_of(tensor, expected, bounds):
    errors = (expected - tensor.double()).abs()
    return errors.where(errors.isfinite() & bounds.isfinite(), 0.0)


def disagreement(errors, bounds):
    """(the place of the element that is furthest beyond its bound, the check that fails), or None."""
    beyond = (errors / bounds).where(errors > bounds, 0.0)
    if not beyond.any():
        return None
    place = torch.unravel_index(beyond.argmax(), beyond.shape)
    return tuple(int(index) for index in place), Check(EQUATION, *worst(errors, bounds))


def _in_float64(value):
    return value.double() if isinstance(value, torch.Tensor) else value
