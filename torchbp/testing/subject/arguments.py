"""The arguments of a call: read from what the caller gave, and put together again from other tensors."""

import operator
from dataclasses import dataclass, replace

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from torchbp.testing.numerics.tensors import evened, is_inexact
from torchbp.testing.subject.naming import argument_names


@dataclass(frozen=True)
class Argument:
    """One tensor that the function takes: an input, or a parameter or a buffer of a module."""

    name: str
    tensor: torch.Tensor
    differentiable: bool
    kind: str  # "input", "parameter", "buffer", or "incoming" for the incoming gradient
    assumed: bool = False  # no input has requires_grad, so all floating inputs are treated as differentiable


class CallInputs:
    """The inputs of a call as a flat list, in which tensors can be replaced."""

    def __init__(self, given):
        self.given = given
        args, kwargs = ((), dict(sorted(given.items()))) if isinstance(given, dict) else (given, {})
        args = tuple(args) if isinstance(args, (tuple, list)) else (args,)
        self._leaves, self._structure = tree_flatten((args, kwargs))
        self._is_flat = not kwargs and len(args) == len(self._leaves) and all(map(operator.is_, args, self._leaves))
        self._positions = [i for i, leaf in enumerate(self._leaves) if isinstance(leaf, torch.Tensor)]

    def arguments(self, function):
        """An `Argument` for each tensor. Without any requires_grad, every floating tensor is differentiable."""
        names = argument_names(function, *tree_unflatten(self._leaves, self._structure))
        tensors = [self._leaves[i] for i in self._positions]
        given = any(tensor.requires_grad for tensor in tensors)
        wanted = [tensor.requires_grad if given else is_inexact(tensor) for tensor in tensors]
        return [
            Argument(names[i], tensor.detach(), differentiable, "input", differentiable and not given)
            for i, tensor, differentiable in zip(self._positions, tensors, wanted, strict=True)
        ]

    def unflatten(self, tensors):
        """(args, kwargs) of a call with these tensors; everything else is as it was given."""
        leaves = list(self._leaves)
        for position, tensor in zip(self._positions, tensors, strict=False):  # parameters follow the inputs
            leaves[position] = tensor
        if self._is_flat:  # faster, and called often
            return tuple(leaves), {}
        return tree_unflatten(leaves, self._structure)


def module_arguments(module):
    """An `Argument` for each parameter and buffer."""
    parameters = [Argument(n, t.detach(), t.requires_grad, "parameter") for n, t in module.named_parameters()]
    return parameters + [Argument(n, t.detach(), False, "buffer") for n, t in module.named_buffers()]


def made_symmetric(arguments):
    """The arguments, with (A + Aᵀ) / 2 in place of each A that is symmetric up to rounding; and notes of which."""
    even = [replace(argument, tensor=evened(argument.tensor)) for argument in arguments]
    names = [a.name for a, b in zip(even, arguments, strict=True) if a.tensor is not b.tensor]
    return even, [f"{name} is symmetric up to rounding, and audited as (A + Aᵀ) / 2" for name in names]
