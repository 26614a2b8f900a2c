"""Analytical gradients of a subject, and comparisons of them."""

import torch

from torchbp.testing.diagnosis.origin import meaning, raised_in
from torchbp.testing.numerics.tensors import as_real, differing, first_line, flat, is_inexact, largest, random_like
from torchbp.testing.report import Defect, Skipped, Unsupported
from torchbp.testing.subject.graph import gradients_kept

_ONLY_BACKWARD = (
    "compatible with .grad()"  # in the error of a reentrant checkpoint: “incompatible …”, “not compatible …”
)


def generator(subject, salt=0):
    """A generator of random numbers, by the seed of the audit; another `salt` gives other numbers."""
    return torch.Generator().manual_seed(subject.options.seed * 1000 + salt)


def incoming_for(subject, outputs, salt=1):
    """A dense incoming gradient for each output."""
    source = generator(subject, salt)
    return [random_like(output, source) for output in outputs]


def need(subject):
    """Skip the check if nothing can be differentiated."""
    if not subject.differentiable or not subject.outputs.attached:
        raise Skipped("nothing to differentiate")


def need_float64(subject):
    """Skip the check also if the function does not take float64."""
    need(subject)
    if subject.precision.input_unit > 1e-10:
        raise Skipped("the function does not take float64, which is the measure")


def graph_of(subject):
    """Fresh outputs and the leaves that they are differentiated by."""
    need(subject)
    tensors = subject.fresh_tensors(subject.differentiable)
    return subject.call(tensors), [tensors[i] for i in subject.differentiable]


def backward(outputs, inputs, incoming, copied=True, **options):
    """The gradients of the inputs, zeros where none arrives; a Defect where the backward raises.

    The incoming gradients are copied, so that a backward that writes into them, which `side_effects` finds, spoils no
    other check.
    """
    pairs = [(o, g) for o, g in zip(outputs, incoming, strict=True) if g is not None and o.requires_grad]
    if not pairs:
        return [torch.zeros_like(tensor) for tensor in inputs]
    attached, grads = zip(*pairs, strict=True)
    grads = [_copy(gradient) for gradient in grads] if copied else grads
    try:
        found = torch.autograd.grad(attached, inputs, grads, allow_unused=True, **options)
    except Exception as error:
        if _ONLY_BACKWARD in str(error):
            return _by_backward(attached, inputs, grads, options)
        words = f"{type(error).__name__}: {first_line(error)}"
        raise Defect(f"the backward raises {words}", [*raised_in(error), *meaning(words)], cause=words) from error
    return [dense(t, g) for t, g in zip(inputs, found, strict=True)]


def _copy(incoming):
    """A copy of the same strides; where a copy has others, as of an expanded tensor, the tensor itself."""
    if incoming.layout != torch.strided:
        return incoming
    copy = incoming.clone()
    return copy if copy.stride() == incoming.stride() else incoming


def _by_backward(outputs, inputs, incoming, options):
    """By `.backward()`, which is all that a reentrant checkpoint supports. Nobody's `.grad` is left altered."""
    if options.get("create_graph"):
        raise Unsupported("it supports `.backward()` alone, whose gradients have no graph; see use_reentrant=False")
    with gradients_kept(outputs):
        for tensor in inputs:
            tensor.retain_grad()
        torch.autograd.backward(outputs, incoming, **options)
        return [dense(tensor, tensor.grad) for tensor in inputs]


def dense(tensor, gradient):
    """A gradient that is not sparse; zeros for None."""
    if gradient is None:
        return torch.zeros_like(tensor, layout=torch.strided)
    return gradient if gradient.layout == torch.strided else gradient.to_dense()


def gradients(subject, incoming=None, wanted=None, point=None):
    """The gradients at the point, of a fresh graph, for the arguments in `wanted`."""
    wanted = subject.differentiable if wanted is None else wanted
    tensors = subject.fresh_tensors(wanted, point)
    outputs = subject.call(tensors)
    incoming = incoming_for(subject, outputs) if incoming is None else incoming
    return backward(outputs, [tensors[i] for i in wanted], incoming)


def analytical_rows(subject, rows, wanted):
    """One backward for each row: for each argument a matrix."""
    tensors = subject.fresh_tensors(wanted)
    outputs = subject.call(tensors)
    leaves = [tensors[i] for i in wanted]
    found = []
    for row in rows:
        gradients = backward(outputs, leaves, incoming_of(row, outputs), retain_graph=True)
        found.append([g.clone() for g in gradients])  # a backward may return one buffer again and again
    return [torch.stack([flat(row[k]).double().cpu() for row in found]) for k in range(len(wanted))]


