"""Errors in ulp, units in the last place of the exact result.

    error = |computed − exact| / ulp(exact),    ulp(x) = ε 2^⌊log₂|x|⌋,    ε = 2⁻⁵² for float64, 2⁻²³, 2⁻⁷, 2⁻¹⁰

Results under the smallest normal number are counted with the ulp of that one. Of a result that is a sum, the error is
measured normwise: each element's in the ulp of the largest element of that tensor. ½ is the best that rounding can do;
from 1/ε (4.5e15, 8.4e6, 128 for bfloat16, 1024 for float16) on no digit is right, as of a 0 in the place of a number.
Where the exact result is too large for the dtype, infinity is right.
"""

import math
import re

import numpy as np
import torch

# finer than float64 on x86: 64 bits instead of 53; elsewhere it is float64 itself, or slow and finer still
IS_FINER = np.finfo(np.longdouble).eps < np.finfo(np.float64).eps


def errors(computed, exact, normwise):
    """The error of each element of a tensor in ulp. `exact` is an array of longdouble; nan in it is not counted."""
    info = torch.finfo(computed.dtype)
    computed = long(computed)
    size = np.abs(exact)
    if normwise and size.size:
        size = np.full_like(size, np.max(size, initial=0, where=np.isfinite(size)))
    _, exponent = np.frexp(np.maximum(size, np.longdouble(info.smallest_normal)))
    unit = np.ldexp(np.longdouble(info.eps), np.where(np.isfinite(size), exponent, 1) - 1)
    too_large = np.abs(exact) > info.max
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(computed - exact) / unit
    error = np.where(np.isfinite(computed), error, math.inf)
    right = (np.abs(computed) >= info.max) & (np.sign(computed) == np.sign(exact))
    error = np.where(too_large, np.where(right, 0, math.inf), error)
    return np.where(np.isnan(exact), 0, error).astype(float)


def long(tensor):
    """The same numbers as an array of longdouble."""
    return tensor.detach().double().numpy().astype(np.longdouble)


def text(error):
    """An error for people: two digits."""
    if error is None:
        return "–"
    if math.isinf(error):
        return "∞"
    if error < 9999.5:
        return f"{error:.1f}" if error < 9.95 else f"{error:.0f}"
    return re.sub(r"e\+0*", "e", f"{error:.0e}")
