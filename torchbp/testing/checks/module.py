"""What a module promises beside its forward: copies, its state, its parameters in the graph, both modes."""

import copy
import io
import pickle

import torch

from torchbp.testing.checks.wrapped import checkpointing
from torchbp.testing.context import leaves_of
from torchbp.testing.findings import judged
from torchbp.testing.gradient import backward, expect, expect_outputs, incoming_for, need
from torchbp.testing.jacobian import compare
from torchbp.testing.names import listing
from torchbp.testing.report import Defect, Skipped
from torchbp.testing.subject import Subject, tensors_of
from torchbp.testing.tensors import first_line, is_inexact

LOST = "likely cause: .data, detach, a copy made in __init__, or no use at all"
HIDDEN = "likely cause: parameters in a plain list, dict or closure; see nn.ParameterList, register_parameter"
MODE_SIZE = 8


def module(subject):
    if subject.module is None:
        raise Skipped("not a module")
    if subject.copy_error is not None:
        raise Defect(f"copy.deepcopy raises {type(subject.copy_error).__name__}: {first_line(subject.copy_error)}")
    train_and_eval(subject)
    need(subject)
    target = subject.own_module()
    leaves, outputs, expected = graph(subject, target)
    in_graph(subject, target, leaves, outputs)
    notes = copies(subject, expected)
    state(subject, expected)
    notes += functional(subject, expected)
    other_mode(subject)
    return "; ".join(notes + unregistered(subject))


def graph(subject, target):
    """The leaves, the outputs and the results of the module, called as its users call it."""
    tensors = subject.tensors(subject.differentiable)
    held = {**dict(target.named_parameters()), **dict(target.named_buffers())}
    tensors = [t if a.kind == "input" else held[a.name] for a, t in zip(subject.arguments, tensors, strict=True)]
    inputs = [t for a, t in zip(subject.arguments, tensors, strict=True) if a.kind == "input"]
    args, kwargs = subject.call_arguments([t.clone() for t in inputs] if subject.inplace else inputs)
    subject.random.seed()
    raw = tensors_of(target(*args, **kwargs))
    outputs = [raw[i] for i in subject.outputs]
    leaves = [tensors[i] for i in subject.differentiable]
    reached = leaves_of(outputs)
    found = backward(outputs, leaves, incoming_for(subject, outputs, 61))
    return leaves, reached, ([o.detach() for o in outputs], found)


def results(subject, target):
    return graph(subject, target)[2]


def compared(subject, found, expected, what):
    expect_outputs(subject, found[0], expected[0], what)
    expect(subject, found[1], expected[1], f"{what} gives another gradient")


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
    target = subject.own_module()
    twin = copy.deepcopy(target)
    compared(subject, results(subject, twin), expected, "a deepcopy")
    twin = copy.deepcopy(target)
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.add_(0.37)
    compared(subject, results(subject, twin), expected, "a deepcopy, once the original's parameters have moved,")
    try:
        content = pickle.dumps(subject.own_module())
    except Exception as error:
        return [f"does not pickle ({first_line(error)[:80]})"]
    compared(subject, results(subject, pickle.loads(content)), expected, "an unpickled copy")
    return []


def state(subject, expected):
    """state_dict holds all that matters: loaded into a module with other numbers, it makes the same module."""
    target, other, stream = subject.own_module(), subject.own_module(), io.BytesIO()
    torch.save(target.state_dict(), stream)
    stream.seek(0)
    with torch.no_grad():
        for tensor in [*other.parameters(), *other.buffers()]:
            if tensor.is_floating_point():
                tensor.mul_(0.5).add_(0.1)
    try:
        other.load_state_dict(torch.load(stream, weights_only=False))
    except Exception as error:
        raise Defect(f"load_state_dict(state_dict()) raises {type(error).__name__}: {first_line(error)}") from error
    if not {name for name, _ in target.named_buffers()} - set(target.state_dict()):  # else some are not to be saved
        compared(subject, results(subject, other), expected, "a module that has loaded the state_dict")


def functional(subject, expected):
    """torch.func.functional_call; a note, where only the backward reads the module instead of what it was given."""
    tensors = subject.tensors(subject.differentiable)
    pairs = list(zip(subject.arguments, tensors, strict=True))
    args, kwargs = subject.call_arguments([t.clone() if subject.inplace else t for a, t in pairs if a.kind == "input"])
    state = {a.name: t for a, t in pairs if a.kind != "input"}
    subject.random.seed()
    raw = tensors_of(torch.func.functional_call(subject.own_module(), state, args, kwargs))
    outputs = [raw[i] for i in subject.outputs]
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
        changed = copy.deepcopy(subject.module).train(mode)
        if changed.training is not mode and all(child.training is not mode for child in changed.modules()):
            raise Defect(f"{'train' if mode else 'eval'}() does not change .training")


def other_mode(subject):
    """The other mode has right gradients too."""
    mode = not subject.original.training
    other = Subject(copy.deepcopy(subject.original).train(mode), subject.inputs, subject.options)
    try:
        judged(compare(other, whole=MODE_SIZE))
        checkpointing(other)
    except Skipped:
        return
    except Defect as defect:
        raise Defect(f"after {'train' if mode else 'eval'}(): {defect.message}", defect.details) from None


def unregistered(subject):
    """Tensors that neither .to() nor state_dict sees: a Defect where .to() then breaks the forward, else a note."""
    found = [
        f"{prefix}.{name}" if prefix else name
        for prefix, child in subject.module.named_modules()
        for name, value in vars(child).items()
        if isinstance(value, torch.Tensor) and is_inexact(value)
    ]
    if not found:
        return []
    names = f"{found[0]} is a tensor that .to() and state_dict do not see: use register_buffer"
    for dtype in (torch.float32, torch.bfloat16):
        target = subject.own_module().to(dtype)
        inputs = [t for t, a in zip(subject.tensors(dtype=dtype), subject.arguments, strict=True) if a.kind == "input"]
        args, kwargs = subject.call_arguments(inputs)
        try:
            target(*args, **kwargs)
        except Exception as error:
            raise Defect(names, [f"after .to({dtype}) the forward raises: {first_line(error)}"]) from None
    return [names]
