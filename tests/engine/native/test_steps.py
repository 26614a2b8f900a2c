"""Steps by a program in C beside the engine's own: the same losses, weights, and whatever else a step changes."""

import copy
import dataclasses
import time

import pytest
import torch

import torchbp
from tests.networks import mlp, rows
from torchbp.engine import recently_used
from torchbp.engine.native import program
from torchbp.engine.native.translation import elementwise
from torchbp.ops.registry import implements, register, rules, unregister
from torchbp.ops.rules import Activation

pytestmark = pytest.mark.usefixtures("native")
nn = torch.nn
ROUNDING = {torch.float64: 1e-11, torch.float32: 3e-5}


def trained(optimizer, x, y):
    """The losses of steps, with a learning rate that changes on the way."""
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    losses = []
    for start in range(0, len(x), 3):
        losses.append(optimizer.backprop_steps(x[start : start + 3], y[start : start + 3]))
        schedule.step()
    return torch.cat(losses)


def assert_same_steps(model, x, y, optimizer=torchbp.SGD, **options):
    """Of a program and of the engine. Returns the program's optimizer."""
    other = copy.deepcopy(model)
    ours, engines = optimizer(model, compile=True, **options), optimizer(other, compile=False, **options)
    tolerance = ROUNDING[next(model.parameters()).dtype]
    for found, expected in (
        (trained(ours, x, y), trained(engines, x, y)),
        (model.state_dict(), other.state_dict()),
        (tensors_of(ours), tensors_of(engines)),
    ):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    assert ours.compiled.programs
    assert all(ours.compiled.programs.values())
    return ours


def tensors_of(optimizer):
    return [value for state in optimizer.state_dict()["state"].values() for value in state.values()]


