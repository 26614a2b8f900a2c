"""Rules of every kind, run by the engine and compared with torch's modules.

A layer that saves what its forward returns (LayerNorm), one with a random state and options (Dropout), one that takes
indices (Embedding), a loss with class targets and weights whose mean runs over rows (cross-entropy), one with an option
(Huber); and made-up rules, whose results share memory with their arguments.
"""

import copy
import dataclasses
import itertools
import re

import pytest
import torch
import torch.nn.functional as F

import torchbp
from tests.cases import OPERATIONS
from tests.networks import with_masks_by_key
from torchbp.engine import seed_dropout
from torchbp.engine.gradients import gradient_norms
from torchbp.engine.losses import count
from torchbp.engine.network import Network
from torchbp.ops._accumulate import per_member
from torchbp.ops.expressions import A, Indicator, SumOver, Symbol, X, dZ
from torchbp.ops.registry import implements, register, rules, unregister
from torchbp.ops.rules import KINDS, Activation, Layer, Loss, Parameter

OF_TORCHBP = {kind: tuple(rules(kind).values()) for kind in KINDS}

# --- what shares memory with its arguments --------------------------------------------------------------------------

SHIFT = Layer(
    name="shift",
    apply=lambda x, shift: x + shift,
    forward=lambda x, shift: x + shift,
    backward=lambda dz, x, shift: dz,
    saves="input",
    parameters=(Parameter("shift", "s", gradient=lambda dz, x: dz.sum(-2), equation=SumOver(dZ, rows=True)),),
    equation=X + Symbol("s"),
    backward_equation=dZ + 0,
    description="A number is added to each feature.",
)


class Shift(torch.nn.Module):
    def __init__(self, features):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.rand(features).double())

    def forward(self, x):
        return x + self.shift


DOT = Loss(
    name="dot",
    apply=torch.mul,
    each=torch.mul,
    derivative=lambda a, y: y,
    equation=A * Symbol("y"),
    slope=Symbol("y"),
    description="The answers times y.",
)


class Dot(torch.nn.modules.loss._Loss):
    def forward(self, a, y):
        return (a * y).mean()


LEAKY_RELU = rules(Activation)["leaky_relu"]


@pytest.fixture(autouse=True)
def registered():
    new = SHIFT, DOT
    for rule in new:
        register(rule)
    for rule, module in ((SHIFT, Shift), (DOT, Dot)):
        implements(rule)(module)
    yield
    for rule in new:
        unregister(rule)


def linear(*sizes):
    return torch.nn.Linear(*sizes, dtype=torch.double)


def trained_alike(model, loss, x, y, steps=20, **options):
    """Whether torchbp.SGD gives model what torch.optim.SGD gives a copy of it, with the same random numbers."""
    theirs = with_masks_by_key(copy.deepcopy(model))
    options = {"lr": 0.05, "momentum": 0.9, **options}
    ours, reference = torchbp.SGD(model, loss=loss, **options), torch.optim.SGD(theirs.parameters(), **options)
    for _ in range(steps):
        value = ours.backprop_step(x, y)
        reference.zero_grad()
        expected = loss(theirs(x), y)
        expected.backward()
        reference.step()
        torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(model.state_dict(), theirs.state_dict(), rtol=1e-10, atol=1e-11)


def test_a_layer_that_saves_what_its_forward_returns():
    model = torch.nn.Sequential(linear(3, 4), torch.nn.LayerNorm(4, dtype=torch.double), torch.nn.Tanh(), linear(4, 2))
    trained_alike(model, torch.nn.MSELoss(), torch.randn(6, 3).double(), torch.randn(6, 2).double())
    trained_alike(model, torch.nn.MSELoss(), torch.randn(2, 6, 3).double(), torch.randn(2, 6, 2).double())


def test_a_layer_with_a_random_state_reads_its_mode():
    model = torch.nn.Sequential(linear(3, 8), torch.nn.Dropout(0.4), torch.nn.ReLU(), linear(8, 2), torch.nn.Dropout())
    x, y = torch.randn(6, 3).double(), torch.randn(6, 2).double()
    seed_dropout(model, 7)
    trained_alike(model, torch.nn.MSELoss(), x, y)
    optimizer = torchbp.SGD(model, lr=0.0, loss=torch.nn.MSELoss())
    random = optimizer.backprop_step(x, y).item()
    assert random != optimizer.backprop_step(x, y).item()
    model.eval()
    assert optimizer.backprop_step(x, y).item() == optimizer.backprop_step(x, y).item()


