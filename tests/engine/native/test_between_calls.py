"""What changes between two calls of a program is noticed: it makes the steps that the engine makes."""

import copy
import pickle
import warnings

import pytest
import torch

import torchbp
from tests.networks import mlp, rows
from torchbp.engine.native.calls import single_step
from torchbp.engine.native.calls.single_step import ReadyCall
from torchbp.engine.optimizers.optimizer import EngineOptimizer

pytestmark = pytest.mark.usefixtures("native")


def model_of(optimizer):
    return optimizer.network.modules[0][1]


def loads_its_state(optimizer, x, y):
    state = copy.deepcopy(optimizer.state_dict())
    first = optimizer.backprop_steps(x, y)
    optimizer.load_state_dict(state)
    return first, optimizer.backprop_steps(x, y)


def gets_another_dtype(optimizer, x, y):
    model_of(optimizer).float()
    first = optimizer.backprop_steps(x.float(), y.float()).double()
    model_of(optimizer).double()
    return first, optimizer.backprop_steps(x, y)


def gets_other_data(optimizer, x, y):
    weight = optimizer.network.parameters()[0][0]
    first = optimizer.backprop_steps(x, y)
    weight.data = 2 * weight.data
    second = optimizer.backprop_steps(x, y)
    weight.data = weight.data.t().contiguous().t()  # which no program takes
    return first, second, optimizer.backprop_steps(x, y)


def is_copied(optimizer, x, y):
    first = optimizer.backprop_steps(x, y)
    copies = copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer)), optimizer
    return first, *(of.backprop_steps(x, y) for of in copies)


def freezes(optimizer, x, y):
    weight = optimizer.network.parameters()[0][0]
    losses = []
    for learns in (True, False, True):
        weight.requires_grad_(learns)
        losses.append(optimizer.backprop_steps(x, y))
    return losses


def gets_other_options(optimizer, x, y):
    losses = []
    for options in ({}, {"lr": 0.0}, {"lr": 0.2, "weight_decay": 0.1}):
        optimizer.param_groups[0].update(options)
        losses.append(optimizer.backprop_steps(x, y))
    return losses


def gets_another_group(optimizer, x, y):
    (group,) = optimizer.param_groups
    group["params"], rest = group["params"][:2], group["params"][2:]
    optimizer.add_param_group({"params": rest, "lr": 0.03})
    return optimizer.backprop_steps(x, y), optimizer.backprop_steps(x, y)


def takes_a_step_of_torch(optimizer, x, y):
    """Of one parameter, so that the counts of steps are not equal any more."""
    first = optimizer.backprop_steps(x, y)
    weight = optimizer.network.parameters()[0][0]
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    return first, optimizer.backprop_steps(x, y)


def gets_another_loss(optimizer, x, y):
    first = optimizer.backprop_steps(x, y)
    optimizer.loss = torch.nn.MSELoss()
    second = optimizer.backprop_steps(x, y)
    weights, losses = torch.tensor([2.0, 9.0, 5.0], dtype=torch.double), []
    for weight in (weights[:1], weights[:2], weights[::2]):  # at one address
        optimizer.loss = torch.nn.BCEWithLogitsLoss(pos_weight=weight)
        losses.append(optimizer.backprop_steps(x, y))
    inner = torch.nn.HuberLoss(delta=0.1)
    for inner.delta in (0.1, 0.3):  # of the loss in a loss
        optimizer.loss = torchbp.engine.RowWeighted(inner) if inner.delta == 0.1 else optimizer.loss
        losses.append(optimizer.backprop_steps(x, torchbp.engine.with_weight(y, x[..., 0].square())))
    return first, second, *losses


def has_another_default_device(optimizer, x, y):
    first = optimizer.backprop_steps(x, y)
    with torch.device("meta"):
        return first, optimizer.backprop_steps(x, y)


CHANGES = [loads_its_state, gets_another_dtype, gets_other_data, is_copied, freezes, gets_other_options]
CHANGES += [gets_another_group, takes_a_step_of_torch, gets_another_loss, has_another_default_device]
OPTIMIZERS = {"momentum": (torchbp.SGD, {"momentum": 0.9}), "AdamW": (torchbp.AdamW, {})}


@pytest.fixture(params=[False, True], ids=["in one call", "one by one"])
def single(request, monkeypatch):
    """Where `backprop_steps` calls `backprop_step` for each batch, a list of the losses of programs; otherwise None."""
    if not request.param:
        return None
    losses, call = [], ReadyCall.__call__
    monkeypatch.setattr(single_step, "STEPS_BEFORE", 0)
    monkeypatch.setattr(ReadyCall, "__call__", lambda self, x, y: losses.append(call(self, x, y)) or losses[-1])
    one_by_one = lambda self, x, y: torch.stack([self.backprop_step(*batch) for batch in zip(x, y, strict=True)])  # noqa: E731
    monkeypatch.setattr(EngineOptimizer, "backprop_steps", one_by_one)
    return losses


