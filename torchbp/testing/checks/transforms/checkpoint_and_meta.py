"""Activation checkpoints, retained graphs, and the meta device."""

import torch
from torch.utils.checkpoint import checkpoint

from torchbp.testing.numerics.gradients import backward, dense, expect, gradients, graph_of, incoming_for, need
from torchbp.testing.numerics.tensors import first_line
from torchbp.testing.report import Defect, Unsupported
from torchbp.testing.subject.graph import gradients_kept


def checkpointing(subject):
    """Activation checkpointing of both kinds, and two backwards through a retained graph."""
    need(subject)
    expected = gradients(subject)
    outputs, leaves = graph_of(subject)
    incoming = incoming_for(subject, outputs)
    for which in ("first", "second"):
        words = f"the {which} backward through a retained graph"
        try:
            found = backward(outputs, leaves, incoming, retain_graph=which == "first")
        except Defect as defect:
            raise defect.within(f"{words}: ") from None
        expect(subject, found, expected, words)
    # Three times, with and without a call in between, for functions that alternate from call to call.
    for use_reentrant, call_in_between in ((False, False), (False, True), (False, False), (True, False)):
        words = f"under checkpoint(use_reentrant={use_reentrant})"
        expect(subject, _checkpointed(subject, outputs, incoming, use_reentrant, words), expected, words)
        if call_in_between:
            subject.call(subject.fresh_tensors())


def _checkpointed(subject, usual_outputs, incoming, use_reentrant, words):
    """The gradients under a checkpoint."""
    tensors = subject.fresh_tensors(subject.differentiable)
    subject.random.seed()
    try:
        returned = checkpoint(subject.call_raw, *tensors, use_reentrant=use_reentrant)
        outputs = [returned[i] for i in subject.outputs.compared]
        pairs = [(o, g) for o, g in zip(outputs, incoming, strict=True) if o.requires_grad]
        with gradients_kept(usual_outputs):  # whose graph has the tensors that the function holds itself
            torch.autograd.backward([o for o, _ in pairs], [g.clone() for _, g in pairs])  # it may write
    except Exception as error:
        text = first_line(error)
        is_refusal = isinstance(error, NotImplementedError) or "support" in str(error)
        if is_refusal or (use_reentrant and subject.behaviour.runs_autograd):
            raise Unsupported(f"{words}: {text}") from None
        raise Defect(f"{words} it raises {type(error).__name__}: {text}") from error
    leaves = [tensors[i] for i in subject.differentiable]
    return [dense(t, t.grad) for t in leaves]


def meta(subject):
    """Shapes and dtypes without numbers."""
    need(subject)
    wanted = subject.differentiable
    tensors = [t.detach().to("meta").requires_grad_(i in wanted) for i, t in enumerate(subject.point)]
    expected = subject.call_no_grad()
    try:
        returned = subject.call_raw(*tensors)
        outputs = [returned[i] for i in subject.outputs.compared]
        attached = [o for o in outputs if o.requires_grad]
        leaves = [tensors[i] for i in wanted]
        found = torch.autograd.grad(attached, leaves, [torch.empty_like(o) for o in attached], allow_unused=True)
    except Exception as error:
        raise Unsupported(f"{first_line(error)}; to add it: torch operations only, or register_fake") from None
    for name, a, b in zip(subject.outputs.compared_names, outputs, expected, strict=True):
        if a.device.type != "meta":
            raise Unsupported(f"{name} is made on {a.device}; to add it: factories with device=input.device")
        if a.shape != b.shape or a.dtype != b.dtype:
            raise Defect(f"on the meta device {name} is {list(a.shape)} {a.dtype}, and not {list(b.shape)} {b.dtype}")
    for i, gradient in zip(wanted, found, strict=True):
        if gradient is not None and gradient.shape != subject.point[i].shape:
            raise Defect(f"on the meta device the gradient of {subject.arguments[i].name} is {list(gradient.shape)}")
