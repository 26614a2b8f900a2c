"""The checks of the arguments of `SGD.fit`."""

import torch

from torchbp.nn._validation import is_positive_int
from torchbp.ops.registry import rule_of

AT_ONCE = 2**20  # numbers that are tested for nan and inf at once


def check_arguments(network, loss, x, y, batch_size, max_epochs, bagging, min_delta, patience, min_grad_norm):
    """Raises a ValueError, or a TypeError for something that is no tensor, before anything is trained."""
    members, weight = network.members, network.first_parameter
    if rule_of(loss).target == "classes":
        raise TypeError(f"fit takes numbers as targets, and {type(loss).__name__} takes classes; use backprop_step")
    for name, value in (("batch_size", batch_size), ("max_epochs", max_epochs), ("patience", patience)):
        if not is_positive_int(value):
            raise ValueError(f"{name}={value!r} must be a positive integer")
    for name, value in (("min_delta", min_delta), ("min_grad_norm", min_grad_norm)):
        if not value >= 0:
            raise ValueError(f"{name}={value!r} must not be negative")
    dimensions = (2,) if members is None or bagging else (2, 3)
    for name, t in (("x", x), ("y", y)):
        if not isinstance(t, torch.Tensor):
            raise TypeError(f"{name} is a {type(t).__name__}; give a tensor, as torch.as_tensor makes one")
        if t.dim() not in dimensions or (t.dim() == 3 and len(t) != members):
            raise ValueError(
                f"{name} has the shape {tuple(t.shape)}; give (N, features)"
                + (f", or ({members}, N, features)" if 3 in dimensions else "")
            )
        if t.device != weight.device:
            raise ValueError(f"{name} is on {t.device}, and the model on {weight.device}; use {name}.to(…) first")
    if x.dtype is not weight.dtype:
        raise ValueError(f"x is {x.dtype}, and the model {weight.dtype}; give x.to({weight.dtype})")
    features = getattr(network.named[0][1], "in_features", None)
    if features not in (None, x.shape[-1]):
        raise ValueError(f"x has {x.shape[-1]} features, and the model takes {features}")
    if x.shape[-2] != y.shape[-2] or not x.shape[-2]:
        raise ValueError(f"x has {x.shape[-2]} rows and y {y.shape[-2]}; give as many, and one at least")
    if bagging and members is None:
        raise ValueError("bagging=True draws rows for each member; the model is one network")
    for name, t in (("x", x), ("y", y)):
        check_finite(name, t)


def check_finite(name, t):
    """Raises a ValueError for nan or inf, with its place. The memory that it takes does not grow with the rows."""
    if not t.numel() or all(value.isfinite() for value in t.aminmax()):  # nan is both, where there is one
        return
    rows = max(1, AT_ONCE // t[..., 0, :].numel())
    count, first = 0, None
    for number, part in enumerate(t.split(rows, dim=-2)):
        places = (~part.isfinite()).nonzero()
        count += len(places)
        if first is None and len(places):
            first = places[0].tolist()
            first[-2] += number * rows
    place = ", ".join(map(str, first))
    raise ValueError(f"{name}[{place}] is {t[tuple(first)].item()}, one of {count}; nothing was trained")
