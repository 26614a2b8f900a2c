"""The audited code as one plain function of a flat list of tensors, whatever it is."""

import copy
import inspect

import torch
from torch.nn.parameter import is_lazy

from torchbp.testing.report import CannotRun
from torchbp.testing.subject.arguments import Argument, CallInputs, module_arguments
from torchbp.testing.subject.captured.leaves import without_captured_leaves
from torchbp.testing.subject.module_copy import copied, promote_attributes, tensor_slots
from torchbp.testing.subject.naming import name_of


class Callee:
    """A function, an autograd.Function, a custom op, or a copy of the caller's module, with the inputs of a call.

    A module is copied: the audited tensors are put into the copy, and it is called.
    """

    def __init__(self, original, given):
        self.original, self.function, self.name = original, original, name_of(original)
        self.inputs = CallInputs(given)
        self.module, self.copy_error, self._captured = None, None, {}
        if not callable(original):
            raise CannotRun(f"{original!r} is not callable; give a function, an autograd.Function, a module or an op")
        if isinstance(original, torch.nn.Module):
            if any(map(is_lazy, original.parameters())):
                raise CannotRun(f"{self.name} has parameters without a shape; call it once, and audit it then")
            self.copy_module()
        elif inspect.isclass(original) and issubclass(original, torch.autograd.Function):
            found, self._captured = without_captured_leaves(original)
            self.function = found.apply
        elif inspect.isclass(original) and issubclass(original, torch.nn.Module):
            raise CannotRun(f"{self.name} is a class; give an instance, such as {self.name}()")
        else:
            self.function, self._captured = without_captured_leaves(original)

    def copy_module(self):
        self.module, self.copy_error = copied(self.original)
        self._slots = tensor_slots(self.module)
        self._is_promoted = False

    def promote_module(self):
        """Unregistered tensors of the copy in float64. (Parameters and buffers are arguments of each call.)"""
        if self.module is not None and self.copy_error is None:
            promote_attributes(self.module)
            self._is_promoted = True

    def arguments(self):
        inputs = self.inputs.arguments(self.original)
        inputs += [Argument(name, leaf.detach(), True, "captured") for name, (leaf, _) in self._captured.items()]
        if self.module is None:
            return inputs
        return inputs + module_arguments(self.original)  # so that the copy's tensors go when others are put into it

    def call(self, arguments, tensors):
        """What the function returns of these tensors, one for each argument."""
        args, kwargs = self.inputs.unflatten(tensors)
        if self.module is None:
            self.place_captured(arguments, tensors)
            return self.function(*args, **kwargs)
        state = {}
        for argument, tensor in zip(arguments, tensors, strict=True):
            if argument.kind != "input":  # a batch norm writes into its buffers
                state[argument.name] = tensor.clone() if argument.kind == "buffer" else tensor
        if self.copy_error is not None:
            return torch.func.functional_call(self.module, state, args, kwargs)
        # The tensors stay in the module, since a backward may run it again, as a checkpoint inside of it does.
        self.place_state(state)
        return self.module(*args, **kwargs)

    def place_state(self, state):
        """Put tensors, {name: tensor}, into the copy of the module; into none where it is the caller's own."""
        if self.copy_error is not None:
            return
        for name, tensor in state.items():
            for holder, key in self._slots[name]:
                holder[key] = tensor

    def call_surrogate(self, arguments, tensors, surrogate):
        """What the surrogate returns for these tensors; of a module its first argument is the module."""
        args, kwargs = self.inputs.unflatten(tensors)
        if self.module is None:
            return surrogate(*args, **kwargs)
        self.call(arguments, tensors)  # puts the tensors into the module
        return surrogate(self.module, *args, **kwargs)

    def place_captured(self, arguments, tensors):
        """Let the function use these tensors for the leaves that it captures."""
        for argument, tensor in zip(arguments, tensors, strict=True) if self._captured else ():
            for holder, key in self._captured[argument.name][1] if argument.kind == "captured" else ():
                holder[key] = tensor

    def fresh_module(self, arguments):
        """A copy of the module in which the parameters and buffers have the values of the arguments."""
        module = copy.deepcopy(self.original)  # not of the other copy, in which calls may have left something
        if self._is_promoted:
            promote_attributes(module)
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        for argument in arguments:
            if argument.kind != "input":
                tensors[argument.name].data = argument.tensor.clone()
        return module
