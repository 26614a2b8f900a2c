"""Double backward: right, or honestly refused."""

import torch

from torchbp.testing.diagnosis.message import judged
from torchbp.testing.diagnosis.remedies import to_add
from torchbp.testing.numerics.gradients import backward, incoming_for, need, usual_size
from torchbp.testing.numerics.jacobian import compare
from torchbp.testing.numerics.tensors import first_line
from torchbp.testing.options import Argument
from torchbp.testing.report import Defect, Skipped, Unsupported
from torchbp.testing.subject.graph import gradients_kept, saved_intermediates, stashed
from torchbp.testing.subject.subject import Subject

HOW = (
    "write the backward in differentiable operations on saved inputs and outputs, without once_differentiable",
    "a backward of differentiable operations in register_autograd",
    "operations that have a second derivative",
)
REFUSALS = ("once_differentiable", "not implemented", "does not support double", "is not differentiable", "twice")
WHOLE = 24


def second_order(subject):
    need(subject)
    first = Gradient(subject)
    kept = first.try_once()
    if subject.half:
        raise Skipped("computed in too low a precision for differences of gradients")
    try:
        return judged(compare(first, whole=WHOLE))
    except Defect as defect:
        lines = [*defect.details, *(f"likely culprit: {line}" for line in kept[:2])]
        message = defect.message.replace("the gradient of", "the second derivative by")
        message = message.replace("the gradients of", "the second derivatives by")
        raise Defect(f"{message}, silently: neither right nor refused", lines) from None


class Gradient(Subject):
    """The gradient of a subject as a subject: of its arguments and of the incoming gradients."""

    def __init__(self, subject):
        vars(self).update(vars(subject))
        self.subject, self.wanted = subject, subject.differentiable
        incoming = incoming_for(subject, subject.numbers())
        self.count = len(subject.arguments)
        names = [f"the incoming gradient of {name}" for name in subject.output_names()]
        extra = [Argument(n, g, True, "incoming") for n, g in zip(names, incoming, strict=True)]
        self.arguments = [*subject.arguments, *extra]
        self.outputs = list(range(len(self.wanted)))
        self.shapes = [subject.arguments[i].tensor.shape for i in self.wanted]
        self.height = max([usual_size(subject), *map(subject.natural, subject.names())])
        self.output_dtypes = [subject.arguments[i].tensor.dtype for i in self.wanted]

    def output_name(self, index):
        return f"(d out / d {self.subject.arguments[self.wanted[index]].name})"

    def numbers(self, point=None):
        return self(self.point if point is None else point)

    def __call__(self, tensors):
        graph = any(t.requires_grad for t in tensors)
        with torch.enable_grad():
            inputs = [
                t.detach().requires_grad_() if i in self.wanted and not t.requires_grad else t
                for i, t in enumerate(tensors[: self.count])
            ]
            outputs = self.subject(inputs)
            found = backward(outputs, [inputs[i] for i in self.wanted], tensors[self.count :], create_graph=graph)
        return found if graph else [g.detach() for g in found]

    def try_once(self):
        """Unsupported where it is refused; else the tensors that are kept in ways that a second derivative misses."""
        tensors = self.tensors(self.differentiable)
        inputs = tensors[: self.count]
        outputs = self.subject(inputs)
        kept = stashed(outputs) + saved_intermediates(outputs, [*inputs, *outputs])
        try:
            attached = [g for g in self(tensors) if g.requires_grad]
        except Defect as defect:
            raise Defect(f"with create_graph=True {defect.message}") from None
        try:
            if attached:  # not autograd.grad, which does not reach the node of once_differentiable that raises
                with gradients_kept(attached):
                    torch.autograd.backward(attached, [torch.ones_like(g) for g in attached])
        except (RuntimeError, NotImplementedError) as error:
            if isinstance(error, NotImplementedError) or any(words in str(error) for words in REFUSALS):
                raise Unsupported(f"refused ({first_line(error)}); {to_add(self.subject, *HOW)}") from None
            raise Defect(f"the double backward raises {type(error).__name__}: {first_line(error)}", kept[:3]) from None
        return kept
