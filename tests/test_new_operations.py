"""A new operation, from its formulas to its explanation: how to add one to torchbp, in three examples.

Each takes three things, and touches no other file:

1. an `autograd.Function` with its forward and backward formulas, and a function that calls it;
2. a rule, `register(Activation(…))`, `register(Layer(…))` or `register(Loss(…))`, which says the formulas, and the same
   as expressions, to everybody who reads them: modules, `convert`, the engine, `explain`, training;
3. a module, `@implements(rule)`.

An operation of torchbp itself is written in the same way, in a file of `torchbp/ops/` and one of `torchbp/nn/`.
"""

import copy
import dataclasses
import html
import math
import re

import pytest
import torch
from torch.nn.functional import softplus

import torchbp
from torchbp.ops.expressions import A, Function, SumOver, Symbol, X, Z, dZ, ln, sin, y
from torchbp.ops.registry import implements, register, rules, unregister
from torchbp.ops.rules import Activation, Layer, Loss, Parameter
from torchbp.ops.rules.checked import REQUIRED

cosh, tanh = Function("cosh", torch.cosh), Function("tanh", torch.tanh)
g, s = Symbol("g"), Symbol("s")

# --- 1. An activation whose slope needs its input: A = Z + sin² Z -------------------------------------------------


class SnakeFunction(torch.autograd.Function):
    """A = Z + sin² Z, dZ = dA ∘ (1 + sin 2Z)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z):
        return z + z.sin() ** 2

    @staticmethod
    def setup_context(ctx, inputs, a):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, da):
        return snake_dz(da, *ctx.saved_tensors)

    jvp = backward  # f′ is a number for each element


def snake_dz(da, z):
    return da * (1 + (2 * z).sin())


snake = Activation(
    name="snake",
    apply=SnakeFunction.apply,
    forward=SnakeFunction.forward,
    backward=snake_dz,
    saves="input",
    equation=Z + sin(Z) ** 2,
    slope=1 + sin(2 * Z),
    description="adds a wave to each number: z + sin² z",
    slope_description="between 0 and 2",
    steepest=2.0,
    flat="nowhere",
)


class Snake(torch.nn.Module):
    def forward(self, input):
        return SnakeFunction.apply(input)


# --- 2. A loss: ℓ = ln cosh(A − y) ---------------------------------------------------------------------------------


class LogCoshFunction(torch.autograd.Function):
    """ℓ = ln cosh(A − y), dA = dℓ ∘ tanh(A − y), dy = −dA."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a, y):
        return (a - y).abs() + softplus(-2 * (a - y).abs()) - math.log(2)  # cosh itself overflows

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, dloss):
        da = dloss * log_cosh_da(*ctx.saved_tensors)
        return da, -da

    @staticmethod
    def jvp(ctx, a_t, y_t):
        return (a_t - y_t) * log_cosh_da(*ctx.saved_tensors)


def log_cosh_da(a, y):
    return (a - y).tanh()


log_cosh = Loss(
    name="log_cosh",
    apply=LogCoshFunction.apply,
    each=LogCoshFunction.forward,
    derivative=log_cosh_da,
    equation=ln(cosh(A - y)),
    slope=tanh(A - y),
    description="Half the square of small errors, and the size of large ones.",
)


class LogCoshLoss(torch.nn.modules.loss._Loss):
    def forward(self, input, target):
        each = LogCoshFunction.apply(input, target)
        return each.mean() if self.reduction == "mean" else each.sum()


# --- 3. A layer whose parameters are no matrix: Z = X ∘ g + s, a scale and a shift for each feature -----------------


class ScaleShiftFunction(torch.autograd.Function):
    """Z = X ∘ g + s; dX = dZ ∘ g, dg = Σ_n dZ ∘ X, ds = Σ_n dZ. Of an ensemble, X is (E, N, n), and g and s (E, n)."""

    @staticmethod
    def forward(x, scale, shift):
        return x * scale.unsqueeze(-2) + shift.unsqueeze(-2)

    @staticmethod
    def setup_context(ctx, inputs, z):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, dz):
        x, scale, shift = ctx.saved_tensors
        return scale_dx(dz, x, scale, shift), (dz * x).sum(-2), dz.sum(-2)


def scale_dx(dz, x, scale, shift):
    return dz * scale.unsqueeze(-2)


scale_shift = Layer(
    name="scale_shift",
    apply=ScaleShiftFunction.apply,
    forward=ScaleShiftFunction.forward,
    backward=scale_dx,
    saves="input",
    parameters=(
        Parameter("scale", "g", gradient=lambda dz, x: (dz * x).sum(-2), equation=SumOver(dZ * X, rows=True)),
        Parameter("shift", "s", gradient=lambda dz, x: dz.sum(-2), equation=SumOver(dZ, rows=True)),
    ),
    equation=X * g + s,
    backward_equation=dZ * g,
    description="Each feature is multiplied by its scale, and its shift is added.",
)


