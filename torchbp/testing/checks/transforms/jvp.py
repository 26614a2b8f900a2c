"""Forward-mode derivatives, along each argument and along all, against the backward."""

import torch
from torch.autograd import forward_ad

from torchbp.testing.diagnosis.remedies import to_add
from torchbp.testing.numerics.gradients import backward, generator, incoming_for, need
from torchbp.testing.numerics.tensors import difference, direction_like, first_line
from torchbp.testing.report import WRONG_GRADIENT, Defect, Unsupported

_REMEDIES = (
    "a staticmethod jvp(ctx, *tangents)",
    "torch.library has no forward mode; an autograd.Function with a jvp",
    "operations that have a forward-mode derivative",
)


def jvp(subject):
    """gᵀ (J t) by forward mode is (gᵀ J) t by the backward, for random t and g."""
    need(subject)
    wanted, source = subject.differentiable, generator(subject, 21)
    tangents = {i: direction_like(subject.point[i], source) for i in wanted}
    # Nobody asked for the gradient of an assumed argument: one that has none is left out.
    wanted = [i for i in wanted if not (subject.arguments[i].assumed and not any(_reverse(subject, {i: tangents[i]})))]
    for subset in [[i] for i in wanted] + ([wanted] if len(wanted) > 1 else []):
        _compare_modes(subject, {i: tangents[i] for i in subset})


def _compare_modes(subject, tangents):
    along = ", ".join(subject.names(tangents)[:4])
    slack = sum(subject.negligible_gradient(subject.arguments[i].name) * float(t.norm()) for i, t in tangents.items())
    found, expected = _forward(subject, tangents, along), _reverse(subject, tangents)
    for name, a, b in zip(subject.outputs.compared_names, found, expected, strict=True):
        if not bool(torch.as_tensor(b).isnan()) and difference(a, b, 1e-6, slack) > subject.precision.tolerance:
            raise Defect(
                f"the forward-mode derivative of {name} along {along} is wrong",
                [f"by jvp {float(a):.6g}, by the backward {float(b):.6g}, of one random projection"],
                WRONG_GRADIENT,
            )


def _forward(subject, tangents, along):
    """By forward mode: gᵀ (J t), one number for each output."""
    primals, found = _outputs_and_tangents(subject, tangents, along)
    no_tangent = all(tangent is None for tangent in found)
    if no_tangent and any(o.requires_grad for o in subject.call(subject.fresh_tensors(list(tangents)))):
        raise Unsupported(f"no tangent comes out; {to_add(subject, *_REMEDIES)}")
    found = [torch.zeros_like(p) if t is None else t for p, t in zip(primals, found, strict=True)]
    for name, primal, tangent in zip(subject.outputs.compared_names, primals, found, strict=True):
        if tangent.shape != primal.shape:
            raise Defect(f"the tangent of {name} has the shape {list(tangent.shape)}, not {list(primal.shape)}")
    incoming = incoming_for(subject, primals, 22)
    found = [t.where(p.isfinite(), 0.0) for t, p in zip(found, primals, strict=True)]
    return [(g.conj() * t).sum().real for g, t in zip(incoming, found, strict=True)]


def _outputs_and_tangents(subject, tangents, along):
    """Each output, and its tangent, which is None if it does not depend on the arguments."""
    tensors = subject.fresh_tensors(subject.differentiable if subject.behaviour.runs_autograd else ())
    try:
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(t, tangents[i]) if i in tangents else t for i, t in enumerate(tensors)]
            outputs = [forward_ad.unpack_dual(output) for output in subject.call(duals)]
            found = [None if o.tangent is None else o.tangent.clone() for o in outputs]
            return [o.primal.detach().clone() for o in outputs], found
    except Exception as error:
        text = first_line(error)
        if isinstance(error, NotImplementedError) or "forward AD" in text or "forward-mode" in text:
            raise Unsupported(f"no forward mode ({text}); {to_add(subject, *_REMEDIES)}") from None
        raise Defect(f"forward mode along {along} raises {type(error).__name__}: {text}") from None


def _reverse(subject, tangents):
    """By the backward: (gᵀ J) t, one number for each output."""
    wanted = list(tangents)
    tensors = subject.fresh_tensors(wanted)
    outputs = subject.call(tensors)
    incoming = incoming_for(subject, outputs, 22)
    incoming = [g.where(o.isfinite(), 0.0) for g, o in zip(incoming, outputs, strict=True)]
    products = []
    for k in range(len(outputs)):
        alone = [g if j == k else torch.zeros_like(g) for j, g in enumerate(incoming)]
        found = backward(outputs, [tensors[i] for i in wanted], alone, retain_graph=True)
        products.append(sum((g.conj() * tangents[i]).sum().real for i, g in zip(wanted, found, strict=True)))
    return products
