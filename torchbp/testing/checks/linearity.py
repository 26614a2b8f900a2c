"""A gradient is linear in the incoming one, and outputs may be used together, singly, or not at all."""

import torch

from torchbp.testing.numerics.gradients import backward, expect, graph_of, incoming_for
from torchbp.testing.report import Defect, Skipped


def linearity(subject):
    outputs, leaves = graph_of(subject)
    first, second = incoming_for(subject, outputs, 3), incoming_for(subject, outputs, 4)

    def at(incoming):
        return backward(outputs, leaves, incoming, retain_graph=True)

    whole, other = at(first), at(second)
    if not all(bool(g.isfinite().all()) for g in whole):
        raise Skipped("the gradient at this point is not finite")
    combined = at([2.5 * a - 0.75 * b for a, b in zip(first, second, strict=True)])
    expected = [2.5 * a - 0.75 * b for a, b in zip(whole, other, strict=True)]
    expect(subject, combined, expected, "not additive in the incoming gradient")
    for words, special in special_ones(outputs, first):
        combined = at([a + b for a, b in zip(first, special, strict=True)])
        expected = [a + b for a, b in zip(whole, at(special), strict=True)]
        expect(subject, combined, expected, f"not additive in an incoming gradient {words}")
    narrow = subject.precision.is_half  # float16 ends at 65504
    for factor in (-1.0, 1 / 64, 64.0) if narrow else (-1.0, 1e-6, 1e6, 1e-12):
        scaled = [g / factor for g in at([factor * g for g in first])]
        expect(subject, scaled, whole, f"wrong where the incoming gradient is multiplied by {factor:g}")
    nothing = at([torch.zeros_like(g) for g in first])
    expect(subject, nothing, [torch.zeros_like(g) for g in whole], "wrong where the incoming gradient is zero")
    if sum(output.numel() for output in outputs) <= 64:
        entries(subject, outputs, first, whole, at)
    if len(outputs) == 1:
        return ""
    for how, rest in (("zero", torch.zeros_like), ("undefined", lambda _: None)):
        singly(subject, outputs, first, whole, at, how, rest)
    return f"{len(outputs)} outputs together, singly and undefined"


def special_ones(outputs, incoming):
    """Ones, as of a sum; and gradients whose entries add up to 0, of all outputs and of each alone."""
    balanced = [g - g.mean() if g.numel() else g for g in incoming]
    yield "of ones", [torch.ones_like(g) for g in incoming]
    yield "that adds up to 0", balanced
    for k in range(len(outputs) if len(outputs) > 1 else 0):
        alone = [g if i == k else torch.zeros_like(g) for i, g in enumerate(balanced)]
        yield f"that adds up to 0, of output {k} alone", alone


def entries(subject, outputs, incoming, whole, at):
    """A dense incoming gradient gives the sum of what its entries give one by one."""
    total = [torch.zeros_like(g) for g in whole]
    for k, output in enumerate(outputs):
        for j in range(output.numel()):
            one = [torch.zeros(o.shape, dtype=o.dtype, device=o.device) for o in outputs]
            one[k].view(-1)[j] = incoming[k].reshape(-1)[j]
            total = [t + g for t, g in zip(total, at(one), strict=True)]
    expect(subject, whole, total, "a dense incoming gradient does not give the sum of its entries'")


def singly(subject, outputs, incoming, whole, at, how, rest):
    """The parts add up, whether the other outputs are zero or undefined."""
    total = [torch.zeros_like(g) for g in whole]
    for k, name in enumerate(subject.outputs.compared_names):
        alone = [g if i == k else rest(o) for i, (g, o) in enumerate(zip(incoming, outputs, strict=True))]
        try:
            found = at(alone)
        except Defect as defect:
            raise Defect(f"only {name} used, the others {how}: {defect.message}") from None
        total = [t + g for t, g in zip(total, found, strict=True)]
    expect(subject, total, whole, f"outputs used singly, the others {how}, do not add up to those used together")