def incoming_of(row, outputs):
    """The incoming gradients whose backward gives this row of the Jacobian."""
    sizes = [as_real(output).numel() for output in outputs]
    if isinstance(row, int):
        total = torch.zeros(sum(sizes), dtype=torch.float64)
        total[row] = 1.0
    else:
        total = row
    pieces = []
    for piece, output in zip(total.split(sizes), outputs, strict=True):
        piece = piece.view(as_real(output).shape).to(as_real(output))
        pieces.append(torch.view_as_complex(piece.contiguous()) if output.is_complex() else piece)
    return pieces


def usual_size(subject):
    """The greatest entry of the gradients at the point. Rounding errors at other points are compared with it."""
    return max(map(largest, gradients(subject)), default=0.0)


def vanishes(other, subject):
    """Whether the gradients at another point are of the size of rounding errors at the usual one, as of 1 − y².

    Gradients that are exactly 0 are none of these: a backward may have left them out.
    """
    try:
        return 0 < usual_size(other) < 1e-6 * usual_size(subject)
    except Defect:  # the backward raises
        return False


def gaps(subject, found, expected, names=None, usual=None):
    """(name, relative difference) of each gradient that is not the expected one."""
    names = names or subject.names()
    slacks = map(subject.negligible_gradient, names)
    return differing(names, found, expected, subject.precision.tolerance, slacks, usual)


def expect(subject, found, expected, where, names=None, usual=None, compared_to=""):
    """Raise a Defect unless the gradients are the expected ones.

    Args:
        where: the beginning of the message.
        names: of the arguments; by default those of all that are differentiable.
        usual: the gradients at the usual point, which tell the size of a gradient.
        compared_to: what the expected ones are, for the message: "that of eager code".
    """
    wrong = gaps(subject, found, expected, names, usual)
    if wrong:
        message = f"{where}: the gradient of {wrong[0][0]} differs"
        raise Defect(_from(message, compared_to), [f"{name}: relative difference {gap:.2g}" for name, gap in wrong[:6]])


def expect_outputs(subject, found, expected, where, usual=None, compared_to=""):
    """The same for outputs."""
    slacks = [subject.precision.cancellation_error * max(map(largest, subject.point), default=0.0)] * len(found)
    wrong = differing(subject.outputs.compared_names, found, expected, subject.precision.tolerance, slacks, usual)
    if wrong:
        message = f"{where}: {wrong[0][0]} differs"
        raise Defect(_from(message, compared_to), [f"{name}: relative difference {gap:.2g}" for name, gap in wrong[:6]])


def _from(message, compared_to):
    return f"{message} from {compared_to}" if compared_to else message


def with_ties_settled(subject, point, found, expected, gradients_at):
    """The gradients found, with the expected ones in the entries that rounding decides, such as ties in a sort.

    There two kernels may choose otherwise, and both are right: they do so where the numbers differ by a hair.
    """
    if not gaps(subject, found, expected):
        return found
    source = generator(subject, 13)
    hairs = [1e-13 * (largest(t) or 1.0) for t in point]
    moves = [hair * random_like(t, source) if is_inexact(t) else 0 for t, hair in zip(point, hairs, strict=True)]
    try:
        chosen = [gradients_at([t + sign * m for t, m in zip(point, moves, strict=True)]) for sign in (1, -1)]
    except Exception:  # outside of its domain
        return found
    tolerance, rows = subject.precision.tolerance, zip(subject.differentiable, found, expected, *chosen, strict=True)
    return [torch.where(_ties(point[i], hairs[i], tolerance, e, a, b), e, f) for i, f, e, a, b in rows]


def _ties(numbers, hair, tolerance, *gradients):
    """Where gradients differ though the points differ by a hair; and where the numbers are equal to those there."""
    first, *others = gradients
    least = tolerance * (largest(first) or 1.0)
    differ = torch.stack([(first - other).abs() > least for other in others]).any(dim=0)
    alike = numbers[differ].unique()
    if not alike.numel() or numbers.is_complex():
        return differ
    return (numbers[..., None] - alike).abs().amin(-1) <= 10 * hair
