"""Calls with other sizes, constants or options than those given: what the forward takes, the backward takes."""

import copy

import torch

from torchbp.testing.diagnosis.message import judged
from torchbp.testing.numerics.gradients import backward, gradients, incoming_for, vanishes
from torchbp.testing.numerics.jacobian import compare
from torchbp.testing.numerics.screen import seems_right
from torchbp.testing.numerics.tensors import is_inexact
from torchbp.testing.report import REPEATED_INDEX, WRONG_GRADIENT, Defect, Skipped
from torchbp.testing.subject.graph import custom_nodes
from torchbp.testing.subject.prepare import probe

_TO_ADD = "to add it: a backward that takes what the forward takes, or a forward that raises"
_BRANCH = "likely cause: 0 · ∞ or 0 / 0 in the backward, or a torch.where or a mask over such a branch"
_ADDED_UP = "likely cause: where an index repeats, gradients add up: index_add, not an assignment such as dx[index] = g"
FEW = 12  # entries of a tensor up to which it is looked at whole


def audit_other_call(subject, other, words, promised=True, refused=None):
    """Whether the function takes another call, whose gradients are then right, and which writes into nothing.

    Numbers are compared of custom Functions only: torch's operations may have an index of a fixed size, or no gradient
    at repeated indices. But where the outputs are finite and the derivatives are, the gradients must be.

    Args:
        subject: the subject at the inputs given.
        other: the subject of the other call.
        words: on the call, for the message.
        promised: whether the backward must take what the forward takes; else words on an error go into `refused`.
        refused: a list.
    """
    subject.report_progress(f"with {words}")
    other.random = copy.copy(subject.random)  # with no rows nothing is drawn, which the probe would take to be usual
    before = [tensor.clone() for tensor in other.point]
    try:
        probe(other)
    except Exception:  # the function does not take it, and says so
        return False
    other.random = subject.random
    if other.behaviour.writes and not (subject.behaviour.writes or subject.behaviour.in_place):
        raise Defect(f"with {words}: the forward writes into {_written(other, before)}")
    try:
        expect_right_values(other)
    except Defect as defect:
        if defect.__cause__ is None and vanishes(other, subject):
            return False
        if isinstance(defect.__cause__, torch.linalg.LinAlgError):  # nearly singular, as a matrix of repeated numbers
            return False
        if not _is_finite(other) and not subject.random.is_used:
            raise defect.within(f"with {words}: ", [_BRANCH]) from None
        if not custom_nodes(other.call(other.fresh_tensors(other.differentiable))):
            return False
        if not promised and defect.__cause__ is not None:  # an error is no wrong number
            refused.append(f"with {words}: {defect.message}; {_TO_ADD}")
            return False
        if defect.cause == WRONG_GRADIENT and _repeats_an_index(subject, other):
            raise Defect(f"with {words}: {defect.message}", [*defect.details, _ADDED_UP], REPEATED_INDEX) from None
        raise defect.within(f"with {words}: ") from None
    return True


def _repeats_an_index(subject, other):
    """Whether integers that are all different at the inputs repeat at another call, and no others are there."""
    pairs = [(a, b) for a, b in zip(subject.point, other.point, strict=True) if not is_inexact(a) and a.numel() > 1]
    return any(
        len(a.unique()) == a.numel() and len(b.unique()) < b.numel() and bool(torch.isin(b, a).all()) for a, b in pairs
    )


def _is_finite(subject):
    """Whether the gradients are finite, or cannot be had."""
    try:
        return all(bool(gradient.isfinite().all()) for gradient in gradients(subject))
    except Defect:
        return True


def _written(subject, before):
    """The name of an argument into which the function writes."""
    tensors = subject.fresh_tensors(subject.differentiable)
    subject.random.seed()
    subject.callee.call(subject.arguments, tensors)
    names = subject.names(range(len(tensors)))
    pairs = zip(names, tensors, before, strict=True)
    return next((name for name, t, old in pairs if not bool((t == old).all())), "an argument")


def expect_right_values(subject):
    """The gradients are right, and zero if the outputs are empty."""
    wanted = subject.differentiable
    tensors = subject.fresh_tensors(wanted)
    outputs = subject.call(tensors)
    if not any(o.requires_grad for o in outputs):
        if all(subject.point[i].numel() for i in wanted):
            raise Defect("no output has a gradient")
        return
    found = backward(outputs, [tensors[i] for i in wanted], incoming_for(subject, outputs))
    if not any(output.numel() for output in outputs):
        for name, gradient in zip(subject.names(), found, strict=True):
            if bool((gradient != 0).any()):
                raise Defect(f"the outputs are empty, and the gradient of {name} is not zero")
    elif all(bool(output.isfinite().all()) for output in outputs) and not seems_right(subject):
        try:
            judged(compare(subject, whole=FEW))
        except Skipped:
            return
