"""A gradient is linear in the incoming one, and outputs may be used together, singly, or not at all."""

import torch

from torchbp.testing.numerics.gradients import backward, expect, graph_of, incoming_for
from torchbp.testing.report import Defect, Skipped

FEW = 64  # entries of the outputs that are looked at one by one


def linearity(subject):
    outputs, leaves = graph_of(subject)
    first, second = incoming_for(subject, outputs, 3), incoming_for(subject, outputs, 4)

    def gradients_for(incoming):
        return backward(outputs, leaves, incoming, retain_graph=True)

    of_first, of_second = gradients_for(first), gradients_for(second)
    if not all(bool(g.isfinite().all()) for g in of_first):
        raise Skipped("the gradient at this point is not finite")
    combined = gradients_for([2.5 * a - 0.75 * b for a, b in zip(first, second, strict=True)])
    expected = [2.5 * a - 0.75 * b for a, b in zip(of_first, of_second, strict=True)]
    expect(subject, combined, expected, "not additive in the incoming gradient")
    for words, special in _special_incoming(outputs, first):
        combined = gradients_for([a + b for a, b in zip(first, special, strict=True)])
        expected = [a + b for a, b in zip(of_first, gradients_for(special), strict=True)]
        expect(subject, combined, expected, f"not additive in an incoming gradient {words}")
    # float16 ends at 65504
    for factor in (-1.0, 1 / 64, 64.0) if subject.precision.is_half else (-1.0, 1e-6, 1e6, 1e-12):
        scaled = [g / factor for g in gradients_for([factor * g for g in first])]
        expect(subject, scaled, of_first, f"wrong where the incoming gradient is multiplied by {factor:g}")
    nothing = gradients_for([torch.zeros_like(g) for g in first])
    expect(subject, nothing, [torch.zeros_like(g) for g in of_first], "wrong where the incoming gradient is zero")
    if sum(output.numel() for output in outputs) <= FEW:
        _expect_sum_of_entries(subject, outputs, first, of_first, gradients_for)
    if len(outputs) == 1:
        return ""
    for how, rest in (("zero", torch.zeros_like), ("undefined", lambda _: None)):
        _expect_sum_of_outputs(subject, outputs, first, of_first, gradients_for, how, rest)
    return f"{len(outputs)} outputs together, singly and undefined"


def _special_incoming(outputs, incoming):
    """(words, incoming gradients): ones, as of a sum; and some that add up to 0, of all outputs and of each alone."""
    balanced = [g - g.mean() if g.numel() else g for g in incoming]
    yield "of ones", [torch.ones_like(g) for g in incoming]
    yield "that adds up to 0", balanced
    for k in range(len(outputs) if len(outputs) > 1 else 0):
        alone = [g if i == k else torch.zeros_like(g) for i, g in enumerate(balanced)]
        yield f"that adds up to 0, of output {k} alone", alone


def _expect_sum_of_entries(subject, outputs, incoming, gradients, gradients_for):
    """A dense incoming gradient gives the sum of what its entries give one by one."""
    total = [torch.zeros_like(g) for g in gradients]
    for k, output in enumerate(outputs):
        for j in range(output.numel()):
            one = [torch.zeros(o.shape, dtype=o.dtype, device=o.device) for o in outputs]
            one[k].view(-1)[j] = incoming[k].reshape(-1)[j]
            total = [t + g for t, g in zip(total, gradients_for(one), strict=True)]
    expect(subject, gradients, total, "a dense incoming gradient does not give the sum of its entries'")


def _expect_sum_of_outputs(subject, outputs, incoming, gradients, gradients_for, how, rest):
    """The parts add up, whether the other outputs are zero or undefined."""
    total = [torch.zeros_like(g) for g in gradients]
    for k, name in enumerate(subject.outputs.compared_names):
        alone = [g if i == k else rest(o) for i, (g, o) in enumerate(zip(incoming, outputs, strict=True))]
        try:
            found = gradients_for(alone)
        except Defect as defect:
            raise defect.within(f"only {name} used, the others {how}: ") from None
        total = [t + g for t, g in zip(total, found, strict=True)]
    expect(subject, total, gradients, f"outputs used singly, the others {how}, do not add up to those used together")
