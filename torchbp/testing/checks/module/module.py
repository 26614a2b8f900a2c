"""The check of what a module promises besides its forward."""

import copy

import torch

from torchbp.testing.checks.module.call import call_and_differentiate
from torchbp.testing.checks.module.copies import LOST, audit_copies, audit_functional_call, expect_copy_like_original
from torchbp.testing.checks.module.modes import audit_modes, expect_mode_in_children
from torchbp.testing.checks.module.state import audit_state
from torchbp.testing.checks.module.unregistered import audit_unregistered_tensors
from torchbp.testing.checks.transforms.checkpoint_and_meta import checkpointing
from torchbp.testing.diagnosis.message import judged
from torchbp.testing.numerics.gradients import need
from torchbp.testing.numerics.jacobian import compare
from torchbp.testing.numerics.tensors import first_line
from torchbp.testing.report import CannotRun, Defect, Skipped
from torchbp.testing.subject.naming import listing
from torchbp.testing.subject.prepare import subject_of

_HIDDEN = "likely cause: parameters in a plain list, dict or closure; see nn.ParameterList, register_parameter"
_FEW = 8  # entries of a tensor up to which it is looked at whole, in the other mode


def module(subject):
    callee = subject.callee
    if callee.module is None:
        raise Skipped("not a module")
    if isinstance(callee.module, torch.jit.ScriptModule):
        raise Skipped("a scripted module: torch copies its parameters with their graph")
    if callee.copy_error is not None:
        raise Defect(f"copy.deepcopy raises {type(callee.copy_error).__name__}: {first_line(callee.copy_error)}")
    expect_mode_in_children(subject)
    expect_copy_like_original(subject)
    need(subject)
    target = subject.fresh_module()
    leaves, graph_leaves, expected = call_and_differentiate(subject, target)
    _expect_parameters_in_graph(subject, target, leaves, graph_leaves)
    notes = audit_copies(subject, expected)
    audit_modes(subject)
    audit_state(subject)
    notes += audit_functional_call(subject, expected)
    notes += _audit_values_in_other_mode(subject)
    return "; ".join(notes + audit_unregistered_tensors(subject))


def _expect_parameters_in_graph(subject, target, leaves, graph_leaves):
    """Every leaf of the graph is an input or a registered parameter, and every parameter is a leaf of it."""
    known = {id(leaf) for leaf in leaves} | {id(parameter) for parameter in target.parameters()}
    unknown = [leaf for leaf in graph_leaves if id(leaf) not in known]
    if unknown:
        shape = list(unknown[0].shape)
        raise Defect(f"a tensor of the shape {shape} requires a gradient, and is no registered parameter", [_HIDDEN])
    ids = {id(leaf) for leaf in graph_leaves}
    arguments = [subject.arguments[i] for i in subject.differentiable]
    pairs = zip(arguments, leaves, strict=True)
    missing = [a.name for a, leaf in pairs if a.kind == "parameter" and id(leaf) not in ids]
    if missing:
        verb = "gets" if len(missing) == 1 else "get"
        raise Defect(f"{listing(missing[:6])} never {verb} a gradient: no output depends on it by the graph", [LOST])


def _audit_values_in_other_mode(subject):
    """The other mode has right gradients too."""
    if subject.behaviour.writes:  # into its own parameters, which the values show in the mode given
        return []
    original = subject.callee.original
    mode = not original.training
    words = f"after {'train' if mode else 'eval'}()"
    try:
        other = subject_of(copy.deepcopy(original).train(mode), subject.callee.inputs.given, subject.options)
        judged(compare(other, whole=_FEW))
        checkpointing(other)
    except CannotRun as error:  # such as a batch norm of one row in training
        return [f"{words}: {error}"]
    except Skipped:
        return []
    except Defect as defect:
        raise defect.within(f"{words}: ") from None
    return []
