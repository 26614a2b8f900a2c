"""The modules that the rules' formulas are compared with: torch's own, and of a user's class the user's own."""

import copy
import functools

import torch

from torchbp.ops.registry import rule_of


def module_of(module):
    """Whose module a module is compared with: "torch" where it is of torch's class or of ours, which stands for that
    one, otherwise the name of its class."""
    package = type(module).__module__.partition(".")[0]
    known = package in ("torch", "torchbp") and rule_of(module).torch_module is not None
    return "torch" if known else type(module).__name__


def reference_module(module, like, parameters=None):
    """A function of the module's inputs that neither changes them nor the module.

    Args:
        like: a tensor with the dtype and the device that the module's buffers get.
        parameters: name: tensor or None, in the place of the module's own.
    """
    made = copy.copy(module)
    made._buffers = {name: _cast(value, like) for name, value in module._buffers.items()}
    if parameters is not None:
        made._parameters = dict(parameters)
    if getattr(made, "inplace", False):
        made.inplace = False
    if module_of(module) == "torch":
        rule = rule_of(module)
        return functools.partial(rule.reference or rule.torch_module.forward, made)
    return made


def _cast(value, like):
    if not isinstance(value, torch.Tensor):
        return value
    return value.to(like, copy=True) if value.is_floating_point() else value.clone()
