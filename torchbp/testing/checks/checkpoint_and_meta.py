"""What PyTorch wraps around a function: activation checkpoints, retained graphs, the meta device."""

import torch
from torch.utils.checkpoint import checkpoint

from torchbp.testing.numerics.gradients import backward, dense, expect, gradients, graph_of, incoming_for, need
from torchbp.testing.numerics.tensors import first_line
from torchbp.testing.report import Defect, Unsupported
from torchbp.testing.subject.graph import gradients_kept


def checkpointing(subject):
    """Activation checkpointing of both kinds, and a graph that is walked twice."""
    need(subject)
    expected = gradients(subject)
    outputs, leaves = graph_of(subject)
    incoming = incoming_for(subject, outputs)
    for walk in ("first", "second"):
        words = f"the {walk} backward through a retained graph"
        try:
            found = backward(outputs, leaves, incoming, retain_graph=walk == "first")
        except Defect as defect:
            raise Defect(f"{words}: {defect.message}") from None
        expect(subject, found, expected, words)
    # three times, one and several calls apart, for what alternates from call to call
    for reentrant, between in ((False, False), (False, True), (False, False), (True, False)):
        words = f"under checkpoint(use_reentrant={reentrant})"
        tensors = subject.fresh_tensors(subject.differentiable)
        subject.random.seed()
        try:
            raw = checkpoint(subject.call_raw, *tensors, use_reentrant=reentrant)
            pairs = [
                (raw[i], g) for i, g in zip(subject.outputs.compared, incoming, strict=True) if raw[i].requires_grad
            ]
            with gradients_kept(outputs):  # which knows the tensors that the function holds itself
                torch.autograd.backward([o for o, _ in pairs], [g for _, g in pairs])
        except Exception as error:
            text = first_line(error)
            if (
                isinstance(error, NotImplementedError)
                or "support" in str(error)
                or (reentrant and subject.behaviour.runs_autograd)
            ):
                raise Unsupported(f"{words}: {text}") from None
            raise Defect(f"{words} it raises {type(error).__name__}: {text}") from error
        leaves = [tensors[i] for i in subject.differentiable]
        expect(subject, [dense(t, t.grad) for t in leaves], expected, words)
        if between:
            subject.call(subject.fresh_tensors())


def meta(subject):
    """Shapes and dtypes without numbers."""
    need(subject)
    wanted = subject.differentiable
    tensors = [t.detach().to("meta").requires_grad_(i in wanted) for i, t in enumerate(subject.point)]
    expected = subject.call_no_grad()
    try:
        raw = subject.call_raw(*tensors)
        outputs = [raw[i] for i in subject.outputs.compared]
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
