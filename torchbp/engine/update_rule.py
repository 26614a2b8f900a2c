"""How a parameter descends: the options of torch.optim.SGD's groups, as the terms and factors of an update."""

import math
from typing import NamedTuple

import torch

PER_MEMBER = "lr", "momentum", "weight_decay"  # the options that may differ between the members of an ensemble


class UpdateRule(NamedTuple):
    """The factors of an update. Each number may be a tensor of one for each member of an ensemble.

        without V    W ← W + decay_step W + rate dL/dW
        with V       V ← momentum V + undampened (dL/dW + decay W);   W ← W + rate V, or with nesterov
                     W ← W + decay_step W + rate dL/dW + rate nesterov V

    V is the momentum buffer. rate is −α, decay λ, decay_step −αλ, momentum μ and undampened 1 − τ, or 0 and 1 in the
    first step of a momentum buffer; nesterov is μ, or None. Where W + decay_step W would round to W, `decay_first` is
    true: rate then multiplies the sum dL/dW + decay W.
    """

    rate: float
    decay: float = 0
    decay_step: float = 0
    decay_first: bool = False
    momentum_buffer: torch.Tensor | None = None
    momentum: float = 0
    undampened: float = 1
    nesterov: float | None = None

    def numbers(self):
        """Those that may change, name: value. 0, 1 and None stand for terms and factors that are not there."""
        fields = self._asdict()
        del fields["momentum_buffer"]
        return {k: v for k, v in fields.items() if isinstance(v, torch.Tensor) or v not in (0, 1, None)}

    def structure_key(self):
        """Which terms the update has, without their values: the cache key of a graph that is made for it."""
        numbers = self.numbers()
        return tuple(k if k in numbers else v for k, v in self._asdict().items() if k != "momentum_buffer")

    def of_members(self, members):
        """The rule of these members, a slice."""
        return UpdateRule(*(v[members] if isinstance(v, torch.Tensor) and v.dim() else v for v in self))


def update_rules(optimizer, parameters):
    """The rule of each layer's parameters, and the momentum buffers that begin with this step, {parameter: tensor},
    which are not in the optimizer's state yet.

    The rule is None for a parameter that is not there, does not learn, or is not the optimizer's.
    """
    groups = optimizer.param_groups
    if len(groups) == 1 and not is_used(groups[0]["momentum"]):
        held = iter(groups[0]["params"])
        rule = without_momentum(groups[0], optimizer.active)  # of all of them
        rules = []
        for of_layer in parameters:
            of_rules = []
            for p in of_layer:
                if p is not None and next(held, None) is not p:
                    break
                of_rules.append(rule if p is not None and p.requires_grad else None)
            else:
                rules.append(of_rules)
                continue
            break
        else:
            return rules, {}
    begun = {}
    groups = {p: group for group in groups for p in group["params"]}
    rules = [tuple(update_rule(p, groups.get(p), optimizer, begun) for p in of_layer) for of_layer in parameters]
    return rules, begun


def unique_rules(rules):
    """The different rules, and for each parameter the index of its rule among them, None where it has none."""
    unique = list({id(rule): rule for of_layer in rules for rule in of_layer if rule is not None}.values())
    index = {id(rule): number for number, rule in enumerate(unique)}
    return unique, tuple(tuple(rule and index[id(rule)] for rule in of_layer) for of_layer in rules)


def rules_at(unique, indices):
    """The inverse of `unique_rules`."""
    return [tuple(None if index is None else unique[index] for index in of_layer) for of_layer in indices]


def update_rule(p, group, optimizer, begun):
    if p is None or not p.requires_grad or group is None:
        return None
    rule, active = without_momentum(group, optimizer.active), optimizer.active
    momentum = number_like(p, group["momentum"])
    if not is_used(momentum):
        return rule
    nesterov = momentum if group["nesterov"] else None
    state = optimizer.state.get(p, {})
    buffer = state.get("momentum_buffer")
    if buffer is None:
        begun[p] = buffer = torch.zeros_like(p, requires_grad=False)
        momentum, undampened = 0, 1
    else:
        if buffer.dtype is not p.dtype or buffer.device != p.device:  # the model was moved
            state["momentum_buffer"] = buffer = buffer.to(p)
        undampened = 1 - group["dampening"]
        if undampened != 1 and isinstance(momentum, torch.Tensor):  # without momentum nothing is dampened
            undampened = torch.where(momentum == 0, 1, momentum.new_full((), undampened))
    if active is not None:  # the other members' momentum buffers stay as they are
        moves = number_like(p, active)
        momentum, undampened = momentum * moves + (1 - moves), undampened * moves
    return rule._replace(momentum_buffer=buffer, momentum=momentum, undampened=undampened, nesterov=nesterov)


def without_momentum(group, active):
    """The rule of a group without momentum.

    Raises:
        ValueError: an option of torch.optim.SGD that the engine has no formula for.
    """
    if group["maximize"] or group["differentiable"]:
        name = "maximize" if group["maximize"] else "differentiable"
        raise ValueError(f"{name}=True: the engine descends, without a graph; use torch.optim.SGD")
    lr, decay = group["lr"], group["weight_decay"]
    if active is not None or "lr_of_members" in group or isinstance(lr, torch.Tensor):
        lr = number_like(group["params"][0], lr)
        for factor in (group.get("lr_of_members"), active):
            if factor is not None:
                lr = lr * number_like(group["params"][0], factor)
    if not is_used(decay):
        return UpdateRule(-lr)
    p = group["params"][0]
    decay_step = -lr * number_like(p, decay)
    decay_first = not isinstance(decay_step, torch.Tensor) and -decay_step < 16 * torch.finfo(p.dtype).eps
    return UpdateRule(-lr, number_like(p, decay), decay_step, decay_first)


def number_like(p, number):
    """The number; of a tensor, one on p's device, as precise as p or as float32, whichever is more."""
    if not isinstance(number, torch.Tensor):
        return number
    return number.to(p.device, torch.promote_types(p.dtype, torch.float32))


def is_used(number):
    """Whether a momentum or a weight decay is not 0. Numbers of each member count as used: they are not read back."""
    return isinstance(number, torch.Tensor) or number


def is_per_member(value):
    """Whether this option has a number for each member."""
    return isinstance(value, (list, tuple)) or (isinstance(value, torch.Tensor) and value.dim() > 0)


def per_member_tensor(name, value, members, device):
    """A tensor of a number for each member.

    Raises:
        ValueError: another number of numbers, or one that is negative or not finite.
    """
    dtype = torch.float32 if device.type == "mps" else torch.float64
    values = torch.as_tensor(value, dtype=dtype, device=device).clone()
    if values.shape != (members,):
        of = "one network, not of an ensemble" if members is None else f"{members} members"
        raise ValueError(f"{name} has {values.numel()} numbers; the model is of {of}")
    for number in values.tolist():
        check_number(name, number)
    return values


def check_number(name, number):
    if not 0 <= number < math.inf:
        raise ValueError(f"{name}={number} must be a finite number, and not negative")
