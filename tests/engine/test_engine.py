"""The engine beside autograd: the same gradients, the same steps, and a clear refusal of what it cannot run."""

import copy
import dataclasses
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchbp
from tests.networks import rows
from torchbp.ops import registry
from torchbp.ops.rules import Layer

LOSSES = {
    "logits": torch.nn.BCEWithLogitsLoss(),
    "logits, weighted": torchbp.nn.BCEWithLogitsLoss(
        weight=torch.tensor([0.5, 2.0], dtype=torch.double), pos_weight=torch.tensor([3.0, 0.2], dtype=torch.double)
    ),
    "logits, sum": torch.nn.BCEWithLogitsLoss(reduction="sum"),
    "squares": torch.nn.MSELoss(),
    "squares, sum": torchbp.nn.MSELoss(reduction="sum"),
}


def network(activation="Sigmoid", sizes=(3, 5, 4, 2), of=torchbp.nn, bias=True):
    layers = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [of.Linear(n_in, n_out, bias=bias, dtype=torch.double), getattr(of, activation)()]
    return torch.nn.Sequential(*layers[:-1])


def grads(model):
    return [p.grad for p in model.parameters()]


def assert_as_autograd(model, loss, x, y):
    expected = copy.deepcopy(model)
    value = loss(expected(x), y)
    value.backward()
    got = torchbp.backprop(model, x, y, loss)
    torch.testing.assert_close(got, value.detach(), rtol=1e-13, atol=1e-13)
    assert not got.requires_grad
    for ours, theirs in zip(grads(model), grads(expected), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("activation", ["Sigmoid", "Tanh", "ReLU"])
@pytest.mark.parametrize("of", [torch.nn, torchbp.nn], ids=["torch", "torchbp"])
def test_gradients_are_autograds(of, activation, loss):
    assert_as_autograd(network(activation, of=of), loss, *rows(7))


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 3), (2, 0)], ids=str)
def test_any_leading_shape(shape):
    assert_as_autograd(network("Tanh"), torch.nn.MSELoss(reduction="sum"), *rows(*shape))


def test_probabilities():
    model = torch.nn.Sequential(*network("Sigmoid"), torch.nn.Sigmoid())
    weight = torch.tensor([0.5, 2.0], dtype=torch.double)
    for loss in (torch.nn.BCELoss(), torchbp.nn.BCELoss(reduction="sum"), torch.nn.BCELoss(weight=weight)):
        assert_as_autograd(model, loss, *rows(7))
        model.zero_grad()


def test_layers_in_any_order():
    model = torch.nn.Sequential(
        torch.nn.Tanh(), torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Sigmoid(),
        torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 2)),
    ).double()  # fmt: skip
    x, y = rows(7)
    before = x.clone()
    assert_as_autograd(model, LOSSES["logits"], x, y)
    assert torch.equal(x, before)


def test_gradients_are_added_in_their_own_memory():
    model = torchbp.nn.MLP(3, 4, 2, dtype=torch.double)
    x, y = rows(7)
    torchbp.backprop(model, x, y)
    first = [g.clone() for g in grads(model)]
    where = [g.data_ptr() for g in grads(model)]
    torchbp.backprop(model, x, y)
    for again, once in zip(grads(model), first, strict=True):
        torch.testing.assert_close(again, 2 * once, rtol=1e-14, atol=0)
    assert [g.data_ptr() for g in grads(model)] == where


@pytest.mark.parametrize("frozen", [numbers for n in range(7) for numbers in itertools.combinations(range(6), n)])
def test_frozen_parameters_are_left_out(frozen):
    model = network()
    for number in frozen:
        list(model.parameters())[number].requires_grad_(False)
    x, y = rows(7)
    if len(frozen) < 6:
        assert_as_autograd(model, LOSSES["logits"], x, y)
    else:
        torchbp.backprop(model, x, y)
        assert grads(model) == [None] * 6


