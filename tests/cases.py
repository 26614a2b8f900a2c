"""The operations: ours, torch's, and the inputs on which both must agree. Every test of tests/ops runs over them.

Activations come from their rules. A new layer or loss needs inputs: add a row to OPERATIONS.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations, product

import torch
import torch.nn.functional as F

from torchbp import ops
from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation

# 0-D, 1-D, 2-D, N-D, one row, empty batch
SHAPES = [(), (3,), (4, 3), (2, 3, 2), (1, 3), (0, 3)]


@dataclass(frozen=True)
class Operation:
    ours: Callable
    torchs: Callable
    shapes: list  # of the tensor arguments, one tuple of shapes a case
    options: list = field(default_factory=lambda: [{}])  # keyword arguments
    values: tuple = ()  # how each argument is drawn, see `draw`; "normal" where nothing is said
    complex: bool = True  # whether torch's has complex numbers

    @property
    def name(self):
        return self.ours.__name__


PER_CLASS = "a positive number for each index of the last dimension"

REDUCTIONS = [{}, {"reduction": "sum"}, {"reduction": "none"}]
LOSS_OPTIONS = [*REDUCTIONS, {"weight": PER_CLASS}]


def takes_complex(function):
    try:
        function(torch.ones(1, dtype=torch.complex64))
    except (RuntimeError, NotImplementedError):
        return False
    return True


def members_alone(x, weight, bias=None):
    """torch's linear layer of each member, one after another."""
    xs = x if x.dim() == 3 else [x] * len(weight)
    biases = [None] * len(weight) if bias is None else bias
    return torch.stack([F.linear(*member) for member in zip(xs, weight, biases, strict=True)])


OPERATIONS = [
    Operation(
        ops.linear,
        F.linear,
        [
            ((3,), (2, 3), (2,)),
            ((4, 3), (2, 3), (2,)),
            ((4, 3), (2, 3)),
            ((2, 3, 4), (5, 4), (5,)),
            ((2, 1, 3, 2, 4), (2, 4), (2,)),
            ((1, 3), (1, 3), (1,)),
            ((0, 3), (2, 3), (2,)),
            ((4, 3), (2, 3), (1,)),  # a bias that broadcasts
            ((4, 3), (3,)),  # a weight of one dimension: one output without its dimension
            ((3,), (3,), ()),
        ],
    ),
    Operation(
        ops.ensemble_linear,
        members_alone,
        [
            ((2, 4, 3), (2, 5, 3), (2, 5)),  # each member's own rows
            ((4, 3), (2, 5, 3), (2, 5)),  # rows that all members share
            ((4, 3), (2, 5, 3)),
            ((2, 1, 3), (2, 1, 3), (2, 1)),
            ((3, 0, 2), (3, 4, 2), (3, 4)),
        ],
    ),
    *(
        Operation(rule.apply, rule.forward, [(shape,) for shape in SHAPES], complex=takes_complex(rule.forward))
        for rule in rules(Activation).values()
    ),
    Operation(
        ops.mse_loss,
        F.mse_loss,
        [(shape, shape) for shape in SHAPES],
        REDUCTIONS,
        complex=False,
    ),
    Operation(
        ops.binary_cross_entropy,
        F.binary_cross_entropy,
        [(shape, shape) for shape in SHAPES],
        LOSS_OPTIONS,
        values=("probability", "probability"),
        complex=False,
    ),
    Operation(
        ops.binary_cross_entropy_with_logits,
        F.binary_cross_entropy_with_logits,
        [(shape, shape) for shape in SHAPES],
        [*LOSS_OPTIONS, {"pos_weight": PER_CLASS}, {"pos_weight": PER_CLASS, "weight": PER_CLASS}],
        values=("normal", "probability"),
        complex=False,
    ),
]


@dataclass(frozen=True)
class Case:
    operation: Operation
    shapes: tuple
    options: dict
    layout: str

    def __str__(self):
        words = [self.operation.name, " ".join(str(list(shape)) for shape in self.shapes), self.layout]
        words += [k if v is PER_CLASS else f"{k}={v}" for k, v in self.options.items()]
        return ", ".join(words)

    def leaves(self, device="cpu", dtype=torch.float64):
        """Tensors that `calls` lays out as views of the case's shapes."""
        how = self.operation.values or ("normal",) * len(self.shapes)
        return [
            draw(value, leaf_shape(shape, self.layout)).to(device=device, dtype=dtype)
            for value, shape in zip(how, self.shapes, strict=False)
        ]

    def calls(self, device="cpu", dtype=torch.float64):
        """Our function and torch's, of the leaves."""
        weights = torch.rand(self.shapes[0][-1:], device=device, dtype=dtype) + 0.5
        options = {k: weights if v is PER_CLASS else v for k, v in self.options.items()}

        def call(function):
            return lambda *leaves: function(
                *(lay_out(*pair, self.layout) for pair in zip(leaves, self.shapes, strict=True)), **options
            )

        return call(self.operation.ours), call(self.operation.torchs)


def draw(value, shape):
    if value == "probability":  # away from 0 and 1, where numerical differences would leave [0, 1]
        return 0.05 + 0.9 * torch.rand(shape, dtype=torch.float64)
    return torch.randn(shape, dtype=torch.float64)


def fits(shape, layout):
    return len(shape) >= (2 if layout == "transposed" else 1) and 0 not in shape


def leaf_shape(shape, layout):
    if layout == "contiguous" or not fits(shape, layout):
        return shape
    if layout == "transposed":
        return (*shape[:-2], shape[-1], shape[-2])
    return (*shape[:-1], 2 * shape[-1]) if layout == "strided" else (1, *shape[1:])


def lay_out(leaf, shape, layout):
    """A view of the leaf, of this shape, with the strides of the layout; "expanded" repeats the first row."""
    if layout == "contiguous" or not fits(shape, layout):
        return leaf
    if layout == "transposed":
        return leaf.mT
    return leaf[..., ::2] if layout == "strided" else leaf.expand(shape)


def cases():
    for operation in OPERATIONS:
        for shapes, options in product(operation.shapes, operation.options):
            yield Case(operation, shapes, options, "contiguous")
        for shapes, layout in product(operation.shapes, ("transposed", "strided", "expanded")):
            if any(fits(shape, layout) for shape in shapes):
                yield Case(operation, shapes, {}, layout)


CASES = list(cases())


def subsets(n):
    """Every choice of one or more of n arguments."""
    return [subset for size in range(1, n + 1) for subset in combinations(range(n), size)]
