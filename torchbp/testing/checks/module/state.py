"""state_dict holds all that matters, also what calls have left."""

import contextlib
import io

import torch

from torchbp.testing.checks.module.call import call_module, expect_results, results_of
from torchbp.testing.checks.module.modes import MODES
from torchbp.testing.checks.state.side_effects import equal, other_points
from torchbp.testing.numerics.tensors import first_line
from torchbp.testing.report import Defect


def audit_state(subject):
    """The state_dict of a module that was called, loaded into another module, makes that one give the same results."""
    used, fresh = subject.fresh_module(), subject.fresh_module()
    point = next(other_points(subject))
    for mode in MODES:
        with contextlib.suppress(Exception):  # the other point is not in its domain
            call_module(subject, used.train(mode), [tensor.detach().clone() for tensor in point])
    _save_and_load(used.train(subject.callee.original.training), fresh)
    lost = _not_carried_over(used, fresh)
    for mode in (not subject.callee.original.training, subject.callee.original.training):
        try:
            expected = results_of(subject, used.train(mode))
        except Exception:
            continue
        try:
            where = "a module that has loaded the state_dict"
            expect_results(subject, results_of(subject, fresh.train(mode)), expected, where)
        except Defect as defect:
            details = [f"the calls wrote {', '.join(lost[:4])}, not in the state_dict"] if lost else []
            raise Defect(f"{defect.message}, after {MODES[mode]}", [*defect.details, *details]) from None


def _save_and_load(used, fresh):
    """Save the state of one module, and load it into another one, whose numbers are changed before."""
    stream, content, other = io.BytesIO(), used.state_dict(), fresh.state_dict()
    torch.save(content, stream)
    stream.seek(0)
    with torch.no_grad():
        for tensor in other.values():
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                tensor.mul_(0.5).add_(0.1)
    try:
        fresh.load_state_dict(torch.load(stream, weights_only=False))
    except Exception as error:
        new = sorted({*content} - {*other})
        after = f", once it was called (it then holds {', '.join(new)} too)" if new else ""
        problem = f"{type(error).__name__}: {first_line(error)}"
        raise Defect(f"load_state_dict(state_dict()) raises{after} {problem}") from error


def _not_carried_over(used, fresh):
    """Names of attributes and buffers that calls have changed and that a state_dict has not carried over."""
    found, others = [], dict(fresh.named_modules())
    for prefix, child in used.named_modules():
        here, there = ({**vars(m), **m._buffers} if m is not None else {} for m in (child, others.get(prefix)))
        for name, value in here.items():
            if isinstance(value, (bool, int, float, torch.Tensor, type(None))) and _unequal(value, there.get(name)):
                found.append(f"{prefix}.{name}" if prefix else name)
    return found


def _unequal(a, b):
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape != b.shape or not equal(a, b)
    return isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor) or a != b