OPTIONS = [
    {"momentum": momentum, "weight_decay": decay, "dampening": dampening, "nesterov": nesterov}
    for momentum, decay, dampening, nesterov in itertools.product((0, 0.9), (0, 0.01), (0, 0.3), (False, True))
    if not nesterov or (momentum and not dampening)
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_many_steps_are_those_of_torchs_sgd(options):
    ours = network()
    theirs, loss = copy.deepcopy(ours), LOSSES["logits"]
    engine = torchbp.SGD(ours, lr=0.3, **options)
    descent = torch.optim.SGD(theirs.parameters(), lr=0.3, **options)
    schedules = [torch.optim.lr_scheduler.StepLR(optimizer, 60, gamma=0.5) for optimizer in (engine, descent)]
    for _ in range(500 if options == OPTIONS[-1] else 100):
        x, y = rows(8)
        descent.zero_grad()
        expected = loss(theirs(x), y)
        expected.backward()
        descent.step()
        torch.testing.assert_close(engine.backprop_step(x, y), expected.detach(), rtol=1e-11, atol=1e-12)
        for schedule in schedules:
            schedule.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)
        assert p.grad is None
    state = engine.state_dict()
    assert state.keys() == descent.state_dict().keys()
    theirs = descent.state_dict()["state"]
    if options["momentum"]:
        assert state["state"].keys() == theirs.keys()
        for number, of_parameter in state["state"].items():
            assert of_parameter.keys() == theirs[number].keys()
            velocity = theirs[number]["momentum_buffer"]
            torch.testing.assert_close(of_parameter["momentum_buffer"], velocity, rtol=1e-11, atol=1e-12)


def test_state_goes_to_torchs_sgd_and_back():
    ours = network()
    options = {"lr": 0.3, "momentum": 0.9}
    engine = torchbp.SGD(ours, **options)
    batches = [rows(8) for _ in range(6)]
    for x, y in batches[:2]:
        engine.backprop_step(x, y)
    theirs = copy.deepcopy(ours)
    descent = torch.optim.SGD(theirs.parameters(), **options)
    descent.load_state_dict(copy.deepcopy(engine.state_dict()))
    for x, y in batches[2:4]:
        engine.backprop_step(x, y)
        descent.zero_grad()
        LOSSES["logits"](theirs(x), y).backward()
        descent.step()
    again = torchbp.SGD(theirs, **options)
    again.load_state_dict(descent.state_dict())
    for x, y in batches[4:]:
        engine.backprop_step(x, y)
        again.backprop_step(x, y)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-13, atol=1e-13)


def test_its_own_step_is_torchs():
    model = network()
    other = copy.deepcopy(model)
    x, y = rows(8)
    stepped, fused = torchbp.SGD(model, lr=0.3), torchbp.SGD(other, lr=0.3)
    torchbp.backprop(model, x, y)
    stepped.step()
    fused.backprop_step(x, y)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-13, atol=1e-13)


def test_parameter_groups():
    model = network()
    other = copy.deepcopy(model)
    x, y = rows(8)
    engine, descent = torchbp.SGD(model, lr=0.3), torch.optim.SGD(other.parameters(), lr=0.3)
    for optimizer, net in ((engine, model), (descent, other)):
        group = optimizer.param_groups[0]
        moved = group["params"].pop(0)
        optimizer.add_param_group({"params": [moved], "lr": 0.01, "weight_decay": 0.1})
        assert moved is net[0].weight
    engine.backprop_step(x, y)
    LOSSES["logits"](other(x), y).backward()
    descent.step()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-13, atol=1e-13)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    batch=st.integers(1, 9),
    activation=st.sampled_from(["Sigmoid", "Tanh", "ReLU"]),
    momentum=st.sampled_from([0.0, 0.5]),
    decay=st.sampled_from([0.0, 0.1]),
    bias=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 999),
)
def test_any_network(sizes, batch, activation, momentum, decay, bias, dtype, seed):
    torch.manual_seed(seed)
    ours = network(activation, sizes, bias=bias).to(dtype)
    theirs = copy.deepcopy(ours)
    engine = torchbp.SGD(ours, 0.1, momentum, weight_decay=decay)
    descent = torch.optim.SGD(theirs.parameters(), 0.1, momentum, weight_decay=decay)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for _ in range(3):
        x, y = torch.randn(batch, sizes[0], dtype=dtype), torch.rand(batch, sizes[-1], dtype=dtype)
        descent.zero_grad()
        LOSSES["logits"](theirs(x), y).backward()
        descent.step()
        engine.backprop_step(x, y)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance)


