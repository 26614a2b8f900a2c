"""What one call returns: which tensors, which of them have derivatives, and how the function behaves."""

from dataclasses import dataclass

import torch
from torch.utils._pytree import tree_leaves

from torchbp.testing.numerics.tensors import is_inexact, largest


@dataclass(frozen=True)
class Outputs:
    """The tensors that a function returns, in order. `compared` and the like are indices of them."""

    names: list
    shapes: list
    dtypes: list
    attached: list  # those with a graph
    compared: list  # those with a graph; if there are none, all floating and complex ones
    detached: list  # floating and complex ones that are not compared
    others: list  # what is returned and is no tensor
    finite: bool  # some entry is
    largest: float  # the greatest absolute value in those that are compared

    @property
    def compared_names(self):
        return [self.names[i] for i in self.compared]


@dataclass(frozen=True)
class Behaviour:
    """What a call does besides computing."""

    in_place: bool = False  # it writes into its arguments, as it says itself: they may be no leaves
    writes: bool = False  # it writes into its arguments
    runs_autograd: bool = False  # it differentiates inside, as forces are the gradient of an energy


def outputs_of(result):
    tensors, leaves = tensors_of(result), tree_leaves(result)
    inexact = [i for i, tensor in enumerate(tensors) if is_inexact(tensor)]
    attached = [i for i in inexact if tensors[i].requires_grad]
    compared = attached or inexact
    return Outputs(
        ["out"] if len(tensors) == 1 else [f"out{i}" for i in range(len(tensors))],
        [tensor.shape for tensor in tensors],
        [tensor.dtype for tensor in tensors],
        attached,
        compared,
        [i for i in inexact if i not in compared],
        [leaf for leaf in leaves if not isinstance(leaf, torch.Tensor)],
        any(bool(tensors[i].isfinite().any()) for i in inexact),
        max((largest(tensors[i]) for i in compared), default=0.0),
    )


def tensors_of(result):
    """The tensors that a function returns.

    Sparse ones are given as dense ones.

    For a view that was written into, torch makes the node when `grad_fn` is read. In torch 2.13, a hook on such a view
    that has no node yet ends the process.
    """
    leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
    tensors = tuple(t if t.layout == torch.strided else t.to_dense() for t in leaves)
    tensors = tuple(t.to(torch.complex64) if t.dtype == torch.complex32 else t for t in tensors)  # it has few kernels
    for tensor in tensors:
        tensor.grad_fn  # noqa: B018
    return tensors
