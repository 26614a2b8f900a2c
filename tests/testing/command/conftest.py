"""Fixtures: `torchbp check` on code in a file."""

import multiprocessing
import sys
from pathlib import Path

import pytest

from tests.checks import in_this_process as worker_in_this_process
from torchbp.cli import main
from torchbp.testing.cli import worker

# what a worker imports, also when autograd.grad is first called
PRELOADED = ["torchbp.testing.audit", "torchbp.testing.cli.target", "torch.fx.experimental.symbolic_shapes"]

CODE = """
import functools
import os
import time
from pathlib import Path

import torch


CODES = {}


class Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, weight):
        ctx.save_for_backward(input, weight)
        return input * weight

    @staticmethod
    def backward(ctx, incoming):
        input, weight = ctx.saved_tensors
        return incoming * weight, incoming * weight


def crashes(x):
    if not len(x):
        os.abort()
    return x.sin()


def loops(x):
    if x.dtype == torch.bfloat16:
        Path("looping").touch()
        while True:
            time.sleep(1)
    return x.sin()


class Needs(torch.nn.Linear):
    pass


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Conv2d(5, 2, 3)

    def forward(self, image, mask=None):
        return self.inner(image)


class Rows(torch.nn.Linear):
    def __init__(self):
        super().__init__(3, 2)


def crashes_at_once(x):
    os.abort()


def loops_at_once(x, file=None):
    Path("pid").write_text(str(os.getpid()))
    while True:
        pass


def exits(x):
    raise SystemExit(3)


def interrupted(x):
    raise KeyboardInterrupt


def factory():
    raise ValueError("no memory")


def no_inputs():
    raise ValueError("no data")


def product(a, b, c, d, e, f):
    return a @ b @ c @ d @ e @ f


def chatty(x):
    os.write(1, b"NOISE")
    return x.sin()


@functools.cache
def load():
    return list(torch.utils.data.DataLoader([1, 2], num_workers=1))


def loads(x):
    load()
    return x.sin()


def inputs():
    print("noise")
    return torch.ones(3, requires_grad=True), torch.full((3,), 2.0, requires_grad=True)
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """The command in this process. Its workers are forked from one process that has loaded torch already.

    (A worker that is started as users start it takes seconds to load torch: see `command` in test_check_command.py.)
    """
    multiprocessing.set_forkserver_preload(PRELOADED)
    monkeypatch.setattr(worker, "START_METHOD", "forkserver")
    Path(tmp_path, "audited.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)

    def call(arguments):
        status = main(["check", *arguments.split()])
        out, err = capfd.readouterr()
        return status, out, err

    return call


@pytest.fixture
def run_here(run, monkeypatch):
    """The command without a worker."""

    monkeypatch.setattr(worker, "running_worker", worker_in_this_process)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delitem(sys.modules, "audited", raising=False)
    return run
