"""The numbers and the texts: the learning rate, the factor of the loss, the title and the names of columns."""

import math
import reprlib
from collections.abc import Iterable
from numbers import Real

import torch

LOWEST = 1e-30  # the page draws the losses of far smaller rates too


def rate(lr, dtype):
    """The learning rate as a float. It may be a number of NumPy or torch, and must fit the network's dtype."""
    value = lr.item() if getattr(lr, "ndim", None) == 0 else lr
    shown = " ".join(repr(value).split())
    shown = shown if len(shown) <= 40 else f"{shown[:39]}…"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"lr={shown} must be a positive number")
    most = torch.finfo(dtype).max
    if not LOWEST <= value <= most:
        raise ValueError(f"lr={shown} must be a positive number, of {LOWEST:g} to {most:.2g}")
    return float(value)


def checked_factor(factor):
    """A number that the loss is multiplied by."""
    if isinstance(factor, bool) or not isinstance(factor, Real):
        raise TypeError(f"factor={reprlib.repr(factor)} must be a positive number, by which the loss is multiplied")
    if not 0 < factor < math.inf:
        raise ValueError(f"factor={factor} must be a positive number, by which the loss is multiplied")
    return float(factor)


def texts(title, features, outputs, chain):
    """The title, and the names of the columns of x and of y: none, or one for each column."""
    if not isinstance(title, str):
        raise TypeError(f"title={reprlib.repr(title)} must be a text")
    return title, _names("features", features, chain.sizes[0]), _names("outputs", outputs, chain.outputs)


def _names(argument, names, count):
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"{argument}={reprlib.repr(names)} must be a list of {count} names")
    found = [str(name) for name in names]
    if found and len(found) != count:
        raise ValueError(f"{argument} has {len(found)} names; give {count}, one for each column, or none")
    return found
