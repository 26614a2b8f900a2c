"""`torchbp check` from the shell."""

import json
from pathlib import Path

import pytest

from torchbp.cli import main

CODE = """
import os
import time

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
    while x.dtype == torch.bfloat16:
        time.sleep(0.1)
    return x.sin()


class Needs(torch.nn.Linear):
    pass


def inputs():
    print("noise")
    return torch.ones(3, requires_grad=True), torch.full((3,), 2.0, requires_grad=True)
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    Path(tmp_path, "audited.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)

    def call(arguments):
        status = main(["check", *arguments.split()])
        out, err = capfd.readouterr()
        return status, out, err

    return call


def test_sound_code_has_status_0(run):
    status, out, err = run("torch:sigmoid --shape 3 --level fast")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "sigmoid: 6 passed"


def test_defects_have_status_1(run):
    status, out, err = run("audited:Multiply --inputs audited:inputs --checks values --json")
    assert (status, err) == (1, "")
    content = json.loads(out)
    assert content["name"] == "Multiply"
    assert "the gradient of weight is wrong" in content["results"][0]["message"]


def test_a_crash_and_an_endless_loop_are_findings(run):
    status, out, err = run("audited:crashes --shape 4 --checks values shapes determinism")
    assert (status, err) == (1, "")
    assert "shapes        the process crashes with SIGABRT" in out
    assert "2 passed, 1 failed" in out
    status, out, err = run("audited:loops --shape 4 --checks values dtypes determinism --timeout 3")
    assert (status, err) == (1, "")
    assert "dtypes        does not end: no result after 3 s" in out
    assert "2 passed, 1 failed" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "audited:Multiply",
            "needs inputs for (input, weight): --inputs pkg.mod:make_inputs, or such as --shape 3,4",
        ),
        ("audited:Multply --shape 3", "audited has no Multply; did you mean Multiply?"),
        ("audited --shape 3", "'audited' must be of the form pkg.mod:Name"),
        ("nowhere:f --shape 3", "cannot import nowhere"),
        ("audited:Needs --shape 3", "audited:Needs needs arguments"),
        ("audited:Multiply --shape 3 4", "Multiply raises RuntimeError"),
        ("torch:sin --shape 3,x", "invalid literal"),
        ("torch:sin --shape 3 --checks value", "there is no check 'value'; did you mean 'values'?"),
        ("torch:sin --shape 3 --level most", "invalid choice: 'most'"),
        ("torch:sin --shape 3 --timeout 0", "--timeout must be a positive"),
    ],
)
def test_what_cannot_run_has_status_2_and_one_line(run, arguments, message):
    status, out, err = run(arguments)
    assert (status, out) == (2, "")
    assert err.startswith("torchbp: error: ")
    assert message in err
    assert len(err.splitlines()) == 1
