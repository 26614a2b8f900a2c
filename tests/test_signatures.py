"""What has a namesake in torch takes the same arguments, in the same order, with the same defaults."""

import copy
import inspect

import pytest
import torch
from torch.overrides import get_testing_overrides

import torchbp


def parameters(function):
    """(name, kind, default) of each parameter; torch's own builtins have no signature but that of an override."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        signature = inspect.signature(get_testing_overrides()[function])
    return [(p.name, p.kind, p.default) for p in signature.parameters.values()]


OPS = [name for name in torchbp.ops.__all__ if hasattr(torch.nn.functional, name)]
MODULES = [name for name in torchbp.nn.__all__ if hasattr(torch.nn, name)]
METHODS = [name for name in vars(torchbp.SGD) if hasattr(torch.optim.SGD, name) and not name.startswith("__")]


def test_what_has_a_namesake():
    assert len(OPS) == 7
    assert len(MODULES) == 7
    assert {"step", "add_param_group"} <= set(METHODS)


@pytest.mark.parametrize("name", OPS)
def test_an_operation_has_torchs_signature(name):
    assert parameters(getattr(torchbp.ops, name)) == parameters(getattr(torch.nn.functional, name))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_torchs_signatures(name):
    ours, torchs = (getattr(package, name) for package in (torchbp.nn, torch.nn))
    assert parameters(ours) == parameters(torchs)
    assert parameters(ours.forward) == parameters(torchs.forward)


def test_what_may_be_given_to_sgd_by_position_is_torchs():
    ours, torchs = parameters(torchbp.SGD), parameters(torch.optim.SGD)
    by_position = [p for p in torchs if p[1] is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert ours[0][0] == "model"
    assert ours[1 : len(by_position)] == by_position[1:]
    assert {kind for _, kind, _ in ours[len(by_position) :]} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("name", [name for name in METHODS if callable(getattr(torchbp.SGD, name))])
def test_a_method_of_sgd_has_torchs_signature(name):
    assert parameters(getattr(torchbp.SGD, name)) == parameters(getattr(torch.optim.SGD, name))


def test_an_ensembles_layer_takes_what_a_linear_layer_takes_after_its_members():
    own = parameters(torchbp.nn.EnsembleLinear)
    assert own[0][0] == "members"
    assert own[1:] == parameters(torch.nn.Linear)


@pytest.mark.parametrize("arguments", [(0.5, 0.9, 0.25), (0.5, 0.9, 0, 0.1, True)], ids=str)
def test_positional_arguments_of_sgd_mean_what_torchs_mean(arguments):
    ours = torchbp.nn.MLP(3, 4, 1, dtype=torch.double)
    theirs = copy.deepcopy(ours)
    optimizers = torchbp.SGD(ours, *arguments), torch.optim.SGD(theirs.parameters(), *arguments)
    x, y = torch.randn(5, 3, dtype=torch.double), torch.rand(5, 1, dtype=torch.double)
    for _ in range(3):
        optimizers[0].backprop_step(x, y)
        optimizers[1].zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(theirs(x), y).backward()
        optimizers[1].step()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("old", [(False, None), (None, False), (True, True), (False, True)])
@pytest.mark.parametrize("name", [name for name in OPS if "entropy" in name or "loss" in name])
@pytest.mark.filterwarnings("ignore:size_average and reduce args will be deprecated")
def test_torchs_old_way_to_say_the_reduction(name, old):
    a, y = torch.rand(4, 3, requires_grad=True), torch.rand(4, 3)
    weight = () if name == "mse_loss" else (torch.rand(3),)
    results = [getattr(package, name)(a, y, *weight, *old) for package in (torchbp.ops, torch.nn.functional)]
    torch.testing.assert_close(*results)


LOSSES = {
    "binary_cross_entropy": (torch.rand(4, 3), torch.rand(4, 3), torch.rand(3)),
    "binary_cross_entropy_with_logits": (torch.randn(4, 3), torch.rand(4, 3), torch.rand(3)),
    "mse_loss": (torch.randn(4, 3), torch.randn(4, 3)),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_arguments_of_a_loss_by_position_mean_what_torchs_mean(name, reduction):
    """ops.mse_loss(x, y, None, None, "sum"), and so on."""
    results = [
        getattr(package, name)(*LOSSES[name], None, None, reduction) for package in (torchbp.ops, torch.nn.functional)
    ]
    torch.testing.assert_close(*results)


ARGUMENTS = {
    "BCELoss": (None, None, None, "sum"),
    "BCEWithLogitsLoss": (None, None, None, "sum", torch.ones(3)),
    "Linear": (3, 2, False),
    "MSELoss": (None, None, "sum"),
    "ReLU": (True,),
    "Sigmoid": (),
    "Tanh": (),
}


@pytest.mark.parametrize("name", MODULES)
def test_the_arguments_of_a_module_by_position_mean_what_torchs_mean(name):
    modules = [getattr(package, name)(*ARGUMENTS[name]) for package in (torchbp.nn, torch.nn)]
    assert repr(modules[0]) == repr(modules[1])
    for attribute in ("reduction", "inplace", "bias", "pos_weight"):
        assert getattr(modules[0], attribute, "absent") is getattr(modules[1], attribute, "absent")
