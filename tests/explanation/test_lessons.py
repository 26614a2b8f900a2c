"""The lessons of the chapter: what they say is printed is printed, and its numbers are those of NumPy."""

import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.documentation import ROOT, documentation
from torchbp.cli import main

CHAPTER = documentation()[Path("torchbp/explanation/README.md")]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", CHAPTER, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)
    with warnings.catch_warnings():
        yield


def test_every_printed_line_is_what_the_command_prints(capsys):
    printed, checked, names = [], 0, {}
    for language, block in BLOCKS:
        if language == "python":
            exec(block, names)
        elif language == "sh" and "--ckpt_path" not in block:
            assert main(shlex.split(block)[1:]) == 0
        elif language == "text":
            rest = iter(printed)  # so that the lines stand in this order
            for line in block.splitlines():
                assert not line or line in rest, line
            checked += 1
            continue
        printed = capsys.readouterr().out.splitlines()
    assert checked == 12


def test_articles_example_in_numpy():
    x, y, w1, b1, w2, b2 = (np.array(v) for v in ([1, 2], 1, [[0.1, 0.2], [0.3, -0.4]], [0, 0.1], [0.5, -0.6], 0.2))
    sigma = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    z1 = w1 @ x + b1
    a1 = sigma(z1)
    z2 = w2 @ a1 + b2
    a2 = sigma(z2)
    dz2 = a2 - y
    da1 = dz2 * w2
    dz1 = da1 * a1 * (1 - a1)
    dw1 = np.outer(dz1, x)
    new = sigma((w2 - dz2 * a1) @ sigma((w1 - dw1) @ x + b1 - dz1) + b2 - dz2)
    expected = [z1[0], a1[0], z2, a2, -np.log(a2), dz2, dz2 * a1[0], da1[1], dz1[1], dw1[1, 1], w1[1, 1] - dw1[1, 1]]
    block = next(block for language, block in BLOCKS if language == "text")
    results = [float(line.split(" = ")[-1].replace("−", "-")) for line in block.splitlines()]
    np.testing.assert_allclose(results, [*expected, -np.log(new)], rtol=5e-4)
