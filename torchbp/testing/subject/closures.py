"""Tensors and modules that a plain function uses without taking them as arguments."""

import functools
import inspect

import torch
from torch.utils._pytree import tree_leaves


def captures_tensors(function):
    """Whether a plain function closes over tensors or modules. Their dtype is then the caller's responsibility."""
    if isinstance(function, functools.partial):
        return _has_tensors((function.args, function.keywords)) or captures_tensors(function.func)
    if inspect.ismethod(function):
        return _has_tensors(vars(function.__self__)) or captures_tensors(function.__func__)
    if not inspect.isfunction(function):
        return False
    variables = inspect.getclosurevars(function)
    containers = (list, tuple, dict)
    return _has_tensors((variables.nonlocals, variables.globals)) or any(
        isinstance(value, containers) for value in variables.nonlocals.values()
    )


def _has_tensors(values):
    return any(isinstance(value, (torch.Tensor, torch.nn.Module)) for value in tree_leaves(values))
