"""Our own operations and modules pass every check, some cases of each. Whether they compile is asked in one program for
some modules here, and in one for all operations in tests/ops."""

import pytest
import torch

import torchbp
from tests.cases import CASES, OPERATIONS, with_gradients
from tests.inputs.modules import MODULES, made
from tests.inputs.operation import draw
from torchbp import nn, ops

# numbers of every size in every precision, and many shapes, which tests/ops compares with torch too
SWEEPS = ("extremes", "magnitudes", "precision", "reference", "shapes")


def chosen():
    """Of each operation one case, of two dimensions or more where it has one; the sweeps of one of each folder.

    Exhaustively, with all options, all sweeps, and the siblings of one and three dimensions, whose formulas are those
    of two.
    """
    swept = {}
    for operation in OPERATIONS:
        folder = operation.ours.__module__.split(".")[-2]
        cases = [c for c in CASES if c.operation is operation and c.layout == "contiguous" and 0 not in c.shapes[0]]
        first = next((c for c in cases if len(c.shapes[0]) >= 2), cases[0])
        for case in (c for c in cases if c.shapes == first.shapes):
            is_usual = case.options == operation.options[0] and not has_sibling(operation.name)
            is_swept = is_usual and swept.setdefault(folder, case) is case
            if is_usual and not is_swept:
                yield pytest.param(case, SWEEPS, id=str(case))
            yield pytest.param(case, (), id=f"{case}-swept", marks=() if is_swept else pytest.mark.exhaustive)


def has_sibling(name):
    return name.endswith(("1d", "3d"))


def has_state(name):
    return bool(made(name)[0].state_dict())


@pytest.mark.parametrize(("case", "left_out"), list(chosen()))
def test_operations(case, left_out):
    ours, torchs = case.calls()
    # the gradient of a target is not clamped at the probabilities 0 and 1, in torch neither: so not up to there
    domain = {f"leaves[{i}]": (0.01, 0.99) for i, how in enumerate(case.operation.values) if how == "probability"}
    # the gradient of an ignored row is 0 · its output, which is nan where that is infinite, in torch too
    skip = (*left_out, *(["extremes"] if "ignore_index" in case.options else []))
    settings = {"domain": domain or None, "raise_exception": False, "skip": skip}
    inputs = tuple(case.leaves(requires_grad=True))
    required = ("second_order", "jvp", "batched_grad", "vmap", "hessian")
    report = torchbp.check(ours, inputs, require=required, reference=torchs, **settings)
    if failed := {result.check for result in report.failed}:  # such as a nan from an infinity, which is torch's too
        of_torch = torchbp.check(torchs, inputs, checks=tuple(failed), require=required, **settings)
        assert failed == {result.check for result in of_torch.failed}, str(report)


def test_a_fused_network():
    """It compiles in test_modules_compile."""

    def network(x, *parameters):
        return ops.mlp(x, parameters[0::2], parameters[1::2], activation="tanh")

    shapes = (4, 3), (5, 3), (5,), (2, 5), (2,)
    inputs = tuple(draw("normal", shape).requires_grad_() for shape in shapes)
    torchbp.check(network, inputs, skip=("magnitudes", "precision"))  # those of linear, which are looked at above


def inputs_of(rows):
    return tuple(with_gradients([draw(*row) for row in rows]))


# the others are their operation, which is checked above
WITH_STATE = [name for name in nn.__all__ if has_state(name)]


# What a module adds to its operation; exhaustively, everything.
OF_MODULES = ("fast", "module", "autocast", "checkpointing")


def modules_and_checks():
    for name in WITH_STATE:
        yield pytest.param(name, OF_MODULES, id=name, marks=pytest.mark.exhaustive if has_sibling(name) else ())
        yield pytest.param(name, "default", id=f"{name}-default", marks=pytest.mark.exhaustive)


@pytest.mark.parametrize(("name", "checks"), list(modules_and_checks()))
def test_modules(name, checks):
    module, rows = made(name)
    domain = (0.01, 0.99) if any(how == "probability" for how, _ in rows) else None
    report = torchbp.check(module, inputs_of(rows), checks=checks, domain=domain, raise_exception=False)
    assert not report.failed, str(report)


WITHOUT_SIBLINGS = [name for name in WITH_STATE if not has_sibling(name)]
OF_EACH_KIND = ["Linear", "Embedding", "BatchNorm2d", "MLP", "MultiheadAttention"]


@pytest.mark.parametrize(
    "names", [OF_EACH_KIND, pytest.param(WITHOUT_SIBLINGS, marks=pytest.mark.exhaustive)], ids=["one of a kind", "all"]
)
def test_modules_compile(fresh_compiler, names):
    """In one program: a compilation takes long, mostly whatever its size.

    All operations are compiled in tests/ops, and all modules exported in tests/nn.
    """

    class All(torch.nn.Module):
        def __init__(self, modules):
            super().__init__()
            self.each = torch.nn.ModuleList(modules)

        def forward(self, inputs):
            return [module(*of) for module, of in zip(self.each, inputs, strict=True)]

    modules, rows = zip(*map(made, names), strict=True)
    report = torchbp.check(All(modules), ([inputs_of(of) for of in rows],), checks="compile", require="compile")
    assert not report.failed


def test_every_module_is_there():
    assert set(nn.__all__) <= set(MODULES)
    assert torch.get_default_dtype() == torch.float32
