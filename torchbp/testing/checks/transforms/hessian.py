"""torch.func's Hessian, reverse over reverse and forward over reverse, against differences of gradients."""

import math

import torch

from torchbp.testing.diagnosis.remedies import to_add
from torchbp.testing.numerics.gradients import generator, gradients, incoming_for, need
from torchbp.testing.numerics.tensors import direction_like, first_line, largest
from torchbp.testing.report import WRONG_SECOND_DERIVATIVE, Defect, Skipped, Unsupported

MAX_SIZE = 32  # entries of an argument
_REMEDIES = (
    "setup_context, a vmap rule, and for forward mode a jvp",
    "torch.library.register_vmap; it has no forward mode",
    "operations that torch.func takes",
)
_MODES = {"reverse over reverse": torch.func.jacrev, "forward over reverse": torch.func.jacfwd}


def hessian(subject):
    need(subject)
    if subject.random.is_used:
        raise Skipped("a random function draws other numbers when it is batched")
    if subject.precision.unit > 1e-10:
        raise Skipped("computed in too low a precision for differences of gradients")
    incoming = incoming_for(subject, subject.call_no_grad(), 51)
    wanted = [i for i in subject.differentiable if 0 < subject.point[i].numel() <= MAX_SIZE]
    if not wanted or any(t.is_complex() for t in [*incoming, *(subject.point[i] for i in wanted)]):
        raise Skipped("no small real argument, or complex outputs")
    refused = [words for index in wanted for words in _audit_argument(subject, index, incoming)]
    if refused:
        raise Unsupported(f"{refused[0]}; {to_add(subject, *_REMEDIES)}")


def _audit_argument(subject, index, incoming):
    """Compare H t, for one random direction t, by each mode; yield words on each mode that is refused."""

    def scalar(tensor):
        outputs = subject.call_raw(*[tensor if i == index else t for i, t in enumerate(subject.point)])
        return sum((g * outputs[i]).sum() for g, i in zip(incoming, subject.outputs.compared, strict=True))

    argument, size = subject.arguments[index], largest(subject.point[index]) or 1.0
    direction = size * direction_like(subject.point[index], generator(subject, 52))
    numerical, error = _slope_of_gradient(subject, index, direction, incoming)
    for mode, outer in _MODES.items():
        try:
            matrix = outer(torch.func.jacrev(scalar))(subject.point[index].clone())
        except Exception as problem:
            yield f"{mode}: {first_line(problem)}"
            continue
        product = matrix.reshape(direction.numel(), -1) @ direction.reshape(-1)
        if argument.assumed and not bool(product.any()):  # nobody asked for its gradient
            continue
        gap, scale = float((product - numerical).abs().max()), max(largest(numerical), largest(product))
        slack = 1e-4 * scale + 10 * error + subject.negligible_gradient(argument.name)
        if gap > slack and error < 1e-2 * scale:
            details = [f"H t is off by {gap:.2g}, and as large as {scale:.2g} (numerical error {error:.1g})"]
            raise Defect(
                f"the Hessian of torch.func by {argument.name}, {mode}, is wrong", details, WRONG_SECOND_DERIVATIVE
            )


def _slope_of_gradient(subject, index, direction, incoming):
    """H t by differences of fourth order, and its error."""

    def gradient(h):
        point = [t + h * direction if i == index else t for i, t in enumerate(subject.point)]
        return gradients(subject, incoming, [index], point)[0].reshape(-1)

    def slope(h):
        return (8 * (gradient(h) - gradient(-h)) - (gradient(2 * h) - gradient(-2 * h))) / (12 * h)

    best, value = math.inf, torch.zeros_like(direction.reshape(-1))
    for h in (1e-3, 1e-4, 1e-8):  # from large to small, so that each one tests those before
        try:
            fine = slope(h / 2)
            error = float((fine - slope(h)).abs().max())
        except Exception:  # outside of its domain
            continue
        if error < best or float((fine - value).abs().max()) > 10 * (error + best):
            best, value = error, fine
    return value, best
