"""What a plain function holds from outside: tensors of one dtype and size."""

import functools
import inspect

import torch
from torch.utils._pytree import tree_leaves


def captures(function):
    """A plain function may hold tensors or modules from outside, of one dtype: that is the caller's affair."""
    if isinstance(function, functools.partial):
        return holds((function.args, function.keywords)) or captures(function.func)
    if inspect.ismethod(function):
        return holds(vars(function.__self__)) or captures(function.__func__)
    if not inspect.isfunction(function):
        return False
    variables = inspect.getclosurevars(function)
    containers = (list, tuple, dict)
    return holds((variables.nonlocals, variables.globals)) or any(
        isinstance(value, containers) for value in variables.nonlocals.values()
    )


def holds(values):
    return any(isinstance(value, (torch.Tensor, torch.nn.Module)) for value in tree_leaves(values))
