"""The checks of the arguments of `fit`."""

import torch

from torchbp.nn._validation import is_positive_int
from torchbp.ops.registry import rule_of
from torchbp.printing import with_article

AT_ONCE = 2**20  # numbers that are tested for nan and inf at once


def check_arguments(network, loss, x, y, batch_size, max_epochs, bagging, min_delta, patience, min_grad_norm):
    """Raises a ValueError, or a TypeError for something that is no tensor, before anything is trained."""
    for name, value in (("batch_size", batch_size), ("max_epochs", max_epochs), ("patience", patience)):
        if not is_positive_int(value):
            raise ValueError(f"{name}={value!r} must be a positive integer")
    for name, value in (("min_delta", min_delta), ("min_grad_norm", min_grad_norm)):
        if not value >= 0:
            raise ValueError(f"{name}={value!r} must not be negative")
    if bagging and network.members is None:
        raise ValueError("bagging=True draws rows for each member; the model is one network")
    check_rows(network, loss, x, y, ("x", "y"), None if bagging else network.members)


def check_rows(network, loss, x, y, names, members):
    """The rows x and y, shared by all members, or of each of `members`."""
    weight, row_dims = network.first_parameter, row_dims_of(loss)
    for name, t, of_row, shape in ((names[0], x, 1, ", features"), (names[1], y, row_dims, ", outputs" * row_dims)):
        if not isinstance(t, torch.Tensor):
            raise TypeError(f"{name} is {with_article(type(t).__name__)}; give a tensor, as torch.as_tensor makes one")
        if not (t.dim() == 1 + of_row or (t.dim() == 2 + of_row and members == len(t))):
            of_each = "" if members is None else f", or ({members}, N{shape})"
            classes = "" if of_row else f", a class for each row, as {type(loss).__name__} takes them"
            raise ValueError(f"{name} has the shape {tuple(t.shape)}; give (N{shape}){of_each}{classes}")
        if t.device != weight.device:
            raise ValueError(f"{name} is on {t.device}, and the model on {weight.device}; use {name}.to(…) first")
    if x.dtype is not weight.dtype:
        raise ValueError(f"{names[0]} is {x.dtype}, and the model {weight.dtype}; give {names[0]}.to({weight.dtype})")
    features = getattr(network.named[0][1], "in_features", None)
    if features not in (None, x.shape[-1]):
        raise ValueError(f"{names[0]} has {x.shape[-1]} features, and the model takes {features}")
    rows, targets = x.shape[-2], y.shape[-1 - row_dims]
    if rows != targets or not rows:
        raise ValueError(f"{names[0]} has {rows} rows and {names[1]} {targets}; give as many, and one at least")
    check_finite(names[0], x)
    if row_dims:
        check_numbers(names[1], y, loss)
    else:
        check_classes(names[1], y, loss, outputs(network))


def row_dims_of(loss):
    """The dimensions of a row of y: 0 of a class, 1 of numbers."""
    return 0 if rule_of(loss).target == "classes" else 1


def outputs(network):
    """How many outputs the model has, where its last layer with parameters says so; else None."""
    return next((n for _, layer in reversed(network.layers) if (n := getattr(layer, "out_features", None))), None)


def check_numbers(name, y, loss):
    if not y.is_floating_point():
        raise ValueError(
            f"{name} is {y.dtype}, and {type(loss).__name__} takes real numbers; give {name}.to(torch.float32), or a "
            "loss of classes"
        )
    check_finite(name, y)


def check_classes(name, y, loss, classes):
    """Raises a ValueError for classes that are not from 0 to `classes` − 1, or of another dtype than int64."""
    if y.dtype is not torch.int64:
        raise ValueError(f"{name} is {y.dtype}, and {type(loss).__name__} takes classes; give {name}.to(torch.int64)")
    lowest, largest = y.aminmax()
    if lowest >= 0 and (classes is None or largest < classes):
        return
    ignored = getattr(loss, "ignore_index", None)
    is_class = lambda t: ((t >= 0) & (t < (classes or torch.inf))) | (t == ignored)  # noqa: E731
    if (found := first_outside(y.unsqueeze(-1), is_class)) is not None:
        place, count = found[0][:-1], found[1]
        raise ValueError(
            f"{name}[{', '.join(map(str, place))}] is {y[tuple(place)].item()}, one of {count}; give classes from 0 "
            + (f"to {classes - 1}, for the model has {classes} outputs" if classes else "on")
        )


def check_finite(name, t):
    """Raises a ValueError for nan or inf, with its place. The memory that it takes does not grow with the rows."""
    if not t.numel() or all(value.isfinite() for value in t.aminmax()):  # nan is both, where there is one
        return
    first, count = first_outside(t, torch.isfinite)
    place = ", ".join(map(str, first))
    raise ValueError(f"{name}[{place}] is {t[tuple(first)].item()}, one of {count}; nothing was trained")


def first_outside(t, is_right):
    """The place of the first element of t (…, N, features) that is not right, and how many there are; or None."""
    rows = max(1, AT_ONCE // t[..., 0, :].numel())
    count, first = 0, None
    for number, part in enumerate(t.split(rows, dim=-2)):
        places = (~is_right(part)).nonzero()
        count += len(places)
        if first is None and len(places):
            first = places[0].tolist()
            first[-2] += number * rows
    return None if first is None else (first, count)