class ScaleShift(torch.nn.Module):
    def __init__(self, features, members=None):
        super().__init__()
        self.members, shape = members, (features,) if members is None else (members, features)
        self.scale, self.shift = (torch.nn.Parameter(0.5 + torch.rand(shape)) for _ in range(2))

    def forward(self, input):
        return ScaleShiftFunction.apply(input, self.scale, self.shift)


# --- What follows from the rules -----------------------------------------------------------------------------------

OPERATIONS = {Snake: snake, LogCoshLoss: log_cosh, ScaleShift: scale_shift}


@pytest.fixture(autouse=True)
def registered():
    """In a program: `register(rule)` beneath the rule, and `@implements(rule)` above the module's class."""
    for module, rule in OPERATIONS.items():
        register(rule)
        implements(rule)(module)
    yield
    for rule in OPERATIONS.values():
        unregister(rule)


def network(members=None):
    """ScaleShift and two Linear layers, with Snake between them."""
    torch.manual_seed(0)
    linear = [torchbp.nn.Linear(3, 4), torchbp.nn.Linear(4, 2)]
    if members:
        linear = [torchbp.nn.EnsembleLinear(members, 3, 4), torchbp.nn.EnsembleLinear(members, 4, 2)]
    net = torch.nn.Sequential(ScaleShift(3, members), linear[0], Snake(), ScaleShift(4, members), linear[1])
    return net.double()


def rows(count=7):
    torch.manual_seed(1)
    return torch.randn(count, 3, dtype=torch.double), torch.randn(count, 2, dtype=torch.double)


def by_equations(net, x, y):
    """The loss by torch's operations alone: the rules' expressions are evaluated, and autograd differentiates them."""
    for layer in net:
        if isinstance(layer, Snake):
            x = snake.equation.evaluate({"Z": x})
        elif isinstance(layer, ScaleShift):
            x = scale_shift.equation.evaluate({"X": x, "g": layer.scale, "s": layer.shift})
        else:
            x = torch.nn.functional.linear(x, layer.weight, layer.bias)
    return log_cosh.equation.evaluate({"A": x, "y": y}).mean()


def test_an_mlp_takes_the_activation_by_its_name():
    net = torchbp.nn.MLP(3, 4, 2, activation="snake")
    assert isinstance(net[1], Snake)
    fused = torchbp.nn.FusedMLP(3, 4, 2, activation="snake").double()
    layers = torchbp.nn.MLP(3, 4, 2, activation="snake").double()
    layers.load_state_dict(fused.state_dict())
    x, target = rows()[0], torch.rand(7, 2, dtype=torch.double)
    fused.loss(x, target).backward()
    torchbp.nn.BCEWithLogitsLoss()(layers(x), target).backward()
    for ours, theirs in zip(fused.parameters(), layers.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-13)
    with pytest.raises(ValueError, match=r"activation='snail' is not known; use .*, silu, snake, softplus"):
        torchbp.nn.MLP(3, 4, 2, activation="snail")