def test_a_layer_that_takes_indices():
    model = torch.nn.Sequential(torch.nn.Embedding(5, 3, dtype=torch.double), torch.nn.Sigmoid(), linear(3, 2))
    trained_alike(model, torch.nn.MSELoss(), torch.tensor([0, 4, 4, 1]), torch.randn(4, 2).double())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weight", [None, [1.0, 3.0, 0.5]])
def test_a_loss_of_classes_whose_mean_is_over_rows(weight, reduction):
    weight = None if weight is None else torch.tensor(weight).double()
    loss = torch.nn.CrossEntropyLoss(weight, reduction=reduction)
    x, y = torch.randn(7, 3).double(), torch.tensor([0, 2, 1, 1, 0, 2, 2])
    model = torch.nn.Sequential(linear(3, 4), torch.nn.ReLU(), linear(4, 3))
    trained_alike(model, loss, x, y)
    with pytest.raises(ValueError, match="give a class for each"):
        torchbp.backprop(model, x, torch.randn(7, 3).double(), loss)

    # an ensemble, of which each member has classes of its own, or all share them
    nets = [torchbp.nn.MLP(3, 4, 3, dtype=torch.double) for _ in range(2)]
    for targets in (y, torch.stack([y, y.flip(0)])):
        ensemble = torchbp.stack(nets)
        values = torchbp.SGD(ensemble, lr=0.1, loss=loss).backprop_step(x, targets)
        for e, net in enumerate(copy.deepcopy(nets)):
            of_member = targets if targets.dim() == 1 else targets[e]
            value = torchbp.SGD(net, lr=0.1, loss=loss).backprop_step(x, of_member)
            torch.testing.assert_close(values[e], value)
            torch.testing.assert_close(
                {key: tensor[e] for key, tensor in ensemble.state_dict().items()}, dict(net.state_dict())
            )


def test_the_norm_of_the_gradient_over_batches_counts_as_the_loss_does():
    """The mean over all rows, by the weights of their classes, and not the mean of the batches' means."""
    loss = torch.nn.CrossEntropyLoss(torch.tensor([1.0, 30.0, 0.5]).double())
    x, y = torch.randn(7, 3).double(), torch.tensor([0, 2, 1, 1, 0, 2, 2])
    model = torchbp.nn.MLP(3, 4, 3, dtype=torch.double)
    loss(model(x), y).backward()
    expected = torch.stack([(p.grad + 0.1 * p.detach()).square().sum() for p in model.parameters()]).sum().sqrt()
    decays = dict.fromkeys(model.parameters(), 0.1)
    norm = gradient_norms(Network(model), loss, decays, [(x[:4], y[:4]), (x[4:], y[4:])])
    torch.testing.assert_close(norm, expected)


def test_a_loss_with_an_option():
    model = torch.nn.Sequential(linear(3, 4), torch.nn.Tanh(), linear(4, 2))
    loss = torch.nn.HuberLoss(delta=0.3)
    trained_alike(model, loss, torch.randn(6, 3).double(), torch.randn(6, 2).double())
    loss.delta = 0.05  # is read in each step
    trained_alike(model, loss, torch.randn(6, 3).double(), torch.randn(6, 2).double())


@pytest.mark.parametrize("anomaly", [False, True])
@pytest.mark.parametrize(
    ("layers", "loss"),
    [
        (lambda: [linear(3, 4), torch.nn.Tanh(), Shift(4), linear(4, 2)], torch.nn.MSELoss()),
        (lambda: [torch.nn.Flatten(), torch.nn.ReLU(), linear(3, 2)], torch.nn.MSELoss()),
        (lambda: [linear(3, 2), torch.nn.Tanh()], Dot()),
        (lambda: [linear(3, 2), torch.nn.Tanh(), torch.nn.LeakyReLU(0.2), torch.nn.Sigmoid()], torch.nn.MSELoss()),
    ],
    ids=["a backward that returns dZ", "a view of x", "a derivative that is y", "activations in a row"],
)
def test_no_memory_is_overwritten_that_somebody_reads(layers, loss, anomaly):
    model, x, y = torch.nn.Sequential(*layers()), torch.randn(5, 3).double(), torch.randn(5, 2).double()
    given = x.clone(), y.clone()
    expected = torch.autograd.grad(loss(model(x), y), list(model.parameters()))
    with torch.autograd.set_detect_anomaly(anomaly):
        torchbp.backprop(model, x, y, loss)
    assert torch.equal(x, given[0])
    assert torch.equal(y, given[1])
    for p, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-12, atol=1e-13)


