"""What all update rules have in common: how a parameter descends, as the terms and factors of its update.

A rule is a NamedTuple of numbers, each a number or a tensor of one or of one for each member of an ensemble, and of the
tensors that a parameter's update keeps:

    rule.descend(p, scale, accumulate, dz, saved)   makes the step of p; accumulate(out, dZ, saved, β, s) is
                                                    out ← β out + s dL/dp, but for the factor `scale`
    rule.state                                      what it keeps and changes, name: tensor, as in the optimizer's state
    rule.numbers()                                  the numbers that may change, name: value
    rule.structure_key()                            which terms it has: the key of a program that is made for it
    rule.with_tensors(x, made)                      the same rule with tensors for numbers
    rule.of_members(members)                        that of some members, a slice, or of one, its number
    rule.kind                                       "rate", if all that it does is p ← p + rate dL/dp; otherwise "rule"
    rule.without_rate()                             the same rule with a rate of 1, where it is linear in dL/dp and has
                                                    a rate for each member; otherwise None
"""

import math

import torch


class Common:
    """The methods that do not depend on the terms of a rule. `STATE` names the fields that it changes, and `COUNTS`
    those of them that count its steps."""

    __slots__ = ()
    STATE = ()
    COUNTS = ()
    kind = "rule"

    @property
    def state(self):
        tensors = {name: getattr(self, name) for name in self.STATE}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def numbers(self):
        """Those that may change, name: value. 0, 1 and None stand for terms and factors that are not there."""
        fields = {name: value for name, value in self._asdict().items() if name not in self.STATE}
        return {name: v for name, v in fields.items() if isinstance(v, torch.Tensor) or v not in (0, 1, None)}

    def structure_key(self):
        """Which terms the update has, without their values."""
        numbers = self.numbers()
        terms = (name if name in numbers else value for name, value in self._asdict().items() if name not in self.STATE)
        return *terms, *((name, tensor.dim()) for name, tensor in self.state.items())

    def with_tensors(self, x, made=None):
        """The rule with tensors for numbers, so that a program serves for another learning rate too.

        With `made`, {number: tensor}, the same number is the same tensor.
        """
        dtype, made, tensors = self.dtype_of_numbers(x), {} if made is None else made, {}
        for name, value in self.numbers().items():
            if not isinstance(value, torch.Tensor) and value not in made:
                made[value] = torch.full((), value, dtype=dtype, device=x.device)
            tensors[name] = value if isinstance(value, torch.Tensor) else made[value]
        return self._replace(**tensors)

    def dtype_of_numbers(self, x):
        return torch.promote_types(x.dtype, torch.float32)

    def without_rate(self):
        return None


def update_rules(optimizer, parameters):
    """The rule of each layer's parameters, and the state that begins with this step, {parameter: {name: tensor}}, which
    is not in the optimizer yet.

    The rule is None for a parameter that is not there, does not learn, or is not the optimizer's.
    """
    groups = optimizer.param_groups
    if len(groups) == 1 and (rule := optimizer._rule_of_all(groups[0])) is not None:
        held = iter(groups[0]["params"])
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
    rules = []
    for of_layer in parameters:
        learn = [p is not None and p.requires_grad and p in groups for p in of_layer]
        pairs = zip(of_layer, learn, strict=True)
        rules.append(tuple(optimizer._rule(p, groups[p], begun) if learns else None for p, learns in pairs))
    return rules, begun


def common_rate(rules):
    """The rate of all rules, of each member its own, and the rules without it: it is multiplied into dL/dŷ, once, and
    not into a copy of each layer's dZ. None, and the rules as they are, where they are not one."""
    last = rules[-1][0] if rules[-1] else None
    unit = last and last.without_rate()
    if unit and all(rule is None or rule is last for of_layer in rules for rule in of_layer):
        return last.rate, [tuple(rule and unit for rule in of_layer) for of_layer in rules]
    return None, rules


def unique_rules(rules):
    """The different rules, and for each parameter the index of its rule among them, None where it has none."""
    unique = list({id(rule): rule for of_layer in rules for rule in of_layer if rule is not None}.values())
    index = {id(rule): number for number, rule in enumerate(unique)}
    return unique, tuple(tuple(rule and index[id(rule)] for rule in of_layer) for of_layer in rules)


def rules_at(unique, indices):
    """The inverse of `unique_rules`."""
    return [tuple(None if index is None else unique[index] for index in of_layer) for of_layer in indices]


def rate_of(group, active):
    """α of a group, and 0 for the members that are not active."""
    lr, p = group["lr"], group["params"][0]
    if active is not None or "lr_of_members" in group or isinstance(lr, torch.Tensor):
        lr = number_like(p, lr)
        for factor in (group.get("lr_of_members"), active):
            if factor is not None:
                lr = lr * number_like(p, factor)
    return lr


def check_group(group, unsupported, torchs):
    """Raises a ValueError for an option of torch's optimizer that the engine has no formula for."""
    for name in unsupported:
        if group[name]:
            raise ValueError(
                f"{name}=True: the engine has no formula for it; leave it out, or use torch.optim.{torchs}"
            )


def of_device(state, name, p):
    """state[name], moved to the dtype and device of p if the model was."""
    tensor = state[name]
    if tensor.dtype is not p.dtype or tensor.device != p.device:
        state[name] = tensor = tensor.to(p)
    return tensor


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


def of_each_member(function, value):
    """The value of an option, with `function` of each tensor of a number for each member in it."""
    if isinstance(value, tuple):
        return tuple(of_each_member(function, part) for part in value)
    return function(value) if isinstance(value, torch.Tensor) and value.dim() else value


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
