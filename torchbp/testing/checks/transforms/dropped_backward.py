"""torch.compile(torch.func.grad(f)): torch differentiates the forward of a Function there, and drops its backward."""

import contextlib
import functools
from dataclasses import dataclass

import torch
from torch.utils._pytree import tree_leaves, tree_map

from torchbp.testing.numerics.gradients import dense, gaps, generator, gradients, incoming_for, need
from torchbp.testing.numerics.jacobian import compare
from torchbp.testing.numerics.tensors import first_line, is_inexact, largest, random_like
from torchbp.testing.report import Skipped, Unsupported
from torchbp.testing.subject.graph import custom_nodes
from torchbp.testing.subject.naming import listing

_TO_KEEP = "to keep it: a forward whose own derivative it is, or torch.library.custom_op"


def compiled_grad(subject):
    """Nothing is compiled where the forward of each Function, differentiated, gives what its backward gives."""
    need(subject)
    captured = any(a.kind == "captured" for a in subject.arguments)
    if subject.callee.module is not None or captured or subject.behaviour.in_place or subject.behaviour.writes:
        raise Skipped("for functions of their arguments that write into none")
    if any(t.is_complex() for t in subject.point):
        raise Skipped("complex")
    if subject.random.is_used:
        raise Skipped("a random function draws other numbers when it is compiled")
    dropped = _functions_with_another_derivative(subject)
    if not dropped:
        return ""
    if compare(subject, whole=1).any_wrong:
        raise Skipped("the gradient is wrong at the inputs: see values")
    incoming = incoming_for(subject, subject.call_no_grad())
    expected = gradients(subject, incoming)
    try:
        found = _compiled(subject, incoming)
    except Exception as error:
        raise Unsupported(f"torch.compile(torch.func.grad(f)): {first_line(error)}") from None
    wrong = gaps(subject, found, expected)
    if not wrong:
        return ""
    what = f"torch.compile(torch.func.grad(f)) drops the backward of {listing(dropped)}, and gives another gradient"
    differences = [f"{name}: relative difference {gap:.2g}" for name, gap in wrong[:6]]
    raise Unsupported(f"{what} of {wrong[0][0]}; {_TO_KEEP}", differences)


def _compiled(subject, incoming):
    wanted, function, compared = tuple(subject.differentiable), subject.callee.function, subject.outputs.compared
    inputs = subject.callee.inputs

    def scalar(*tensors):
        args, kwargs = inputs.unflatten(tensors)
        returned = [t for t in tree_leaves(function(*args, **kwargs)) if isinstance(t, torch.Tensor)]
        return sum((g * returned[i]).sum() for g, i in zip(incoming, compared, strict=True))

    try:
        return torch.compile(torch.func.grad(scalar, wanted), backend="aot_eager")(*subject.fresh_tensors())
    finally:
        torch._dynamo.eval_frame.reset_code(scalar.__code__)


@dataclass
class _Call:
    """One call of a Function: its class, the forward that it has, and what it was given, without the ctx."""

    kind: type
    forward: object
    args: tuple


def _functions_with_another_derivative(subject):
    """The names of the Functions whose forward, differentiated, gives another gradient than their backward."""
    with _recorded(subject) as calls:
        subject.call(subject.fresh_tensors(subject.differentiable))
    source = generator(subject, 91)
    return sorted({call.kind.__name__ for call in calls if _differs(call, source)})


@contextlib.contextmanager
def _recorded(subject):
    """The calls of custom Functions within: their classes have another forward as long as it lasts."""
    nodes = custom_nodes(subject.call(subject.fresh_tensors(subject.differentiable)))
    kinds, calls = {getattr(type(node), "_forward_cls", None) for node in nodes} - {None}, []
    before = {kind: vars(kind).get("forward") for kind in kinds}

    def recording(kind, forward):
        @functools.wraps(forward)  # whose defaults torch reads
        def call(*args, **kwargs):
            calls.append(_Call(kind, forward, args if _has_setup(kind) else args[1:]))
            return forward(*args, **kwargs)

        return staticmethod(call)

    for kind in kinds:
        kind.forward = recording(kind, kind.forward)
    try:
        yield calls
    finally:
        for kind, forward in before.items():
            if forward is None:  # it was inherited
                del kind.forward
            else:
                kind.forward = forward


def _has_setup(kind):
    return kind.setup_context is not torch.autograd.Function.setup_context


def _differs(call, source):
    """Whether two gradients of one call differ; False if that cannot be known."""
    wanted = [t for t in tree_leaves(call.args) if isinstance(t, torch.Tensor) and t.requires_grad]
    if not wanted:
        return False
    try:
        with torch.enable_grad():
            kept, incoming = _gradients(call.kind.apply, call.args, source, None)
            differentiated, _ = _gradients(_differentiable_forward(call), call.args, source, incoming)
    except Exception:  # it writes into its arguments, or one of the two raises
        return False
    pairs = zip(kept, differentiated, strict=True)
    return any(not torch.allclose(a, b, 1e-6, 1e-9 * (largest(a) + largest(b)), equal_nan=True) for a, b in pairs)


def _differentiable_forward(call):
    """The forward as the compiler traces it: nothing stops the gradient, and `is_compiling` is true."""

    def forward(*args):
        ctx = () if _has_setup(call.kind) else (_Context(args),)
        before = torch.compiler._is_compiling_flag
        torch.compiler._is_compiling_flag = True
        try:
            return call.forward(*ctx, *args)
        finally:
            torch.compiler._is_compiling_flag = before

    return forward


class _Context:
    """What a forward is given as its ctx, whose backward will not run."""

    def __init__(self, args):
        self.needs_input_grad = tuple(isinstance(t, torch.Tensor) and t.requires_grad for t in args)

    def _ignored(self, *args):
        pass

    save_for_backward = save_for_forward = mark_non_differentiable = set_materialize_grads = _ignored


def _gradients(function, args, source, incoming):
    """(gradients by the tensors of the arguments, the incoming ones), at copies of the arguments."""
    args = tree_map(_copied, args)
    outputs = [t for t in tree_leaves(function(*args)) if isinstance(t, torch.Tensor) and is_inexact(t)]
    incoming = incoming or [random_like(output, source) for output in outputs]
    wanted = [t for t in tree_leaves(args) if isinstance(t, torch.Tensor) and t.requires_grad]
    pairs = [(o, g) for o, g in zip(outputs, incoming, strict=True) if o.requires_grad]
    if not pairs:
        return [torch.zeros_like(t) for t in wanted], incoming
    attached, sent = zip(*pairs, strict=True)
    found = torch.autograd.grad(attached, wanted, sent, allow_unused=True)
    return [dense(t, g) for t, g in zip(wanted, found, strict=True)], incoming


def _copied(value):
    return value.detach().clone().requires_grad_(value.requires_grad) if isinstance(value, torch.Tensor) else value
