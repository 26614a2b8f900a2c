"""The graph is freed with its last reference; saved tensors that somebody alters are noticed."""

import gc
import weakref

import torch

from torchbp.testing.numerics.gradients import backward, dense, gaps, gradients, graph_of, incoming_for
from torchbp.testing.numerics.tensors import is_inexact
from torchbp.testing.report import Defect
from torchbp.testing.subject.graph import custom_nodes, function_name, tensors_on_ctx


def memory(subject):
    outputs, _ = graph_of(subject)
    _expect_freed(subject)
    _expect_alterations_noticed(subject)
    kept = tensors_on_ctx(outputs)
    return f"{kept[0]}: outside save_for_backward, where hooks and offloading do not see it" if kept else ""


def _expect_freed(subject):
    """Without the garbage collector, which does not see cycles through the graph."""
    for with_backward in (False, True):
        left, names, references = _left_alive(subject, with_backward)
        if left:
            gc.collect()
            gone = all(reference() is None for reference in references.values())
            what = "is only freed by the garbage collector" if gone else "is never freed"
            when = "after the backward" if with_backward else "without a backward"
            culprits = [f"likely culprit: {name}" for name in names[:3]]
            raise Defect(f"{left[0]} {what}, {when}: something keeps it, or a cycle through the graph", culprits)


def _left_alive(subject, with_backward):
    """What is still alive after our last reference is gone; the tensors kept on ctx; and weak references to all."""
    wanted = subject.differentiable
    tensors = subject.fresh_tensors(wanted)
    inputs = [t.view_as(t) if t.requires_grad else t for t in tensors]  # not the leaves: they may live on
    if subject.behaviour.in_place:
        inputs = [t.clone() for t in inputs]
    enabled = gc.isenabled()
    gc.disable()
    try:
        outputs = [o for o in subject.call(inputs) if o.grad_fn is not None]
        names = tensors_on_ctx(outputs)
        references = {"an output": weakref.ref(outputs[0])}
        references |= {f"the graph of {function_name(node)}": weakref.ref(node) for node in custom_nodes(outputs)}
        for i in wanted:
            if subject.arguments[i].kind == "input":
                references[f"the input {subject.arguments[i].name}"] = weakref.ref(inputs[i])
        if with_backward:
            backward(outputs, [tensors[i] for i in wanted], incoming_for(subject, outputs))
        del outputs, inputs
        return [what for what, reference in references.items() if reference() is not None], names, references
    finally:
        if enabled:
            gc.enable()


def _expect_alterations_noticed(subject):
    """A saved tensor altered in place between forward and backward: an error, or the right gradient.

    Only for what custom Functions save: torch's nodes look themselves, and a checkpoint computes again by design.
    """
    outputs, _ = graph_of(subject)
    if all(function_name(node) == "CheckpointFunction" for node in custom_nodes(outputs)):
        return
    wanted, count = subject.differentiable, len(subject.arguments)
    expected = gradients(subject)
    for target in range(count + len(subject.outputs.compared)):
        tensors = subject.fresh_tensors(wanted)
        inputs = [t.clone() for t in tensors]
        outputs = subject.call(inputs)
        altered = inputs[target] if target < count else outputs[target - count]
        if not is_inexact(altered) or (target < count and subject.arguments[target].kind == "buffer"):
            continue
        try:
            with torch.no_grad():
                altered.mul_(-0.5).add_(0.7)
            leaves = [tensors[i] for i in wanted]
            found = torch.autograd.grad(outputs, leaves, incoming_for(subject, outputs), allow_unused=True)
        except Exception:  # noticed
            continue
        found = [dense(leaf, g) for leaf, g in zip(leaves, found, strict=True)]
        wrong = gaps(subject, found, expected)
        if wrong:
            names = [*subject.names(range(count)), *subject.outputs.compared_names]
            kept = tensors_on_ctx(outputs)[:3]
            raise Defect(
                f"{names[target]} altered in place after the forward gives a wrong gradient of {wrong[0][0]}, and no "
                "error",
                [f"likely culprit: {line}, instead of ctx.save_for_backward" for line in kept],
            )
