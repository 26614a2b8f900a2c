"""The arguments of `explain`. What cannot be explained is refused with its name, its value and the remedy."""

import copy
import itertools
import reprlib
from collections.abc import Iterable
from numbers import Real

import numpy as np
import torch

from torchbp import nn
from torchbp.engine.losses import checked_loss
from torchbp.ops.registry import rule_of

LOWEST = 1e-30  # the page draws the losses of far smaller rates too
REAL = "give a tensor, an array or a list of real numbers, all rows of one length"


def rate(lr, dtype):
    """The learning rate as a float. It may be a number of NumPy or torch, and must fit the network's dtype."""
    value = lr.item() if getattr(lr, "ndim", None) == 0 else lr
    shown = " ".join(repr(value).split())
    shown = shown if len(shown) <= 40 else f"{shown[:39]}…"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"lr={shown} must be a positive number")
    most = torch.finfo(dtype).max
    if not LOWEST <= value <= most:
        raise ValueError(f"lr={shown} must be a positive number, of {LOWEST:g} to {most:.2g}")
    return float(value)


def check_parameters(chain):
    """Raises where the parameters are not of one real dtype on one device, or the layers do not fit one another."""
    first_name, first = next(iter(chain.start.items()))
    for name, p in chain.start.items():
        key = chain.keys[name]
        if p.is_meta:
            raise ValueError(f"{key} is on the device meta, and holds no numbers; make the model on another one")
        if not p.is_floating_point():
            raise TypeError(f"{key} is {p.dtype}; explain takes real numbers: model.double()")
        if (p.dtype, p.device) != (first.dtype, first.device):
            raise ValueError(
                f"{key} is {p.dtype} on {p.device}, and {chain.keys[first_name]} {first.dtype} on {first.device}; "
                "bring the model to one dtype and device with model.to(…)"
            )
        if not p.numel():
            raise ValueError(f"{key} has the shape {tuple(p.shape)}: a layer without numbers computes nothing")
    sized = [(step, *_widths(step)) for step in chain.layers if _widths(step)]
    for (below, _, gives), (above, takes, _) in itertools.pairwise(sized):
        between = chain.steps[chain.steps.index(below) + 1 : chain.steps.index(above)]
        if gives != takes and not any(step.is_layer for step in between):
            raise ValueError(
                f"the layers do not fit: {below.described()} gives {gives} numbers, and {above.described()} "
                f"takes {takes}"
            )


def _widths(step):
    """(in_features, out_features) of a layer that has these attributes, otherwise None."""
    found = tuple(getattr(step.module, name, None) for name in ("in_features", "out_features"))
    return None if None in found else found


def rows(chain, x, y):
    """x (N, features) and y (N, outputs), in the dtype and on the device of the network; a row is a batch of one."""
    first = next(iter(chain.start.values()))
    x, y = _as_tensor("x", x, first), _as_tensor("y", y, first)
    if x.dim() == 1:
        x, y = x.unsqueeze(0), y.reshape(1, -1)
    features = _widths(chain.steps[chain.first]) if not any(s.is_layer for s in chain.steps[: chain.first]) else None
    if x.dim() != 2 or not x.numel() or (features and x.shape[1] != features[0]):
        count = features[0] if features else "features"
        raise ValueError(f"x has the shape {tuple(x.shape)}; give a row ({count}), or rows (N, {count}), at least one")
    for name, tensor in {"x": x, "y": y, **chain.start}.items():
        _check_finite(chain.keys.get(name, name), tensor)
    chain.measure(x)
    outputs = chain.sizes[-1]
    if y.shape != (len(x), outputs):
        raise ValueError(
            f"y has the shape {tuple(y.shape)}; give ({len(x)}, {outputs}), a number for each row and output"
            + (f"; of the numbers of classes it is torch.nn.functional.one_hot(y, {outputs})" if outputs > 1 else "")
        )
    return x, y


def _as_tensor(name, value, like):
    """A copy of real numbers with the dtype and device of `like`, a plain tensor without a graph."""
    try:
        # NumPy makes float64 of a list, torch float32
        tensor = torch.as_tensor(value if isinstance(value, torch.Tensor) else np.array(value)).detach()
    except (TypeError, ValueError, RuntimeError):  # torch's message has neither the name nor the value
        raise TypeError(f"{name}={reprlib.repr(value)} is not read as numbers; {REAL}") from None
    if tensor.is_complex() or tensor.is_meta or tensor.layout != torch.strided:
        kind = f"{tensor.dtype}, {tensor.layout}, on {tensor.device}".replace("torch.", "")
        raise TypeError(f"{name} is {kind}; {REAL}")
    return tensor.to(like, copy=True)


def _check_finite(name, tensor):
    if not tensor.isfinite().all():
        raise ValueError(f"{name} holds nan or inf, and so would everything that is computed from it")


def texts(title, features, outputs, chain):
    """The title, and the names of the columns of x and of y: none, or one for each column."""
    if not isinstance(title, str):
        raise TypeError(f"title={reprlib.repr(title)} must be a text")
    first, *_, last = chain.sizes
    return title, _names("features", features, first), _names("outputs", outputs, last)


def _names(argument, given, count):
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"{argument}={reprlib.repr(given)} must be a list of {count} names")
    found = [str(name) for name in given]
    if found and len(found) != count:
        raise ValueError(f"{argument} has {len(found)} names; give {count}, one for each column, or none")
    return found


def loss_of(loss, chain, y):
    """The loss, where it is None the cross-entropy of what the model gives; its weights are copies, as y is.

    Raises:
        TypeError: a loss that is not supported, or that takes probabilities where the model gives none.
        ValueError: a y that is no probability, weights of another shape, nan or inf.
    """
    last = chain.steps[-1]
    gives = None if last.is_layer else last.rule.range
    default = nn.BCELoss if gives == rule_of(nn.BCELoss()).domain else nn.BCEWithLogitsLoss
    loss = copy.copy(checked_loss(default() if loss is None else loss))
    rule, name = rule_of(loss), type(loss).__name__
    if rule.target != "elements" or rule.equation is None or rule.slope is None:
        raise TypeError(f"{name} has no equation for each element of y in its rule, and explain shows equations")
    loss._buffers = {name: _fitted(name, value, y) for name, value in loss._buffers.items()}
    if rule.domain is None:
        return loss
    low, high = rule.domain
    if rule.answers is None and not (gives and low <= gives[0] and gives[1] <= high):
        raise TypeError(
            f"{name} takes outputs between {low:g} and {high:g}, such as probabilities, and the model does not end "
            "with a Sigmoid; add one, or use BCEWithLogitsLoss"
        )
    if (outside := y[(y < low) | (y > high)]).numel():
        raise ValueError(
            f"y holds {outside[0].item():g}; {name} takes {low:g}, {high:g} or a number between them, and MSELoss any "
            "number"
        )
    return loss


def _fitted(name, weight, y):
    if weight is None:
        return None
    weight = _as_tensor(name := f"the loss's {name}", weight, y)
    _check_finite(name, weight)
    try:
        fits = torch.broadcast_shapes(weight.shape, y.shape) == y.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f"{name} has the shape {tuple(weight.shape)}; give ({y.shape[1]}), one for each output")
    return weight
