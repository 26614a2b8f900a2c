"""A step on rows at hand by a program, in some microseconds: what a call takes is looked up once."""

import itertools

import torch
from torch.autograd.graph import increment_version

from torchbp.engine.native.elementwise import NotKnown
from torchbp.engine.native.found import data_ptr
from torchbp.engine.native.step_rows import check_indices
from torchbp.engine.recently_used import cached, put

STEPS_BEFORE = 10  # of the engine, on rows of a shape, before a program is made for it: a rare shape needs none
CALL = 1e-5  # seconds that a call takes beside its step


class SingleSteps:
    """The steps of an optimizer by the programs of its `CompiledSteps`, one for each shape of the rows.

    The first steps on rows of a shape are the engine's, and so is a step after anything else than the rows has changed,
    such as the learning rate: what a call needs is looked up once the same has been met twice.
    """

    def __init__(self, compiled):
        self.compiled, self.steps_met = compiled, {}

    @torch.no_grad()
    def __call__(self, x, y):
        """L of before the step; None where the engine has to make it."""
        if self.compiled.have_changed():
            return None
        key, calls = (kind_of(x), kind_of(y)), self.compiled.looked_up
        if key in calls:
            call = calls[key]
            if call is None:
                return None
            if call.found.is_valid():
                return call(x, y)
        elif self._is_new(key):
            return None
        call = put(calls, key, self._call_for(x, y))
        return None if call is None else call(x, y)

    def _is_new(self, key):
        """Whether there were few steps on rows of this shape."""
        counter = cached(self.steps_met, key, itertools.count)
        return next(counter) < STEPS_BEFORE

    def _call_for(self, x, y):
        """The `ReadyCall` for rows like these; None where the engine's steps are faster, or no program makes them."""
        rows = self.compiled.rows(x.unsqueeze(0), y.unsqueeze(0))
        try:
            found = self.compiled.found(rows)
        except NotKnown as error:
            return self.compiled.not_compiled(f"{error} has no form in C")
        if found is None or not found.is_watched or not found.program.is_faster(1, CALL):
            return None
        return ReadyCall(found, rows, self.compiled)


def kind_of(rows):
    """What a call for these rows has in common with that for others."""
    return rows.shape, rows.dtype, rows.layout, rows.is_cpu, type(rows)


class ReadyCall:
    """The arguments of a program for one step, which hold while what was found is valid."""

    def __init__(self, found, rows, compiled):
        self.found, self.program, self.compiled = found, found.program, compiled
        self.pointers, self.arguments = found.program.arguments(found.tensors, rows)
        self.parts = found.program.parts(1)
        self.changed = found.program.changed_of(found.tensors)
        self.loss_shape = () if compiled.network.members is None else (compiled.network.members,)

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
        increment_version(self.changed)
        self.found.count_steps()
        return losses
