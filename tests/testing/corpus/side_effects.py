"""Writing what is not one's own: incoming gradients, arguments, .grad, random states, what two calls share."""

import numpy as np
import torch
from torch import nn
from torch.autograd import Function

from tests.testing.corpus.entry import Defect, draw, function, gradients


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


class Multiply(Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.t()

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        return grad @ weight, grad.t() @ x


class MultiplyAccumulates(Multiply):
    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        of_weight = grad.t() @ x
        with torch.no_grad():
            weight.grad = of_weight.clone() if weight.grad is None else weight.grad + of_weight
        return grad @ weight, of_weight


def project(x):
    """Two projections by signs, always the same ones."""
    places = torch.arange(2 * x.shape[-1], device=x.device).view(-1, 2)
    return x @ (places * places % 3 * 2 - 1).to(x.dtype)


def project_seeded(x):
    torch.manual_seed(0)  # "always the same ones"
    return x @ (torch.randint(2, (x.shape[-1], 2)).to(x.dtype) * 2 - 1)


def ramp(x):
    return x * torch.linspace(0, 1, x.shape[-1], dtype=x.dtype, device=x.device)


def ramp_numpy_seeded(x):
    np.random.seed(0)  # noqa: NPY002
    return ramp(x)


class Square(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * grad * x


class SquareOnClass(Square):
    @staticmethod
    def forward(ctx, x):
        SquareOnClass.x = x.detach().clone()
        return x.square()

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad * SquareOnClass.x


class SquareIntoBuffer(Square):
    buffers: dict = {}  # noqa: RUF012

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        key = (x.shape, x.dtype, x.device)
        if key not in SquareIntoBuffer.buffers:
            SquareIntoBuffer.buffers[key] = torch.empty_like(x)
        buffer = SquareIntoBuffer.buffers[key]
        buffer.copy_(x.square())
        return buffer.detach()


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


def draw_after(subject):
    torch.manual_seed(5)
    right = torch.rand(1).item()
    torch.manual_seed(5)
    subject(draw(2, 3))
    return torch.rand(1).item(), right


def numpy_draw_after(subject):
    np.random.seed(5)  # noqa: NPY002
    right = np.random.rand()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    subject(draw(2, 3))
    return np.random.rand(), right  # noqa: NPY002


def first_of_two(subject):
    """Output and gradient of a call while another is alive."""
    x, other = draw(3), draw(3, seed=1)
    y = function(subject)(x)
    _alive = function(subject)(other)
    return (y, *torch.autograd.grad(y.sum(), x)), (x.square(), 2 * x)


def steps_after(subject):
    gradients(subject, (draw(3),))
    return subject.steps.item(), 0.0


def weight_after(subject):
    before = subject.weight.detach().clone()
    subject(draw(2, 3))
    return subject.weight.detach(), before


def entry(name, what, twin, inputs, shows, checks=("side_effects",), source=""):
    return Defect(name, what, inputs, twin=twin, checks=checks, kind=6, shows=shows, source=source)


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
        source="meta-pytorch/captum#8: requires_grad of the caller's inputs was set, and had to be taken back",
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
    # the global random state is reset at each call
    entry(
        "reseeds_torch",
        project_seeded,
        project,
        lambda: (draw(2, 3),),
        draw_after,
        source="huggingface/diffusers#175: torch.manual_seed inside a training loop set the global seed",
    ),
    # numpy's global random state is reset at each call
    entry(
        "reseeds_numpy",
        ramp_numpy_seeded,
        ramp,
        lambda: (draw(2, 3),),
        numpy_draw_after,
        source="Qiskit/qiskit#2850: numpy.random.seed in a library set the seed of the whole program",
    ),
    # the value for the backward lies on the class: the last call's is used
    entry(
        "value_on_the_class",
        SquareOnClass,
        Square,
        lambda: (draw(3),),
        first_of_two,
        source="pytorch/pytorch#16947: a value on the shared Function object was another replica's in the backward",
    ),
    # every call returns the same memory
    entry(
        "returns_one_buffer",
        SquareIntoBuffer,
        Square,
        lambda: (draw(3),),
        first_of_two,
        source="flashinfer-ai/flashinfer#4627: a cache returned one output tensor at every call of a size",
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
