"""Members of an ensemble that go on without the others, once half of them have stopped."""

import copy

import torch

from torchbp.engine.update_rule import of_each_member


class ActiveMembers:
    """The members of an ensemble that still descend: once half of them have stopped, a smaller ensemble of the others
    goes on.

    One network, and a step that is compiled for a number of members, are left as they are.
    """

    def __init__(self, optimizer, rows):
        self.all, self.all_rows = self.optimizer, self.rows = optimizer, rows
        self.members, self.which = optimizer.network.members, None

    def whole(self, values):
        """A value of each running member among those of all, nan for the others."""
        if self.which is None:
            return values
        return values.new_full((self.members,), torch.nan).index_put_((self.which,), values)

    def go_on_with(self, active):
        if self.members is None:
            return
        which = active.nonzero().flatten()
        if 2 * len(which) <= self.optimizer.network.members and self.all.compiled is None:
            self.put_back()
            self.all._spread_state()
            of_device = which.to(self.all_rows.x.device)
            self.optimizer, self.rows = part(self.all, of_device), self.all_rows.of_members(of_device)
            self.which = which
        active = active if self.which is None else active[self.which]
        self.optimizer.active = None if active.all() else active.to(self.rows.x.device)

    def put_back(self):
        """Copy the weights and the state of the smaller ensemble back into the whole one."""
        if self.which is not None:
            which = self.which.to(self.all_rows.x.device)
            for whole, of_active in zip(tensors(self.all), tensors(self.optimizer), strict=True):
                whole[which] = of_active
        self.optimizer, self.rows, self.which = self.all, self.all_rows, None


def part(optimizer, which):
    """An optimizer of these members alone, with copies of their weights, state and options."""
    optimizer = copy.deepcopy(optimizer)
    optimizer._settings["active"] = None
    for module in optimizer._settings["model"].modules():
        if hasattr(module, "members"):
            module.members = len(which)
    for group in optimizer.param_groups:
        group.update({name: of_each_member(lambda t: t[which], value) for name, value in group.items()})
        for p in group["params"]:
            p.data = p.data[which]
            state = optimizer.state.get(p, {})
            state.update({name: tensor[which] for name, tensor in state.items()})
    optimizer._prepare()
    return optimizer


def tensors(optimizer):
    """Weights, and what the optimizer keeps of them."""
    for group in optimizer.param_groups:
        for p in group["params"]:
            yield from (p.data, *optimizer.state.get(p, {}).values())
