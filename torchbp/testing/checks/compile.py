"""torch.compile with fullgraph=True, static and dynamic shapes, forward and backward, against eager."""

import torch

from torchbp.testing.numerics.gradients import expect, expect_outputs, gradients, incoming_for, need
from torchbp.testing.numerics.tensors import first_line
from torchbp.testing.report import Skipped, Unsupported
from torchbp.testing.subject.outputs import tensors_of


def compile(subject):
    """By the backend aot_eager: what is traced is compared, not the code that a backend makes of it."""
    need(subject)
    if subject.random.is_used:
        raise Skipped("compiled, a random function draws otherwise")
    if subject.callee.module is not None and subject.callee.copy_error is not None:
        raise Skipped("the module cannot be copied")
    eager = [o.detach() for o in subject.call(subject.fresh_tensors())]
    incoming = incoming_for(subject, eager)
    expected = gradients(subject, incoming)
    for dynamic in (False, True):
        words = f"compiled with dynamic={dynamic}"
        try:
            outputs, found = traced(subject, dynamic, incoming)
        except Exception as error:
            how = "to add it: torch operations only, no jvp, no state in Python"
            raise Unsupported(f"{words}: {first_line(error)}; {how}") from None
        expect_outputs(subject, outputs, eager, words)
        expect(subject, found, expected, f"{words}: another gradient than eager")


def traced(subject, dynamic, incoming):
    """Outputs and gradients of the compiled function."""
    wanted, tensors = subject.differentiable, subject.fresh_tensors(subject.differentiable)
    target = subject.callee.function
    if subject.callee.module is not None:
        target = subject.fresh_module()
        held = {**dict(target.named_parameters()), **dict(target.named_buffers())}
        tensors = [
            held.get(a.name, t) if a.kind != "input" else t for a, t in zip(subject.arguments, tensors, strict=True)
        ]
    inputs = [t for t, a in zip(tensors, subject.arguments, strict=True) if a.kind == "input"]
    if subject.behaviour.in_place:
        inputs = [t.clone() for t in inputs]
    args, kwargs = subject.callee.inputs.unflatten(inputs)

    def call(*args, **kwargs):  # code of our own: what the caller has compiled stays
        return target(*args, **kwargs)

    try:
        raw = tensors_of(torch.compile(call, fullgraph=True, dynamic=dynamic, backend="aot_eager")(*args, **kwargs))
    finally:
        torch._dynamo.eval_frame.reset_code(call.__code__)
    outputs = [raw[i] for i in subject.outputs.compared]
    pairs = [(o, g) for o, g in zip(outputs, incoming, strict=True) if o.requires_grad]
    leaves = [tensors[i] for i in wanted]
    found = torch.autograd.grad([o for o, _ in pairs], leaves, [g for _, g in pairs], allow_unused=True)
    return outputs, [torch.zeros_like(t) if g is None else g for t, g in zip(leaves, found, strict=True)]
