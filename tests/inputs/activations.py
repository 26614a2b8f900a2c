"""The activations, from their rules, and the inputs on which ours and torch's must agree."""

import torch
import torch.nn.functional as F

from tests.inputs.operation import SHAPES, Operation
from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation

# the names of torch's sample inputs that differ from `nn.functional.` and the rule's name
SAMPLES = {"sigmoid": ("sigmoid",), "tanh": ("tanh",), "hardsigmoid": ()}  # torch's hardsigmoid has no second gradient

# the constants of those that have some, beside torch's defaults
OPTIONS = {
    "elu": [{"alpha": 0.5}],
    "gelu": [{"approximate": "tanh"}],
    "leaky_relu": [{"negative_slope": 0.3}],
    "softplus": [{"beta": 2.0, "threshold": 1.0}],
}

# torch's operation, where it is not the function of torch.nn.functional or torch that has the rule's name
TORCHS = {"hardsigmoid": lambda z: F.relu6(z + 3) / 6}  # torch's own has no second gradient, and 1/6 in float32


def of_torch(rule):
    return TORCHS.get(rule.name) or getattr(F, rule.name)


def takes_complex(function):
    try:
        function(torch.ones(1, dtype=torch.complex64, requires_grad=True))
    except (RuntimeError, NotImplementedError):
        return False
    return True


OPERATIONS = [
    Operation(
        rule.apply,
        of_torch(rule),
        [(shape,) for shape in (SHAPES if rule.saves == "output" else SHAPES[1:4])],
        [{}, *OPTIONS.get(rule.name, [])],
        complex=takes_complex(of_torch(rule)),
        layouts=rule.saves == "output",
        samples=SAMPLES.get(rule.name, (f"nn.functional.{rule.name}",)),
    )
    for rule in rules(Activation).values()
]
