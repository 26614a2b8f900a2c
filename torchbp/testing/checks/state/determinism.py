"""The same seed gives the same gradient, also with another backward inside of it."""

import threading

import torch

from torchbp.testing.checks.state.side_effects import other_points
from torchbp.testing.numerics.gradients import backward, expect, gaps, gradients, graph_of, incoming_for
from torchbp.testing.report import Defect

_THREAD = "likely cause: a threading.local or a context variable that the forward sets and the backward reads; see ctx"


def determinism(subject):
    graph_of(subject)
    first = gradients(subject)
    _expect_equal(subject, [f"the gradient of {name}" for name in subject.names()], first, gradients(subject))
    outputs = [subject.call(subject.fresh_tensors()) for _ in range(2)]
    _expect_equal(subject, subject.outputs.compared_names, *outputs)
    _call_in_backward(subject, first)
    _differentiate_in_a_thread(subject, first)
    return "random: audited with the random state forked and seeded" if subject.random.is_used else ""


def _expect_equal(subject, names, first, second):
    for name, a, b in zip(names, first, second, strict=True):
        gap = float((a - b).abs().nan_to_num(0, 0, 0).max()) if a.numel() else 0.0
        if gap > subject.options.nondet_tol:
            raise Defect(f"two runs with one seed differ in {name}, by {gap:.2g}")


def _differentiate_in_a_thread(subject, expected):
    """The backward in another thread than the forward, as autograd does for other devices, and servers do."""
    outputs, leaves = graph_of(subject)
    incoming, results = incoming_for(subject, outputs), []

    def work():
        try:
            results.append(backward(outputs, leaves, incoming))
        except Defect as defect:
            results.append(defect)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(results[0], Defect):
        raise results[0].within("in another thread than the forward: ", [_THREAD])
    wrong = gaps(subject, results[0], expected)
    if wrong:
        raise Defect(
            f"a backward in another thread than the forward gives another gradient of {wrong[0][0]}", [_THREAD]
        )


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
