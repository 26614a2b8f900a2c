"""Agreement with others: torch.library.opcheck, and a reference implementation."""

import torch

from torchbp.testing.checks.inputs.extremes import special_points
from torchbp.testing.checks.inputs.magnitudes import points_of_magnitudes
from torchbp.testing.checks.inputs.resizing import resizings
from torchbp.testing.numerics.gradients import backward, expect, expect_outputs, incoming_for
from torchbp.testing.numerics.tensors import first_line, largest
from torchbp.testing.report import CannotRun, Defect, Skipped, Unsupported
from torchbp.testing.subject.naming import is_registered_operator
from torchbp.testing.subject.prepare import subject_of

_MISSING = ("register_fake", "no fake impl", "not implemented", "Meta", "register_autograd")


def custom_op(subject):
    """torch.library.opcheck, of a registered operator."""
    original = subject.callee.original
    if not is_registered_operator(original):
        raise Skipped("not a registered operator")
    args, kwargs = subject.callee.inputs.unflatten(subject.fresh_tensors(subject.differentiable))
    found = torch.library.opcheck(original, args, kwargs, raise_exception=False)
    missing, wrong = [], []
    for name, result in found.items():
        if result != "SUCCESS":
            is_missing = any(words in str(result) for words in _MISSING)
            (missing if is_missing else wrong).append(f"{name}: {first_line(result)}")
    if wrong:
        raise Defect("torch.library.opcheck fails", wrong[:6])
    if missing:
        raise Unsupported(f"{missing[0]}; to add it: register_fake, register_autograd")
    return ", ".join(found)


def reference(subject):
    """Another implementation gives the same outputs and gradients, at other points and sizes too."""
    if subject.options.reference is None:
        raise Skipped("no reference is given")
    other, shared = _reference_subject(subject)
    compared, usual = 0, _results_or_error(subject)
    for words, point in _points_to_compare(subject):
        found, expected = _results_or_error(subject.at(point)), _results_or_error(other.at([point[i] for i in shared]))
        error = next((result for result in (found, expected) if isinstance(result, str)), None)
        if error is not None:
            if words == "the inputs":
                raise Defect(f"at {words}: {error}")
            continue
        if all(bool(t.isfinite().all()) for t in (*expected[0], *expected[1])):
            compared += 1
            _expect_agreement(subject, shared, words, found, expected, usual)
    return f"agrees at {compared} points"


def _reference_subject(subject):
    """The subject of the reference, and the indices of the arguments that it shares with the audited one."""
    other = subject_of(subject.options.reference, subject.callee.inputs.given, subject.options)
    shared = list(range(len(subject.arguments)))
    if len(other.arguments) < len(shared) and other.callee.module is None:  # a function of the inputs alone
        shared = [i for i in shared if subject.arguments[i].kind == "input"]
    if len(other.arguments) != len(shared):
        raise CannotRun(f"the reference takes {len(other.arguments)} tensors, and {subject.name} {len(shared)}")
    return other, shared


def _points_to_compare(subject):
    yield "the inputs", subject.point
    yield from ((words, point) for _, _, words, point, _ in special_points(subject, torch.float64))
    yield from ((words, point) for _, words, point in points_of_magnitudes(subject))
    yield from ((resizing.words, resizing.point) for resizing in resizings(subject))


def _expect_agreement(subject, shared, words, found, expected, usual):
    """Outputs and gradients of the shared arguments agree; `usual` are the results at the inputs."""
    kept = [k for k, i in enumerate(subject.differentiable) if i in shared]
    names = [subject.names()[k] for k in kept]
    grads, usual_grads = [found[1][k] for k in kept], [usual[1][k] for k in kept]
    where, by_reference = f"at {words}", "that of the reference"
    if subject.options.rtol is None and subject.options.atol is None:
        expect_outputs(subject, found[0], expected[0], where, usual[0], by_reference)
        expect(subject, grads, expected[1], where, names, usual_grads, by_reference)
    else:
        _expect_within(subject, subject.outputs.compared_names, found[0], expected[0], where, usual[0])
        gradient_names = [f"the gradient of {name}" for name in names]
        _expect_within(subject, gradient_names, grads, expected[1], where, usual_grads)


def _expect_within(subject, names, found, expected, where, usual):
    """Every entry is as near as the caller's own rtol and atol say; `usual` gives the size for what is not given."""
    rtol, atol, tolerance = subject.options.rtol, subject.options.atol, subject.precision.tolerance
    rtol = tolerance if rtol is None else rtol
    for name, a, b, size in zip(names, found, expected, usual, strict=True):
        if a.shape != b.shape:
            raise Defect(f"{where}: {name} has the shape {list(a.shape)}, that of the reference {list(b.shape)}")
        least = 1e-3 * tolerance * max(largest(b), largest(size)) if atol is None else atol
        gap = (a - b).abs()
        if not bool((gap <= rtol * b.abs() + least).all()):
            raise Defect(f"{where}: {name} differs from that of the reference by up to {float(gap.max()):.2g}")


def _results_or_error(subject):
    """(outputs, gradients), or the text of the error that is raised."""
    try:
        tensors = subject.fresh_tensors(subject.differentiable)
        outputs = subject.call(tensors)
        found = backward(outputs, [tensors[i] for i in subject.differentiable], incoming_for(subject, outputs))
    except Exception as error:
        return f"{type(error).__name__}: {first_line(error)}"
    return [o.detach() for o in outputs], found