def test_rows_that_the_members_share_are_not_overwritten():
    ensemble, x, y = torchbp.nn.MLP(3, 2, members=2, dtype=torch.double), torch.randn(5, 3), torch.randn(5, 2)
    given = y.double()
    torchbp.SGD(ensemble, lr=[0.1, 0.2], loss=Dot()).backprop_step(x.double(), given)
    assert torch.equal(given, y.double())


def test_an_option_is_read_from_the_module():
    fused = torchbp.nn.FusedMLP(3, 4, 4, 2, activation="leaky_relu", dtype=torch.double)
    model, x = torchbp.nn.MLP(3, 4, 4, 2, activation="leaky_relu", dtype=torch.double), torch.randn(5, 3).double()
    model.load_state_dict(fused.state_dict())
    for slope in (0.01, 0.3):
        for i in (1, 3):
            fused[i].negative_slope = model[i].negative_slope = slope
        torch.testing.assert_close(fused(x), model(x))
        trained_alike(model, torch.nn.MSELoss(), x, torch.randn(5, 2).double(), steps=3)
        model.load_state_dict(fused.state_dict())
    weights, biases = list(fused.parameters())[::2], list(fused.parameters())[1::2]
    model[1].negative_slope = model[3].negative_slope = 0.01
    torch.testing.assert_close(torchbp.ops.mlp(x, weights, biases, "leaky_relu"), model(x))
    fused[3].negative_slope = 0.1
    with pytest.raises(RuntimeError, match="activations with different negative_slope; use MLP"):
        fused(x)


def test_every_rule_has_cases():
    found = {rule.apply for kind in KINDS for rule in OF_TORCHBP[kind]}
    without = {torch.flatten, torchbp.ops.multi_head_attention_forward}  # a view, and one that is made of the others
    assert found - without == {o.ours for o in OPERATIONS}


def test_every_module_and_function_is_exported():
    all_rules = [rule for kind in KINDS for rule in OF_TORCHBP[kind]]
    modules = {rule.module_class.__name__ for rule in all_rules if rule.module_class}
    assert modules - set(torchbp.nn.__all__) == set()
    functions = {rule.apply.__name__ for rule in all_rules if rule.apply is not torch.flatten}
    assert functions - set(torchbp.ops.__all__) == set()


# --- each rule's parts say the same ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", OF_TORCHBP[Activation], ids=lambda rule: rule.name)
@torch.no_grad()  # as the engine calls them
def test_the_forms_of_an_activation_that_overwrite(rule):
    z, da = torch.randn(2, 50).double()
    a = rule.forward(z)
    saved = a if rule.saves == "output" else z
    expected = a.clone(), rule.backward(da, saved)
    torch.testing.assert_close((rule.forward_ or rule.forward)(z.clone()), expected[0], rtol=0, atol=0)
    torch.testing.assert_close((rule.backward_ or rule.backward)(da.clone(), saved), expected[1], rtol=0, atol=0)


@pytest.mark.parametrize("members", [None, 3])
def test_the_parts_of_the_linear_rules(members):
    rule = rules(Layer)["linear" if members is None else "ensemble_linear"]
    of = () if members is None else (members,)
    x, w, b, dz = (torch.randn(*of, *shape).double() for shape in ((5, 3), (2, 3), (2,), (5, 2)))
    symbols = {"X": x, "W": w, "b": b if members is None else b.unsqueeze(-2), "dZ": dz}
    torch.testing.assert_close(rule.tree("equation").evaluate(symbols), rule.forward(x, w, b))
    torch.testing.assert_close(rule.tree("backward_equation").evaluate(symbols), rule.backward(dz, x, w, b))
    for parameter, shape in zip(rule.parameters, (w.shape, b.shape), strict=True):
        gradient = parameter.gradient(dz, x)
        torch.testing.assert_close(parameter.tree().evaluate(symbols), gradient)
        out = torch.randn(shape).double()
        beta, scale = (0.9, -0.1) if members is None else torch.rand(2, members).double()
        expected = per_member(beta, out) * out if members else beta * out
        expected = expected + (per_member(scale, out) * gradient if members else scale * gradient)
        parameter.accumulate(out, dz, dz.new_ones(5) if parameter.ones else x, beta, scale)
        torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("rule", OF_TORCHBP[Loss], ids=lambda rule: rule.name)
