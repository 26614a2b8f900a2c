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

from tests.checks import poll_until
from torchbp.testing.cli import worker


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
    looping = Path("looping")

    def has_begun():
        begun = looping.exists()
        looping.unlink(missing_ok=True)
        return begun

    monkeypatch.setattr(Connection, "poll", poll_until(has_begun))
    status, out, err = run("audited:loops --shape 4 --checks values dtypes determinism --timeout 3")
    assert (status, err) == (1, "")
    assert "dtypes        does not end: no result after 3 s" in out
    assert "2 passed, 1 failed" in out


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ("audited:crashes_at_once --shape 3", "the process crashes with SIGABRT"),
        ("audited:loops_at_once --shape 3 --timeout 1", "does not end: no result after 1 s"),
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


@pytest.mark.parametrize("how", [pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive), signal.SIGKILL])
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
