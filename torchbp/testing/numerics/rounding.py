"""The precision in which a function computes inside, whatever dtypes it takes and returns."""

import math
import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from torchbp.testing.numerics.tensors import is_inexact, largest

HALF_UNIT = 1e-4  # rounding units above are those of bfloat16 and float16
CONVERSION = torch.ops.aten._to_copy.default
_CHOICES = ("where", "masked_fill", "nan_to_num")


class DispatchMode(TorchDispatchMode):
    """A mode whose first use does not import torch._dynamo, which takes two seconds."""

    @classmethod
    def _should_skip_dynamo(cls):
        return False


class Roundings(DispatchMode):
    """Records the coarsest rounding unit to which an operation rounds finer numbers, and whether one draws numbers.

    With `lifted`, conversions to a coarser dtype are left out, so that nothing is rounded to it.
    """

    def __init__(self, lifted=False):
        super().__init__()
        self.lifted, self.unit, self.draws = lifted, 0.0, False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, given = kwargs or {}, _units((args, kwargs))
        is_conversion = function is CONVERSION and given
        if self.lifted and is_conversion and _coarser_unit(kwargs.get("dtype"), given) is not None:
            kwargs = {**kwargs, "dtype": _fine(kwargs["dtype"], min(given))}
        mixed = len(set(given)) > 1 and not function._schema.is_mutable  # as a product with a constant
        if self.lifted and mixed:
            args, kwargs = tree_map(lambda value: _to_precision(value, min(given)), (args, kwargs))
        self.draws |= torch.Tag.nondeterministic_seeded in function.tags
        result = function(*args, **kwargs)
        if given and not _is_factory(function):
            self.unit = max([self.unit, *(unit for unit in _units(result) if unit > min(given))])
        return result


class Overflows(DispatchMode):
    """Records whether an operation makes an infinity of finite numbers, and whether one of choice drops infinities."""

    def __init__(self):
        super().__init__()
        self.seen = self.dropped = False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = _has_infinity((args, kwargs))  # before an operation in place writes into them
        result = function(*args, **(kwargs or {}))
        made, name = _has_infinity(result), function.overloadpacket.__name__
        self.seen |= made and not given and not _is_factory(function)
        self.dropped |= given and not made and name.rstrip("_") in _CHOICES
        return result


class Sizes(DispatchMode):
    """Counts operations and the numbers that they make, and records how many of them the largest tensor has."""

    def __init__(self):
        super().__init__()
        self.largest = self.operations = self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        made = [t.numel() for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
        self.largest = max([self.largest, *made])
        self.operations += 1
        self.numbers += sum(made)
        return result


class PythonCalls:
    """Counts the calls of functions that this thread makes, unless a profiler is at work: it has one place alone."""

    def __init__(self):
        self.count = 0

    def __enter__(self):
        self._is_first = sys.getprofile() is None
        if self._is_first:
            sys.setprofile(self._count)
        return self

    def __exit__(self, *exception):
        if self._is_first:
            sys.setprofile(None)

    def _count(self, frame, event, argument):
        self.count += event in ("call", "c_call")


def _has_infinity(values):
    tensors = [t for t in tree_leaves(values) if isinstance(t, torch.Tensor) and is_inexact(t)]
    numbers = [value for value in tree_leaves(values) if isinstance(value, float)]
    return any(bool(t.isinf().any()) for t in tensors) or any(map(math.isinf, numbers))


def _units(values):
    return [torch.finfo(t.dtype).eps for t in tree_leaves(values) if isinstance(t, torch.Tensor) and is_inexact(t)]


def _coarser_unit(dtype, given):
    """The unit of a dtype that is coarser than those given, or None."""
    inexact = isinstance(dtype, torch.dtype) and (dtype.is_floating_point or dtype.is_complex)
    return torch.finfo(dtype).eps if inexact and torch.finfo(dtype).eps > min(given) else None


def _fine(dtype, unit):
    """The dtype of the precision with that unit, real or complex as the other one is."""
    real = torch.float64 if unit < 1e-10 else torch.float32
    return real.to_complex() if dtype.is_complex else real


def _to_precision(value, unit):
    """A real tensor of a coarser precision, converted to that of the unit."""
    if isinstance(value, torch.Tensor) and value.is_floating_point() and torch.finfo(value.dtype).eps > unit:
        return value.to(torch.float64 if unit < 1e-10 else torch.float32)
    return value


def _is_factory(function):
    """Whether it takes no tensor, or one only for its device and shape: empty, new_zeros, ones_like.

    What lies in the memory of `empty` is by chance, and may be an infinity.
    """
    name = function.overloadpacket.__name__
    takes_tensors = any("Tensor" in str(argument.type) for argument in function._schema.arguments)
    return not takes_tensors or name.startswith("new_") or name.endswith("_like")


def unit_inside(call, points, largest_output):
    """(the rounding unit inside a function, whether its conversions can be left out, whether it draws random numbers).

    The unit is 0 if the conversions change no output. They can be left out if the function then runs, and gives the
    same but for rounding.
    """
    unit, removable, draws = 0.0, True, False
    for point in points:
        try:
            with Roundings() as seen:
                outputs = call(point)
        except Exception:  # outside of its domain, or it dislikes a dispatch mode
            continue
        draws |= seen.draws
        if not seen.unit:
            return 0.0, True, draws
        try:
            with Roundings(lifted=True) as left:
                exact = call(point)
            gap = max(largest(a - b) for a, b in zip(outputs, exact, strict=True))
        except Exception:  # it needs the dtype to which it converts
            return seen.unit, False, draws
        size = max([largest_output, *map(largest, exact)])
        unit = max(unit, left.unit, seen.unit if gap > 1e-13 * size else 0.0)
        removable = removable and not left.unit and gap <= 64 * seen.unit * size
    return unit, removable, draws
