"""Functions and relations of expressions, such as max(Z, 0) and [Z > 0], and the symbols that rules use."""

import functools
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from torchbp.ops.expressions.nodes import Expression, Symbol, expression


@dataclass(frozen=True)
class Function:
    """A function of numbers by name, to be called with expressions: `sin = Function("sin", torch.sin)`.

    Args:
        name: as it is printed, such as σ or ln.
        compute: torch's function of the same arguments.
        latex: the name in LaTeX; None is `\\mathrm{name}`.
        brackets: whether one symbol as its argument stands in brackets: tanh(Z), but ln A.
        exact: the same function of numbers of mpmath, for lines with many digits; None is `compute` in float64.
    """

    name: str
    compute: Callable
    latex: str | None = None
    brackets: bool = True
    exact: Callable | None = None

    def __call__(self, *arguments):
        return Call(self, tuple(map(expression, arguments)))


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """A function of expressions, such as σ(Z) or max(Z, 0)."""

    function: Function
    arguments: tuple[Expression, ...]

    def evaluate(self, values):
        return self.function.compute(*(argument.evaluate(values) for argument in self.arguments))


@dataclass(frozen=True, slots=True)
class Indicator(Expression):
    """[left > right]: 1 where the relation, ">", "<", "≥" or "≤", is true, and 0 elsewhere."""

    left: Expression
    relation: str
    right: Expression

    def __post_init__(self):
        if self.relation not in RELATIONS:
            raise ValueError(f"Indicator has the relation {self.relation!r}; use {', '.join(RELATIONS)}")
        for name in ("left", "right"):
            object.__setattr__(self, name, expression(getattr(self, name)))

    def evaluate(self, values):
        left, right = self.left.evaluate(values), self.right.evaluate(values)
        like = left if isinstance(left, torch.Tensor) else torch.as_tensor(right, dtype=torch.float64)
        left, right = (torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in (left, right))
        return RELATIONS[self.relation](left, right).to(like.dtype)


RELATIONS = {">": torch.gt, "<": torch.lt, "≥": torch.ge, "≤": torch.le}


def _larger(left, right):
    return torch.maximum(*_tensors(left, right))


def _smaller(left, right):
    return torch.minimum(*_tensors(left, right))


def _tensors(left, right):
    """Both as tensors; one of them may be a number."""
    tensor = left if isinstance(left, torch.Tensor) else right
    return (torch.as_tensor(v, dtype=tensor.dtype, device=tensor.device) for v in (left, right))


def _root(number):
    return number.sqrt() if isinstance(number, torch.Tensor) else math.sqrt(number)


def _softplus(z):
    return z.clamp(min=0) + (-z.abs()).exp().log1p()


def _mpmath(name, number):
    return getattr(importlib.import_module("mpmath"), name)(number)  # it comes with torch, and takes a while to import


def _exact_sigma(z):
    return 1 / (1 + _mpmath("exp", -z))


def _exact_softplus(z):
    return _mpmath("log1p", _mpmath("exp", z))


def _exact_sign(number):
    return (number > 0) - (number < 0)


def _exactly(name):
    return functools.partial(_mpmath, name)


sigma = Function("σ", torch.sigmoid, r"\sigma", exact=_exact_sigma)
tanh = Function("tanh", torch.tanh, r"\tanh", exact=_exactly("tanh"))
exp = Function("exp", torch.exp, r"\exp", exact=_exactly("exp"))
ln = Function("ln", torch.log, r"\ln", brackets=False, exact=_exactly("log"))
sin = Function("sin", torch.sin, r"\sin", exact=_exactly("sin"))
cos = Function("cos", torch.cos, r"\cos", exact=_exactly("cos"))
erf = Function("erf", torch.erf, r"\operatorname{erf}", exact=_exactly("erf"))
sqrt = Function("sqrt", _root, r"\operatorname{sqrt}", exact=_exactly("sqrt"))
softplus = Function("softplus", _softplus, r"\operatorname{softplus}", exact=_exact_softplus)  # ln(1 + e^z)
maximum = Function("max", _larger, r"\max", exact=max)
absolute = Function("abs", torch.abs, r"\operatorname{abs}", exact=abs)
sign = Function("sgn", torch.sgn, r"\operatorname{sgn}", exact=_exact_sign)
minimum = Function("min", _smaller, r"\min", exact=min)

A, K, N, W, X, Z, b, p, w, y = map(Symbol, ("A", "K", "N", "W", "X", "Z", "b", "p", "w", "y"))
dZ = Symbol("dZ")
