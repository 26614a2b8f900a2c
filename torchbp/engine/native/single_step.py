"""A step on rows at hand by a program, in some microseconds: what a call takes is looked up once."""

import itertools
from operator import attrgetter, is_

import torch
from torch.autograd.graph import increment_version

from torchbp.engine.native.elementwise import NotKnown
from torchbp.engine.native.step_rows import check_indices
from torchbp.engine.optimizers.rule_inputs import RuleInputs
from torchbp.engine.optimizers.update_rule import update_rules
from torchbp.engine.recently_used import cached

STEPS_BEFORE = (
    10  # of the engine, on rows of a shape, before a program is made for it: an epoch's last batch needs none
)
CALL = 1e-5  # seconds that a call takes beside its step
data_ptr, is_contiguous, size = torch.Tensor.data_ptr, torch.Tensor.is_contiguous, torch.Tensor.size
version = attrgetter("_version")


class SingleSteps:
    """The steps of an optimizer by the programs of its `CompiledSteps`, one for each shape of the rows.

    The first steps on rows of a shape are the engine's, and so is a step after anything else than the rows has changed,
    such as the learning rate: what a call needs is looked up once the same has been met twice.
    """

    def __init__(self, optimizer):
        self.optimizer, self.compiled, self.inputs = optimizer, optimizer.compiled, RuleInputs(optimizer)
        self.steps_met, self.calls, self.options = {}, {}, None

    def __call__(self, x, y):
        """L of before the step; None where the engine has to make it."""
        self.compiled.loss = self.optimizer.loss
        options = self.compiled.options()
        if self.inputs.have_changed() or self.options != options:
            self.calls, self.options = {}, options
            self.inputs.remember()
            return None
        key = x.shape, y.shape, x.dtype, y.dtype
        if key in self.calls:
            call = self.calls[key]
            if call is None:
                return None
            if call.is_valid():
                return call(x, y)
        elif self._is_new(key):
            return None
        call = self.calls[key] = self._call_for(x, y)
        return None if call is None else call(x, y)

    def _is_new(self, key):
        """Whether there were few steps on rows of this shape."""
        counter = cached(self.steps_met, key, itertools.count)
        return next(counter) < STEPS_BEFORE

    @torch.no_grad()
    def _call_for(self, x, y):
        """The `ReadyCall` for rows like these; None where the engine's steps are faster, or no program makes them."""
        parameters = self.optimizer.network.parameters()
        rules, begun = update_rules(self.optimizer, parameters)
        if begun:
            return None
        rows = self.compiled.rows(x.unsqueeze(0), y.unsqueeze(0))
        try:
            found = self.compiled.found(parameters, rules, rows)
        except NotKnown as error:
            return self.compiled.not_compiled(f"{error} has no form in C")
        if found is None or not found.program.is_faster(1, CALL):
            return None
        parameters = [p for of_layer in parameters for p in of_layer if p is not None]
        return ReadyCall(found, rows, parameters, self.compiled)


class ReadyCall:
    """The arguments of a program for one step, which hold while all its tensors lie where they are."""

    def __init__(self, found, rows, parameters, compiled):
        self.program, self.tensors, self.parameters, self.compiled = found.program, found.tensors, parameters, compiled
        self.buffers = compiled.traced.buffers()
        self.pointers, self.arguments = found.program.arguments(found.tensors, rows)
        self.parts = found.program.parts(1)
        self.counts, self.common = [list(of) for of in zip(*found.counts, strict=True)] or ([], [])
        self.changed = [*found.program.changed_of(found.tensors), *self.counts]
        self.loss_shape = () if compiled.network.members is None else (compiled.network.members,)
        self.memory, self.versions = self._memory(), self._versions()

    def _memory(self):
        """Where the tensors lie, and how."""
        shapes = *map(size, self.parameters), *map(is_contiguous, self.parameters)
        return [*map(data_ptr, self.tensors), *shapes]

    def _versions(self):
        return list(map(version, (*self.counts, *self.common)))

    def is_valid(self):
        """Whether the tensors lie where they did, and nobody else has counted steps."""
        buffers = self.compiled.traced.buffers()
        return (
            self._memory() == self.memory
            and self._versions() == self.versions
            and len(buffers) == len(self.buffers)
            and all(map(is_, buffers, self.buffers))
        )

    def __call__(self, x, y):
        if not x.is_contiguous() or x.is_neg():
            x = x.contiguous().resolve_neg()
        if not y.is_contiguous() or y.is_neg():
            y = y.contiguous().resolve_neg()
        program = self.program
        if program.limits:
            check_indices(program.limits, x, y, getattr(self.compiled.loss, "ignore_index", None))
        losses = torch.empty(self.loss_shape, dtype=program.source.loss_dtype, device="cpu")
        self.pointers[-3:] = data_ptr(x), data_ptr(y), data_ptr(losses)
        program.run(self.parts, self.arguments)
        if self.counts:
            torch._foreach_copy_(self.counts, self.common)
        increment_version(self.changed)
        self.versions = self._versions()
        return losses
