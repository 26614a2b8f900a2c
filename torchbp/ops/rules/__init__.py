"""Rules: what an operation states of itself, once, for everybody who reads it.

The modules of `torchbp.nn`, `convert`, the engine, `explain`, the training command, the bench and the tests read the
rules; none of them has a table of operations. A new operation is one `autograd.Function`, one rule and one module:

    RULE = register(Activation(name="sigmoid", …))

    @implements(RULE)
    class Sigmoid(torch.nn.Sigmoid): …

`tests/test_new_operations.py` makes three of them. A rule whose part is missing is refused where it is made.
"""

from torchbp.ops.rules.activation import Activation
from torchbp.ops.rules.layer import Layer, Parameter
from torchbp.ops.rules.loss import Computed, Loss
from torchbp.ops.rules.rule import Operation, Rule

__all__ = ["KINDS", "Activation", "Computed", "Layer", "Loss", "Operation", "Parameter", "Rule"]

KINDS = Activation, Layer, Loss, Operation
