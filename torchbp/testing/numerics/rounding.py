"""In what precision a function computes inside, whatever dtypes it takes and returns."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from torchbp.testing.numerics.tensors import is_inexact, largest

HALF_UNIT = 1e-4  # rounding units above are those of bfloat16 and float16
CONVERSION = torch.ops.aten._to_copy.default


class Roundings(TorchDispatchMode):
    """Notes the coarsest rounding unit to which an operation takes finer numbers; `lifted` leaves conversions out."""

    def __init__(self, lifted=False):
        super().__init__()
        self.lifted, self.unit = lifted, 0.0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, given = kwargs or {}, units((args, kwargs))
        if self.lifted and function is CONVERSION and given:
            kwargs = {name: value for name, value in kwargs.items() if name != "dtype" or coarser(value, given) is None}
        mixed = len(set(given)) > 1 and not function._schema.is_mutable  # as a product with a constant
        if self.lifted and mixed:
            args, kwargs = tree_map(lambda value: finest(value, min(given)), (args, kwargs))
        result = function(*args, **kwargs)
        if given and not makes_anew(function):
            self.unit = max([self.unit, *(unit for unit in units(result) if unit > min(given))])
        return result


def units(values):
    return [torch.finfo(t.dtype).eps for t in tree_leaves(values) if isinstance(t, torch.Tensor) and is_inexact(t)]


def coarser(dtype, given):
    """The unit of a dtype that is coarser than those given, or None."""
    inexact = isinstance(dtype, torch.dtype) and (dtype.is_floating_point or dtype.is_complex)
    return torch.finfo(dtype).eps if inexact and torch.finfo(dtype).eps > min(given) else None


def finest(value, unit):
    """A real tensor of a coarser precision in that of the unit."""
    if isinstance(value, torch.Tensor) and value.is_floating_point() and torch.finfo(value.dtype).eps > unit:
        return value.to(torch.float64 if unit < 1e-10 else torch.float32)
    return value


def makes_anew(function):
    """Whether it takes a tensor for its device and shape alone: new_zeros, ones_like."""
    name = function.overloadpacket.__name__
    return name.startswith("new_") or name.endswith("_like")


def inside(call, points, height):
    """(the rounding unit inside a function, whether it may be left out), where it changes what comes out; else (0, _).

    It may be left out where the function runs without its conversions, and gives the same but for rounding.
    """
    unit, liftable = 0.0, True
    for point in points:
        try:
            with Roundings() as seen:
                outputs = call(point)
        except Exception:  # out of its domain, or it dislikes a mode
            continue
        if not seen.unit:
            return 0.0, True
        try:
            with Roundings(lifted=True) as left:
                exact = call(point)
            apart = max(largest(a - b) for a, b in zip(outputs, exact, strict=True))
        except Exception:  # it needs the dtype that it has converted to
            return seen.unit, False
        size = max([height, *map(largest, exact)])
        unit = max(unit, left.unit, seen.unit if apart > 1e-13 * size else 0.0)
        liftable = liftable and not left.unit and apart <= 64 * seen.unit * size
    return unit, liftable
