"""The arguments of `explain`. What cannot be explained is refused with its name, its value and the remedy."""

import copy
import itertools
import math
import reprlib
from collections.abc import Iterable
from numbers import Real

import numpy as np
import torch

from torchbp.engine.losses import checked_loss
from torchbp.explanation.words import class_name, either
from torchbp.ops.registry import rule_of, rules
from torchbp.ops.rules import Activation, Loss

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


def unscaled_rows(unscaled, x):
    """x before it was scaled, in the shape of x, or None."""
    if unscaled is None:
        return None
    tensor = _as_tensor("unscaled", unscaled, x)
    if tensor.dim() == 1:
        tensor = tensor.unsqueeze(0)
    if tensor.shape != x.shape:
        raise ValueError(f"unscaled has the shape {tuple(tensor.shape)}; give that of x, {tuple(x.shape)}")
    return tensor


def _names(argument, names, count):
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"{argument}={reprlib.repr(names)} must be a list of {count} names")
    found = [str(name) for name in names]
    if found and len(found) != count:
        raise ValueError(f"{argument} has {len(found)} names; give {count}, one for each column, or none")
    return found


def supported_loss(loss, chain):
    """A copy of the loss; where it is None the engine's, or, where the model gives what it turns its logits into, the
    same loss of answers.

    Raises:
        TypeError: a loss that is not supported, or that takes answers of a range that the model does not give.
    """
    last = chain.steps[-1]
    gives = None if last.is_layer else last.rule.range
    if loss is None:
        loss = checked_loss(None)
        of_answers = rule_of(loss).of_answers
        if of_answers is not None and _lies_within(gives, of_answers.domain):
            loss = of_answers.module_class()
    loss = copy.copy(checked_loss(loss))
    rule, name = rule_of(loss), type(loss).__name__
    if rule.target == "classes":
        raise TypeError(
            f"{name} compares rows with classes, and explain does not show such a loss yet; use {either(_shown())}"
        )
    if rule.equation is None or rule.slope is None:
        raise TypeError(
            f"{name} has no equation for each element of y in its rule, and explain shows equations; use "
            f"{either(_shown())}"
        )
    if rule.answers is None and rule.domain is not None and not _lies_within(gives, rule.domain):
        low, high = rule.domain
        activations = [class_name(r) for r in rules(Activation).values() if _lies_within(r.range, rule.domain)]
        of_logits = [class_name(r) for r in rules(Loss).values() if r.of_answers is rule]
        raise TypeError(
            f"{name} takes outputs between {low:g} and {high:g}, and the model does not end with "
            + (f"a {either(activations)}; add one" if activations else "an activation that gives them")
            + f"{', or' if activations else '; '} use {either(of_logits or _shown(any_number=True))}"
        )
    return loss


def fitted_loss(loss, y):
    """The loss with copies of its weights in the dtype of y.

    Raises:
        TypeError: weights that are no real numbers.
        ValueError: a y that the loss does not take, weights of another shape, nan or inf.
    """
    rule = rule_of(loss)
    loss._buffers = {name: _fitted(name, value, y) for name, value in loss._buffers.items()}
    low, high = rule.domain or (-math.inf, math.inf)
    if (outside := y[(y < low) | (y > high)]).numel():
        raise ValueError(
            f"y holds {outside[0].item():g}; {type(loss).__name__} takes {low:g}, {high:g} or a number between them, "
            f"and {either(_shown(any_number=True))} any number"
        )
    return loss


def _lies_within(found, domain):
    """Whether a range of numbers, or None, is known to lie within a domain."""
    return found is not None and domain is not None and domain[0] <= found[0] and found[1] <= domain[1]


def _shown(any_number=False):
    """The names of the losses that explain shows; of those that take any number, if that is asked for."""
    return [
        class_name(rule)
        for rule in rules(Loss).values()
        if rule.target == "elements"
        and None not in (rule.equation, rule.slope)
        and not (any_number and rule.domain is not None)
    ]


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
