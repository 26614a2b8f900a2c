"""The arguments of a call: read from what the caller gave, and put together again from other tensors."""

import copy
import operator
from dataclasses import dataclass, replace

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from torchbp.testing.numerics.tensors import evened, is_inexact
from torchbp.testing.subject.naming import argument_names, parameters_of


@dataclass(frozen=True)
class Call:
    """Inputs of which some are given by position and some by name, as a model gives them to a layer."""

    args: tuple
    kwargs: dict


@dataclass(frozen=True)
class Argument:
    """One tensor that the function takes: an input, or a parameter or a buffer of a module."""

    name: str
    tensor: torch.Tensor
    differentiable: bool
    kind: str  # "input"; "parameter" or "buffer" of a module; "captured" by a function; "incoming" gradient
    assumed: bool = False  # no input has requires_grad, so all floating inputs are treated as differentiable
    resizable: bool = True  # the values of a sparse tensor are not


@dataclass(frozen=True)
class Omitted:
    """The position of an argument that was not given: behind those, also not given, of these values."""

    before: tuple


class CallInputs:
    """The inputs of a call as a flat list, in which tensors can be replaced. Of a sparse tensor it is the values."""

    def __init__(self, given):
        self.given = given
        args, kwargs = _args_and_kwargs(given)
        self._leaves, self._structure = tree_flatten((args, kwargs))
        self._is_flat = not kwargs and len(args) == len(self._leaves) and all(map(operator.is_, args, self._leaves))
        self._positions = [i for i, leaf in enumerate(self._leaves) if isinstance(leaf, torch.Tensor)]
        self._further = {}  # keyword arguments that were not given
        self._after = ()  # arguments by position that were not given
        self._sparse = {i for i in self._positions if self._leaves[i].layout != torch.strided}

    def arguments(self, function):
        """An `Argument` for each tensor. Without any requires_grad, every floating tensor is differentiable."""
        names = argument_names(function, *tree_unflatten(self._leaves, self._structure))
        tensors = [self._leaves[i] for i in self._positions]
        given = any(tensor.requires_grad for tensor in tensors)
        names = [f"{name}.values" if i in self._sparse else name for i, name in enumerate(names)]
        tensors = [_values_of(tensor) for tensor in tensors]
        wanted = [tensor.requires_grad if given else is_inexact(tensor) for tensor in tensors]
        return [
            Argument(
                names[i], tensor.detach(), differentiable, "input", differentiable and not given, i not in self._sparse
            )
            for i, tensor, differentiable in zip(self._positions, tensors, wanted, strict=True)
        ]

    def options(self, function):
        """{position: (name, value)} of the numbers, flags and words among the arguments, which are no tensors.

        The position of an option that is not given, and has a default, is its name, or for an autograd.Function, whose
        `apply` takes no keywords, what has to be given before it.
        """
        args, kwargs = tree_unflatten(self._leaves, self._structure)
        names = argument_names(function, args, kwargs)
        found = {i: (names[i], value) for i, value in enumerate(self._leaves)}
        omitted = [p for p in parameters_of(function)[len(args) :] if p.name not in kwargs]
        if not isinstance(function, type):
            found |= {p.name: (p.name, p.default) for p in omitted}
        elif self._is_flat:
            defaults = [p.default for p in omitted]
            found |= {Omitted(tuple(defaults[:i])): (p.name, p.default) for i, p in enumerate(omitted)}
        return {i: (name, value) for i, (name, value) in found.items() if isinstance(value, (bool, int, float, str))}

    def with_option(self, position, value):
        """The same inputs, with another value of an option."""
        other = copy.copy(self)
        if isinstance(position, Omitted):
            other._after = (*position.before, value)
        elif isinstance(position, str):
            other._further, other._is_flat = {**self._further, position: value}, False
        else:
            other._leaves = [value if i == position else leaf for i, leaf in enumerate(self._leaves)]
        return other

    def unflatten(self, tensors):
        """(args, kwargs) of a call with these tensors; everything else is as it was given."""
        leaves = list(self._leaves)
        for position, tensor in zip(self._positions, tensors, strict=False):  # parameters follow the inputs
            leaves[position] = _as_given(self._leaves[position], tensor) if position in self._sparse else tensor
        if self._is_flat:  # faster, and called often
            return (*leaves, *self._after), {}
        args, kwargs = tree_unflatten(leaves, self._structure)
        return args, {**kwargs, **self._further}


def _args_and_kwargs(given):
    if isinstance(given, Call):
        return given.args, given.kwargs
    if isinstance(given, dict):
        return (), dict(sorted(given.items()))
    return (tuple(given) if isinstance(given, (tuple, list)) else (given,)), {}


def _values_of(tensor):
    """What is audited of a tensor: of a sparse one its values."""
    if tensor.layout == torch.strided:
        return tensor
    tensor = tensor.detach().requires_grad_(tensor.requires_grad)
    return tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor.values()


def _as_given(sparse, values):
    """The sparse tensor with other values."""
    sparse = sparse.detach()
    if sparse.layout == torch.sparse_coo:
        return torch.sparse_coo_tensor(sparse.coalesce().indices(), values, sparse.shape, is_coalesced=True)
    by_row = sparse.layout in (torch.sparse_csr, torch.sparse_bsr)
    ends, places = (
        (sparse.crow_indices(), sparse.col_indices()) if by_row else (sparse.ccol_indices(), sparse.row_indices())
    )
    return torch.sparse_compressed_tensor(ends, places, values, sparse.shape, layout=sparse.layout)


def module_arguments(module):
    """An `Argument` for each parameter and buffer."""
    parameters = [Argument(n, t.detach(), t.requires_grad, "parameter") for n, t in module.named_parameters()]
    return parameters + [Argument(n, t.detach(), False, "buffer") for n, t in module.named_buffers()]


def made_symmetric(arguments):
    """The arguments, with (A + Aᵀ) / 2 in place of each A that is symmetric up to rounding; and notes of which."""
    even = [replace(argument, tensor=evened(argument.tensor)) for argument in arguments]
    names = [a.name for a, b in zip(even, arguments, strict=True) if a.tensor is not b.tensor]
    return even, [f"{name} is symmetric up to rounding, and audited as (A + Aᵀ) / 2" for name in names]
