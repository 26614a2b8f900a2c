"""Each argument has the same gradient, whichever others require one, and nothing needless is computed."""

from itertools import combinations

from torchbp.testing.numerics.gradients import backward, expect, gradients, graph_of, incoming_for
from torchbp.testing.numerics.rounding import DispatchMode
from torchbp.testing.report import Defect

_MANY = 12  # arguments, from which on some of them stand for the others


def subsets(subject):
    outputs, _ = graph_of(subject)
    incoming, wanted = incoming_for(subject, outputs, 6), subject.differentiable
    all_gradients = dict(zip(wanted, gradients(subject, incoming), strict=True))
    for subset in _chosen_subsets(wanted):
        names = subject.names(subset)
        words = f"where only {', '.join(names)} {'requires' if len(names) == 1 else 'require'} a gradient"
        if len(names) > 3:
            words = f"where {subject.names([i for i in wanted if i not in subset])[0]} requires no gradient"
        tensors = subject.fresh_tensors(subset)
        try:
            found = subject.call(tensors)
        except Exception:
            if subject.behaviour.runs_autograd:  # by an argument that then must require a gradient
                continue
            raise
        if not any(o.requires_grad for o in found) and any(bool(all_gradients[i].any()) for i in subset):
            raise Defect(f"{words}, no output has a gradient")
        try:
            found = backward(found, [tensors[i] for i in subset], incoming)
        except Defect as defect:
            raise defect.within(f"{words}: ") from None
        expect(subject, found, [all_gradients[i] for i in subset], words, names)
    _audit_one_tensor_twice(subject, incoming, wanted)
    note = _note_on_needless_work(subject, incoming, wanted)
    return note or (f"for some of {len(wanted)} arguments" if len(wanted) > _MANY else "")


def _audit_one_tensor_twice(subject, incoming, wanted):
    """One tensor as two arguments has the sum of their gradients."""
    if subject.behaviour.in_place:
        return
    for first, second in combinations(wanted[:4], 2):
        a, b = subject.point[first], subject.point[second]
        if a.shape != b.shape or a.dtype != b.dtype or subject.arguments[second].kind != "input":
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


def _chosen_subsets(wanted):
    """All of them for up to four arguments; else each alone, and all but each; of many, some of these."""
    if len(wanted) <= 4:
        masks = range(1, 2 ** len(wanted) - 1)
        return [[i for k, i in enumerate(wanted) if mask >> k & 1] for mask in masks]
    some = wanted if len(wanted) <= _MANY else wanted[:: len(wanted) // _MANY + 1]
    return [[i] for i in some] + [[j for j in wanted if j != i] for i in some]


class _OperationCounter(DispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def _note_on_needless_work(subject, incoming, wanted):
    """A note, if a single gradient takes as many operations as all of them."""
    if not 2 <= len(wanted) <= 4:
        return ""
    counts = []
    for subset in (list(wanted), *([i] for i in wanted)):
        tensors = subject.fresh_tensors(subset)
        outputs = subject.call(tensors)
        with _OperationCounter() as operations:
            backward(outputs, [tensors[i] for i in subset], incoming)
        counts.append(operations.count)
    if counts[0] > 4 and all(count >= counts[0] for count in counts[1:]):
        return "every gradient is computed, whichever is asked for: see ctx.needs_input_grad"
    return ""
