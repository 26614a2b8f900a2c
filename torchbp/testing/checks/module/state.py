"""What stays in a module from call to call: its state, its mode, and tensors that neither .to() nor state_dict sees."""

import contextlib
import io

import torch
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_map

from torchbp.testing.checks.module.call import call, compared, graph, results
from torchbp.testing.checks.side_effects import equal, other_points
from torchbp.testing.numerics.tensors import cast, first_line, is_inexact
from torchbp.testing.report import Defect

REGISTERED = ("_parameters", "_buffers", "_modules")
MODES = {True: "train()", False: "eval()"}


def modes(subject):
    """A mode is the same however it was come by, and no call and no backward depends on a change of it."""
    for mode, words in MODES.items():
        target = subject.fresh_module().train(mode)
        before = {name: child.training for name, child in target.named_modules()}
        try:
            expected = results(subject, target)
        except Exception:  # as a batch norm of one row in training; the values show the rest
            continue
        changed = [name for name, child in target.named_modules() if child.training is not before.get(name, mode)]
        if changed:
            raise Defect(f"the forward changes .training of {changed[0] or 'the module'}, after {words}")
        for path in ((mode, mode), (mode, not mode, mode)):
            target = subject.fresh_module()
            for step in path:
                target.train(step)
            compared(subject, results(subject, target), expected, f"after {', '.join(MODES[step] for step in path)}")
        switched(subject, subject.fresh_module().train(mode), expected, words)


def switched(subject, target, expected, words):
    """A change of the mode between forward and backward changes no gradient.

    Unless it changes the parameters themselves, as merged weights do, or the backward runs the forward again.
    """
    before, again = [], []

    def switch():
        before.extend((tensor, tensor.detach().clone()) for tensor in [*target.parameters(), *target.buffers()])
        target.train(not target.training)
        for child in target.modules():
            child.register_forward_pre_hook(lambda *_: again.append(True))

    try:
        found, problem = graph(subject, target, switch)[2], None
    except Defect as defect:
        found, problem = None, defect
    if again or not all(equal(tensor, old) for tensor, old in before):
        return
    if problem is not None:
        raise problem
    compared(subject, found, expected, f"a change of the mode after the forward in {words}, before its backward,")


def state(subject):
    """state_dict holds all that matters, also what calls have left: loaded into another module, it makes the same."""
    used, fresh, stream = subject.fresh_module(), subject.fresh_module(), io.BytesIO()
    point = next(other_points(subject))
    for mode in MODES:
        with contextlib.suppress(Exception):  # the other point is not in its domain
            call(subject, used.train(mode), [tensor.detach().clone() for tensor in point])
    content, own = used.train(subject.callee.original.training).state_dict(), fresh.state_dict()
    torch.save(content, stream)
    stream.seek(0)
    with torch.no_grad():
        for tensor in own.values():
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                tensor.mul_(0.5).add_(0.1)
    try:
        fresh.load_state_dict(torch.load(stream, weights_only=False))
    except Exception as error:
        after = (
            f", once it was called (it then holds {', '.join(new)} too)" if (new := sorted({*content} - {*own})) else ""
        )
        problem = f"{type(error).__name__}: {first_line(error)}"
        raise Defect(f"load_state_dict(state_dict()) raises{after} {problem}") from error
    lost = left_behind(used, fresh)
    for mode in (not subject.callee.original.training, subject.callee.original.training):
        try:
            expected = results(subject, used.train(mode))
        except Exception:
            continue
        try:
            compared(subject, results(subject, fresh.train(mode)), expected, "a module that has loaded the state_dict")
        except Defect as defect:
            details = [f"the calls wrote {', '.join(lost[:4])}, not in the state_dict"] if lost else []
            raise Defect(f"{defect.message}, after {MODES[mode]}", [*defect.details, *details]) from None


def left_behind(used, fresh):
    """Names of attributes and buffers that calls have changed and that a state_dict has not carried over."""
    found, others = [], dict(fresh.named_modules())
    for prefix, child in used.named_modules():
        here, there = ({**vars(m), **m._buffers} if m is not None else {} for m in (child, others.get(prefix)))
        for name, value in here.items():
            if isinstance(value, (bool, int, float, torch.Tensor, type(None))) and unlike(value, there.get(name)):
                found.append(f"{prefix}.{name}" if prefix else name)
    return found


def unlike(a, b):
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape != b.shape or not equal(a, b)
    return isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor) or a != b


def unregistered(subject):
    """Tensors that neither .to() nor state_dict sees: a Defect where .to() then breaks the forward, else a note."""
    target = subject.fresh_module()
    known = registered(target)
    found = [
        f"{prefix}.{name}{keystr(path)}" if prefix else f"{name}{keystr(path)}"
        for prefix, child in target.named_modules()
        for name, value in vars(child).items()
        if name not in REGISTERED
        for path, leaf in tree_flatten_with_path(value)[0]
        if is_plain(leaf, known)
    ]
    if not found:
        return []
    names = f"{found[0]} is a tensor that .to() and state_dict do not see: use register_buffer"
    for dtype in (torch.float32, torch.bfloat16):
        seen, right = (outcome(subject, dtype, moved) for moved in (False, True))
        if seen != right and not right.startswith("raises"):
            raise Defect(names, [f"after .to({dtype}) the forward {seen}; with it moved along, it {right}"])
    return [names]


def registered(module):
    return {id(tensor) for tensor in [*module.parameters(), *module.buffers()]}


def is_plain(value, known):
    return isinstance(value, torch.Tensor) and is_inexact(value) and id(value) not in known


def outcome(subject, dtype, moved):
    """What the forward does after .to(dtype), and after the unregistered tensors were moved, too."""
    target = subject.fresh_module()
    if moved:
        known = registered(target)
        for child in target.modules():
            for name, value in vars(child).items():
                if name not in REGISTERED and any(
                    is_plain(leaf, known) for leaf in torch.utils._pytree.tree_leaves(value)
                ):
                    vars(child)[name] = tree_map(lambda t: cast(t.detach(), dtype) if is_plain(t, known) else t, value)
    try:
        outputs = call(subject, target.to(dtype), subject.fresh_tensors(dtype=dtype))
    except Exception as error:
        return f"raises: {first_line(error)}"
    return f"gives {', '.join(sorted({str(output.dtype) for output in outputs if is_inexact(output)}))}"
