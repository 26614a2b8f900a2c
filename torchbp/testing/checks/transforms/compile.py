"""torch.compile with fullgraph=True, static and dynamic shapes, forward and backward, against eager."""

import torch

from torchbp.testing.numerics.gradients import expect, expect_outputs, gradients, incoming_for, need
from torchbp.testing.numerics.tensors import first_line
from torchbp.testing.report import Skipped, Unsupported
from torchbp.testing.subject.outputs import tensors_of


def compile(subject):
    """The backend is aot_eager: the check compares what is traced, not the code that a backend makes of it."""
    need(subject)
    if subject.random.is_used:
        raise Skipped("a random function draws other numbers when it is compiled")
    if any(a.kind == "captured" for a in subject.arguments):
        raise Skipped("a function that captures leaves: give them as arguments")
    if subject.callee.module is not None and subject.callee.copy_error is not None:
        raise Skipped("the module cannot be copied")
    eager = [o.detach() for o in subject.call(subject.fresh_tensors())]
    incoming = incoming_for(subject, eager)
    expected = gradients(subject, incoming)
    for dynamic in (False, True):
        words = f"compiled with dynamic={dynamic}"
        try:
            outputs, found = _compiled_results(subject, dynamic, incoming)
        except Exception as error:
            how = "to add it: torch operations only, no jvp, no state in Python"
            raise Unsupported(f"{words}: {first_line(error)}; {how}") from None
        expect_outputs(subject, outputs, eager, words, compared_to="that of eager code")
        expect(subject, found, expected, words, compared_to="that of eager code")


def _compiled_results(subject, dynamic, incoming):
    """Outputs and gradients of the compiled function."""
    wanted, tensors = subject.differentiable, subject.fresh_tensors(subject.differentiable)
    target = subject.callee.function
    if subject.callee.module is not None:
        target = subject.fresh_module()
        state = {**dict(target.named_parameters()), **dict(target.named_buffers())}
        pairs = zip(subject.arguments, tensors, strict=True)
        tensors = [t if a.kind == "input" else state.get(a.name, t) for a, t in pairs]
    inputs = [t for t, a in zip(tensors, subject.arguments, strict=True) if a.kind == "input"]
    if subject.behaviour.in_place:
        inputs = [t.clone() for t in inputs]
    args, kwargs = subject.callee.inputs.unflatten(inputs)

    def call(*args, **kwargs):  # a new code object: what the caller has compiled stays
        return target(*args, **kwargs)

    try:
        compiled = torch.compile(call, fullgraph=True, dynamic=dynamic, backend="aot_eager")
        returned = tensors_of(compiled(*args, **kwargs))
    finally:
        torch._dynamo.eval_frame.reset_code(call.__code__)
    outputs = [returned[i] for i in subject.outputs.compared]
    pairs = [(o, g) for o, g in zip(outputs, incoming, strict=True) if o.requires_grad]
    leaves = [tensors[i] for i in wanted]
    found = torch.autograd.grad([o for o, _ in pairs], leaves, [g for _, g in pairs], allow_unused=True)
    return outputs, [torch.zeros_like(t) if g is None else g for t, g in zip(leaves, found, strict=True)]