OPTIMIZERS = {
    "SGD": (torchbp.SGD, {"lr": 0.3}),
    "all of SGD": (torchbp.SGD, {"lr": 0.3, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    "Nesterov": (torchbp.SGD, {"lr": 0.3, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    "AdamW": (torchbp.AdamW, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
    "Adam": (torchbp.Adam, {"lr": 0.01, "weight_decay": 0.1}),
}
LIKE_OTHERS = {"SGD", "Nesterov", "Adam"}  # in float32, which another one tests
OF_MEMBERS = {
    "SGD": (torchbp.SGD, {"lr": [0.1, 0.2, 0.3, 0.0, 0.5], "weight_decay": 0.1}),
    "momentum": (torchbp.SGD, {"lr": 0.1, "momentum": [0.9, 0.0, 0.5, 0.9, 0.9]}),
    "AdamW": (torchbp.AdamW, {"lr": [0.01, 0.02, 0.0, 0.03, 0.1], "betas": ([0.9, 0.8, 0.7, 0.9, 0.9], 0.99)}),
}


@pytest.mark.optimised
@pytest.mark.parametrize(
    ("of", "dtype"),
    [
        pytest.param(of, dtype, marks=pytest.mark.exhaustive if dtype is torch.float and of in LIKE_OTHERS else ())
        for of in OPTIMIZERS
        for dtype in (torch.double, torch.float)
    ],
    ids=str,
)
def test_of_one_network(of, dtype):
    optimizer, options = OPTIMIZERS[of]
    ours = assert_same_steps(mlp((3, 4, 2), dtype=dtype), *rows(9, 8, dtype=dtype), optimizer, **options)
    assert len(ours.compiled.programs) == 1  # another learning rate needs no other


@pytest.mark.parametrize("dtype", [torch.double, torch.float], ids=str)
def test_weights_of_many_sizes(dtype):
    """Whose transposes are made in blocks of 8 × 8, and what is left of them."""
    for sizes in ((8, 16, 24), (21, 13, 17, 9), (9, 64, 8)):
        x, y = (torch.randn(6, 19, size, dtype=dtype) for size in (sizes[0], sizes[-1]))
        assert_same_steps(mlp(sizes, dtype=dtype), x, y.sigmoid(), lr=0.3)


@pytest.mark.parametrize("side_by_side", [True, False], ids=["side by side", "one by one"])
@pytest.mark.parametrize(
    "of",
    [
        "SGD",
        pytest.param("momentum", marks=pytest.mark.optimised),
        "AdamW",
        pytest.param("AdamW", marks=[pytest.mark.optimised, pytest.mark.exhaustive], id="AdamW, optimised"),
    ],
)
def test_of_an_ensemble(of, side_by_side, monkeypatch):
    if not side_by_side:
        monkeypatch.setattr(program, "PRODUCTS_IN_LANES", 0)
    optimizer, options = OF_MEMBERS[of]
    model, (x, y) = mlp((3, 4, 2), 5), rows(9, 8)
    own = copy.deepcopy(model)
    ours = assert_same_steps(model, x, y, optimizer, **options)
    assert {made.lanes > 1 for made in ours.compiled.programs.values()} == {side_by_side}
    assert_same_steps(own, *rows(9, 5, 8), optimizer, **options)  # rows of each member's own


@pytest.mark.optimised
@pytest.mark.parametrize("dtype", [torch.double, torch.float], ids=str)
def test_wide_layers(dtype):
    """More than one tile of each kind, and rows that no tile divides."""
    model = mlp((37, 70, 33, 3), dtype=dtype)
    assert_same_steps(model, *rows(6, 29, features=37, outputs=3, dtype=dtype), lr=0.1)


@pytest.mark.parametrize("sizes", [(1, 1), (2, 1, 1), (1, 3, 2)], ids=str)
def test_narrow_layers(sizes):
    assert_same_steps(mlp(sizes), *rows(6, 1, features=sizes[0], outputs=sizes[-1]), lr=0.1)


@pytest.mark.parametrize("dtype", [torch.double, torch.float], ids=str)
def test_all_activations(dtype):
    layers = [nn.Linear(3, 5)]
    for rule in rules(Activation).values():
        layers += [rule.module_class(), nn.Linear(5, 5)]
    model = nn.Sequential(*layers, nn.GELU(approximate="tanh"), nn.Softplus(2.0, 0.5), nn.ELU(0.5), nn.Linear(5, 2))
    assert_same_steps(model.to(dtype), *rows(6, 8, dtype=dtype), lr=0.5, loss=nn.MSELoss())


def test_layers_beside_linear():
    layers = [nn.Linear(3, 6), nn.LayerNorm(6), nn.PReLU(6), nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh()]
    layers += [nn.RMSNorm(6), nn.Linear(6, 6), nn.GLU(), nn.Linear(3, 6), nn.GroupNorm(2, 6), nn.Softmax(-1)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(6, 6), nn.LogSoftmax(-1), nn.Linear(6, 2)).double()
    x, y = rows(6, 8)
    assert_same_steps(model, 3 * x, y, lr=0.1, loss=nn.MSELoss())


@pytest.mark.parametrize("members", [None, 3])
def test_the_masks_of_dropout(members):
    p = 0.4 if members is None else [0.0, 0.3, 0.6]
    if members is None:
        model = nn.Sequential(nn.Linear(3, 8), torchbp.nn.Dropout(p), nn.Tanh(), nn.Linear(8, 2)).double()
    else:
        model = mlp((3, 8, 2), members)
        model = nn.Sequential(model[0], torchbp.nn.Dropout(p), *model[1:])
    torchbp.engine.seed_dropout(model, 7 if members is None else range(members))
    assert_same_steps(model, *rows(6, 8), lr=0.3)


LOSSES = {
    "squares": (nn.MSELoss(), "numbers"),
    "a sum": (nn.MSELoss(reduction="sum"), "numbers"),
    "absolute": (nn.L1Loss(), "numbers"),
    "Huber": (nn.HuberLoss(delta=0.3), "numbers"),
    "smooth": (nn.SmoothL1Loss(beta=0.3), "numbers"),
    "weighted": (nn.BCEWithLogitsLoss(weight=torch.tensor([0.5, 2]), pos_weight=torch.tensor([3, 0.2])), "numbers"),
    "strided weights": (
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3, 9, 0.2, 9], dtype=torch.double)[::2]),
        "numbers",
    ),
    "one weight": (nn.BCEWithLogitsLoss(weight=torch.tensor(2.0, dtype=torch.double).expand(2)), "numbers"),
    "classes": (nn.CrossEntropyLoss(), "classes"),
    "all of it": (nn.CrossEntropyLoss(torch.tensor([0.3, 2]), ignore_index=5, label_smoothing=0.1), "ignored"),
}


@pytest.mark.parametrize("members", [None, 4])
@pytest.mark.parametrize("of", LOSSES)
def test_losses(of, members):
    loss, kind = LOSSES[of]
    x, y = rows(6, 8)
    if kind != "numbers":
        y = torch.randint(2, (6, 8))
        y[:, 3] = 5 if kind == "ignored" else 1
    assert_same_steps(mlp((3, 4, 2), members), x, y, loss=copy.deepcopy(loss).double(), lr=0.1)


@pytest.mark.parametrize("members", [None, 4])
def test_rows_with_weights(members):
    x, y = rows(6, 8)
    target = torchbp.engine.with_weight(y, torch.rand(6, 8).double())
    for loss in (nn.MSELoss(), nn.BCEWithLogitsLoss()):
        assert_same_steps(mlp((3, 4, 2), members), x, target, loss=torchbp.engine.RowWeighted(loss), lr=0.1)
    target = torchbp.engine.with_weight(torch.randint(2, (6, 8)), target[..., -1], 2)
    for divide_by in ("weights", "rows"):
        loss = torchbp.engine.RowWeighted(nn.CrossEntropyLoss(label_smoothing=0.1), divide_by)
        assert_same_steps(mlp((3, 4, 2), members), x, target, loss=loss, lr=0.1)


def test_probabilities_and_log_probabilities():
    x, y = rows(6, 8)
    model = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid()).double()
    assert_same_steps(model, x, y.round(), loss=nn.BCELoss(), lr=0.5)
    for loss, target in ((nn.NLLLoss(), torch.randint(2, (6, 8))), (nn.KLDivLoss(), y)):
        model = nn.Sequential(nn.Linear(3, 2), nn.LogSoftmax(-1)).double()
        assert_same_steps(model, x, target, loss=loss, lr=0.5)


def test_an_embedding():
    model = nn.Sequential(nn.Embedding(7, 4, padding_idx=0), nn.Flatten(), nn.Linear(12, 2)).double()
    x, (_, y) = torch.randint(7, (6, 8, 3)), rows(6, 8)
    optimizer = assert_same_steps(model, x, y, lr=0.5)
    with pytest.raises(IndexError, match=r"x holds 7, which is not in 0 … 6"):
        optimizer.backprop_steps(x + 1, y)


def test_a_class_out_of_range_changes_nothing():
    model, (x, _) = mlp((3, 4, 2)), rows(6, 8)
    optimizer = torchbp.SGD(model, lr=0.1, compile=True, loss=nn.CrossEntropyLoss())
    optimizer.backprop_steps(x, torch.randint(2, (6, 8)))
    before, wrong = copy.deepcopy(model.state_dict()), torch.ones(6, 8, dtype=torch.long)
    for number in (2, -1):
        wrong[4, 3] = number
        with pytest.raises(IndexError, match=f"y holds {number}, which is not in 0 … 1"):
            optimizer.backprop_steps(x, wrong)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e200])