def test_the_parts_of_a_loss(rule):
    numbers = {"ignore_index": 1, "label_smoothing": 0.2, "delta": 0.3, "beta": 0.2, "log_target": True}
    defaults = rule.options_of(rule.module_class())
    for chosen in itertools.product(*[(False, True)] * len(rule.options)):
        given = [name for name, have in zip(rule.options, chosen, strict=True) if have]
        options = {**defaults, **{name: numbers.get(name, torch.rand(2).double()) for name in given}}
        have = [name for name, value in options.items() if value is not None and value is not False]
        output, y = torch.randn(5, 2).double().sigmoid().requires_grad_(), torch.rand(5, 2).double()
        of_classes, shown = rule.target == "classes", y
        if of_classes:
            y = (
                torch.tensor([0, 1, 0, 0, 1])
                if rule.equation is None or "ignore_index" not in given
                else y.new_zeros(5)
            )
            y = y.long()
            shown = F.one_hot(y, 2).double()
        a = output if rule.answers is None else rule.answers.forward(output, **rule.answers_options)
        values = {"A": a, "y": shown, "K": 2, **dict(zip(rule.option_symbols, options.values(), strict=False))}
        each = rule.each(output, y, **options)
        if rule.equation is not None:
            by_equation = rule.tree("equation", have).evaluate(values)
            torch.testing.assert_close(by_equation.sum(-1) if of_classes else by_equation, each)
        for reduction in ("mean", "sum"):
            expected = each.sum() / (1 if reduction == "sum" else count(rule, y, options, each.dtype))
            torch.testing.assert_close(rule.mean_or_sum(output, y, reduction, **options), expected)
        (derivative,) = torch.autograd.grad(each.sum(), output, retain_graph=True)
        torch.testing.assert_close(rule.derivative(output.detach(), y, **options), derivative)
        if rule.slope is None:
            continue
        by_answer = rule.tree("slope", have).evaluate(values)
        if rule.answers is not None:
            torch.testing.assert_close(rule.tree("error", have).evaluate(values), derivative)
            if isinstance(rule.answers, Layer):
                tree = rule.answers.tree("backward_equation", **rule.answers_options)
                by_answer = tree.evaluate({"dZ": by_answer, "Z": a})
            else:
                by_answer = by_answer * rule.answers.tree("slope").evaluate({"A": a})
        torch.testing.assert_close(by_answer, derivative)


