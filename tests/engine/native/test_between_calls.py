"""What changes between two calls of a program is noticed: it makes the steps that the engine makes."""

import copy
import pickle

import pytest
import torch

import torchbp
from tests.networks import mlp, rows

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


CHANGES = [loads_its_state, gets_another_dtype, gets_other_data, is_copied, freezes, gets_other_options]
CHANGES += [gets_another_group, takes_a_step_of_torch]
OPTIMIZERS = {"momentum": (torchbp.SGD, {"momentum": 0.9}), "AdamW": (torchbp.AdamW, {})}


@pytest.mark.parametrize("of", OPTIMIZERS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_an_optimizer(change, of):
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


def test_training_and_evaluation():
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


@pytest.mark.parametrize("of_y", [torch.float, torch.double])
def test_a_target_of_another_dtype(of_y):
    dtype = torch.double if of_y is torch.float else torch.float
    x, y = rows(6, 8, dtype=dtype)
    found = [torchbp.SGD(mlp((3, 2), dtype=dtype), compile=c).backprop_steps(x, y.to(of_y)) for c in (True, False)]
    torch.testing.assert_close(*found)
