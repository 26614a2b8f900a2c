"""The same seed gives the same gradient, also with another backward inside of it."""

import torch

from torchbp.testing.checks.side_effects import other_points
from torchbp.testing.numerics.gradients import backward, expect, gradients, graph_of, incoming_for
from torchbp.testing.report import Defect


def determinism(subject):
    graph_of(subject)
    first = gradients(subject)
    _expect_equal(subject, [f"the gradient of {name}" for name in subject.names()], first, gradients(subject))
    outputs = [subject.call(subject.fresh_tensors()) for _ in range(2)]
    _expect_equal(subject, subject.outputs.compared_names, *outputs)
    _call_in_backward(subject, first)
    return "random: audited with the random state forked and seeded" if subject.random.is_used else ""


def _expect_equal(subject, names, first, second):
    for name, a, b in zip(names, first, second, strict=True):
        gap = float((a - b).abs().nan_to_num(0, 0, 0).max()) if a.numel() else 0.0
        if gap > subject.options.nondet_tol:
            raise Defect(f"two runs with one seed differ in {name}, by {gap:.2g}")


def _call_in_backward(subject, expected):
    """A whole call inside the backward of another, as reentrant checkpoints do."""
    wanted = subject.differentiable
    tensors, point = subject.fresh_tensors(wanted), next(other_points(subject))
    outputs = subject.call(tensors)

    def call_and_differentiate(gradient):
        try:
            inner = subject.fresh_tensors(wanted, point)
            inner = [o if a.kind == "input" else t for o, t, a in zip(inner, tensors, subject.arguments, strict=True)]
            results = subject.call(inner)
            torch.autograd.grad(results, [inner[i] for i in wanted], incoming_for(subject, results), allow_unused=True)
        except Exception:  # only the outer one matters here
            return

    next(output for output in outputs if output.requires_grad).register_hook(call_and_differentiate)
    found = backward(outputs, [tensors[i] for i in wanted], incoming_for(subject, outputs))
    expect(subject, found, expected, "a call inside the backward disturbs it")