# --- what a rule cannot be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "wrong", "message"),
    [
        (LEAKY_RELU, {"options": "negative_slope"}, "has options='negative_slope'; give a tuple of names"),
        (LEAKY_RELU, {"forward": "relu"}, "has forward='relu'; give forward(z) → a"),
        (LEAKY_RELU, {"slope": None}, "has slope=None; give ∂A/∂Z as an expression"),
        (LEAKY_RELU, {"name": 3}, "has name=3; give the name"),
        (LEAKY_RELU, {"slope_description": "{q}"}, "`slope_description` has {'q'}; it may have {a} and {z}"),
        (LEAKY_RELU, {"forward_": F.leaky_relu}, "has `forward_`, which would overwrite the saved input"),
        (SHIFT, {"parameters": ("weight",)}, "has parameters=('weight',); give a Parameter for each"),
        (SHIFT, {"parameters": SHIFT.parameters * 2}, "has two parameters with one symbol: s, s"),
        (SHIFT, {"equation": X + Symbol("q")}, "`equation` has the symbol q; it may have X, s"),
        (SHIFT.parameters[0], {"gradient": None}, "the rule of parameter 'shift' has gradient=None"),
        (SHIFT.parameters[0], {"equation": "dZ X"}, "has no expression as `equation`, but 'dZ X'"),
        (SHIFT.parameters[0], {"symbol": "X"}, "has the symbol X, which is taken"),
        (SHIFT.parameters[0], {"ones": True, "accumulate": None}, "has ones=True without `accumulate`"),
        (DOT, {"options": ("delta",)}, "has option_symbols=(); give one for each of ('delta',)"),
        (DOT, {"error": A}, "has `error` without `answers`"),
        (DOT, {"answers": "sigmoid"}, "has answers='sigmoid'; give what turns logits into answers"),
        (DOT, {"target": "rows"}, "has target='rows'; use 'elements', 'classes'"),
        (DOT, {"slope": lambda given: "y"}, "has no expression as `slope`, but 'y'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_part_is_refused_by_name(rule, wrong, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        dataclasses.replace(rule, **wrong)
    with pytest.raises(TypeError, match="lacks `symbol`: the symbol in equations"):
        Parameter("weight")


def test_a_parameter_s_equation_has_symbols_of_its_layer():
    parameter = dataclasses.replace(SHIFT.parameters[0], equation=dZ * Symbol("q"), accumulate=None)
    with pytest.raises(ValueError, match="`equation of shift` has the symbol q; it may have dZ, X, Z, s"):
        dataclasses.replace(SHIFT, parameters=(parameter,))


def test_what_is_registered_or_implemented_twice():
    with pytest.raises(ValueError, match=r"there is a rule of the layer 'shift' already; .* unregister\(rule\) first"):
        register(SHIFT)
    with pytest.raises(ValueError, match="ReLU has the rule 'relu' already"):
        implements(SHIFT)(torchbp.nn.ReLU)
    with pytest.raises(ValueError, match="Shift implements 'shift' already"):
        implements(SHIFT)(type("Other", (torch.nn.Module,), {}))
    with pytest.raises(ValueError, match="'other' is not registered; write register"):
        implements(dataclasses.replace(SHIFT, name="other"))(type("Other", (torch.nn.Module,), {}))
    of_torch = dataclasses.replace(DOT, name="of_torch", torch_module=torch.nn.PoissonNLLLoss)
    register(of_torch)
    try:
        with pytest.raises(TypeError, match="Other must be a subclass of PoissonNLLLoss"):
            implements(of_torch)(type("Other", (torch.nn.Module,), {}))
    finally:
        unregister(of_torch)


def test_a_loss_of_rows_without_a_count_is_refused():
    per_row = dataclasses.replace(DOT, name="per_row", each=lambda a, y: (a * y).sum(-1))
    with pytest.raises(ValueError, match="gives 5 losses for 10 targets; say in `count` what its mean divides by"):
        per_row.mean_or_sum(torch.ones(5, 2), torch.ones(5, 2), "mean")


def test_expressions_take_numbers_on_each_side():
    a = torch.tensor([-1.0, 2.0])
    assert Indicator(A, ">", 0).evaluate({"A": a}).tolist() == [0, 1]
    assert Indicator(0, "<", A).evaluate({"A": a}).tolist() == [0, 1]
    assert (2**A).evaluate({"A": a}).tolist() == [0.5, 4]
    with pytest.raises(ValueError, match="Indicator has the relation '=='; use >, <, ≥, ≤"):
        Indicator(A, "==", 0)


@pytest.mark.parametrize("options", [{}, {"weight": torch.tensor([1.0, 2.0, 0.5])}, {"ignore_index": 1}], ids=str)
@pytest.mark.parametrize("loss", [torch.nn.CrossEntropyLoss, torch.nn.NLLLoss])
@pytest.mark.parametrize("size", [(6,), (2, 3, 3), (2, 5, 5), (3, 4, 7)], ids=str)
def test_the_engine_takes_classes_where_torch_does(size, loss, options):
    """Of an output (N, C, …) they are dimension 1, and −100 is a row that is left out."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3) if len(size) == 1 else torch.nn.Conv2d(2, 3, 1))
    x, y = torch.randn(size[0], 2, *size[1:]), torch.randint(3, size)
    y[0] = options.get("ignore_index", -100)
    loss = loss(**options)
    value = torchbp.backprop(net, x, y, loss=loss)
    found = [p.grad.clone() for p in net.parameters()]
    expected = loss(net(x), y)
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(found, list(torch.autograd.grad(expected, list(net.parameters()))))


def test_images_of_classes_in_other_shapes_are_refused():
    net, x = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1)), torch.randn(2, 2, 4, 5)
    message = r"y has the shape \(2, 5, 4\), and the output \(2, 3, 4, 5\); give \(2, 4, 5\)"
    with pytest.raises(ValueError, match=message):
        torchbp.backprop(net, x, torch.randint(3, (2, 5, 4)), loss=torch.nn.CrossEntropyLoss())
