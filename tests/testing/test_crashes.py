"""Code that crashes the process: the caller's tests go on, and what can be told of it is a finding."""

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import pytest
import torch
from torch import nn

import torchbp
from tests.checks import poll_until
from torchbp.testing import forked_process

pytestmark = pytest.mark.processes

NO_FORK = "a fork is only possible on Linux, without an accelerator"
needs_fork = pytest.mark.skipif(not forked_process.is_possible(), reason=NO_FORK)


def written_view(v):
    out = torch.zeros_like(v)[..., :2]
    out[..., 0] += v[..., 0] * 2
    return out


def test_a_view_that_the_function_has_written_into():
    assert torchbp.check(written_view, torch.randn(4, 3), checks=["determinism", "values"])


class Frees(nn.Module):
    """Frees the memory of its input, of its weight, or of what its backward reads."""

    def __init__(self, what):
        super().__init__()
        self.what, self.weight = what, nn.Parameter(torch.ones(3))

    def forward(self, x):
        hidden = x * self.weight
        y = hidden.sin()
        {"x": x, "weight": self.weight, "hidden": hidden, "y": y}[self.what].untyped_storage().resize_(0)
        return y


@pytest.mark.parametrize(
    ("what", "named"),
    [("x", "x"), ("weight", "weight"), ("hidden", "a tensor that SinBackward0 saves"), ("y", "an output")],
)
def test_memory_that_is_freed_is_refused(what, named):
    with pytest.raises(ValueError, match=f"^Frees frees the memory of {named}, which an audit"):
        torchbp.check(Frees(what), torch.randn(40, 3))


def aborts(where):
    def function(x):
        if where(x):
            os.abort()
        return x.sin()

    return function


@needs_fork
@pytest.mark.parametrize(
    ("where", "check", "when"),
    [
        (lambda x: len(x) == 0, "shapes", "with 0 instead of 4 rows"),
        (lambda x: x.dtype == torch.float16, "dtypes", "in float16"),
        (lambda x: bool(x.numel() and (x == 100).all()), "extremes", "at x = 100, float64"),
        (lambda x: x.stride() == (6, 2), "layouts", "the input x strided"),
    ],
    ids=["size", "dtype", "number", "stride"],
)
def test_a_crash_is_a_finding_of_the_check_and_the_others_go_on(where, check, when):
    names = ["values", "layouts", check, "autocast", "determinism"]
    report = torchbp.check(aborts(where), torch.rand(4, 3, requires_grad=True), checks=names, raise_exception=False)
    assert [result.check for result in report.failed] == [check], str(report)
    assert report[check].message == f"{when} the process crashes with SIGABRT"
    assert report[check].details[-1].startswith("reproduce: torchbp.check(")
    assert {result.status for result in report.results} == {"PASS", "FAIL"}


@needs_fork
def test_a_crash_is_a_failure_where_all_is_isolated():
    x = torch.rand(4, 3, requires_grad=True)
    report = torchbp.check(aborts(lambda x: True), x, isolate=True, raise_exception=False)
    assert [(result.check, result.message) for result in report.failed] == [
        ("forward", "the process crashes with SIGABRT")
    ]
    assert torchbp.check(torch.sin, x, isolate=True, checks="values").sound


def test_isolation_is_refused_where_it_is_not_possible(monkeypatch):
    monkeypatch.setattr(forked_process, "is_possible", lambda: False)
    with pytest.raises(ValueError, match="isolate=True needs Linux"):
        torchbp.check(torch.sin, torch.rand(4), isolate=True)


@needs_fork
def test_an_operation_of_torch_that_crashes_without_rows():
    report = torchbp.check(torch.pdist, torch.randn(4, 5), checks=["values", "shapes"], raise_exception=False)
    assert report["values"].status == "PASS"


@needs_fork
def test_an_end_of_the_process_and_an_interrupt_are_told():
    for leave in (os._exit, sys.exit):
        assert forked_process.run(lambda name, tell, leave=leave: leave(3), ["a"]) == (
            [],
            ("the process exits with status 3", []),
        )
    crash = ([], ("at 0 the process crashes with SIGSEGV", [forked_process.CRASH]))
    assert forked_process.run(lambda name, tell: (tell("at 0"), os.kill(os.getpid(), signal.SIGSEGV)), ["a"]) == crash
    assert forked_process.run(lambda name, tell: name * 2, ["a", "b"]) == (["aa", "bb"], None)


@pytest.fixture
def waiting(monkeypatch):
    """An event that a forked process sets before it waits for ever: the time of its silence is over then."""
    event = multiprocessing.Event()
    monkeypatch.setattr(Connection, "poll", poll_until(event.is_set))
    return event


@needs_fork
def test_a_process_that_is_silent_for_too_long_is_ended(waiting):
    def work(name, tell):
        if name == "b":
            waiting.set()
            threading.Event().wait()
        return name

    assert forked_process.run(work, ["a", "b", "c"]) == (["a"], None)


@needs_fork
def test_threads_of_the_caller_are_not_in_a_fork(waiting):
    """A function that waits for one is silent there; it is audited in this process then."""
    parent = os.getpid()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()  # its thread is there

        def plus_one(x):
            y = x * 2
            if os.getpid() != parent:
                waiting.set()
            return pool.submit(y.add, 1).result()

        report = torchbp.check(plus_one, torch.randn(3), checks=["extremes", "values", "shapes"])
        assert [result.status for result in report.results] == ["PASS"] * 3
        assert waiting.is_set()
