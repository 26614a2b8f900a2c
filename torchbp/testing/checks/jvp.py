"""Forward-mode derivatives: along each argument, and along all."""

import torch
from torch.autograd import forward_ad

from torchbp.testing.diagnosis.remedies import to_add
from torchbp.testing.numerics.gradients import backward, generator, incoming_for, need
from torchbp.testing.numerics.tensors import difference, direction_like, first_line
from torchbp.testing.report import Defect, Unsupported

HOW = (
    "a staticmethod jvp(ctx, *tangents)",
    "torch.library has no forward mode; an autograd.Function with a jvp",
    "operations that have a forward-mode derivative",
)


def jvp(subject):
    need(subject)
    wanted, source = subject.differentiable, generator(subject, 21)
    tangents = {i: direction_like(subject.point[i], source) for i in wanted}
    cut = [i for i in wanted if subject.arguments[i].assumed and not any(reverse_mode(subject, {i: tangents[i]}))]
    wanted = [i for i in wanted if i not in cut]  # of the others, nobody asked for a gradient
    for subset in [[i] for i in wanted] + ([wanted] if len(wanted) > 1 else []):
        words = ", ".join(subject.names(subset)[:4])
        slack = sum(subject.negligible_gradient(subject.arguments[i].name) * float(tangents[i].norm()) for i in subset)
        found = forward_mode(subject, {i: tangents[i] for i in subset}, words)
        expected = reverse_mode(subject, {i: tangents[i] for i in subset})
        for name, a, b in zip(subject.outputs.compared_names, found, expected, strict=True):
            if not bool(torch.as_tensor(b).isnan()) and difference(a, b, 1e-6, slack) > subject.precision.tolerance:
                raise Defect(
                    f"the forward-mode derivative of {name} along {words} is wrong",
                    [f"by jvp {float(a):.6g}, by the backward {float(b):.6g}, of one random projection"],
                )


def forward_mode(subject, tangents, words):
    """The tangent of each output, projected on the incoming gradient."""
    tensors = subject.fresh_tensors(subject.differentiable if subject.behaviour.runs_autograd else ())
    try:
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(t, tangents[i]) if i in tangents else t for i, t in enumerate(tensors)]
            outputs = [forward_ad.unpack_dual(output) for output in subject.call(duals)]
            found = [None if o.tangent is None else o.tangent.clone() for o in outputs]
            primals = [o.primal.detach().clone() for o in outputs]
    except Exception as error:
        text = first_line(error)
        if isinstance(error, NotImplementedError) or "forward AD" in text or "forward-mode" in text:
            raise Unsupported(f"no forward mode ({text}); {to_add(subject, *HOW)}") from None
        raise Defect(f"forward mode along {words} raises {type(error).__name__}: {text}") from None
    if all(tangent is None for tangent in found) and any(o.requires_grad for o in attached(subject, tangents)):
        raise Unsupported(f"no tangent comes out; {to_add(subject, *HOW)}")
    found = [torch.zeros_like(p) if t is None else t for p, t in zip(primals, found, strict=True)]
    for name, primal, tangent in zip(subject.outputs.compared_names, primals, found, strict=True):
        if tangent.shape != primal.shape:
            raise Defect(f"the tangent of {name} has the shape {list(tangent.shape)}, not {list(primal.shape)}")
    incoming = incoming_for(subject, primals, 22)
    found = [t.where(p.isfinite(), 0.0) for t, p in zip(found, primals, strict=True)]
    return [(g.conj() * t).sum().real for g, t in zip(incoming, found, strict=True)]


def attached(subject, tangents):
    return subject.call(subject.fresh_tensors(list(tangents)))


def reverse_mode(subject, tangents):
    """The same numbers by the backward."""
    wanted = list(tangents)
    tensors = subject.fresh_tensors(wanted)
    outputs = subject.call(tensors)
    incoming = incoming_for(subject, outputs, 22)
    incoming = [g.where(o.isfinite(), 0.0) for g, o in zip(incoming, outputs, strict=True)]
    numbers = []
    for k in range(len(outputs)):
        alone = [g if j == k else torch.zeros_like(g) for j, g in enumerate(incoming)]
        found = backward(outputs, [tensors[i] for i in wanted], alone, retain_graph=True)
        numbers.append(sum((g.conj() * tangents[i]).sum().real for i, g in zip(wanted, found, strict=True)))
    return numbers