@pytest.mark.filterwarnings("ignore:steps are not compiled, since a parameter")
@pytest.mark.parametrize(
    ("of", "single"),
    [
        ("momentum", False),
        ("AdamW", True),
        pytest.param("momentum", True, marks=pytest.mark.exhaustive),
        pytest.param("AdamW", False, marks=pytest.mark.exhaustive),
    ],
    indirect=["single"],
)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_an_optimizer(change, of, single):
    optimizer, options = OPTIMIZERS[of]
    x, y = rows(6, 8)
    found = []
    for compile in (True, False):
        model = mlp((3, 4, 2))
        torch.manual_seed(1)
        losses = change(optimizer(model, lr=0.05, compile=compile, **options), x, y)
        found.append((torch.cat(list(losses)), model.state_dict()))
    tolerance = 1e-4 if change is gets_another_dtype else 1e-10
    torch.testing.assert_close(*found, rtol=tolerance, atol=tolerance)
    assert single is None or single  # programs have made steps


def test_numbers_of_layers_and_the_norm(single):
    """One program serves for all of them."""
    layers = [torch.nn.Linear(3, 4), torch.nn.LeakyReLU(0.1), torch.nn.Dropout(0.3), torch.nn.Linear(4, 2)]
    model = torch.nn.Sequential(*layers).double()
    torchbp.engine.seed_dropout(model, 3)
    other, (x, y) = copy.deepcopy(model), rows(6, 8)
    for net in (model, other):
        optimizer = torchbp.SGD(net, lr=0.1, compile=net is model, max_grad_norm=0.3)
        for slope, p, norm in ((0.1, 0.3, 9.0), (0.1, 0.5, 0.1), (0.4, 0.5, 0.1), (0.4, 0, 0.02), (0.4, 1.0, 0.04)):
            net[1].negative_slope, net[2].p, optimizer.max_grad_norm = slope, p, norm
            optimizer.backprop_steps(x, y)
        assert net is other or len(optimizer.compiled.programs) == 1
    torch.testing.assert_close(model.state_dict(), other.state_dict(), rtol=1e-10, atol=1e-10)
    assert single is None or single


def test_rows_that_do_not_fit_after_others_that_do():
    """What was looked up for those says nothing about these."""
    optimizer, (x, y) = torchbp.SGD(mlp((3, 4, 2)), lr=0.1, compile=True), rows(6, 8)
    for _ in range(3):
        optimizer.backprop_steps(x, y)
    for wrong in ((x, y[:, :7]), (x[:, :7], y), (x, y[..., :1]), (x[..., :2], y), (x.float(), y)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that steps are not compiled
            with pytest.raises((ValueError, RuntimeError)):
                optimizer.backprop_steps(*wrong)


def test_training_and_evaluation(single):
    layers = [torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.3), torch.nn.Linear(4, 2)]
    model = torch.nn.Sequential(*layers).double()
    torchbp.engine.seed_dropout(model, 3)
    other, (x, y) = copy.deepcopy(model), rows(6, 8)
    for net in (model, other):
        optimizer = torchbp.SGD(net, lr=0.1, compile=net is model)
        for training in (True, False, True):
            net.train(training)
            optimizer.backprop_steps(x, y)
    torch.testing.assert_close(model.state_dict(), other.state_dict(), rtol=1e-10, atol=1e-10)
    assert single is None or single


@pytest.mark.parametrize("of_y", [torch.float, torch.double])
def test_a_target_of_another_dtype_is_said_once(of_y):
    dtype = torch.double if of_y is torch.float else torch.float
    x, y = rows(6, 8, dtype=dtype)
    found = [torchbp.SGD(mlp((3, 2), dtype=dtype), compile=False).backprop_steps(x, y.to(of_y))]
    optimizer = torchbp.SGD(mlp((3, 2), dtype=dtype), compile=True)
    with pytest.warns(UserWarning, match=rf"y is {of_y}, and the model {dtype}; give y.to\({dtype}\)"):
        found.append(optimizer.backprop_steps(x, y.to(of_y)))
    optimizer.backprop_steps(x, y.to(of_y))  # a second warning would be an error
    torch.testing.assert_close(*found)


def test_autograd_knows_that_parameters_were_changed():
    model, (x, y) = mlp((3, 4, 2)), rows(6, 8)
    optimizer = torchbp.SGD(model, lr=0.1, compile=True)
    loss = model(x[0]).sum()
    optimizer.backprop_steps(x, y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_first_call_may_have_another_default_device():
    x, y = rows(6, 8)
    found = []
    for compile in (True, False):
        model = mlp((3, 4, 2))
        with torch.device("meta"):
            torchbp.SGD(model, lr=0.1, compile=compile).backprop_steps(x, y)
        found.append(model.state_dict())
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)
