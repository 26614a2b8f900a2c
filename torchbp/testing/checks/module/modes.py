"""train() and eval(): results depend on the current mode only."""

import copy

from torchbp.testing.checks.module.call import call_and_differentiate, call_module, expect_results, results_of
from torchbp.testing.checks.state.side_effects import equal
from torchbp.testing.report import Defect

MODES = {True: "train()", False: "eval()"}


def expect_mode_in_children(subject):
    """train() and eval() reach every child."""
    for mode, words in MODES.items():
        changed = copy.deepcopy(subject.callee.module).train(mode)
        if changed.training is not mode and all(child.training is not mode for child in changed.modules()):
            raise Defect(f"{words} does not change .training")


def audit_modes(subject):
    """Results depend on the current mode only, not on earlier calls of train() and eval().

    A change of the mode between forward and backward changes no gradient.
    """
    for mode, words in MODES.items():
        target = subject.fresh_module().train(mode)
        before = {name: child.training for name, child in target.named_modules()}
        try:
            expected = results_of(subject, target)
        except Exception:  # such as a batch norm of one row in training; the check values shows the rest
            continue
        changed = [name for name, child in target.named_modules() if child.training is not before.get(name, mode)]
        if changed:
            raise Defect(f"the forward changes .training of {changed[0] or 'the module'}, after {words}")
        for path in ((mode, mode), (mode, not mode, mode)):
            target = subject.fresh_module()
            for step in path:
                target.train(step)
            where = f"after {', '.join(MODES[step] for step in path)}"
            expect_results(subject, results_of(subject, target), expected, where)
        if mode:
            _call_in_evaluation(subject, subject.fresh_module(), expected)
        _change_mode_before_backward(subject, subject.fresh_module().train(mode), expected, words)


def _call_in_evaluation(subject, target, expected):
    """A call in evaluation changes no later one in training. (One in training may: it updates running statistics.)"""
    try:
        call_module(subject, target.eval(), subject.fresh_tensors())
    except Exception:  # which the other mode shows
        return
    expect_results(subject, results_of(subject, target.train()), expected, "in train(), after a call in eval()")


def _change_mode_before_backward(subject, target, expected, words):
    """Nothing is expected if the mode changes the parameters, as merged weights do, or if the backward calls again."""
    before, calls = [], []

    def change_mode():
        before.extend((tensor, tensor.detach().clone()) for tensor in [*target.parameters(), *target.buffers()])
        target.train(not target.training)
        for child in target.modules():
            child.register_forward_pre_hook(lambda *_: calls.append(True))

    try:
        found, problem = call_and_differentiate(subject, target, change_mode)[2], None
    except Defect as defect:
        found, problem = None, defect
    if calls or not all(equal(tensor, old) for tensor, old in before):
        return
    if problem is not None:
        raise problem
    where = f"a change of the mode after the forward in {words}, before its backward"
    expect_results(subject, found, expected, where)
