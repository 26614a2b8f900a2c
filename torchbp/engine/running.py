"""Members of an ensemble that go on without the others, once half of them have stopped."""

import copy

import torch


class Running:
    """The members of an ensemble that still descend: once half of them have stopped, the others go on by themselves.

    One network, and a step that is compiled for a number of members, are left as they are.
    """

    def __init__(self, optimizer, rows):
        self.all, self.all_rows = self.optimizer, self.rows = optimizer, rows
        self.members, self.which = optimizer.layers.members, None

    def whole(self, values):
        """A value of each running member among those of all, nan for the others."""
        if self.which is None:
            return values
        return values.new_full((self.members,), torch.nan).index_put_((self.which,), values)

    def go_on_with(self, active):
        if self.members is None:
            return
        which = active.nonzero().flatten()
        if 2 * len(which) <= self.optimizer.layers.members and self.all.compiled is None:
            self.put_back()
            of_device = which.to(self.all_rows.x.device)
            rows, own = self.all_rows.of_members(of_device), part(self.all, of_device)
            self.which, self.optimizer, self.rows = which, own, rows
        active = active if self.which is None else active[self.which]
        self.optimizer.active = None if active.all() else active.to(self.rows.x.device)

    def put_back(self):
        """The weights and velocities of those that ran by themselves, to where they belong."""
        if self.which is not None:
            which = self.which.to(self.all_rows.x.device)
            for whole, own in zip(tensors(self.all), tensors(self.optimizer), strict=True):
                whole[which] = own
        self.optimizer, self.rows, self.which = self.all, self.all_rows, None


def part(optimizer, which):
    """An optimizer of these members alone, with copies of their weights, velocities and numbers."""
    optimizer = copy.deepcopy(optimizer)
    optimizer.own["active"] = None
    for module in optimizer.own["model"].modules():
        if hasattr(module, "members"):
            module.members = len(which)
    for group in optimizer.param_groups:
        group.update({k: v[which] for k, v in group.items() if isinstance(v, torch.Tensor) and v.dim()})
        for p in group["params"]:
            p.data = p.data[which]
            state = optimizer.state.get(p, {})
            state.update({name: buffer[which] for name, buffer in state.items()})
    optimizer.prepare()
    return optimizer


def tensors(optimizer):
    """Weights and velocities."""
    for group in optimizer.param_groups:
        for p in group["params"]:
            yield from (p.data, *optimizer.state.get(p, {}).values())
