"""The values that the settings of a `Classifier` may have."""

import math

import torch

from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation
from torchbp.training.data.columns import feature_names
from torchbp.training.errors import SettingError

ENGINES = ("autograd", "explicit")
MISSING = ("refuse", "mean")
LARGEST = torch.finfo(torch.float32).max


def check_hyperparameters(h):
    """Raise a SettingError that names the first of the hyperparameters `h` that the network cannot have."""
    activations = rules(Activation)
    rates = h.lr if isinstance(h.lr, list) else [h.lr]
    distinct = 0 < len(rates) == len(set(rates))
    balanced = h.pos_weight in (None, "balanced")
    for name, valid, must in (
        ("hidden", h.hidden and min(h.hidden) >= 1, "must list the units of at least one hidden layer, each ≥ 1"),
        ("activation", h.activation in activations, f"is not known; use {', '.join(activations)}"),
        ("engine", h.engine in ENGINES, f"is not known; use {', '.join(ENGINES)}"),
        (
            "lr",
            distinct and all(0 < rate <= LARGEST for rate in rates),
            "must be a positive number, or a list of different ones",
        ),
        ("members", h.members is None or h.members >= 1, "must be at least 1"),
        ("momentum", 0 <= h.momentum < 1, "must lie in [0, 1)"),
        ("weight_decay", 0 <= h.weight_decay < math.inf, "must not be negative"),
        (
            "pos_weight",
            balanced or (not isinstance(h.pos_weight, str) and 0 < h.pos_weight < math.inf),
            "must be balanced or a positive number",
        ),
    ):
        if not valid:
            raise SettingError(f"model.{name}={h[name]!r} {must}")
    if h.missing not in MISSING:
        raise SettingError(f"missing={h.missing!r} must be {' or '.join(MISSING)}")
    if h.columns is not None and (features := len(feature_names(h.columns))) != h.in_features:
        raise SettingError(f"the columns make {features} features, and in_features={h.in_features}")
