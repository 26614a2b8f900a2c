"""A learner's answers: a dictionary of numbers by the names of quantities, or a function that returns one."""

import inspect
import reprlib
from collections.abc import Mapping

import numpy as np
import torch

from torchbp.printing import did_you_mean


def read(answers, known, given):
    """{name: tensor in float64, or the text of a formula}, by the names of the equations.

    Args:
        answers: a mapping, or a function of the given quantities, by its parameters' names, that returns one.
        known: the names that are asked for. given: {name: array} of what is given.

    Raises:
        TypeError: another kind of object, or values that are no real numbers.
        ValueError: a name that is not known, or is there twice; nothing that is asked for.
    """
    if callable(answers):
        answers = answers(**_arguments(answers, given))
    if not isinstance(answers, Mapping):
        raise TypeError(
            f"the answers are {reprlib.repr(answers)}; give a dictionary such as {{{known[-1]!r}: array}}, or a "
            "function that returns one"
        )
    by_alias, found = {alias: name for name in known for alias in aliases(name)}, {}
    for key, value in answers.items():
        if key in given:
            _check_given(key, value, given[key])
            continue
        name = by_alias.get(_plain(key))
        if name is None:
            raise ValueError(f"{key!r} is no quantity of this exercise; {did_you_mean(_plain(key), by_alias, known)}")
        if name in found:
            raise ValueError(f"{name} is there twice; give it once")
        found[name] = value if isinstance(value, str) else _tensor(key, value)
    if not found:
        raise ValueError(f"there is nothing to grade; give at least one of {', '.join(known)}")
    return found


def _arguments(function, given):
    """Copies of the given arrays that the function takes, by its parameters' names."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind == p.VAR_KEYWORD for p in parameters):
        names = list(given)
    else:
        names = [p.name for p in parameters if p.kind != p.VAR_POSITIONAL]
        needed = [p.name for p in parameters if p.default is p.empty and p.kind != p.VAR_POSITIONAL]
        if unknown := [name for name in needed if name not in given]:
            raise TypeError(f"the function takes {unknown[0]!r}, and the exercise gives {', '.join(given)}")
    return {name: given[name].copy() for name in names if name in given}


def _plain(key):
    return str(key).replace(" ", "").replace("∂", "d").replace("'", "′")


def aliases(name):
    """How a learner may call it: dL/dZ1 also dZ1 and dL_dZ1; W1′ also W1_new."""
    found = [name, name.replace("/", "_")]
    if name.startswith("dL/"):
        found.append(name.removeprefix("dL/"))
    if name.endswith("′"):
        found.append(f"{name.removesuffix('′')}_new")
    return found


def _check_given(name, value, given):
    """A function may return what it was given, unchanged."""
    value = _tensor(name, value).numpy()
    if value.shape != given.shape or not np.allclose(value, given):
        raise ValueError(f"{name} is given, and the answers have another one; after the update it is {name}′")


def _tensor(name, value):
    try:
        array = value.detach().cpu() if isinstance(value, torch.Tensor) else np.asarray(value)
        if "complex" in str(array.dtype):
            raise TypeError
        return torch.as_tensor(array).double()
    except (TypeError, ValueError, RuntimeError):  # their messages have neither the name nor the value
        raise TypeError(
            f"{name}={reprlib.repr(value)} is not read as numbers; give an array, a tensor or a formula"
        ) from None
