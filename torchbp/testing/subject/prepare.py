"""Make a `Subject` of what the caller gave: settle its precision, and call it once."""

import itertools
from dataclasses import replace

import torch

from torchbp.testing.numerics.tensors import first_line, freed, is_inexact, promoted
from torchbp.testing.options import Options
from torchbp.testing.report import CannotRun
from torchbp.testing.subject.arguments import made_symmetric
from torchbp.testing.subject.callee import Callee
from torchbp.testing.subject.coverage import not_compared
from torchbp.testing.subject.graph import leaves_of, nodes, saved_tensors
from torchbp.testing.subject.naming import listing
from torchbp.testing.subject.outputs import outputs_of, tensors_of
from torchbp.testing.subject.precision import precision_of
from torchbp.testing.subject.rng import Randomness
from torchbp.testing.subject.subject import Subject


def subject_of(function, inputs, options=None, layer_checks=()):
    """The subject of an audit; of a large model without copies of its parameters.

    Args:
        layer_checks: of a large model, the checks that each kind of its layers has.

    Raises:
        CannotRun: the function raises at these inputs, or is no function.
    """
    options = options or Options()
    callee = Callee(function, inputs)
    arguments, notes = made_symmetric(callee.arguments())
    if empty := [argument.name for argument in arguments if argument.tensor.is_meta]:
        raise CannotRun(f"{listing(empty)} of {callee.name} on the meta device: a tensor there has no numbers")
    subject = Subject(
        callee, arguments, options, Randomness(options.seed), layer_checks=tuple(layer_checks), notes=notes
    )
    _promote(subject)
    subject.notes += not_compared(subject)
    if options.surrogate is not None:
        _expect_surrogate(subject)
    return subject


def _expect_surrogate(subject):
    """Refuse a surrogate that raises, or whose outputs have other shapes."""
    try:
        shapes = [output.shape for output in subject.call_unrounded(subject.point)]
    except Exception as error:
        raise CannotRun(f"the surrogate raises {type(error).__name__}: {first_line(error)}") from error
    expected = [subject.outputs.shapes[i] for i in subject.outputs.compared]
    if shapes != expected:
        raise CannotRun(f"the surrogate returns the shapes {shapes}, and {subject.name} {expected}")


def _promote(subject):
    """Promote to float64, or stay with the given dtypes where float64 is refused."""
    given = subject.arguments
    try:
        subject.arguments = [replace(a, tensor=promoted(a.tensor)) for a in given]
        subject.callee.promote_module()
        probe(subject)
    except CannotRun:
        raise
    except Exception as error:
        subject.arguments = [replace(a, tensor=a.tensor.clone()) for a in given]
        if subject.callee.module is not None:
            subject.callee.copy_module()
        try:
            probe(subject)
        except Exception as again:
            mixed = len({a.tensor.dtype for a in given if is_inexact(a.tensor)}) > 1  # the mixture may be the reason
            real = error if mixed else again
            raise CannotRun(f"{subject.name} raises {type(real).__name__}: {first_line(real)}") from real
        if any(a.tensor.dtype != promoted(a.tensor).dtype for a in given):
            subject.notes.append(f"audited in the dtype given, since float64 raises: {first_line(error)}")


def probe(subject):
    """Call the function once, and set what the call shows: the outputs, the behaviour, the precision."""
    behaviour = subject.behaviour
    with subject.random.probing():
        tensors, before = subject.fresh_tensors(subject.differentiable), subject.fresh_tensors()
        versions = [tensor._version for tensor in tensors]
        try:
            result = subject.result_of(tensors)
            writes = any(not _unwritten(a, b) for a, b in zip(tensors, before, strict=True))
            # of a large model, `before` has the same memory as `tensors`
            writes |= subject.is_large_model and versions != [tensor._version for tensor in tensors]
            behaviour = replace(behaviour, writes=writes)
        except RuntimeError as error:
            if "a leaf Variable that requires grad" not in str(error):
                raise
            behaviour = replace(behaviour, in_place=True)
            subject.behaviour = behaviour
            result = subject.result_of(tensors)
    _expect_memory(subject, tensors, tensors_of(result))
    subject.unreached = _unreached_leaves(subject, tensors, tensors_of(result))
    subject.outputs, subject.behaviour = outputs_of(result), behaviour
    if subject.outputs.attached and not behaviour.runs_autograd:
        try:
            with torch.no_grad():
                subject.call_raw(*subject.fresh_tensors())
        except Exception:
            subject.behaviour = replace(behaviour, runs_autograd=True)
    subject.precision = precision_of(subject)
    if subject.precision.draws:
        subject.random.draws["torch"] = True


def _unreached_leaves(subject, tensors, outputs):
    """The leaves behind the outputs that are no arguments, such as a parameter in a set, and not made by the call."""
    found = _others(leaves_of(outputs), tensors)
    if not found:
        return []
    tensors = subject.fresh_tensors(subject.differentiable)
    try:
        again = _others(leaves_of(subject.call_raw(*tensors)), tensors)
    except Exception:  # a second call is refused
        return []
    return [leaf for leaf in found if any(leaf is other for other in again)]


def _others(leaves, tensors):
    return [leaf for leaf in leaves if not any(leaf is tensor for tensor in tensors)]


def _unwritten(a, b):
    """Whether two tensors are the same. Freed memory is not read."""
    return freed(a) or bool(a.isnan().any()) or torch.equal(a, b)


def _expect_memory(subject, arguments, outputs):
    """Refuse a function that frees memory which others read after it: they, and its backward, would crash."""
    named = [*zip(subject.names(range(len(arguments))), arguments, strict=True)]
    named += [("an output", output) for output in outputs]
    saved = ((f"a tensor that {node.name()} saves", t) for node in nodes(outputs) for t in saved_tensors(node))
    for name, tensor in itertools.chain(named, saved):
        if freed(tensor):
            raise CannotRun(f"{subject.name} frees the memory of {name}, which an audit and a backward would read")
