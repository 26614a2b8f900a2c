"""The activations, from their rules, and the inputs on which ours and torch's must agree."""

import torch

from tests.inputs.operation import SHAPES, Operation
from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation

# the names of torch's sample inputs that differ from `nn.functional.` and the rule's name
SAMPLES = {"sigmoid": "sigmoid", "tanh": "tanh"}


def takes_complex(function):
    try:
        function(torch.ones(1, dtype=torch.complex64))
    except (RuntimeError, NotImplementedError):
        return False
    return True


OPERATIONS = [
    Operation(
        rule.apply,
        rule.forward,
        [(shape,) for shape in SHAPES],
        complex=takes_complex(rule.forward),
        samples=(SAMPLES.get(rule.name, f"nn.functional.{rule.name}"),),
    )
    for rule in rules(Activation).values()
]
