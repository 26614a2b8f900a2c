"""The cases that every test of tests/ops runs over: each operation of tests/inputs, of each shape, option and layout.

Activations come from their rules. Every other operation needs inputs: a row in one of the files of tests/inputs.
"""

from dataclasses import dataclass
from itertools import combinations, product

import pytest
import torch

from tests.inputs import activations, attention, convolution, layers, losses, normalisation
from tests.inputs.operation import PER_CHANNEL, PER_CLASS, Operation, draw

OPERATIONS = [
    operation
    for room in (layers, activations, losses, normalisation, convolution, attention)
    for operation in room.OPERATIONS
]


@dataclass(frozen=True)
class Case:
    operation: Operation
    shapes: tuple
    options: dict
    layout: str

    def __str__(self):
        words = [self.operation.name, " ".join(str(list(shape)) for shape in self.shapes), self.layout]
        words += [k if v in (PER_CLASS, PER_CHANNEL) else f"{k}={v}" for k, v in self.options.items()]
        return ", ".join(words)

    def leaves(self, device="cpu", dtype=torch.float64, requires_grad=False):
        """Tensors that `calls` lays out as views of the case's shapes. Integers stay integers."""
        how = self.operation.drawn(len(self.shapes))
        drawn = [draw(value, leaf_shape(shape, self.layout)) for value, shape in zip(how, self.shapes, strict=True)]
        leaves = [t.to(device, dtype if t.is_floating_point() else t.dtype) for t in drawn]
        return with_gradients(leaves) if requires_grad else leaves

    @property
    def is_plain(self):
        """Whether it has the first options and layout."""
        return self.layout == "contiguous" and self.options == self.operation.options[0]

    @property
    def differentiable(self):
        """The numbers of the arguments that have a gradient."""
        return [i for i, how in enumerate(self.operation.drawn(len(self.shapes))) if not how.startswith("below ")]

    def calls(self, device="cpu", dtype=torch.float64):
        """Our function and torch's, of the leaves."""
        shape = self.shapes[0]
        sizes = {PER_CLASS: shape[-1:], PER_CHANNEL: shape[1:2] or shape}
        options = {
            name: torch.rand(sizes[v], device=device, dtype=dtype) + 0.5 if isinstance(v, str) and v in sizes else v
            for name, v in self.options.items()
        }
        names = self.operation.names

        def call(function):
            def on_leaves(*leaves):
                tensors = [lay_out(*pair, self.layout) for pair in zip(leaves, self.shapes, strict=True)]
                if names:
                    return function(**dict(zip(names, tensors, strict=False)), **options)
                return function(*tensors, **options)

            return on_leaves

        return call(self.operation.ours), call(self.operation.torchs)


def with_gradients(leaves):
    """The same tensors, of which those of floating point require a gradient."""
    return [leaf.requires_grad_() if leaf.is_floating_point() or leaf.is_complex() else leaf for leaf in leaves]


def that_require(leaves):
    """Those that require a gradient."""
    return [leaf for leaf in leaves if leaf.requires_grad]


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
    """Every tuple of shapes with the first options, in every layout; the other options with two of them."""
    for operation in OPERATIONS:
        for shapes in operation.shapes:
            yield Case(operation, shapes, operation.options[0], "contiguous")
        matrices = [shapes for shapes in operation.shapes if len(shapes[0]) >= 2 and 0 not in shapes[0]]
        for options, shapes in product(operation.options[1:], (matrices or operation.shapes)[:2]):
            yield Case(operation, shapes, options, "contiguous")
        for shapes, layout in product(operation.shapes, ("transposed", "strided", "expanded")):
            if operation.layouts and any(fits(shape, layout) for shape in shapes):
                yield Case(operation, shapes, operation.options[0], layout)


CASES = list(cases())


def typical(cases):
    """Of each row of the table and each number of arguments, a case: the first with rows, of two dimensions or more."""
    found = {}
    for case in cases:
        key = id(case.operation), len(case.shapes)
        if 0 not in case.shapes[0] and (key not in found or len(found[key].shapes[0]) < 2):
            found[key] = case
    return list(found.values())


def marked(cases, is_variant):
    """The cases as parameters of a test, those that are variants of others with the mark `exhaustive`."""
    return [
        pytest.param(case, id=str(case), marks=pytest.mark.exhaustive if is_variant(case) else ()) for case in cases
    ]


def subsets(numbers):
    """Every choice of one or more of these numbers."""
    return [subset for size in range(1, len(numbers) + 1) for subset in combinations(numbers, size)]
