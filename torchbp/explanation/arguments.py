"""The arguments of `explain`: what cannot be explained is refused, by the name and the value, with the remedy."""

import copy
import itertools
import reprlib
from collections.abc import Iterable
from numbers import Real

import numpy as np
import torch

from torchbp import nn
from torchbp.engine.losses import checked_loss
from torchbp.ops.rules import rule_of

LOWEST = 1e-30  # so that the page can draw the losses of far smaller rates
REAL = "give a tensor, an array or a list of real numbers, all rows of one length"


def rate(lr, dtype):
    """The learning rate, a number that the network's dtype holds, as a float; NumPy's and torch's numbers are taken."""
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
    """Raises where the layers do not fit one another, or their parameters are not of one real dtype on one device."""
    first, *_ = chain.start.values()
    for name, p in chain.start.items():
        key = chain.keys[name]
        if p.is_meta:
            raise ValueError(f"{key} is on the device meta, and holds no numbers; make the model on another one")
        if not p.is_floating_point():
            raise TypeError(f"{key} is {p.dtype}; explain takes real numbers: model.double()")
        if (p.dtype, p.device) != (first.dtype, first.device):
            raise ValueError(
                f"{key} is {p.dtype} on {p.device}, and {chain.keys['W1']} {first.dtype} on {first.device}; bring the "
                "model to one dtype and device with model.to(…)"
            )
        if not p.numel():
            raise ValueError(f"{key} has the shape {tuple(p.shape)}: a layer without numbers computes nothing")
    weights = [(chain.keys[step.weight], chain.start[step.weight]) for step in chain.steps if step.kind == "linear"]
    for (lower, below), (upper, above) in itertools.pairwise(weights):
        if len(below) != above.shape[1]:
            raise ValueError(
                f"the layers do not fit: {lower} {tuple(below.shape)} gives {len(below)} numbers, and {upper} "
                f"{tuple(above.shape)} takes {above.shape[1]}"
            )


def rows(chain, x, y):
    """x (N, features) and y (N, outputs), in the dtype and on the device of the network; a row is a batch of one."""
    first = chain.start["W1"]
    x, y = numbers("x", x, first), numbers("y", y, first)
    if x.dim() == 1:
        x, y = x.unsqueeze(0), y.reshape(1, -1)
    features, *_, outputs = chain.sizes()
    if x.dim() != 2 or x.shape[1] != features or not len(x):
        raise ValueError(
            f"x has the shape {tuple(x.shape)}; give a row ({features}), or rows (N, {features}), at least one"
        )
    if y.shape != (len(x), outputs):
        raise ValueError(
            f"y has the shape {tuple(y.shape)}; give ({len(x)}, {outputs}), a number for each row and output"
            + (f"; of the numbers of classes it is torch.nn.functional.one_hot(y, {outputs})" if outputs > 1 else "")
        )
    for name, tensor in {"x": x, "y": y, **chain.start}.items():
        check_finite(chain.keys.get(name, name), tensor)
    return x, y


def numbers(name, value, like):
    """A copy of real numbers, as `like`; of a tensor that requires grad, or is of inference mode, a plain one."""
    try:
        # of a list NumPy makes float64, torch float32
        tensor = torch.as_tensor(value if isinstance(value, torch.Tensor) else np.array(value)).detach()
    except (TypeError, ValueError, RuntimeError):  # torch's words name neither
        raise TypeError(f"{name}={reprlib.repr(value)} is not read as numbers; {REAL}") from None
    if tensor.is_complex() or tensor.is_meta or tensor.layout != torch.strided:
        kind = f"{tensor.dtype}, {tensor.layout}, on {tensor.device}".replace("torch.", "")
        raise TypeError(f"{name} is {kind}; {REAL}")
    return tensor.to(like, copy=True)


def check_finite(name, tensor):
    if not tensor.isfinite().all():
        raise ValueError(f"{name} holds nan or inf, and so would everything that is computed from it")


def texts(title, features, outputs, chain):
    """The title, a text, and the names of the columns of x and y, texts: none, or one for each."""
    if not isinstance(title, str):
        raise TypeError(f"title={reprlib.repr(title)} must be a text")
    first, *_, last = chain.sizes()
    return title, names("features", features, first), names("outputs", outputs, last)


def names(argument, given, count):
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
    probabilities = chain.steps[-1].kind == "sigmoid"
    loss = copy.copy(checked_loss(nn.BCELoss() if loss is None and probabilities else loss))
    loss._buffers = {name: fitted(name, value, y) for name, value in loss._buffers.items()}
    kind = rule_of(loss).name
    if kind == "binary_cross_entropy" and not probabilities:
        raise TypeError(
            f"{type(loss).__name__} takes probabilities, and the model does not end with a Sigmoid; add one, or use "
            "BCEWithLogitsLoss"
        )
    if kind != "mse_loss" and (outside := y[(y < 0) | (y > 1)]).numel():
        raise ValueError(
            f"y holds {outside[0].item():g}; {type(loss).__name__} takes 0, 1 or a probability between them, and "
            "MSELoss any number"
        )
    return loss


def fitted(name, weight, y):
    if weight is None:
        return None
    weight = numbers(name := f"the loss's {name}", weight, y)
    check_finite(name, weight)
    try:
        fits = torch.broadcast_shapes(weight.shape, y.shape) == y.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f"{name} has the shape {tuple(weight.shape)}; give ({y.shape[1]}), one for each output")
    return weight
