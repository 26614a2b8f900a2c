"""Networks of all activations, losses and layers that have a rule, and of some that are made up here: every line is
true as it is printed, and every check ok, in the terminal's text and in the page's data."""

import inspect
import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import torchbp
from tests.explanation.lines import check_line, check_numbers
from tests.explanation.samples import XOR, data_of
from torchbp.ops.expressions import (
    A,
    Function,
    Indicator,
    Number,
    SumOver,
    Symbol,
    X,
    Z,
    cos,
    dZ,
    exp,
    ln,
    sigma,
    sin,
    tanh,
    y,
)
from torchbp.ops.registry import implements, register, rules, unregister
from torchbp.ops.rules import Activation, Layer, Loss, Parameter

cosh, ZERO, LEAK = Function("cosh", torch.cosh), Number(0), Symbol("leak")
ACTIVATION = {
    "description": "",
    "slope_description": "",
    "steepest": 2.0,
    "flat": "nowhere",
    "saves": "input",
}


def activation(name, forward, backward, equation, slope, **more):
    parts = {"name": name, "apply": forward, "forward": forward, "backward": backward}
    return Activation(**parts, equation=equation, slope=slope, **ACTIVATION | more)


RULES = {
    "Wave": activation(
        "wave",
        lambda z: z + z.sin() ** 2,
        lambda da, z: da * (1 + (2 * z).sin()),
        Z + sin(Z) ** 2,
        1 + 2 * sin(Z) * cos(Z),
    ),
    # an option, and a slope that jumps
    "Leaky": activation(
        "leaky",
        lambda z, leak: torch.where(z > 0, z, leak * z),
        lambda da, z, leak: torch.where(z > 0, da, leak * da),
        Z * Indicator(Z, ">", ZERO) + LEAK * Z * Indicator(Z, "≤", ZERO),
        Indicator(Z, ">", ZERO) + LEAK * Indicator(Z, "≤", ZERO),
        options=("leak",),
    ),
    "LogCosh": Loss(
        name="log_cosh",
        apply=lambda a, y: (a - y).cosh().log(),
        each=lambda a, y: (a - y).cosh().log(),
        derivative=lambda a, y: (a - y).tanh(),
        equation=ln(cosh(A - y)),
        slope=tanh(A - y),
        description="",
    ),
    # takes logits
    "Brier": Loss(
        name="brier",
        apply=lambda z, y: (z.sigmoid() - y) ** 2,
        each=lambda z, y: (z.sigmoid() - y) ** 2,
        derivative=lambda z, y: 2 * (z.sigmoid() - y) * z.sigmoid() * (1 - z.sigmoid()),
        answers=rules(Activation)["sigmoid"],
        equation=(A - y) ** 2,
        slope=2 * (A - y),
        error=2 * (A - y) * A * (1 - A),
        domain=(0.0, 1.0),
        description="",
    ),
    "ScaleShift": Layer(
        name="scale_shift",
        apply=lambda x, g, s: x * g + s,
        forward=lambda x, g, s: x * g if s is None else x * g + s,
        backward=lambda dz, x, g, s: dz * g,
        saves="input",
        parameters=(
            Parameter("scale", "g", gradient=lambda dz, x: (dz * x).sum(0), equation=SumOver(dZ * X, rows=True)),
            Parameter("shift", "s", gradient=lambda dz, x: dz.sum(0), equation=SumOver(dZ, rows=True)),
        ),
        equation=X * Symbol("g") + Symbol("s"),
        backward_equation=dZ * Symbol("g"),
        description="",
    ),
}


class Wave(torch.nn.Module):
    def forward(self, z):
        return z + z.sin() ** 2


class Leaky(torch.nn.Module):
    leak = 0.1

    def forward(self, z):
        return torch.nn.functional.leaky_relu(z, self.leak)


class LogCosh(torch.nn.modules.loss._Loss):
    def forward(self, a, y):
        each = (a - y).cosh().log()
        return each.mean() if self.reduction == "mean" else each.sum()


class Brier(torch.nn.modules.loss._Loss):
    def forward(self, z, y):
        return torch.nn.functional.mse_loss(z.sigmoid(), y, reduction=self.reduction)


class ScaleShift(torch.nn.Module):
    def __init__(self, features, bias=True):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.randn(features, dtype=torch.float64))
        self.register_parameter(
            "shift", torch.nn.Parameter(torch.randn(features, dtype=torch.float64)) if bias else None
        )

    def forward(self, x):
        return x * self.scale if self.shift is None else x * self.scale + self.shift


@pytest.fixture(autouse=True, scope="module")
def registered():
    for name, rule in RULES.items():
        implements(register(rule))(globals()[name])
    yield
    for rule in RULES.values():
        unregister(rule)


