"""The options of `torchbp.SGD`, `torchbp.Adam` and `torchbp.AdamW`, of which some may differ between members: how they
are checked, kept, saved and loaded; and the step of torch's optimizers with them."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch

from torchbp.engine.losses import checked_loss
from torchbp.engine.optimizers.update_rule import check_number, is_per_member, of_each_member, per_member_tensor
from torchbp.engine.step import add_gradient
from torchbp.nn._validation import is_positive_int


class OptimizerOptions(torch.optim.Optimizer):
    """An optimizer that is also one of torch's, whose `param_groups`, `state_dict` and `step` it keeps.

    PER_MEMBER are the options that may differ between the members of an ensemble.
    """

    PER_MEMBER = "lr", "weight_decay"

    def __init__(self, model, options, *, loss, chunk, compile, capture, max_grad_norm, **of_torch):
        """Torch's constructor gets `of_torch` and the options; of those that have a number for each member the largest,
        which it checks."""
        self._settings = {
            "model": model,
            "loss": checked_loss(loss),
            "chunk": chunk,
            "compile": compile,
            "capture": capture,
            "max_grad_norm": max_grad_norm,
        }
        if max_grad_norm is not None and not 0 < max_grad_norm < math.inf:
            raise ValueError(f"max_grad_norm={max_grad_norm!r} must be a positive, finite number, or None")
        self._prepare()
        network = self.network
        if chunk is not None and (network.members is None or not is_positive_int(chunk)):
            raise ValueError(f"chunk={chunk!r} must be a positive number of members of an ensemble")
        held = [p for of_layer in network.parameters() for p in of_layer if p is not None]
        if len(set(held)) < len(held):
            raise TypeError(
                "two layers share a parameter, which the step would change before it has gone back through both; use "
                f"torchbp.backprop and torch.optim.{type(self).__name__}"
            )
        check_compile(compile, held[0])
        if capture and not held[0].is_cuda:
            raise ValueError(
                f"capture=True makes a CUDA graph, and the model is on {held[0].device}; move it there first"
            )
        of_members = self._per_member_options(options)
        numbers = options | {name: largest(value) for name, value in of_members.items()}
        super().__init__(model.parameters(), **numbers, **of_torch)
        for group in (self.defaults, *self.param_groups):
            group.update(lr_as_factor(of_members))

    def _per_member_options(self, options):
        """The options with a number for each member, as tensors; the others are checked."""
        tensors = {name: self._of_members(name, options[name]) for name in self.PER_MEMBER if name in options}
        return {name: tensor for name, tensor in tensors.items() if is_per_member(tensor)}

    def _of_members(self, name, value):
        """The option, as a tensor if it has a number for each member."""
        if is_per_member(value):
            return per_member_tensor(name, value, self.network.members, self.network.first_parameter.device)
        if not isinstance(value, torch.Tensor):
            check_number(name, value)
        return value

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch; what may differ between members may be a list here too."""
        if "lr" in param_group and not is_per_member(param_group["lr"]):
            param_group = {"lr_of_members": None, **param_group}
        super().add_param_group(param_group | lr_as_factor(self._per_member_options(param_group)))

    @property
    def model(self) -> torch.nn.Module:
        """The model, as it was given."""
        return self._settings["model"]

    @property
    def compile(self) -> bool | str:
        """The option `compile`, as it was given."""
        return self._settings["compile"]

    @property
    def active(self):
        return self._active

    @active.setter
    def active(self, which):
        members = self.network.members
        if which is not None and (members is None or which.shape != (members,) or which.dtype is not torch.bool):
            raise ValueError(
                f"active is of the shape {tuple(which.shape)} and {which.dtype}; give None or ({members},) bools"
            )
        self._active = self._settings["active"] = which

    def __getstate__(self):
        return super().__getstate__() | {"_settings": self._settings}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "_settings" in state:  # a copy or a pickle, and not load_state_dict
            self._prepare()
        for group in self.param_groups:
            for name, value in group.items():
                group[name] = of_each_member(functools.partial(self._loaded, name, group["params"][0].device), value)

    def _loaded(self, name, device, numbers):
        """The numbers of each member, as they come from a state, on the device of the model."""
        if len(numbers) != self.network.members:
            raise ValueError(f"{name} of the state is of {len(numbers)} members, the model of {self.network.members}")
        return numbers.to(device)  # torch moves only the state of parameters

    def _spread_state(self):
        """Let each member have its own part of all that the optimizer keeps."""

    def _join_state(self):
        """Let what is equal for all members be kept once, which makes a step cheaper."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """The step of torch's optimizer by `.grad`, also for an ensemble whose members have different options."""
        if self.active is None and not self._differ():
            return self._torch_step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        begun = {}
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.requires_grad:
                    self._rule(p, group, begun).descend(p, 1.0, add_gradient, p.grad, None)
        self._store(begun)
        return loss

    def _differ(self):
        """Whether members have numbers of their own, which torch's step does not know."""
        names = *self.PER_MEMBER, "lr_of_members"
        values = [group[name] for group in self.param_groups for name in names if group.get(name) is not None]
        return any(is_per_member(part) for value in values for part in (value if isinstance(value, tuple) else [value]))


def without_hooks(torchs):
    """The step of torch's class without the hooks that torch wraps around each class's step: ours has them already."""
    return getattr(torchs.step, "__wrapped__", torchs.step)


def largest(value):
    """The largest of the members' numbers, which torch's constructor checks."""
    if isinstance(value, tuple):
        return tuple(largest(part) for part in value)
    return value.max().item() if isinstance(value, torch.Tensor) else value


def lr_as_factor(options):
    """Store the members' learning rates in `lr_of_members`; `lr` becomes a common factor, 1, that schedulers change."""
    return options | ({"lr": 1.0, "lr_of_members": options["lr"]} if "lr" in options else {})


def check_compile(compile, p):
    """Raises an error for a `compile` that is none, or for a model whose parameter p no program takes."""
    if compile not in (True, False, "auto"):
        raise ValueError(f"compile={compile!r} must be True, False or 'auto'")
    if compile is True and p.device.type != "cpu":
        raise ValueError(f"compile=True makes a program for the CPU, and the model is on {p.device}; use capture=True")
    if compile is True and p.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"compile=True takes float32 and float64, and the model is {p.dtype}; leave compile out")
