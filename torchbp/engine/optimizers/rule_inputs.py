"""What rules are made of, and whether it is still the same: rules are made anew only where it is not."""

from operator import is_

import torch


class RuleInputs:
    """The parameters, the entries of the groups, what the optimizer keeps of each parameter, the loss, and which
    members are active: while these are the same objects, the rules that were made of them are used again."""

    def __init__(self, optimizer):
        self.optimizer, self.tables = optimizer, [table for _, table in optimizer.network.tables]
        self.now = self.before = None
        self.versions = []  # of tensors among the options, whose numbers may change in place

    def have_changed(self):
        """Whether something is another object, or an option another number, than when `remember` was called."""
        self.now, before = self._objects(), self.before
        if before is None or len(self.now) != len(before) or not all(map(is_, self.now, before)):
            return True
        return any(tensor._version != version for tensor, version in self.versions) if self.versions else False

    def remember(self):
        """Compare with what `have_changed` has found, from now on."""
        options = [option for group in self.optimizer.param_groups for option in group.values()]
        tensors = [t for option in (*options, self.optimizer.active) for t in tensors_in(option)]
        if any(t.is_inference() for t in tensors):  # which count no versions
            self.forget()
            return
        self.before, self.versions = self.now, [(t, t._version) for t in tensors]

    def forget(self):
        self.before = None

    def _objects(self):
        optimizer, found = self.optimizer, []
        for table in self.tables:
            found += table.values()
        parameters = [p for p in found if p is not None]
        found.append(parameters[0].get_device())  # all are on one, or the step fails before it changes anything
        found += [p.requires_grad for p in parameters]
        found += [p.dtype for p in parameters]
        for group in optimizer.param_groups:
            found += group.values()
            found += group["params"]
        for state in optimizer.state.values():
            found += state.values()
        found += (optimizer.active, optimizer.loss)
        return found


def tensors_in(option):
    """The tensors of an option, whose numbers may change in place: itself, or those of a tuple, as the betas."""
    return [t for t in (option if isinstance(option, tuple) else [option]) if isinstance(t, torch.Tensor)]
