"""Writing what is not one's own: incoming gradients, arguments, .grad, buffers, parameters."""

import torch
from torch import nn
from torch.autograd import Function

from tests.testing.corpus.entry import draw, gradients
from tests.testing.corpus.products import Multiply
from tests.testing.corpus.state.demonstrations import entry


class Triple(Function):
    @staticmethod
    def forward(ctx, x):
        return 3 * x

    @staticmethod
    def backward(ctx, grad):
        return 3 * grad


class TripleInPlace(Triple):
    @staticmethod
    def backward(ctx, grad):
        return grad.mul_(3)


def pick(x, labels):
    """Log-probabilities of the labels; a negative one counts as 0."""
    return torch.log_softmax(x, -1).gather(1, labels.clamp(min=0).unsqueeze(1)).squeeze(1)


def pick_in_place(x, labels):
    labels.clamp_(min=0)
    return pick(x, labels)


def attract(x, centre):
    return x * (x - centre)


def attract_marked(x, centre):
    centre.requires_grad_()
    return x * (x - centre)


class MultiplyAccumulates(Multiply):
    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        of_weight = grad.t() @ x
        with torch.no_grad():
            weight.grad = of_weight.clone() if weight.grad is None else weight.grad + of_weight
        return grad @ weight, of_weight


class Counted(Function):
    @staticmethod
    def forward(ctx, x, count):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad, None


class CountedInBackward(Counted):
    @staticmethod
    def forward(ctx, x, count):
        ctx.count = count
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        ctx.count.add_(1)
        return 2 * grad, None


class Twice(nn.Module):
    double = Counted

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x):
        return self.double.apply(x, self.steps)


class TwiceCountsBackwards(Twice):
    double = CountedInBackward


class UnitRows(nn.Module):
    """A product with the rows of the weight, each of norm 1 at most."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3) * 4)

    def forward(self, x):
        return x @ (self.weight / self.weight.norm(dim=1, keepdim=True).clamp(min=1)).t()


class UnitRowsInPlace(UnitRows):
    def forward(self, x):
        self.weight.data /= self.weight.data.norm(dim=1, keepdim=True).clamp(min=1)
        return x @ self.weight.t()


def incoming_after(subject):
    grad = torch.ones(3, dtype=torch.float64)
    gradients(subject, (draw(3),), [grad])
    return grad, torch.ones(3, dtype=torch.float64)


def labels():
    return torch.tensor([0, -1, 2])


def labels_after(subject):
    given = labels()
    subject(draw(3, 3), given)
    return given, labels()


def marked_after(subject):
    centre = draw(3, seed=1, grad=False)
    subject(draw(3), centre)
    return centre.requires_grad, False


def grad_after(subject):
    weight = draw(4, 3, seed=1)
    gradients(subject, (draw(2, 3), weight))
    return weight.grad is None, True


def steps_after(subject):
    gradients(subject, (draw(3),))
    return subject.steps.item(), 0.0


def weight_after(subject):
    before = subject.weight.detach().clone()
    subject(draw(2, 3))
    return subject.weight.detach(), before


DEFECTS = [
    # the incoming gradient, which others may use, is multiplied in place
    entry(
        "incoming_overwritten",
        TripleInPlace,
        Triple,
        lambda: (draw(3),),
        incoming_after,
        source="NVIDIA/apex#1430: the fused softmax wrote its result into the incoming gradient",
    ),
    # the caller's labels are changed
    entry(
        "labels_clamped_in_place",
        pick_in_place,
        pick,
        lambda: (draw(3, 3), labels()),
        labels_after,
        source="NVIDIA-NeMo/Automodel#3917: a loss filled the caller's labels in place",
    ),
    # an argument is made to require a gradient
    entry(
        "argument_made_to_require_grad",
        attract_marked,
        attract,
        lambda: (draw(3), draw(3, seed=1, grad=False)),
        marked_after,
        source="lululxvi/deepxde#2011: inputs whose gradient nobody uses were made to require one",
    ),
    # the backward adds to the weight's .grad and returns its gradient, too
    entry(
        "adds_to_grad",
        MultiplyAccumulates,
        Multiply,
        lambda: (draw(2, 3), draw(4, 3, seed=1)),
        grad_after,
        source="AMD-AGI/Primus#995: a weight's gradient that the kernel has accumulated must not be added again",
    ),
    # a buffer is counted up in the backward, again for each
    entry(
        "buffer_written_in_backward",
        TwiceCountsBackwards,
        Twice,
        lambda: (draw(3),),
        steps_after,
        ("side_effects", "module"),
        "RobinBruegger/RevTorch#13: the backward ran the forward anew and changed the running statistics",
    ),
    # the forward changes the parameter itself, out of autograd's sight
    entry(
        "parameter_written_in_forward",
        UnitRowsInPlace,
        UnitRows,
        lambda: (draw(2, 3),),
        weight_after,
        ("side_effects", "module"),
        source="ApolloResearch/e2e_sae#46: the forward normalised a weight through its .data",
    ),
]