def test_numbers_that_are_not_finite(number):
    for activation in (nn.Tanh(), nn.ReLU(), nn.SiLU()):
        model = nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 2)).double()
        x, y = rows(6, 8)
        x[4, 3, 1] = number
        assert_same_steps(model, x, y, lr=0.1)


def test_frozen_parameters_stay():
    model = mlp((3, 4, 2))
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    assert_same_steps(model, *rows(6, 8), lr=0.1)
    assert torch.equal(model[0].weight, before)


def test_members_that_are_not_active_stay():
    model, (x, y) = mlp((3, 4, 2), 3), rows(6, 8)
    other = copy.deepcopy(model)
    for optimizer in (torchbp.AdamW(model, compile=True), torchbp.AdamW(other, compile=False)):
        optimizer.active = torch.tensor([True, False, True])
        optimizer.backprop_steps(x, y)
    torch.testing.assert_close(model.state_dict(), other.state_dict(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("lanes", [0, 1e9])
def test_members_among_threads(lanes, monkeypatch):
    parts, run = set(), program.Program._run

    def counted(self, first, last, *rest):
        parts.add((first, last))
        return run(self, first, last, *rest)

    monkeypatch.setattr(program, "PRODUCTS_IN_LANES", lanes)
    monkeypatch.setattr(program, "WORTH_A_THREAD", 1e-12)
    monkeypatch.setattr(
        program.Program, "seconds", property(lambda program: 1.0, lambda program, measured: None), raising=False
    )
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(program.Program, "_run", counted)
    assert_same_steps(mlp((3, 4, 2), 20), *rows(6, 8), lr=0.1)
    assert len(parts) == 3


def test_an_interruption_waits_for_all_threads(monkeypatch):
    """They write to the weights."""
    run, ended = program.Program._run, []

    def interrupted(self, first, *rest):
        if not first:
            raise KeyboardInterrupt
        time.sleep(0.2)
        run(self, first, *rest)
        ended.append(first)

    optimizer, (x, y) = torchbp.SGD(mlp((3, 4, 2), 20), lr=0.1, compile=True), rows(6, 8)
    optimizer.backprop_steps(x, y)
    monkeypatch.setattr(program.Program, "parts", lambda *_: [(0, 8), (8, 16), (16, 20)])
    monkeypatch.setattr(program.Program, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        optimizer.backprop_steps(x, y)
    assert sorted(ended) == [8, 16]


def test_what_a_program_is_made_for(monkeypatch):
    """Other rows, options of the loss and of a layer need another; of all, those used last are kept."""
    monkeypatch.setattr(recently_used, "LARGEST", 2)
    model = nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(0.1), nn.Linear(4, 2)).double()
    other = copy.deepcopy(model)
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.ones(2, dtype=torch.double))
    pairs = [(net, torchbp.SGD(net, lr=0.1, loss=copy.deepcopy(loss), compile=net is model)) for net in (model, other)]
    x, y = rows(4, 8)
    for net, optimizer in pairs:
        optimizer.backprop_steps(x, y)
        optimizer.backprop_steps(x[:, :5], y[:, :5])
        net[1].negative_slope = 0.7
        optimizer.backprop_steps(x, y)
        optimizer.loss.pos_weight = torch.tensor([2.0, 0.5], dtype=torch.double)
        optimizer.backprop_steps(x, y)
        optimizer.loss.pos_weight[0] = 3  # which is read where it is
        optimizer.backprop_steps(x, y)
    torch.testing.assert_close(model.state_dict(), other.state_dict(), rtol=1e-11, atol=1e-11)
    assert len(pairs[0][1].compiled.programs) == 2


def test_an_operation_without_c_is_named():
    tanh = next(rule for rule in rules(Activation).values() if rule.name == "tanh")
    bessel = dataclasses.replace(
        tanh, name="bessel", forward=torch.special.i0, forward_=None, torch_module=None, torch_functions={}
    )
    register(bessel)

    @implements(bessel)
    class Bessel(nn.Module):
        pass

    try:
        model = nn.Sequential(nn.Linear(3, 2), Bessel(), nn.Linear(2, 2)).double()
        optimizer = torchbp.SGD(model, lr=0.1, compile=True)
        with pytest.raises(TypeError, match=r"compile=True is not possible: torch's operation \S*i0 has no form in C"):
            optimizer.backprop_steps(*rows(4, 8))
    finally:
        unregister(bessel)


OF_INTEGERS = [
    lambda i: i.abs(),
    lambda i: i.sign(),
    lambda i: torch.maximum(i, 1 - i),
    lambda i: torch.minimum(i, 1 - i),
    lambda i: i.clamp(-1, 2),
    lambda i: i.relu(),
    lambda i: i.floor(),
    lambda i: i.amax(1, keepdim=True),
    lambda i: i.amin(1, keepdim=True),
    lambda i: torch.full_like(i, torch.iinfo(i.dtype).min).amax(1, keepdim=True) < i - 1,
]
OF_BOOLS = [
    lambda b: ~b,
    lambda b: b & (b.sum(1, keepdim=True) > 2),
    lambda b: (b + b) == b,
    lambda b: b * b,
    lambda b: torch.maximum(b, ~b) == b,
    lambda b: torch.minimum(b, ~b) == b,
    lambda b: b.amax(1, keepdim=True),
    lambda b: b.amin(1, keepdim=True),
    lambda b: b ^ ~b,
]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.bool], ids=str)
def test_integers_and_bools(dtype):
    """An activation times a number that they make."""

    def factor(z):
        numbers, functions = (z > 0.1, OF_BOOLS) if dtype is torch.bool else ((9 * z).to(dtype), OF_INTEGERS)
        return sum(0.1 * (k + 1) * function(numbers).to(z.dtype) for k, function in enumerate(functions))

    tanh = next(rule for rule in rules(Activation).values() if rule.name == "tanh")
    forward, backward = (lambda z: z * factor(z)), (lambda da, z: da * factor(z))
    parts = {"forward": forward, "backward": backward, "forward_": None, "backward_": None, "saves": "input"}
    times = dataclasses.replace(tanh, name="times", torch_module=None, torch_functions={}, slope=tanh.equation, **parts)
    register(times)

    @implements(times)
    class Times(nn.Module):
        pass

    try:
        assert_same_steps(nn.Sequential(nn.Linear(3, 4), Times(), nn.Linear(4, 2)).double(), *rows(6, 8), lr=0.01)
    finally:
        unregister(times)


