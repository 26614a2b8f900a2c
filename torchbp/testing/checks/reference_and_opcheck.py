"""Agreement with what somebody else says: torch.library.opcheck, and a reference implementation."""

import torch

from torchbp.testing.checks.extremes import special_points
from torchbp.testing.checks.shapes import variations
from torchbp.testing.numerics.gradients import backward, expect, expect_outputs, incoming_for
from torchbp.testing.numerics.tensors import first_line, largest
from torchbp.testing.report import CannotRun, Defect, Skipped, Unsupported
from torchbp.testing.subject.prepare import subject_of

LACKING = ("register_fake", "no fake impl", "not implemented", "Meta", "register_autograd")


def custom_op(subject):
    """torch.library.opcheck, of a registered operator."""
    operator = getattr(subject.callee.original, "_opoverload", subject.callee.original)
    if not hasattr(operator, "_schema") and not hasattr(operator, "overloads"):
        raise Skipped("not a registered operator")
    args, kwargs = subject.callee.inputs.unflatten(subject.fresh_tensors(subject.differentiable))
    found = torch.library.opcheck(subject.callee.original, args, kwargs, raise_exception=False)
    missing, wrong = [], []
    for name, result in found.items():
        if result != "SUCCESS":
            lacks = any(words in str(result) for words in LACKING)
            (missing if lacks else wrong).append(f"{name}: {first_line(result)}")
    if wrong:
        raise Defect("torch.library.opcheck fails", wrong[:6])
    if missing:
        raise Unsupported(f"{missing[0]}; to add it: register_fake, register_autograd")
    return ", ".join(found)


def reference(subject):
    """Another implementation gives the same outputs and gradients, at other points and sizes too."""
    if subject.options.reference is None:
        raise Skipped("no reference is given")
    other = subject_of(subject.options.reference, subject.callee.inputs.given, subject.options)
    shared = list(range(len(subject.arguments)))
    if subject.callee.module is not None and other.callee.module is None:  # a function of the inputs alone
        shared = [i for i in shared if subject.arguments[i].kind == "input"]
    if len(other.arguments) != len(shared):
        raise CannotRun(f"the reference takes {len(other.arguments)} tensors, and {subject.name} {len(shared)}")
    points = [(words, point) for _, _, words, point in special_points(subject, torch.float64)]
    compared, usual = 0, outcome(subject)
    kept = [k for k, i in enumerate(subject.differentiable) if i in shared]
    names = [subject.names()[k] for k in kept]
    for words, point in [("the inputs", subject.point), *points, *variations(subject)]:
        mine, theirs = outcome(subject.at(point)), outcome(other.at([point[i] for i in shared]))
        broken = next((result for result in (mine, theirs) if isinstance(result, str)), None)
        if broken is not None:
            if words == "the inputs":
                raise Defect(f"at {words}: {broken}")
            continue
        if not all(bool(t.isfinite().all()) for t in (*theirs[0], *theirs[1])):
            continue
        compared += 1
        of_outputs, of_inputs = f"at {words}, beside the reference", f"at {words}, not that of the reference"
        grads, of_usual = [mine[1][k] for k in kept], [usual[1][k] for k in kept]
        if subject.options.rtol is None and subject.options.atol is None:
            expect_outputs(subject, mine[0], theirs[0], of_outputs, usual[0])
            expect(subject, grads, theirs[1], of_inputs, names, of_usual)
        else:
            within(subject, subject.outputs.compared_names, mine[0], theirs[0], of_outputs, usual[0])
            within(subject, [f"the gradient of {name}" for name in names], grads, theirs[1], of_inputs, of_usual)
    return f"agrees at {compared} points"


def within(subject, names, found, expected, what, usual):
    """Every entry is as near as the caller's own rtol and atol say; `usual` gives the size of what is not told."""
    rtol, atol = subject.options.rtol, subject.options.atol
    rtol = subject.precision.tolerance if rtol is None else rtol
    for name, a, b, size in zip(names, found, expected, usual, strict=True):
        if a.shape != b.shape:
            raise Defect(f"{what}: {name} has the shape {list(a.shape)}, not {list(b.shape)}")
        least = 1e-3 * subject.precision.tolerance * max(largest(b), largest(size)) if atol is None else atol
        gap = (a - b).abs()
        if not bool((gap <= rtol * b.abs() + least).all()):
            raise Defect(f"{what}: {name} is off by up to {float(gap.max()):.2g}")


def outcome(subject):
    """Outputs and gradients, or a word on what is raised."""
    try:
        tensors = subject.fresh_tensors(subject.differentiable)
        outputs = subject.call(tensors)
        found = backward(outputs, [tensors[i] for i in subject.differentiable], incoming_for(subject, outputs))
    except Exception as error:
        return f"{type(error).__name__}: {first_line(error)}"
    return [o.detach() for o in outputs], found
