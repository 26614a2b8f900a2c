"""Copies of a module, and the dicts in it that hold its parameters and buffers."""

import copy

import torch

from torchbp.testing.numerics.tensors import is_inexact, promoted


def copied(module):
    """(a copy, None), or (the module itself, why it cannot be copied)."""
    try:
        return copy.deepcopy(module), None
    except Exception as error:  # the module check reports it
        return module, error


def tensor_slots(module):
    """{name: [(dict, key), …]}: where each parameter and buffer is. Tied parameters have one name and several slots."""
    names = {id(tensor): name for name, tensor in [*module.named_parameters(), *module.named_buffers()]}
    found = {name: [] for name in names.values()}
    for child in module.modules():
        for holder in (child._parameters, child._buffers):
            for key, tensor in holder.items():
                if tensor is not None:
                    found[names[id(tensor)]].append((holder, key))
    return found


def promote_attributes(module):
    """Convert the tensors that a module keeps without registering them to float64: `.double()` does not see them."""
    for child in module.modules():
        for name, value in vars(child).items():
            if isinstance(value, torch.Tensor) and is_inexact(value):
                vars(child)[name] = promoted(value).requires_grad_(value.requires_grad)