@st.composite
def cases(draw):
    """A network of one to four layers, with up to two activations between them, a loss, and rows."""
    torch.manual_seed(draw(st.integers(0, 2**32 - 1)))
    activations = [rule.module_class for rule in rules(Activation).values()]
    losses = [rule for rule in rules(Loss).values() if rule.equation is not None]
    width, layers = draw(st.integers(1, 12)), []
    features = width
    for place in range(draw(st.integers(1, 4))):
        bias = draw(st.booleans())
        if place and draw(st.booleans()):
            layers.append(ScaleShift(width, bias))
        else:
            below, width = width, draw(st.integers(1, 12))
            layers.append(torch.nn.Linear(below, width, bias=bias, dtype=torch.float64))
        if draw(st.integers(0, 3)) == 0:
            norm = torch.nn.LayerNorm(width, elementwise_affine=draw(st.booleans()), bias=bias, dtype=torch.float64)
            torch.nn.init.normal_(norm.weight) if norm.elementwise_affine else None
            layers.append(norm)
        layers += [activation() for activation in draw(st.lists(st.sampled_from(activations), max_size=2))]
        without_parameters = torch.nn.Dropout(0.4), torchbp.nn.Dropout(0.0), torch.nn.Softmax(1), torch.nn.Flatten()
        layers += draw(st.lists(st.sampled_from(without_parameters), max_size=1))
    rule = draw(st.sampled_from(losses))
    if rule.target == "classes" and not rule.answers:
        layers.append(torch.nn.LogSoftmax(-1))
    elif rule.domain and not rule.answers:
        layers.append(torch.nn.Sigmoid())
    options = {"reduction": draw(st.sampled_from(["mean", "sum"]))}
    defaults = inspect.signature(rule.module_class).parameters
    for name in rule.options:
        if name != "ignore_index" and draw(st.booleans()):
            drawn = torch.rand(width) / 2 + 0.5
            default = defaults[name].default
            options[name] = True if isinstance(default, bool) else drawn[0].item() if default is not None else drawn
    rows = draw(st.sampled_from([1, 2, 10]))
    target = torch.rand(rows, width)
    target = target.round() if draw(st.booleans()) else target
    if rule.target == "classes":
        target = torch.randint(width, (rows,))
    return torch.nn.Sequential(*layers), rule.module_class(**options), torch.randn(rows, features), target


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_every_line_is_true_and_every_check_ok(case):
    model, loss, x, target = case
    explanation = torchbp.explain(model, x, target, loss=loss)
    check_numbers(explanation.records)
    assert [(record.name, c) for record in explanation.records for c in record.checks if c.ok is False] == []
    page = explanation.to_html()
    for column in data_of(page)["columns"]:
        lines = [line for row in column["lines"] for unit in row for line in unit.values() if "·" in line]
        lines += [line for unit in column["sums"] for line in ([unit] if isinstance(unit, str) else unit)]
        for line in lines:
            check_line(line)
    page, markdown = page.replace("&gt;", ">"), explanation.to_markdown()
    for record in explanation.records:
        assert record.numbers.replace("dL/d", "∂L/∂") in page
        assert f"`{record.numbers}`" in markdown
    written = json.loads(explanation.to_json())["records"]
    assert [record["numbers"] for record in written] == [record.numbers for record in explanation.records]


SOFTPLUS = {"forward": torch.nn.functional.softplus, "equation": ln(1 + exp(Z)), "slope": sigma(Z)}


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({}, set()),
        ({"slope": Number(1)}, {"dL/dZ1"}),  # the slope that is printed is not the one that is computed
        ({"slope": 1.01 * sigma(Z)}, {"dL/dZ1"}),
        ({"equation": Z + 0}, {"A1", "A1′"}),
        ({"backward": lambda da, z: da * (z > 0)}, {"dL/dZ1", "dL/dW1", "dL/db1", "dL/dX"}),
    ],
)
def test_a_rule_that_contradicts_itself_is_never_ok(wrong, names):
    """Of each record that a wrong part of a rule belongs to a check is off, and its line says both numbers."""
    parts = {"backward": lambda da, z: da * z.sigmoid(), **SOFTPLUS} | wrong
    rule = register(activation("smooth_relu", parts["forward"], parts["backward"], parts["equation"], parts["slope"]))

    @implements(rule)
    class SmoothReLU(torch.nn.Module):
        def forward(self, z):
            return parts["forward"](z)

    try:
        torch.manual_seed(0)
        layers = torch.nn.Linear(2, 3), SmoothReLU(), torch.nn.Linear(3, 1)
        explanation = torchbp.explain(torch.nn.Sequential(*layers).double(), *XOR)
    finally:
        unregister(rule)
    off = {record.name for record in explanation.records if not all(check.ok for check in record.checks)}
    assert off == names
    assert bool(off) == (" ok; OFF: " in explanation.to_text())
    if "slope" in wrong or "equation" in wrong:
        for name in off:
            assert not explanation[name].example.agrees
            assert ", and not " in explanation[name].numbers
    else:
        check_numbers([record for record in explanation.records if record.name not in off])
