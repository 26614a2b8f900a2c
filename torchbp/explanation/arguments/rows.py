"""The rows x and their targets y."""

import reprlib

import numpy as np
import torch

from torchbp.explanation.arguments.model import widths
from torchbp.ops.registry import rule_of

REAL = "give a tensor, an array or a list of real numbers, all rows of one length"


def rows(chain, x, y, loss):
    """x (N, features), and the target: y (N, outputs), in the dtype and on the device of the network, or of a loss of
    classes the class of each row, (N). A row is a batch of one. Of rows of more dimensions, such as images, x holds the
    numbers in one dimension, and the chain knows their shape."""
    first, of_classes = next(iter(chain.start.values())), rule_of(loss).target == "classes"
    x = real_tensor("x", x, first)
    y = real_tensor("y", y, first.new_empty(0, dtype=torch.float64) if of_classes else first)
    if x.dim() == 1:
        x, y = x.unsqueeze(0), y.reshape(1, -1)
    given, shape = tuple(x.shape), x.shape[1:]
    if x.dim() > 2 and (chain.steps[0].is_activation or chain.steps[0].rule.takes_rows_of_any_shape):
        x = x.flatten(1)
    below = chain.steps[: chain.first]
    features = widths(chain.steps[chain.first]) if all(step.is_activation for step in below) else None
    if x.dim() != 2 or not x.numel() or (features and given[-1] != features[0]):
        count = features[0] if features else "features"
        raise ValueError(f"x has the shape {given}; give a row ({count}), or rows (N, {count}), at least one")
    for name, tensor in {"x": x, "y": y, **chain.start}.items():
        check_finite(chain.keys.get(name, name), tensor)
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


def unscaled_rows(unscaled, x):
    """x before it was scaled, in the shape of x, or None."""
    if unscaled is None:
        return None
    tensor = real_tensor("unscaled", unscaled, x)
    if tensor.dim() == 1:
        tensor = tensor.unsqueeze(0)
    if tensor.shape != x.shape:
        raise ValueError(f"unscaled has the shape {tuple(tensor.shape)}; give that of x, {tuple(x.shape)}")
    return tensor


def real_tensor(name, value, like):
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


def check_finite(name, tensor):
    if not tensor.isfinite().all():
        raise ValueError(f"{name} holds nan or inf, and so would everything that is computed from it")
