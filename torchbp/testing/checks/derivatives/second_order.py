"""Double backward: right, or refused by an error."""

from dataclasses import replace

import torch

from torchbp.testing.diagnosis.message import judged
from torchbp.testing.diagnosis.remedies import to_add
from torchbp.testing.numerics.gradients import backward, generator, incoming_for, need, usual_size
from torchbp.testing.numerics.jacobian import compare
from torchbp.testing.numerics.tensors import first_line, largest, random_like
from torchbp.testing.report import WRONG_SECOND_DERIVATIVE, Defect, Skipped, Unsupported
from torchbp.testing.subject.arguments import Argument
from torchbp.testing.subject.graph import gradients_kept, saved_intermediates, tensors_on_ctx
from torchbp.testing.subject.outputs import Behaviour

_REMEDIES = (
    "write the backward in differentiable operations on saved inputs and outputs, without once_differentiable",
    "a backward of differentiable operations in register_autograd",
    "operations that have a second derivative",
)
_REFUSALS = ("once_differentiable", "not implemented", "does not support double", "is not differentiable", "twice")
_TO_DO = "to do: save inputs and outputs alone and compute the rest in the backward; or use once_differentiable"
_WHOLE = 24  # entries of a gradient, or of an argument, that are all looked at


def second_order(subject):
    need(subject)
    gradient = _gradient_subject(subject)
    kept = _differentiate_twice(subject, gradient)
    if subject.precision.is_half:
        raise Skipped("computed in too low a precision for differences of gradients")
    try:
        return judged(compare(gradient, whole=_WHOLE))
    except Defect as defect:
        if subject.options.surrogate is not None and _holds_constants(subject):
            raise Skipped("the gradient of the surrogate holds constants, and has no derivative of its own") from None
        lines = [*defect.details, *(f"likely culprit: {line}" for line in kept[:2]), *([_TO_DO] if kept else [])]
        message = defect.message.replace("the gradient of", "the second derivative by")
        message = message.replace("the gradients of", "the second derivatives by")
        cause = WRONG_SECOND_DERIVATIVE if kept else defect.cause  # it may be wrong because the gradient is
        raise Defect(f"{message}, silently: neither right nor refused", lines, cause) from None


def _holds_constants(subject):
    """Whether the gradient of the surrogate is not its derivative, as where it detaches what it has rounded."""
    source, step = generator(subject, 21), 1e-4
    moved = [t + step * random_like(t, source) if i in subject.differentiable else t
             for i, t in enumerate(subject.point)]  # fmt: skip
    with torch.no_grad():
        direct = subject.call_surrogate(subject.fresh_tensors(point=moved))
    pairs = zip(direct, subject.call_unrounded(moved), strict=True)
    return any(largest(a - b) > 1e-2 * step * max(largest(b), 1.0) for a, b in pairs)


class _GradientCallee:
    """The gradient of a subject as a function: of its arguments and of the incoming gradients."""

    def __init__(self, subject):
        self.subject, self.name = subject, f"the gradient of {subject.name}"

    def call(self, arguments, tensors):
        subject, wanted, count = self.subject, self.subject.differentiable, len(self.subject.arguments)
        create_graph = any(t.requires_grad for t in tensors)
        with torch.enable_grad():
            inputs = [
                t.detach().requires_grad_() if i in wanted and not t.requires_grad else t
                for i, t in enumerate(tensors[:count])
            ]
            outputs = subject.call(inputs)
            incoming = [g.to(o.dtype) for g, o in zip(tensors[count:], outputs, strict=True)]
            found = backward(outputs, [inputs[i] for i in wanted], incoming, create_graph=create_graph)
        return found if create_graph else [g.detach() for g in found]


def _gradient_subject(subject):
    """The gradient of a subject as a subject."""
    incoming = incoming_for(subject, subject.call_no_grad())
    names = [f"the incoming gradient of {name}" for name in subject.outputs.compared_names]
    wanted = [subject.arguments[i] for i in subject.differentiable]
    outputs = replace(
        subject.outputs,
        names=[f"(d out / d {argument.name})" for argument in wanted],
        shapes=[argument.tensor.shape for argument in wanted],
        dtypes=[argument.tensor.dtype for argument in wanted],
        attached=list(range(len(wanted))),
        compared=list(range(len(wanted))),
        largest=max([usual_size(subject), *map(subject.typical_gradient, subject.names())]),
    )
    return replace(
        subject,
        callee=_GradientCallee(subject),
        arguments=[
            *subject.arguments,
            *(Argument(n, g, True, "incoming") for n, g in zip(names, incoming, strict=True)),
        ],
        outputs=outputs,
        behaviour=Behaviour(),
    )


def _differentiate_twice(subject, gradient):
    """Unsupported where that is refused; else the tensors that are kept in ways that a second derivative misses."""
    tensors = gradient.fresh_tensors(gradient.differentiable)
    inputs = tensors[: len(subject.arguments)]
    outputs = subject.call(inputs)
    kept = tensors_on_ctx(outputs) + saved_intermediates(outputs, [*inputs, *outputs])
    try:
        attached = [g for g in gradient.call(tensors) if g.requires_grad]
    except Defect as defect:
        raise defect.within("with create_graph=True ") from None
    try:
        if attached:  # not autograd.grad, which does not reach the node of once_differentiable that raises
            with gradients_kept(attached):
                torch.autograd.backward(attached, [torch.ones_like(g) for g in attached])
    except (RuntimeError, NotImplementedError) as error:
        if isinstance(error, NotImplementedError) or any(words in str(error) for words in _REFUSALS):
            raise Unsupported(f"refused ({first_line(error)}); {to_add(subject, *_REMEDIES)}") from None
        raise Defect(f"the double backward raises {type(error).__name__}: {first_line(error)}", kept[:3]) from None
    return kept
