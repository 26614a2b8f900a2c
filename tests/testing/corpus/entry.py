"""What an entry of the corpus is, and the few functions its demonstrations share."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

DOUBLE = torch.float64
HIDDEN_BY_THE_INPUTS = 20  # kinds from here on: what the inputs given do not show


@dataclass(frozen=True)
class Sound:
    """Something right: no check of it may fail."""

    name: str
    what: object  # a function, an autograd.Function, a custom op, or a class of modules made without arguments
    inputs: Callable  # makes the inputs
    options: dict = field(default_factory=dict)  # of torchbp.check
    train: bool = True  # the mode of a module

    @property
    def subject(self):
        return made(self.what, self.train)


@dataclass(frozen=True)
class Defect(Sound):
    """Something with one defect that gradcheck lets through, and its sound twin."""

    twin: object = None
    checks: tuple = ()  # of which at least one must fail
    kind: int = 0  # of defect: the corpus has at least two of each kind from 1 to 14
    shows: Callable = None  # of a subject: what is seen, and what would be right
    source: str = ""  # a report of the like, where there is one: owner/repo#number and what happened

    @property
    def sound_twin(self):
        return made(self.twin, self.train)


def made(what, train=True):
    """A fresh module of a class of modules, with the same numbers each time; anything else as it is."""
    if isinstance(what, type) and issubclass(what, torch.nn.Module):
        state = torch.random.get_rng_state()
        torch.manual_seed(0)
        module = what().to(DOUBLE).train(train)
        torch.random.set_rng_state(state)
        return module
    return what


def function(subject):
    """The callable: of an autograd.Function its apply."""
    is_function = isinstance(subject, type) and issubclass(subject, torch.autograd.Function)
    return subject.apply if is_function else subject


def draw(*shape, seed=0, low=-1.0, high=1.0, dtype=DOUBLE, grad=True):
    """Numbers between low and high, the same at each call."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(shape, generator=generator, dtype=DOUBLE) * (high - low) + low
    return values.to(dtype).requires_grad_(grad)


def gradients(subject, inputs, incoming=None, wanted=None):
    """Gradients of what is wanted (all that require them), for one incoming gradient an output (ones)."""
    outputs = function(subject)(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    incoming = incoming or [torch.ones_like(output) for output in outputs]
    wanted = wanted or [x for x in inputs if isinstance(x, torch.Tensor) and x.requires_grad]
    pairs = [(output, g) for output, g in zip(outputs, incoming, strict=True) if g is not None]
    got = torch.autograd.grad([o for o, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(wanted, got, strict=True))


def second(subject, inputs):
    """Gradients of the sum of the squared gradients."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    output = function(subject)(*inputs)
    incoming = torch.ones_like(output).requires_grad_()  # once_differentiable refuses only where it requires a gradient
    first = torch.autograd.grad(output, inputs, incoming, create_graph=True)
    total = sum(g.square().sum() for g in first)
    if total.requires_grad:
        total.backward()  # autograd.grad would not reach the node of once_differentiable that raises
    return tuple(torch.zeros_like(x) if x.grad is None else x.grad for x in inputs)


def raised(action):
    """The name of the exception that an action raises, or "nothing"."""
    try:
        action()
    except Exception as error:
        return type(error).__name__
    return "nothing"


def same(seen, right):
    """Whether what is seen is right: numbers to 1e-9 of the largest, everything else exactly."""
    if isinstance(right, torch.Tensor):
        if seen.shape != right.shape or seen.dtype != right.dtype:
            return False
        if not (right.is_floating_point() or right.is_complex()):
            return torch.equal(seen, right)
        largest = right.detach().abs().max().item() if right.numel() else 0.0
        return torch.allclose(seen, right, rtol=1e-9, atol=1e-9 * largest, equal_nan=True)
    if isinstance(right, tuple):
        return len(seen) == len(right) and all(map(same, seen, right))
    return seen == right
