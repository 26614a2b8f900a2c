"""Whichever arguments require a gradient, theirs is the same, and nothing needless is computed."""

from itertools import combinations

from torch.utils._python_dispatch import TorchDispatchMode

from torchbp.testing.numerics.gradients import backward, expect, gradients, graph_of, incoming_for
from torchbp.testing.report import Defect


def subsets(subject):
    outputs, _ = graph_of(subject)
    incoming, wanted = incoming_for(subject, outputs, 6), subject.differentiable
    whole = dict(zip(wanted, gradients(subject, incoming), strict=True))
    for subset in chosen(wanted):
        names = subject.names(subset)
        words = f"where only {', '.join(names)} require a gradient"
        if len(names) > 3:
            words = f"where {subject.names([i for i in wanted if i not in subset])[0]} requires no gradient"
        tensors = subject.fresh_tensors(subset)
        try:
            found = subject.call(tensors)
        except Exception:
            if subject.behaviour.runs_autograd:  # by an argument that then must require a gradient
                continue
            raise
        if not any(o.requires_grad for o in found) and any(bool(whole[i].any()) for i in subset):
            raise Defect(f"{words}, no output has a gradient")
        try:
            found = backward(found, [tensors[i] for i in subset], incoming)
        except Defect as defect:
            raise Defect(f"{words}: {defect.message}") from None
        expect(subject, found, [whole[i] for i in subset], f"{words}, it is another one", names)
    aliases(subject, incoming, wanted)
    return needless(subject, incoming, wanted)


def aliases(subject, incoming, wanted):
    """One tensor as two arguments has the sum of their gradients."""
    for first, second in combinations(wanted[:4], 2):
        a, b = subject.point[first], subject.point[second]
        if (
            a.shape != b.shape
            or a.dtype != b.dtype
            or subject.behaviour.in_place
            or subject.arguments[second].kind != "input"
        ):
            continue
        point = [a if i == second else t for i, t in enumerate(subject.point)]
        names = subject.names([first, second])
        try:
            of_first, of_second = gradients(subject, incoming, [first, second], point)
        except Exception:  # the second argument does not take such numbers
            continue
        tensors = subject.fresh_tensors([first], point)
        tensors[second] = tensors[first]
        (found,) = backward(subject.call(tensors), [tensors[first]], incoming)
        what = f"one tensor as both {' and '.join(names)} does not have the sum of their gradients"
        expect(subject, [found], [of_first + of_second], what, names[:1])


def chosen(wanted):
    """All of them for up to four arguments; else each alone, and all but each."""
    if len(wanted) <= 4:
        masks = range(1, 2 ** len(wanted) - 1)
        return [[i for k, i in enumerate(wanted) if mask >> k & 1] for mask in masks]
    return [[i] for i in wanted] + [[j for j in wanted if j != i] for i in wanted]


class Operations(TorchDispatchMode):
    """Counts what is computed."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def needless(subject, incoming, wanted):
    """A note, where a single gradient costs as much as all of them."""
    if not 2 <= len(wanted) <= 4:
        return ""
    counts = []
    for subset in (list(wanted), *([i] for i in wanted)):
        tensors = subject.fresh_tensors(subset)
        outputs = subject.call(tensors)
        with Operations() as operations:
            backward(outputs, [tensors[i] for i in subset], incoming)
        counts.append(operations.count)
    if counts[0] > 4 and all(count >= counts[0] for count in counts[1:]):
        return "every gradient is computed, whichever is asked for: see ctx.needs_input_grad"
    return ""
