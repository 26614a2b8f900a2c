"""Members of an ensemble that go on without the others, once half of them have stopped."""

import copy

import torch

from torchbp.engine.optimizers.update_rule import of_each_member


class ActiveMembers:
    """The members of an ensemble that still descend: once half of them have stopped, a smaller ensemble of the others
    goes on. `rows` and `held_out` are its rows; `held_out` is None without validation.

    Until then, one that has stopped is masked in each step. With validation it descends with the others, which is
    cheaper: at the end it is as it was after its best epoch anyway.

    One network is left as it is.
    """

    def __init__(self, optimizer, rows, held_out=None):
        self.all, self.optimizer = optimizer, optimizer
        self.all_rows, self.rows, self.all_held_out, self.held_out = rows, rows, held_out, held_out
        self.members, self.which = optimizer.network.members, None
        self.is_masked = optimizer.active is not None

    def whole(self, values):
        """A value of each running member among those of all, nan for the others."""
        if self.which is None:
            return values
        return values.new_full((self.members,), torch.nan).index_put_((self.which,), values)

    def go_on_with(self, active):
        if self.members is None:
            return
        which = active.nonzero().flatten()
        if 2 * len(which) <= self.optimizer.network.members:
            self.put_back()
            self.all._spread_state()
            of_device = which.to(self.all_rows.x.device)
            self.optimizer, self.rows = part(self.all, of_device), self.all_rows.of_members(of_device)
            self.held_out = self.all_held_out and self.all_held_out.of_members(of_device)
            self.which = which
        active = active if self.which is None else active[self.which]
        may_descend = self.held_out is not None and not self.is_masked  # `BestWeights` undoes what it does
        self.optimizer.active = None if active.all() or may_descend else active.to(self.rows.x.device)

    def put_back(self):
        """Copy what the smaller ensemble has learned back into the whole one."""
        if self.which is not None:
            which = self.which.to(self.all_rows.x.device)
            for whole, of_active in zip(tensors(self.all), tensors(self.optimizer), strict=True):
                if is_of_members(whole, self.members):
                    whole[which] = of_active  # or one number for all of them
                else:
                    whole.copy_(of_active)
        self.optimizer, self.rows, self.held_out, self.which = self.all, self.all_rows, self.all_held_out, None


def part(optimizer, which):
    """An optimizer of these members alone, with copies of their weights, state and options."""
    members = optimizer.network.members
    optimizer = copy.deepcopy(optimizer)
    optimizer.active = None
    for module in optimizer.model.modules():
        if getattr(module, "members", None) is not None:
            module.members = len(which)
        module._buffers.update({k: b[which] for k, b in module._buffers.items() if is_of_members(b, members)})
    for group in optimizer.param_groups:
        group.update({name: of_each_member(lambda t: t[which], value) for name, value in group.items()})
        for p in group["params"]:
            p.data = p.data[which]
            state = optimizer.state.get(p, {})
            state.update({name: t[which] for name, t in state.items() if is_of_members(t, members)})
    optimizer._join_state()
    optimizer._prepare()
    return optimizer


def tensors(optimizer):
    """Everything that a step changes: weights, what the optimizer keeps of each, such as a momentum buffer, and what
    the layers keep, such as running statistics."""
    for group in optimizer.param_groups:
        for p in group["params"]:
            yield p.data
            yield from (t for t in optimizer.state.get(p, {}).values() if isinstance(t, torch.Tensor))
    yield from optimizer.network.buffers()


def is_of_members(tensor, members):
    """Whether it has a part for each member, in its first dimension."""
    return members is not None and isinstance(tensor, torch.Tensor) and tensor.dim() > 0 and len(tensor) == members
