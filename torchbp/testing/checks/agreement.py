"""Agreement with what somebody else says: torch.library.opcheck, and a reference implementation."""

import torch

from torchbp.testing.arguments import CannotRun
from torchbp.testing.checks.extremes import special_points
from torchbp.testing.checks.shapes import variations
from torchbp.testing.gradient import backward, expect, expect_outputs, incoming_for
from torchbp.testing.report import Defect, Skipped, Unsupported
from torchbp.testing.subject import Subject
from torchbp.testing.tensors import first_line

LACKING = ("register_fake", "no fake impl", "not implemented", "Meta", "register_autograd")


def custom_op(subject):
    """torch.library.opcheck, of a registered operator."""
    operator = getattr(subject.original, "_opoverload", subject.original)
    if not hasattr(operator, "_schema") and not hasattr(operator, "overloads"):
        raise Skipped("not a registered operator")
    args, kwargs = subject.call_arguments(subject.tensors(subject.differentiable))
    found = torch.library.opcheck(subject.original, args, kwargs, raise_exception=False)
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
    other = Subject(subject.options.reference, subject.inputs, subject.options)
    shared = list(range(len(subject.arguments)))
    if subject.module is not None and other.module is None:  # a function of the inputs alone
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
        expect_outputs(subject, mine[0], theirs[0], f"at {words}, beside the reference", usual[0])
        of_inputs = [usual[1][k] for k in kept]
        what = f"at {words}, not that of the reference"
        expect(subject, [mine[1][k] for k in kept], theirs[1], what, names, of_inputs)
    return f"agrees at {compared} points"


def outcome(subject):
    """Outputs and gradients, or a word on what is raised."""
    try:
        tensors = subject.tensors(subject.differentiable)
        outputs = subject(tensors)
        found = backward(outputs, [tensors[i] for i in subject.differentiable], incoming_for(subject, outputs))
    except Exception as error:
        return f"{type(error).__name__}: {first_line(error)}"
    return [o.detach() for o in outputs], found
