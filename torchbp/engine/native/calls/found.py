"""A program and what it is called on, looked up once for many calls; and the counts of steps that rules share."""

from operator import attrgetter, is_

import torch

data_ptr, is_contiguous, size = torch.Tensor.data_ptr, torch.Tensor.is_contiguous, torch.Tensor.size
version = attrgetter("_version")


class Found:
    """A program with the tensors that it is called on, for all rows of one kind.

    Args:
        program: a `Program`. tensors: its inputs, rows apart.
        counts: pairs of a count of steps, and of the one that the program changes in its place.
        begun: as `update_rules` returns it.
        parameters: of each layer. buffers: a function that lists those of the layers as they are now.
    """

    def __init__(self, program, tensors, counts, begun, parameters, buffers):
        self.program, self.tensors, self.begun, self._list_buffers = program, tensors, begun, buffers
        self._parameters = [p for of_layer in parameters for p in of_layer if p is not None]
        self._counts, self._common = [list(side) for side in zip(*counts, strict=True)] or ([], [])
        self.is_watched = not begun and not any(t.is_inference() for t in (*self._counts, *self._common))
        self._buffers = buffers()
        if self.is_watched:  # tensors of inference mode do not say whether they were changed
            self._memory, self._versions = self._memory_now(), self._versions_now()

    def _memory_now(self):
        """Where the tensors lie, and how."""
        shapes = *map(size, self._parameters), *map(is_contiguous, self._parameters)
        return [*map(data_ptr, self.tensors), *shapes]

    def _versions_now(self):
        return list(map(version, (*self._counts, *self._common)))

    def is_valid(self):
        """Whether the tensors lie where they did, and all counts of steps are equal that were."""
        buffers = self._list_buffers()
        if self._memory_now() != self._memory or not all(map(is_, buffers, self._buffers)):
            return False
        return self._versions_now() == self._versions or all(map(torch.equal, self._counts, self._common))

    def count_steps(self):
        """After steps of the program: let the other counts be those that it has changed."""
        if self._counts:
            torch._foreach_copy_(self._counts, self._common)
            if self.is_watched:
                self._versions = self._versions_now()


def with_common_counts(rules, members):
    """The rules with one tensor for all counts of steps that are equal, of an ensemble with a number for each member;
    and pairs of a count that was replaced, and of what replaces it."""
    common, pairs, result = {}, [], []
    for rule in rules:
        for name in rule.COUNTS:
            count = getattr(rule, name)
            of_members = count.expand(members).clone() if members and not count.dim() else count
            used = common.setdefault(tuple(of_members.view(-1).tolist()), of_members)
            if used is not count:
                pairs.append((count, used if count.dim() == used.dim() else used[0]))
                rule = rule._replace(**{name: used})
        result.append(rule)
    return result, pairs