def test_a_program_that_is_wrong_is_not_used(monkeypatch):
    monkeypatch.setitem(elementwise.TEMPLATES, "sigmoid_backward", "({0} * {1})")
    model = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2)).double()
    other, (x, y) = copy.deepcopy(model), rows(6, 8)
    with pytest.warns(UserWarning, match="does not make the engine's own steps"):
        torchbp.SGD(model, lr=0.5, compile=True).backprop_steps(x, y)
    torchbp.SGD(other, lr=0.5, compile=False).backprop_steps(x, y)
    torch.testing.assert_close(model.state_dict(), other.state_dict())


def test_a_program_that_is_wrong_for_one_member_is_not_used(monkeypatch):
    """By less than what all members change."""
    call = program.Program.__call__

    def wrong(self, tensors, rows):
        before, losses = tensors[0].clone(), call(self, tensors, rows)
        tensors[0][5] += 4e-6 * (tensors[0][5] - before[5])
        return losses

    monkeypatch.setattr(program.Program, "__call__", wrong)
    with pytest.warns(UserWarning, match="does not make the engine's own steps"):
        torchbp.SGD(mlp((3, 2), 64), lr=0.5, compile=True).backprop_steps(*rows(6, 8))


def test_another_optimizer_of_such_a_network_needs_no_trace(monkeypatch):
    traces, trace = [], program.traced_step
    monkeypatch.setattr(program, "traced_step", lambda *of: traces.append(of) or trace(*of))
    (x, y), tanh = rows(6, 8), nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    found = []
    for compile in (True, False):
        for model, lr in ((mlp((3, 4, 2)), 0.1), (mlp((3, 4, 2)), 0.7), (copy.deepcopy(tanh), 0.1), (tanh, 0.7)):
            optimizer = torchbp.SGD(copy.deepcopy(model), lr=lr, compile=compile)
            found.append(optimizer.backprop_steps(x, y))
        assert len(traces) == 2  # of the two kinds of networks
    torch.testing.assert_close(found[:4], found[4:], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("compile", "dtype", "error"),
    [("always", torch.double, ValueError), (True, torch.bfloat16, TypeError), (1.5, torch.double, ValueError)],
)
def test_what_cannot_be_compiled_is_refused(compile, dtype, error):
    with pytest.raises(error, match="compile="):
        torchbp.SGD(mlp((3, 2), dtype=dtype), lr=0.1, compile=compile)
