"""Our own operations and modules pass every check, some cases of each."""

import itertools

import pytest
import torch

import torchbp
from tests.cases import CASES, OPERATIONS
from tests.inputs.operation import draw
from torchbp import nn, ops

A_FEW = 3


def chosen():
    """Of each operation, the first cases with more than one dimension and, if there are options, one of each."""
    for operation in OPERATIONS:
        cases = [c for c in CASES if c.operation is operation and c.layout == "contiguous" and 0 not in c.shapes[0]]
        plain = [c for c in cases if not c.options and len(c.shapes[0]) >= 1]
        yield from itertools.chain(plain[:A_FEW], [c for c in cases if c.options and len(c.shapes[0]) == 2])


@pytest.mark.parametrize("case", list(chosen()), ids=str)
def test_operations(case):
    ours, torchs = case.calls()
    # the gradient of a target is not clamped at the probabilities 0 and 1, in torch neither: so not up to there
    domain = {f"leaves[{i}]": (0.01, 0.99) for i, how in enumerate(case.operation.values) if how == "probability"}
    report = torchbp.check(
        ours,
        tuple(case.leaves(requires_grad=True)),
        require=("second_order", "jvp", "batched_grad", "vmap", "hessian"),
        domain=domain or None,
        reference=torchs,
        raise_exception=False,
    )
    assert not report.failed, str(report)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_operations_compile(operation, fresh_compiler):
    """All cases of an operation in one function: a compilation takes long, mostly whatever its size."""
    cases = [case for case in chosen() if case.operation is operation]
    functions = [case.calls()[0] for case in cases]

    def all_cases(inputs):
        return [function(*leaves) for function, leaves in zip(functions, inputs, strict=True)]

    inputs = [case.leaves(requires_grad=True) for case in cases]
    torchbp.check(all_cases, (inputs,), checks="compile", require="compile")


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_fused_networks(activation, fresh_compiler):
    def network(x, *parameters):
        return ops.mlp(x, parameters[0::2], parameters[1::2], activation=activation)

    shapes = (4, 3), (5, 3), (5,), (2, 5), (2,)
    inputs = tuple(draw("normal", shape).requires_grad_() for shape in shapes)
    torchbp.check(network, inputs, checks="all", require="compile")


MODULES = {
    "Linear": (lambda: nn.Linear(3, 2), [(4, 3)]),
    "EnsembleLinear": (lambda: nn.EnsembleLinear(2, 3, 2), [(4, 3)]),
    "Sigmoid": (nn.Sigmoid, [(4, 3)]),
    "Tanh": (nn.Tanh, [(4, 3)]),
    "ReLU": (nn.ReLU, [(4, 3)]),
    "MSELoss": (nn.MSELoss, [(4, 3), (4, 3)]),
    "BCELoss": (nn.BCELoss, [(4, 3), (4, 3)]),
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss, [(4, 3), (4, 3)]),
    "MLP": (lambda: nn.MLP(3, 4, 2), [(5, 3)]),
    "FusedMLP": (lambda: nn.FusedMLP(3, 4, 2), [(5, 3)]),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name, fresh_compiler):
    make, shapes = MODULES[name]
    kind = "probability" if "Loss" in name else "normal"
    inputs = tuple(draw(kind, shape).requires_grad_() for shape in shapes)
    domain = (0.01, 0.99) if kind == "probability" else None
    report = torchbp.check(make(), inputs, checks="all", require="compile", domain=domain, raise_exception=False)
    assert not report.failed, str(report)


def test_every_module_is_there():
    assert set(MODULES) == set(nn.__all__)
    assert torch.get_default_dtype() == torch.float32