def test_no_graph_and_no_gradient_is_made():
    model = torchbp.nn.MLP(3, 4, 1)
    x, y = torch.randn(8, 3, requires_grad=True), torch.ones(8, 1)
    loss = torchbp.SGD(model, lr=0.1).backprop_step(x, y)
    assert loss.grad_fn is None
    assert x.grad is None
    assert grads(model) == [None] * 4


def hooked():
    model = network()
    model[2].register_forward_hook(lambda *_: None)
    return model


def whole_hooked():
    model = network()
    model.register_forward_hook(lambda *_: None)
    return model


BAD = {
    "another layer": (lambda: torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.CELU()), "layer '1', a CELU,"),
    "a model of another kind": (lambda: torch.nn.Bilinear(3, 3, 2), "a Bilinear is not supported"),
    "no layer that learns": (lambda: torch.nn.Sequential(torch.nn.Tanh()), "has no layer with parameters"),
    "a norm without weights": (
        lambda: torch.nn.Sequential(torch.nn.LayerNorm(3, elementwise_affine=False)),
        "has no layer with",
    ),
    "a hook": (hooked, "layer '2', a Linear, has a hook"),
    "a hook of the whole": (whole_hooked, "a Sequential has a hook"),
    "a parametrization": (
        lambda: torch.nn.Sequential(torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 2))),
        "ParametrizedLinear",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_what_it_cannot_run_is_named(make, message):
    for call in (lambda: torchbp.backprop(make(), *rows(4)), lambda: torchbp.SGD(make())):
        with pytest.raises(TypeError, match=message):
            call()


@pytest.mark.parametrize(
    ("register", "name"),
    [
        (lambda model: model[0].register_full_backward_hook(lambda *_: None), "layer '0', a Linear,"),
        (lambda model: model[1].register_forward_pre_hook(lambda *_: None), "layer '1', a Sigmoid,"),
        (lambda model: model.register_full_backward_pre_hook(lambda *_: None), "a Sequential"),
        (lambda model: torch.nn.modules.module.register_module_forward_hook(lambda *_: None), "all modules"),
    ],
)
def test_a_hook_that_comes_later_is_named(register, name):
    model = network()
    optimizer = torchbp.SGD(model)
    before = copy.deepcopy(model.state_dict())
    handle = register(model)
    try:
        for step, args in ((optimizer.backprop_step, rows(4)), (optimizer.backprop_steps, rows(2, 4))):
            with pytest.raises(TypeError, match=name):
                step(*args)
    finally:
        handle.remove()
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    optimizer.backprop_step(*rows(4))


def test_a_replaced_forward_is_named():
    model = network()
    optimizer = torchbp.SGD(model)
    model[0].forward = lambda x: x
    with pytest.raises(TypeError, match="layer '0', a Linear, has another forward than its class"):
        optimizer.backprop_step(*rows(4))


def test_nan_and_inf_are_named_under_detect_anomaly():
    model = network("ReLU")
    with torch.no_grad():
        model[0].weight.fill_(1e10)
    optimizer = torchbp.SGD(model, lr=0.1)
    x, y = rows(4)
    x[2, 1] = torch.nan
    before = copy.deepcopy(model.state_dict())
    with torch.autograd.set_detect_anomaly(True):
        for function in (optimizer.backprop_step, lambda x, y: torchbp.backprop(model, x, y)):
            with pytest.raises(FloatingPointError, match="x holds nan"):
                function(x, y)
            with pytest.raises(FloatingPointError, match="layer '0', a Linear, gives inf"):
                function(torch.full_like(x, 1e300), y)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert grads(model) == [None] * 6


