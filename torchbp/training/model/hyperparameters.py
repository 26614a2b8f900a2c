"""The values that the settings of a `Network` may have."""

import math

import torch

from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation
from torchbp.scaling import SCALINGS
from torchbp.training.data.columns import feature_names
from torchbp.training.descent.optimizers import OPTIMIZERS
from torchbp.training.descent.schedules import SCHEDULES
from torchbp.training.errors import SettingError
from torchbp.training.model.layers import NORMS

ENGINES = ("autograd", "explicit")
LARGEST = torch.finfo(torch.float32).max


def check_hyperparameters(h):
    """Raise a SettingError that names the first of the hyperparameters `h` that the network cannot have."""
    for name, known in (
        ("activation", rules(Activation)),
        ("norm", [None, *NORMS]),
        ("scaling", SCALINGS),
        ("optimizer", OPTIMIZERS),
        ("schedule", [None, *SCHEDULES]),
        ("engine", ENGINES),
    ):
        if h[name] not in known:
            raise SettingError(f"model.{name}={h[name]!r} is not known; use {', '.join(map(_written, known))}")
    rates = h.lr if isinstance(h.lr, list) else [h.lr]
    distinct = 0 < len(rates) == len(set(rates))
    for name, valid, must in (
        ("hidden", all(size >= 1 for size in h.hidden), "must list the units of each hidden layer, each ≥ 1"),
        ("dropout", 0 <= h.dropout < 1, "must lie in [0, 1)"),
        (
            "lr",
            distinct and all(0 < rate <= LARGEST for rate in rates),
            "must be a positive number, or a list of different ones",
        ),
        ("members", h.members is None or h.members >= 1, "must be at least 1"),
        ("momentum", 0 <= h.momentum < 1, "must lie in [0, 1)"),
        ("momentum", not h.momentum or h.optimizer == "sgd", f"is of sgd, and the optimizer is {h.optimizer}"),
        ("weight_decay", 0 <= h.weight_decay < math.inf, "must not be negative"),
        ("warmup", 0 <= h.warmup < math.inf, "must be a number of epochs, not negative"),
        ("warmup", not h.warmup or h.schedule != "one_cycle", "is part of one_cycle already; leave it out"),
        ("clip", h.clip is None or 0 < h.clip < math.inf, "must be a positive number"),
        (
            "norm",
            h.norm != "batch" or (h.members is None and not isinstance(h.lr, list)),
            "takes the rows of one network, and these are several; use layer",
        ),
        ("compile", not h.compile or h.engine == "explicit", "is of model.engine explicit; add that, or leave it out"),
    ):
        if not valid:
            raise SettingError(f"model.{name}={h[name]!r} {must}")
    if h.columns is not None and (features := len(feature_names(h.columns))) != h.in_features:
        raise SettingError(f"the columns make {features} features, and in_features={h.in_features}")


def _written(value):
    return "null" if value is None else value
