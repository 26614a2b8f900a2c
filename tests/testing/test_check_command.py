"""`torchbp check` from the shell."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.checks import in_this_process
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

    (A worker that is started as users start it takes seconds to load torch: see `command`.)
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

    monkeypatch.setattr(worker, "running_worker", in_this_process)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delitem(sys.modules, "audited", raising=False)
    return run


@pytest.mark.processes
def test_sound_code_has_status_0(run):
    status, out, err = run("torch:sigmoid --shape 3 --level fast")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "sigmoid: 6 passed"


@pytest.mark.processes
def test_defects_have_status_1(run):
    status, out, err = run("audited:Multiply --inputs audited:inputs --checks values --json")
    assert (status, err) == (1, "")
    content = json.loads(out)
    assert content["name"] == "Multiply"
    assert "the gradient of weight is wrong" in content["results"][0]["message"]


def test_an_audit_of_nothing_has_status_1(run_here):
    status, out, err = run_here("torch:argsort --shape 3 --checks values jvp")
    assert (status, err) == (1, "")
    assert "nothing was compared: it returns tensors of int64 alone" in out
    status, out, err = run_here("torch:sin --shape 3 --checks module --json")
    assert (status, err) == (1, "")
    assert json.loads(out)["sound"] is False


@pytest.mark.processes
def test_a_crash_is_a_finding(run):
    status, out, err = run("audited:crashes --shape 4 --checks values shapes determinism")
    assert (status, err) == (1, "")
    assert "shapes        the process crashes with SIGABRT" in out
    assert "reproduce: torchbp check audited:crashes --shape 4 --seed 0 --checks shapes" in out
    assert "2 passed, 1 failed" in out


@pytest.mark.processes
def test_an_endless_loop_is_a_finding(run, monkeypatch):
    """The timeout passes once the loop has begun, however slow the machine is."""
    looping, poll = Path("looping"), Connection.poll

    def poll_until_it_loops(pipe, seconds):
        while not poll(pipe, 0.05):
            if looping.exists():
                looping.unlink()
                return False
        return True

    monkeypatch.setattr(Connection, "poll", poll_until_it_loops)
    status, out, err = run("audited:loops --shape 4 --checks values dtypes determinism --timeout 3")
    assert (status, err) == (1, "")
    assert "dtypes        does not end: no result after 3 s" in out
    assert "2 passed, 1 failed" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "audited:Multiply",
            "needs inputs for (input, weight): --inputs pkg.mod:make_inputs, or for example --shape 3,4 3,4",
        ),
        ("audited:Multply --shape 3", "audited has no Multply; did you mean Multiply?"),
        ("audited --shape 3", "'audited' must be of the form pkg.mod:Name"),
        ("nowhere:f --shape 3", "cannot import nowhere"),
        ("audited:Needs --shape 3", "audited:Needs needs arguments"),
        ("audited:Multiply --shape 3 4", "Multiply raises RuntimeError"),
        ("audited:Layer", "needs inputs for (image): --inputs pkg.mod:make_inputs, or for example --shape 2,5,8,8"),
        (
            "audited:product",
            "needs inputs for (a, b, c, d, e, f): --inputs pkg.mod:make_inputs, or for example --shape 4,4 4,4 ",
        ),
        ("audited:Rows", "for example --shape 3,3"),
        ("torch:matmul", "torch:matmul needs inputs: --inputs pkg.mod:make_inputs, or for example --shape 3,4 4,2"),
        ("torch.nn.functional:linear", "for example --shape 3,4 3,4"),
        ("audited:Rows --shape 3,4", "mat1 and mat2 shapes cannot be multiplied"),
        ("audited:factory", "audited:factory raises ValueError: no memory"),
        ("audited:Multiply --inputs audited:no_inputs", "audited:no_inputs raises ValueError: no data"),
        ("torch:sin --shape 3,x", "--shape must be sizes such as 3,4, not '3,x'"),
        ("torch:sin --shape -3", "--shape must be sizes such as 3,4, not '-3'"),
        ("torch:sin --shape 99999999999999", "--shape raises RuntimeError"),
        ("torch:sin --shape 3 --timeout nan", "--timeout must be a positive"),
        ("torch:sin --shape 3 --timeout inf", "--timeout must be a positive"),
        ("torch:sin --shape 3 --timeout -1", "--timeout must be a positive"),
        ("torch:sin --shape 3 --seed 99999999999999999999", "seed must be between"),
        ("torch:sin --shape 3 --checks value", "there is no check 'value'; did you mean values?"),
        ("torch:sin --shape 3 --level most", "invalid choice: 'most'"),
        ("torch:sin --shape 3 --timeout 0", "--timeout must be a positive"),
    ],
)
def test_what_cannot_run_has_status_2_and_one_line(run_here, arguments, message):
    refused(run_here(arguments), message)


@pytest.mark.parametrize("arguments", ["audited:crashes_at_once", "audited:loops_at_once --timeout 1"])
@pytest.mark.processes
def test_an_example_of_inputs_is_tried_in_a_process_that_may_die(run, arguments):
    refused(run(arguments), "needs inputs for (x): --inputs pkg.mod:make_inputs, or for example --shape 3,4")


def refused(result, message):
    status, out, err = result
    assert (status, out) == (2, "")
    assert err.startswith("torchbp: error: ")
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ("audited:crashes_at_once --shape 3", "the process crashes with SIGABRT"),
        ("audited:loops_at_once --shape 3 --timeout 2", "does not end: no result after 2 s"),
        ("audited:exits --shape 3", "the process exits with status 3"),
        ("audited:interrupted --shape 3", "the process exits with status 130"),
    ],
)
@pytest.mark.processes
def test_a_forward_that_does_not_return_is_a_finding(run, arguments, fault):
    status, out, err = run(arguments)
    assert (status, err) == (1, "")
    name = arguments.split()[0]
    assert out.splitlines() == [
        f"FAIL        forward       {fault}",
        f"    reproduce: torchbp check {name} --shape 3 --seed 0",
        f"{name.removeprefix('audited:')}: 1 failed",
    ]


def test_the_line_to_reproduce_it_is_the_commands(run_here):
    _, out, _ = run_here("audited:Multiply --inputs audited:inputs --checks values jvp --require jvp --seed 3")
    line = "reproduce: torchbp check audited:Multiply --inputs audited:inputs --seed 3 --checks"
    assert [text.strip() for text in out.splitlines() if "reproduce" in text] == [
        f"{line} values",
        f"{line} jvp --require jvp",
    ]


@pytest.mark.processes
def test_what_the_code_prints_is_not_in_the_report(run):
    status, out, err = run("audited:chatty --shape 3 --checks values --json")
    assert (status, err) == (0, "")
    assert json.loads(out)["sound"]


@pytest.mark.processes
def test_the_code_may_have_processes_of_its_own(run):
    status, out, _ = run("audited:loads --shape 3 --checks values")
    assert (status, out.splitlines()[-1]) == (0, "loads: 1 passed")


def command(*arguments, **variables):
    program = "import sys; from torchbp.cli import main; sys.exit(main())"
    environment = {**os.environ, **variables}
    return subprocess.Popen(
        [sys.executable, "-c", program, "check", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.processes
def test_a_terminal_without_our_signs(run):
    child = command("audited:Multiply", "--shape", "3", "3", "--checks", "values", PYTHONIOENCODING="ascii")
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (1, b"")
    assert b"\\xb1" in out  # ±


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.processes
def test_the_child_ends_with_its_parent(run, how):
    parent = command("audited:loops_at_once", "--shape", "3")
    file = Path("pid")
    try:
        until(lambda: file.exists() and file.read_text())
    finally:
        parent.send_signal(how)
        parent.wait()
    child = int(file.read_text())
    try:
        until(lambda: not alive(child))
    finally:
        if alive(child):
            os.kill(child, signal.SIGKILL)
        parent.communicate()


def test_each_layer_of_a_large_model_has_the_time_of_a_check():
    reader, writer = multiprocessing.Pipe(duplex=False)
    for message in (None, None, "the result of all layers"):  # None before each layer
        writer.send(message)
    assert worker._receive(None, reader, seconds=5.0) == "the result of all layers"


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid):
    """Whether there is such a process; one that has ended, and that nobody waits for, is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