def test_a_derivative_that_overflows_is_named_before_anything_is_trained_on():
    model = network("ReLU", (1, 1, 1))
    with torch.no_grad():
        for p, value in zip(model.parameters(), (1e-100, 1, 1e200, 0), strict=True):
            p.fill_(value)  # Z2 = 1e200, and dZ1 = dZ2 W2 = 2e200 · 1e200
    optimizer = torchbp.SGD(model, lr=0.1, loss=torch.nn.MSELoss(reduction="sum"))
    before = copy.deepcopy(model.state_dict())
    one = torch.ones(1, 1, dtype=torch.double)
    with (
        torch.autograd.set_detect_anomaly(True),
        pytest.raises(FloatingPointError, match="layer '0', a Linear, has a dZ with inf"),
    ):
        optimizer.backprop_step(one, one)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_a_copy_or_a_pickle_trains_on_alone():
    model = network()
    x, y = rows(8)
    optimizer = torchbp.SGD(model, lr=0.3, momentum=0.9)
    optimizer.backprop_step(x, y)
    other_model, other = copy.deepcopy((model, optimizer))
    optimizer.backprop_step(x, y)
    assert not torch.equal(model[0].weight, other_model[0].weight)
    other.backprop_step(x, y)
    torch.testing.assert_close(model.state_dict(), other_model.state_dict(), rtol=0, atol=0)


def test_layers_that_were_exchanged_are_noticed():
    model = network()
    optimizer = torchbp.SGD(model)
    model[1] = torch.nn.ReLU()
    with pytest.raises(TypeError, match="other layers"):
        optimizer.backprop_step(*rows(4))
    optimizer = torchbp.SGD(model)
    torch.nn.utils.parametrizations.weight_norm(model[0])
    with pytest.raises(TypeError, match="has lost its 'weight'"):
        optimizer.backprop_step(*rows(4))


def test_the_loss_is_the_users_to_keep():
    loss = torchbp.SGD(network(), lr=0.3).backprop_step(*rows(8))
    total = torch.zeros((), dtype=torch.double)
    total += loss
    (loss.clone() * torch.ones((), requires_grad=True)).backward()
    assert total == loss


def test_losses_it_does_not_have_are_named():
    for loss in (torch.nn.PoissonNLLLoss(), torch.nn.MSELoss(reduction="none"), "mse"):
        with pytest.raises(TypeError, match="loss"):
            torchbp.backprop(network(), *rows(4), loss)
    with pytest.raises(ValueError, match="target has the shape"):
        torchbp.backprop(network(), rows(4)[0], torch.rand(4, dtype=torch.double))


@pytest.mark.parametrize(("frozen", "needed"), [(0, 2), (2, 1), (4, 0), (6, 0)])
def test_no_derivative_is_taken_that_nobody_needs(frozen, needed, monkeypatch):
    """dA of the layers above the first that learns, and of no other."""
    taken = []
    rule = registry.rules(Layer)["linear"]
    counting = dataclasses.replace(rule, backward=lambda dz, x, weight, bias: taken.append(weight) or dz @ weight)
    monkeypatch.setitem(registry._rules, torchbp.nn.Linear, counting)
    model = network()
    for p in list(model.parameters())[:frozen]:
        p.requires_grad_(False)
    torchbp.backprop(model, *rows(7))
    assert len(taken) == needed


def test_a_small_change_of_a_bias_is_not_rounded_row_by_row():
    """BLAS adds the rows of dZ to b one after the other, and would round each sum to the size of b."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
    exact, (x, y) = copy.deepcopy(model).double(), rows(2048, outputs=1)
    before = exact[0].bias.detach().clone()
    for net in (model, exact):
        dtype = net[0].bias.dtype
        torchbp.SGD(net, lr=1e-3).backprop_step(x.to(dtype), y.to(dtype))
    error, change = (model[0].bias - exact[0].bias).norm(), (exact[0].bias - before).norm()
    assert error < 5e-8 * before.norm() + 1e-4 * change
