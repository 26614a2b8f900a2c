"""What a module promises beside its forward: copies, its state, its parameters in the graph, both modes."""

import copy
import pickle

import torch

from torchbp.testing.checks.checkpoint_and_meta import checkpointing
from torchbp.testing.checks.module.call import compared, graph, original_outputs, results, strays
from torchbp.testing.checks.module.state import modes, state, unregistered
from torchbp.testing.diagnosis.message import judged
from torchbp.testing.numerics.gradients import backward, expect_outputs, incoming_for, need
from torchbp.testing.numerics.jacobian import compare
from torchbp.testing.numerics.tensors import difference, first_line
from torchbp.testing.report import CannotRun, Defect, Skipped
from torchbp.testing.subject.graph import leaves_of
from torchbp.testing.subject.naming import listing
from torchbp.testing.subject.outputs import tensors_of
from torchbp.testing.subject.prepare import subject_of

LOST = "likely cause: .data, detach, a copy made in __init__, or no use at all"
HIDDEN = "likely cause: parameters in a plain list, dict or closure; see nn.ParameterList, register_parameter"
STRAY = "likely cause: a hook or a function kept in the module that closes over the original, which a copy still calls"
MODE_SIZE = 8


def module(subject):
    if subject.callee.module is None:
        raise Skipped("not a module")
    if isinstance(subject.callee.module, torch.jit.ScriptModule):
        raise Skipped("a scripted module: torch copies its parameters with their graph")
    if subject.callee.copy_error is not None:
        raise Defect(
            f"copy.deepcopy raises {type(subject.callee.copy_error).__name__}: {first_line(subject.callee.copy_error)}"
        )
    train_and_eval(subject)
    first_copy(subject)
    need(subject)
    target = subject.fresh_module()
    leaves, outputs, expected = graph(subject, target)
    in_graph(subject, target, leaves, outputs)
    notes = copies(subject, expected)
    modes(subject)
    state(subject)
    notes += functional(subject, expected)
    notes += other_mode(subject)
    return "; ".join(notes + unregistered(subject))


def first_copy(subject):
    """A copy gives what the module itself gives: all other checks look at copies alone."""
    if not strays(subject.callee.original):  # no need to call what is not ours
        return
    expected = original_outputs(subject)
    if expected is None:
        return
    subject.random.seed()
    found = subject.call_raw(*subject.fresh_tensors())
    if len(found) != len(expected):
        raise Defect(f"a deepcopy gives {len(found)} tensors, the module itself {len(expected)}", [STRAY])
    for name, a, b in zip(subject.outputs.names, found, expected, strict=True):
        if difference(a, b) > subject.precision.tolerance:
            raise Defect(f"a deepcopy gives another {name} than the module itself", [STRAY])


def in_graph(subject, target, leaves, reached):
    """Every leaf of the graph is an input or a registered parameter, and every parameter is a leaf of it."""
    known = {id(leaf) for leaf in leaves} | {id(parameter) for parameter in target.parameters()}
    strange = [leaf for leaf in reached if id(leaf) not in known]
    if strange:
        shape = list(strange[0].shape)
        raise Defect(f"a tensor of the shape {shape} requires a gradient, and is no registered parameter", [HIDDEN])
    ids = {id(leaf) for leaf in reached}
    arguments = [subject.arguments[i] for i in subject.differentiable]
    missing = [
        a.name for a, leaf in zip(arguments, leaves, strict=True) if a.kind == "parameter" and id(leaf) not in ids
    ]
    if missing:
        verb = "gets" if len(missing) == 1 else "get"
        raise Defect(f"{listing(missing[:6])} never {verb} a gradient: no output depends on it by the graph", [LOST])


def copies(subject, expected):
    """A deepcopy and an unpickled copy behave alike, and have parameters of their own."""
    target = subject.fresh_module()
    twin = copy.deepcopy(target)
    compared(subject, results(subject, twin), expected, "a deepcopy")
    twin = copy.deepcopy(target)
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.add_(0.37)
    compared(subject, results(subject, twin), expected, "a deepcopy, once the original's parameters have moved,")
    try:
        content = pickle.dumps(subject.fresh_module())
    except Exception as error:
        return [f"does not pickle ({first_line(error)[:80]})"]
    compared(subject, results(subject, pickle.loads(content)), expected, "an unpickled copy")
    return []


def functional(subject, expected):
    """torch.func.functional_call; a note, where only the backward reads the module instead of what it was given."""
    tensors = subject.fresh_tensors(subject.differentiable)
    pairs = list(zip(subject.arguments, tensors, strict=True))
    args, kwargs = subject.callee.inputs.unflatten(
        [t.clone() if subject.behaviour.in_place else t for a, t in pairs if a.kind == "input"]
    )
    state = {a.name: t for a, t in pairs if a.kind != "input"}
    subject.random.seed()
    raw = tensors_of(torch.func.functional_call(subject.fresh_module(), state, args, kwargs))
    outputs = [raw[i] for i in subject.outputs.compared]
    expect_outputs(subject, [o.detach() for o in outputs], expected[0], "torch.func.functional_call")
    reached = {id(leaf) for leaf in leaves_of(outputs)}
    missing = [a.name for a, t in pairs if a.kind == "parameter" and a.differentiable and id(t) not in reached]
    if missing:
        raise Defect(f"torch.func.functional_call gives {missing[0]} no gradient", [LOST])
    leaves = [tensors[i] for i in subject.differentiable]
    try:
        found = backward(outputs, leaves, incoming_for(subject, outputs, 61))
        compared(subject, ([o.detach() for o in outputs], found), expected, "torch.func.functional_call")
    except Defect as defect:
        return [
            f"its backward reads the module again, which torch.func.functional_call does not expect: {defect.message}"
        ]
    return []


def train_and_eval(subject):
    """train() and eval() reach every child."""
    for mode in (True, False):
        changed = copy.deepcopy(subject.callee.module).train(mode)
        if changed.training is not mode and all(child.training is not mode for child in changed.modules()):
            raise Defect(f"{'train' if mode else 'eval'}() does not change .training")


def other_mode(subject):
    """The other mode has right gradients too."""
    if subject.behaviour.writes:  # into its own parameters, which the values show in the mode given
        return []
    mode = not subject.callee.original.training
    words = f"after {'train' if mode else 'eval'}()"
    try:
        other = subject_of(
            copy.deepcopy(subject.callee.original).train(mode), subject.callee.inputs.given, subject.options
        )
        judged(compare(other, whole=MODE_SIZE))
        checkpointing(other)
    except CannotRun as error:  # as a batch norm of one row in training
        return [f"{words}: {error}"]
    except Skipped:
        return []
    except Defect as defect:
        raise Defect(f"{words}: {defect.message}", defect.details) from None
    return []
