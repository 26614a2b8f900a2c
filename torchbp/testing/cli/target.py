"""Look up what the command names: a function and its inputs; or find an example of inputs, where none are given."""

import importlib
import inspect
import os
import pkgutil
import sys

import torch

from torchbp._imports import MissingPackageError, extra_needed
from torchbp.printing import nearest_name, with_article
from torchbp.testing.cli.refusal import InputsNeeded, Refusal
from torchbp.testing.cli.worker import is_run
from torchbp.testing.numerics.tensors import first_line
from torchbp.testing.subject.naming import parameters_of
from torchbp.testing.subject.prepare import subject_of

# the attributes in which layers keep the size of their input
SIZE_ATTRIBUTES = (
    "in_features",
    "in_channels",
    "num_features",
    "normalized_shape",
    "input_size",
    "embed_dim",
    "d_model",
)
COMMON_SHAPES = (  # of a linear map, a product of matrices, a matrix and a vector, a convolution
    ((3, 4), (2, 4), (2,)),
    ((3, 4), (4, 2), (2,)),
    ((3, 4), (4,), (4,)),
    ((2, 3, 8, 8), (4, 3, 3, 3), (4,)),
)


def load(target):
    """The function, and its inputs, which are None if the command gives none."""
    sys.path.insert(0, os.getcwd())
    torch.manual_seed(target.seed)
    function, of_run = _of_run(target) if is_run(target.name) else (_look_up(target.name), None)
    if not callable(function):
        raise Refusal(f"{target.name} is {with_article(type(function).__name__)}, and nothing that can be called")
    if inspect.isclass(function) and issubclass(function, torch.nn.Module):
        try:
            function = function()
        except Exception as error:
            remedy = "name a function that makes the module"
            raise Refusal(f"{target.name} needs arguments ({first_line(error)}): {remedy}") from None
    elif inspect.isfunction(function) and not parameters_of(function) and target.inputs is None and not target.shapes:
        function = _call(function, target.name)  # it makes what is audited
    if target.inputs is not None:
        inputs = _look_up(target.inputs)
        return function, _call(inputs, target.inputs) if callable(inputs) else inputs
    return function, _call(lambda: _random_inputs(target.shapes), "--shape") if target.shapes else of_run


def _of_run(target):
    """The layers of a trained network, and inputs of them. What knows runs is imported by name: the audit needs torch
    alone."""
    try:
        with extra_needed("train", f"torchbp check {target.name}"):
            layers_of_run = pkgutil.resolve_name("torchbp.training.model.audited:layers_of_run")
        return layers_of_run(target.name, target.member)
    except (MissingPackageError, ValueError) as error:  # a UserError is a ValueError
        raise Refusal(str(error)) from None


def _call(make, name):
    try:
        return make()
    except Exception as error:
        raise Refusal(f"{name} raises {type(error).__name__}: {first_line(error)}") from None


def _random_inputs(shapes):
    return tuple(torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)


def inputs_needed(name, function, shapes=None):
    """The error, with an example: these shapes, or 3,4 for each argument."""
    names = _required_arguments(function)
    shapes = shapes or [(3, 4)] * max(len(names), 1)
    example = " ".join(",".join(map(str, shape)) for shape in shapes)
    arguments = f" for ({', '.join(names)})" if names else ""
    return InputsNeeded(
        f"{name} needs inputs{arguments}: --inputs pkg.mod:make_inputs, or for example --shape {example}"
    )


def _required_arguments(function):
    """The names of the arguments without a default; [] where Python does not know them."""
    return [p.name for p in parameters_of(function) if p.default is p.empty and p.kind is not p.VAR_KEYWORD]


def shapes_that_run(function):
    """Common shapes that the function takes; None if it takes none of them."""
    for shapes in _shapes_to_try(function):
        try:
            if subject_of(function, _random_inputs(shapes)).outputs.attached:
                return shapes
        except Exception:  # not these
            continue
    return None


def _shapes_to_try(function):
    sizes = [(3, 4), (4, 4), (3,), (2, 3, 8, 8)]
    for module in function.modules() if isinstance(function, torch.nn.Module) else ():
        found = [getattr(module, name) for name in SIZE_ATTRIBUTES if hasattr(module, name)]
        if found:
            last = tuple(found[0]) if isinstance(found[0], (tuple, list)) else (found[0],)
            sizes = [(3, *last), (2, *last, 8), (2, *last, 8, 8), (2, *last, 8, 8, 8), (2, 3, *last)]
            break
    names = _required_arguments(function)
    for count in [len(names)] if names else [1, 2, 3]:
        yield [sizes[0]] * count
        yield from (shapes[:count] for shapes in COMMON_SHAPES if 1 < count <= len(shapes))
        yield from ([size] * count for size in sizes[1:])


def _look_up(path):
    """The object that pkg.mod:Name names."""
    module, _, name = path.partition(":")
    if not name:
        raise Refusal(f"{path!r} must be of the form pkg.mod:Name")
    if module.endswith(".py"):
        named = module.removesuffix(".py").removeprefix("./").replace("/", ".")
        raise Refusal(f"{module} is a file; name its module: {named}:{name}")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise Refusal(f"cannot import {module}: {first_line(error)}") from None
    except Exception as error:
        raise Refusal(f"importing {module} raises {type(error).__name__}: {first_line(error)}") from None
    for part in name.split("."):
        if not hasattr(found, part):
            near = nearest_name(part, dir(found))
            raise Refusal(f"{module} has no {name}" + (f"; did you mean {near}?" if near else ""))
        found = getattr(found, part)
    return found
