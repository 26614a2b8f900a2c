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
from torchbp.engine.network import Network
from torchbp.explanation.notation.words import class_name, either
from torchbp.nn.mlp import unstack
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


def checked_factor(factor):
    """A number that the loss is multiplied by."""
    if isinstance(factor, bool) or not isinstance(factor, Real):
        raise TypeError(f"factor={reprlib.repr(factor)} must be a positive number, by which the loss is multiplied")
    if not 0 < factor < math.inf:
        raise ValueError(f"factor={factor} must be a positive number, by which the loss is multiplied")
    return float(factor)


def member_of(model, member):
    """The member of an ensemble, by its number from 1; any other model itself.

    Raises:
        TypeError: an ensemble without `member`, or a single network with it. ValueError: there is no such member.
    """
    members = Network(model).members
    if members is None and member is None:
        return model
    if member is None:
        raise TypeError(f"the model is an ensemble of {members} networks; explain one of them: member=1 to {members}")
    if members is None:
        raise TypeError(f"member={member!r}: the model is a single network; leave member out")
    if isinstance(member, bool) or member not in range(1, members + 1):
        raise ValueError(f"member={member!r}: the ensemble has the members 1 to {members}")
    return unstack(model)[member - 1]


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
        if gives != takes and all(step.is_activation for step in between):
            raise ValueError(
                f"the layers do not fit: {below.described()} gives {gives} numbers, and {above.described()} "
                f"takes {takes}"
            )


def _widths(step):
    """(in_features, out_features) of a layer that has these attributes, otherwise None."""
    found = tuple(getattr(step.module, name, None) for name in ("in_features", "out_features"))
    return None if None in found else found


def rows(chain, x, y, loss):
    """x (N, features), and the target: y (N, outputs), in the dtype and on the device of the network, or of a loss of
    classes the class of each row, (N). A row is a batch of one. Of rows of more dimensions, such as images, x holds the
    numbers in one dimension, and the chain knows their shape."""
    first, of_classes = next(iter(chain.start.values())), rule_of(loss).target == "classes"
    x = _as_tensor("x", x, first)
    y = _as_tensor("y", y, first.new_empty(0, dtype=torch.float64) if of_classes else first)
    if x.dim() == 1:
        x, y = x.unsqueeze(0), y.reshape(1, -1)
    given, shape = tuple(x.shape), x.shape[1:]
    if x.dim() > 2 and (chain.steps[0].is_activation or chain.steps[0].rule.takes_rows_of_any_shape):
        x = x.flatten(1)
    below = chain.steps[: chain.first]
    features = _widths(chain.steps[chain.first]) if all(step.is_activation for step in below) else None
    if x.dim() != 2 or not x.numel() or (features and given[-1] != features[0]):
        count = features[0] if features else "features"
        raise ValueError(f"x has the shape {given}; give a row ({count}), or rows (N, {count}), at least one")
    for name, tensor in {"x": x, "y": y, **chain.start}.items():
        _check_finite(chain.keys.get(name, name), tensor)
    chain.measure(x, shape)
    of_row = chain.row_shapes[chain.output.name]
    if of_classes and len(of_row) > 1:
        raise TypeError(
            f"the model gives rows of the shape {of_row}, and {type(loss).__name__} takes a number for each class; put "
            "a Flatten at the end"
        )
    if of_classes:
        return x, _classes(y, len(x), chain.outputs, loss)
    if y.shape == (len(x), *of_row):
        y = y.flatten(1)
    if y.shape != (len(x), chain.outputs):
        raise ValueError(
            f"y has the shape {tuple(y.shape)}; give ({len(x)}, {chain.outputs}), a number for each row and output"
            + (", or with loss=torch.nn.CrossEntropyLoss() the class of each row" if chain.outputs > 1 else "")
        )
    return x, y


def _classes(y, count, classes, loss):
    """The class of each row, of numbers (N) or (N, 1), or of a 1 among zeros (N, classes)."""
    if y.shape == (count, classes) and classes > 1:
        if not (((y == 0) | (y == 1)).all() and (y.sum(1) == 1).all()):
            raise ValueError(
                f"{type(loss).__name__} compares each row with one class, and y has other rows than a 1 among zeros; "
                "give the class of each row"
            )
        return y.argmax(1)
    if y.shape not in ((count,), (count, 1)):
        raise ValueError(f"y has the shape {tuple(y.shape)}; give the class of each row, ({count}), 0 to {classes - 1}")
    y = y.reshape(-1)
    wrong = (y != y.round()) | (y < 0) | (y >= classes)
    if wrong.any():
        raise ValueError(f"y holds {y[wrong][0].item():g}; the classes are 0 to {classes - 1}")
    if (y == loss.ignore_index).any():
        raise ValueError(f"y holds {loss.ignore_index}, which ignore_index says not to count; leave these rows out")
    return y.long()


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
    return title, _names("features", features, chain.sizes[0]), _names("outputs", outputs, chain.outputs)


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
    gives = last.rule.range if last.is_activation else None
    if loss is None:
        loss = checked_loss(None)
        of_answers = rule_of(loss).of_answers
        if of_answers is not None and _lies_within(gives, of_answers.domain):
            loss = of_answers.module_class()
    loss = copy.copy(checked_loss(loss))
    rule, name = rule_of(loss), type(loss).__name__
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


def fitted_loss(loss, y, chain):
    """The loss with copies of its weights in the dtype of the network.

    Raises:
        TypeError: weights that are no real numbers.
        ValueError: a y that the loss does not take, weights of another shape, nan or inf.
    """
    rule, of_classes = rule_of(loss), rule_of(loss).target == "classes"
    like = next(iter(chain.start.values())).new_empty(chain.outputs) if of_classes else y
    loss._buffers = {name: _fitted(name, value, like) for name, value in loss._buffers.items()}
    if of_classes:
        return loss
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
        if None not in (rule.equation, rule.slope)
        and not (any_number and (rule.domain is not None or rule.target == "classes"))
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
        raise ValueError(f"{name} has the shape {tuple(weight.shape)}; give ({y.shape[-1]}), one for each output")
    return weight