def test_gradients_are_those_of_autograd():
    net, (x, target) = network(), rows()
    expected = torch.autograd.grad(by_equations(net, x, target), list(net.parameters()))
    by_functions = torch.autograd.grad(LogCoshLoss()(net(x), target), list(net.parameters()))
    torchbp.backprop(net, x, target, LogCoshLoss())
    for p, theirs, ours in zip(net.parameters(), expected, by_functions, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(p.grad, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_sgd_with_momentum_is_that_of_torch(reduction):
    ours, (x, target) = network(), rows()
    theirs, loss = copy.deepcopy(ours), LogCoshLoss(reduction=reduction)
    options = {"lr": 0.02 if reduction == "mean" else 0.001, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}
    optimizer = torchbp.SGD(ours, **options, loss=loss)
    reference = torch.optim.SGD(theirs.parameters(), **options)
    for _ in range(100):
        value = optimizer.backprop_step(x, target)
        reference.zero_grad()
        expected = loss(theirs(x), target)
        expected.backward()
        reference.step()
        torch.testing.assert_close(value, expected.detach(), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-12, atol=1e-12)


def test_each_member_of_an_ensemble_is_that_of_torch():
    ensemble, (x, target) = network(members=3), rows()
    lr = [0.01, 0.02, 0.05]
    members = [network() for _ in lr]
    for e, net in enumerate(members):
        net.load_state_dict({key: value[e] for key, value in ensemble.state_dict().items()})
    optimizer = torchbp.SGD(ensemble, lr=lr, momentum=0.9, loss=LogCoshLoss())
    references = [
        torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9) for net, rate in zip(members, lr, strict=True)
    ]
    for _ in range(100):
        optimizer.backprop_step(x, target)
        for net, reference in zip(members, references, strict=True):
            reference.zero_grad()
            LogCoshLoss()(net(x), target).backward()
            reference.step()
    for e, net in enumerate(members):
        torch.testing.assert_close(
            {key: value[e] for key, value in ensemble.state_dict().items()},
            dict(net.state_dict()),
            rtol=1e-12,
            atol=1e-12,
        )


def test_the_equations_are_what_the_formulas_compute():
    z = torch.linspace(-3.2, 3.2, 25, dtype=torch.double, requires_grad=True)
    for rule in rules(Activation).values():  # torchbp's too
        a = rule.forward(z)
        (slope,) = torch.autograd.grad(a.sum(), z)
        values = {"Z": z, "A": a}
        torch.testing.assert_close(rule.tree("equation").evaluate(values), a, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(rule.tree("slope").evaluate(values).expand_as(z), slope, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(rule.derivative(a, z), slope, rtol=1e-12, atol=1e-13)


def test_explain_shows_each_quantity_and_checks_it():
    net, (x, target) = network(), rows(3)
    explanation = torchbp.explain(net, x, target, lr=0.1, loss=LogCoshLoss())
    names = [record.name for record in explanation.records]
    forward = ["Z1", "Z2", "A2", "Z3", "Z4", "L"]
    backward = ["Z4", "W4", "b4", "Z3", "g3", "s3", "A2", "Z2", "W2", "b2", "Z1", "g1", "s1", "X"]
    learnt = ["g1", "s1", "W2", "b2", "g3", "s3", "W4", "b4"]
    again = [f"{name}′" for name in (*learnt, *forward)]
    assert names == [*forward, *(f"dL/d{name}" for name in backward), *again]
    assert all(check.ok for record in explanation.records for check in record.checks)

    page = explanation.to_html()
    for record in explanation.records:
        sides = evaluated(record.numbers)
        assert max(sides) - min(sides) <= 0.01 * abs(sides[-1]), record.numbers
        assert f'<p class="numbers">{html.escape(record.numbers.replace("dL/d", "∂L/∂"))}</p>' in page
    assert explanation["dL/dZ2"].equation == "dL/dZ2 = dL/dA2 ∘ (1 + sin(2 Z2))"

    optimizer = torchbp.SGD(net, lr=0.1, loss=LogCoshLoss())
    optimizer.backprop_step(x, target)
    torch.testing.assert_close(explanation.updated, net.state_dict(), rtol=1e-12, atol=1e-13)


def evaluated(line):
    """The numbers that the sides of a worked line come to, its value last."""
    _, *sides = line.translate(str.maketrans({"−": "-", "·": "*", "[": "(", "]": ")"})).split(" = ")
    functions = {"sin": math.sin, "cosh": math.cosh, "tanh": math.tanh, "ln": math.log}
    return [eval(re.sub(r"\d+ more: ", "", side).replace("²", "**2"), functions) for side in sides]


def test_the_auditor_finds_no_defect():
    torch.manual_seed(2)
    a, b = (torch.randn(4, 3, dtype=torch.double, requires_grad=True) for _ in range(2))
    for audited, inputs in ((Snake(), a), (ScaleShift(3).double(), a), (LogCoshLoss(), (a, b))):
        report = torchbp.check(audited, inputs)
        assert {result.status for result in report.results} <= {"PASS", "SKIP", "UNSUPPORTED"}, report


@pytest.mark.parametrize("rule", OPERATIONS.values(), ids=lambda rule: rule.name)
def test_a_rule_with_a_missing_part_is_refused_by_name(rule):
    parts = {f.name: getattr(rule, f.name) for f in dataclasses.fields(rule)}
    for part in (f.name for f in dataclasses.fields(rule) if f.default is REQUIRED):
        with pytest.raises(TypeError, match=rf"the rule of {type(rule).__name__.lower()} .* lacks `{part}`: ."):
            type(rule)(**{name: value for name, value in parts.items() if name != part})


def test_a_part_that_makes_no_sense_is_refused():
    parts = {f.name: getattr(snake, f.name) for f in dataclasses.fields(snake)}
    for wrong, message in (
        ({"saves": "everything"}, "has saves='everything'; use 'input', 'output'"),
        ({"slope": 1 - A}, "`slope` has the symbol A; it may have Z"),
        ({"equation": "z + sin² z"}, "has no expression as `equation`, but 'z + sin² z'"),
    ):
        with pytest.raises((TypeError, ValueError), match=re.escape(message)):
            Activation(**parts | wrong)
    with pytest.raises(ValueError, match="there is a rule of the activation 'snake' already"):
        register(Activation(**parts))
