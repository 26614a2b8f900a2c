"""How a parameter descends: the numbers of torch.optim.SGD's groups, as the terms and factors of an update."""

import math
from typing import NamedTuple

import torch

NUMBERS = "lr", "momentum", "weight_decay"  # those that each member of an ensemble may have its own of


class Rule(NamedTuple):
    """The factors of an update. Each number may be a tensor of one for each member of an ensemble.

        without V    W ← W + pull W + rate dL/dW
        with V       V ← keep V + share (dL/dW + decay W);   W ← W + rate V, or with nesterov
                     W ← W + pull W + rate dL/dW + rate ahead V

    rate is −α, decay λ, pull −αλ, keep μ and share 1 − τ, or 0 and 1 in a velocity's first step; `ahead` is the μ of
    nesterov, None without. `exact` is true where W + pull W would be W to the dtype: rate then takes dL/dW + decay W.
    """

    rate: float
    decay: float = 0
    pull: float = 0
    exact: bool = False
    velocity: torch.Tensor | None = None
    keep: float = 0
    share: float = 1
    ahead: float | None = None

    def numbers(self):
        """Those that may change, name: value. 0, 1 and None stand for terms and factors that are not there."""
        fields = self._asdict()
        del fields["velocity"]
        return {k: v for k, v in fields.items() if isinstance(v, torch.Tensor) or v not in (0, 1, None)}

    def fixed(self):
        """All but the values of the numbers, and of the velocity but whether it is there: what a graph is made for."""
        numbers = self.numbers()
        return tuple(k if k in numbers else v for k, v in self._asdict().items() if k != "velocity")

    def of(self, members):
        """The rule of these members, a slice."""
        return Rule(*(v[members] if isinstance(v, torch.Tensor) and v.dim() else v for v in self))


def rules_of(optimizer, parameters):
    """Of each layer the rules of W and b, None for a parameter that is not there, or does not learn, or is not the
    optimizer's; and the velocities that begin with this step, parameter: tensor, which are not in its state yet."""
    groups = optimizer.param_groups
    if len(groups) == 1 and not has(groups[0]["momentum"]):
        held = iter(groups[0]["params"])
        rule = plain(groups[0], optimizer.active)  # of all of them
        rules = []
        for w, b in parameters:
            if next(held, None) is not w or (b is not None and next(held, None) is not b):
                break
            rules.append((rule if w.requires_grad else None, rule if b is not None and b.requires_grad else None))
        else:
            return rules, {}
    begun = {}
    groups = {p: group for group in groups for p in group["params"]}
    return [tuple(rule_of(p, groups.get(p), optimizer, begun) for p in pair) for pair in parameters], begun


def distinct(rules):
    """The rules without their repetitions, and the place of each (W, b)'s own among them, None where there is none."""
    found = list({id(rule): rule for pair in rules for rule in pair if rule is not None}.values())
    index = {id(rule): number for number, rule in enumerate(found)}
    return found, tuple(tuple(rule and index[id(rule)] for rule in pair) for pair in rules)


def placed(rules, places):
    """The inverse: a pair of rules for each pair of places."""
    return [tuple(None if place is None else rules[place] for place in pair) for pair in places]


def rule_of(p, group, optimizer, begun):
    if p is None or not p.requires_grad or group is None:
        return None
    rule, active = plain(group, optimizer.active), optimizer.active
    momentum = like(p, group["momentum"])
    if not has(momentum):
        return rule
    ahead = momentum if group["nesterov"] else None
    state = optimizer.state.get(p, {})
    velocity = state.get("momentum_buffer")
    if velocity is None:
        begun[p] = velocity = torch.zeros_like(p, requires_grad=False)
        keep, share = 0, 1
    else:
        if velocity.dtype is not p.dtype or velocity.device != p.device:  # the model was moved
            state["momentum_buffer"] = velocity = velocity.to(p)
        keep, share = momentum, 1 - group["dampening"]
        if share != 1 and isinstance(momentum, torch.Tensor):  # without momentum nothing is dampened
            share = torch.where(momentum == 0, 1, momentum.new_full((), share))
    if active is not None:  # the others' velocities stay as they are
        moves = like(p, active)
        keep, share = keep * moves + (1 - moves), share * moves
    return rule._replace(velocity=velocity, keep=keep, share=share, ahead=ahead)


def plain(group, active):
    """The rule of a group without momentum.

    Raises:
        ValueError: an option of torch.optim.SGD that the engine has no formula for.
    """
    if group["maximize"] or group["differentiable"]:
        name = "maximize" if group["maximize"] else "differentiable"
        raise ValueError(f"{name}=True: the engine descends, without a graph; use torch.optim.SGD")
    lr, decay = group["lr"], group["weight_decay"]
    if active is not None or "lr_of_members" in group or isinstance(lr, torch.Tensor):
        lr = like(group["params"][0], lr)
        for factor in (group.get("lr_of_members"), active):
            if factor is not None:
                lr = lr * like(group["params"][0], factor)
    if not has(decay):
        return Rule(-lr)
    p = group["params"][0]
    pull = -lr * like(p, decay)
    exact = not isinstance(pull, torch.Tensor) and -pull < 16 * torch.finfo(p.dtype).eps
    return Rule(-lr, like(p, decay), pull, exact)


def like(p, number):
    """The number; of a tensor, one on p's device, as precise as p or as float32, whichever is more."""
    if not isinstance(number, torch.Tensor):
        return number
    return number.to(p.device, torch.promote_types(p.dtype, torch.float32))


def has(number):
    """Whether a momentum or a weight decay is there; that of an ensemble's members is, and is not read."""
    return isinstance(number, torch.Tensor) or number


def is_of_each(value):
    """Whether this is a number for each member."""
    return isinstance(value, (list, tuple)) or (isinstance(value, torch.Tensor) and value.dim() > 0)


def of_each_member(name, value, members, device):
    """A tensor of a number for each member.

    Raises:
        ValueError: another number of numbers, or one that is negative or not finite.
    """
    exact = torch.float32 if device.type == "mps" else torch.float64
    values = torch.as_tensor(value, dtype=exact, device=device).clone()
    if values.shape != (members,):
        of = "one network, not of an ensemble" if members is None else f"{members} members"
        raise ValueError(f"{name} has {values.numel()} numbers; the model is of {of}")
    for number in values.tolist():
        check_number(name, number)
    return values


def check_number(name, number):
    if not 0 <= number < math.inf:
        raise ValueError(f"{name}={number} must be a finite number, and not negative")
