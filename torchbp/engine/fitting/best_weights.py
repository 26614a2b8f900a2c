"""The weights of the epoch in which the validation loss was lowest, of one network or of each member."""

import torch

from torchbp.engine.fitting.active_members import is_of_members, tensors


class BestWeights:
    """Copies of everything that a step changes, weights, momentum buffers and running statistics, as they were after
    the best epoch: what is put back is the optimizer of that epoch."""

    def __init__(self, optimizer):
        self.optimizer, self.copies = optimizer, {}
        members = optimizer.network.members
        self.found = torch.zeros(() if members is None else (members,), dtype=torch.bool, device="cpu")

    def keep(self, running, better):
        """Copy what those networks have now whose loss is the lowest so far, bools of all members on the CPU."""
        if not better.any():
            return
        self.found |= better
        for number, (whole, now) in enumerate(zip(tensors(running.all), tensors(running.optimizer), strict=True)):
            copy = self.copies.get(number)
            if copy is None:
                copy = self.copies[number] = self.for_each(whole).clone()
            if running.members is None or not is_of_members(copy, running.members):
                copy.copy_(now)
                continue
            to = better.to(whole.device)
            copy[to] = now[to if running.which is None else to[running.which.to(to.device)]] if now.dim() else now

    def for_each(self, t):
        """The tensor; of a count of steps that is one number for all members, one for each."""
        counts = [state["step"] for state in self.optimizer.state.values() if "step" in state]
        return t.repeat(len(self.found)) if self.found.dim() and t.dim() == 0 and any(t is c for c in counts) else t

    def put_back(self):
        """Once all members are in the whole ensemble again."""
        if not self.found.any():
            return
        self.optimizer._spread_state()
        for number, whole in enumerate(tensors(self.optimizer)):
            if is_of_members(whole, len(self.found) if self.found.dim() else None):
                which = self.found.to(whole.device)
                whole[which] = self.copies[number][which]
            else:
                whole.copy_(self.copies[number])
