"""A line with numbers, read back as it is printed."""

import re

import mpmath  # with torch
import pytest

LOWERED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
SIGNS = [  # in Python; a number is one of many digits
    (r"\[\d+ more: ([^]]*)\]", r"(\1)"),
    (r"(?<![\w.])(\d[\d.]*(?:e[+−]\d+)?)", r"mpf('\1')"),
    ("−", "-"),
    ("·", "*"),
    ("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda raised: f"**({raised[0].translate(LOWERED)})"),
]
FUNCTIONS = {"σ": lambda z: 1 / (1 + mpmath.exp(-z)), "max": max, "ln": mpmath.log}
FUNCTIONS |= {"min": min, "abs": abs, "sgn": mpmath.sign, "softplus": lambda z: mpmath.log1p(mpmath.exp(z))}
FUNCTIONS |= {name: getattr(mpmath, name) for name in ("exp", "tanh", "sin", "cos", "cosh", "erf", "sqrt", "mpf")}


def evaluated(side):
    """A side of a line as it stands there: with the digits that are printed, and without rounding of its own."""
    for sign, code in SIGNS:
        side = re.sub(sign, code, side)
    with mpmath.workdps(400):
        return eval(side, dict(FUNCTIONS))


def check_line(line, numbers=None):
    """The sides of the line are equal, and the last one is among the numbers."""
    line, _, rounded = line.partition(", which is ")
    _, *sides = line.split(" = ")
    results = [evaluated(side) for side in sides]
    assert abs(results[0] - results[-1]) <= 1e-2 * abs(results[-1]), line
    value = evaluated(rounded.split()[0]) if rounded else results[-1]
    assert numbers is None or any(float(value) == pytest.approx(n, rel=1e-3) for n in numbers), line


def check_numbers(records):
    for record in records:
        check_line(record.numbers, record.tensor.view(-1).tolist())
        assert len(record.numbers) >= len("L = 0")
