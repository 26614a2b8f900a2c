"""Copies of a module behave as the module does: deepcopy, pickle, functional_call."""

import copy
import pickle
from types import FunctionType

import torch

from torchbp.testing.checks.module.call import call_original, expect_results, results_of
from torchbp.testing.numerics.gradients import backward, expect_outputs, incoming_for
from torchbp.testing.numerics.tensors import difference, first_line, shortened
from torchbp.testing.report import Defect
from torchbp.testing.subject.graph import leaves_of
from torchbp.testing.subject.outputs import tensors_of

_SHARED = (
    "likely cause: a hook or a function kept in the module that closes over the original, which a copy still calls"
)
LOST = "likely cause: .data, detach, a copy made in __init__, or no use at all"


def expect_copy_like_original(subject):
    """A copy gives what the module itself gives: all other checks look at copies alone."""
    if not _keeps_function_of_module(subject.callee.original):  # else there is no need to call the caller's module
        return
    expected = call_original(subject)
    if expected is None:
        return
    subject.random.seed()
    found = subject.call_raw(*subject.fresh_tensors())
    if len(found) != len(expected):
        raise Defect(f"a deepcopy gives {len(found)} tensors, the module itself {len(expected)}", [_SHARED])
    for name, a, b in zip(subject.outputs.names, found, expected, strict=True):
        if difference(a, b) > subject.precision.tolerance:
            raise Defect(f"{name} of a deepcopy differs from that of the module itself", [_SHARED])


def _keeps_function_of_module(module):
    """Whether it keeps functions, such as hooks, that hold one of its modules: deepcopy does not copy functions."""
    ids = {id(child) for child in module.modules()}
    attributes = [value for child in module.modules() for value in vars(child).values()]
    values = [v for value in attributes for v in (value.values() if isinstance(value, dict) else [value])]
    functions = [value for value in values if isinstance(value, FunctionType)]
    return any(id(held) in ids for function in functions for held in _objects_in(function))


def _objects_in(function):
    """What a function closes over, and its defaults."""
    # a cell without content raises: it is equal to a new one
    cells = [cell.cell_contents for cell in function.__closure__ or () if cell != type(cell)()]
    return [*cells, *(function.__defaults__ or ())]


def audit_copies(subject, expected):
    """A deepcopy and an unpickled copy behave like the module, and have separate parameters. Returns notes."""
    target = subject.fresh_module()
    twin = copy.deepcopy(target)
    expect_results(subject, results_of(subject, twin), expected, "a deepcopy")
    twin = copy.deepcopy(target)
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.add_(0.37)
    where = "a deepcopy, after the original's parameters have changed"
    expect_results(subject, results_of(subject, twin), expected, where)
    try:
        content = pickle.dumps(subject.fresh_module())
    except Exception as error:
        return [f"does not pickle ({shortened(first_line(error), 80)})"]
    expect_results(subject, results_of(subject, pickle.loads(content)), expected, "an unpickled copy")
    return []


def audit_functional_call(subject, expected):
    """torch.func.functional_call; a note, if only the backward reads the module instead of what it was given."""
    where = "torch.func.functional_call"
    tensors = subject.fresh_tensors(subject.differentiable)
    pairs = list(zip(subject.arguments, tensors, strict=True))
    inputs = [t for a, t in pairs if a.kind == "input"]
    args, kwargs = subject.callee.inputs.unflatten(
        [t.clone() for t in inputs] if subject.behaviour.in_place else inputs
    )
    state = {a.name: t for a, t in pairs if a.kind != "input"}
    subject.random.seed()
    returned = tensors_of(torch.func.functional_call(subject.fresh_module(), state, args, kwargs))
    outputs = [returned[i] for i in subject.outputs.compared]
    expect_outputs(subject, [o.detach() for o in outputs], expected[0], where)
    reached = {id(leaf) for leaf in leaves_of(outputs)}
    missing = [a.name for a, t in pairs if a.kind == "parameter" and a.differentiable and id(t) not in reached]
    if missing:
        raise Defect(f"{where} gives {missing[0]} no gradient", [LOST])
    leaves = [tensors[i] for i in subject.differentiable]
    try:
        found = backward(outputs, leaves, incoming_for(subject, outputs, 61))
        expect_results(subject, ([o.detach() for o in outputs], found), expected, where)
    except Defect as defect:
        return [f"its backward reads the module again, which {where} does not expect: {defect.message}"]
    return []
