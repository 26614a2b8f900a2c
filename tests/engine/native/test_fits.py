"""`fit` with programs in C beside `fit` without."""

import copy

import pytest
import torch

import torchbp
from tests.networks import mlp, rows
from torchbp.engine.fitting import pace
from torchbp.engine.native.calls import single_step
from torchbp.engine.native.calls.compiled import CompiledSteps
from torchbp.engine.native.calls.single_step import ReadyCall

pytestmark = pytest.mark.usefixtures("native")


def assert_same_fit(model, x, y, optimizer=torchbp.SGD, lr=0.3, options=(), **fit):
    """Returns the optimizer with programs."""
    other, found = copy.deepcopy(model), []
    for net, compile in ((model, True), (other, False)):
        found.append(optimizer(net, lr=lr, compile=compile, **dict(options)))
        generator = torch.Generator().manual_seed(3)
        fit = {"batch_size": 8, "max_epochs": 4, "progress": False, "generator": generator} | fit
        fit["generator"].manual_seed(3)
        history = found[-1].fit(x, y, **fit)
        found.append(history)
    torch.testing.assert_close(found[1], found[3], rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(model.state_dict(), other.state_dict(), rtol=1e-10, atol=1e-11)
    assert found[0].compiled.programs
    return found[0]


FITS = {
    "in order": {"shuffle": False},
    "shuffled": {},
    "validated": {"validation": rows(10), "patience": 2},
    "some rows": {"rows": torch.arange(61) % 3 > 0},
}
OF_MEMBERS = {
    "shared": {},
    "bags": {"bagging": True},
    "stopping": {"patience": 1, "min_delta": 0.003, "max_epochs": 12},
    "folds": {"rows": torch.stack([torch.arange(61) % 4 != fold for fold in range(3)]), "validation": "rest"},
}
OPTIONS = {"momentum": (torchbp.SGD, {"momentum": 0.9}), "AdamW": (torchbp.AdamW, {"weight_decay": 0.1})}


@pytest.mark.parametrize("of", FITS)
def test_of_one_network(of):
    assert_same_fit(mlp((3, 4, 2)), *rows(61), **FITS[of])


@pytest.mark.parametrize("of", OPTIONS)
def test_optimizers(of):
    optimizer, options = OPTIONS[of]
    assert_same_fit(mlp((3, 4, 2)), *rows(61), optimizer, lr=0.02, options=options)
    assert_same_fit(mlp((3, 4, 2), 3), *rows(61), optimizer, lr=[0.02, 0.0, 0.1], options=options, bagging=True)


@pytest.mark.parametrize("of", OF_MEMBERS)
def test_of_an_ensemble(of):
    assert_same_fit(mlp((3, 4, 2), 3), *rows(61), lr=[0.3, 0.1, 0.0], **OF_MEMBERS[of])


def test_rows_of_each_member():
    x, y = rows(3, 61)
    assert_same_fit(mlp((3, 4, 2), 3), x, y)
    assert_same_fit(mlp((3, 4, 2), 3), x, y[0])


def test_classes():
    x, _ = rows(61)
    loss = torch.nn.CrossEntropyLoss(ignore_index=2, weight=torch.tensor([0.3, 1.0], dtype=torch.double))
    y = torch.arange(61) % 3
    assert_same_fit(mlp((3, 4, 2)), x, y, options={"loss": loss})
    assert_same_fit(mlp((3, 4, 2), 3), x, y.expand(3, -1), options={"loss": loss})


def test_dropout_and_running_statistics():
    layers = [torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.3), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(4, 2)).double()
    torchbp.engine.seed_dropout(model, 5)
    assert_same_fit(model, *rows(61))


def test_auto_compiles_once_it_pays(monkeypatch):
    x, y = rows(61)
    optimizer = torchbp.SGD(mlp((3, 4, 2)), lr=0.3)
    optimizer.fit(x, y, max_epochs=3)
    assert optimizer.compiled is None  # a fit of milliseconds
    for name in ("WORTH_IT", "WORTH_IT_FOR_LONG_STEPS"):
        monkeypatch.setattr(pace, name, 0)
    calls, call = [], CompiledSteps.__call__
    monkeypatch.setattr(CompiledSteps, "__call__", lambda self, *rest: (calls.append(self), call(self, *rest))[1])
    found, expected = mlp((3, 4, 2)), mlp((3, 4, 2))
    for net, compile in ((found, "auto"), (expected, False)):
        optimizer = torchbp.SGD(net, lr=0.3, compile=compile)
        optimizer.fit(x, y, batch_size=8, max_epochs=5, generator=torch.Generator().manual_seed(0))
        assert len(calls) == 4  # of five epochs
        assert optimizer.compiled is None  # backprop_steps is left as it is
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("deterministic", [False, True])
def test_auto_compiles_single_steps_after_many(deterministic, monkeypatch):
    monkeypatch.setattr(pace, "MANY_STEPS", 30)
    found, expected, (x, y) = mlp((3, 4, 2)), mlp((3, 4, 2)), rows(60, 8)
    by_programs, call = [], ReadyCall.__call__
    monkeypatch.setattr(ReadyCall, "__call__", lambda self, *rest: (by_programs.append(self), call(self, *rest))[1])
    torch.use_deterministic_algorithms(deterministic)
    try:
        for net, compile in ((found, "auto"), (expected, False)):
            optimizer = torchbp.SGD(net, lr=0.3, compile=compile)
            losses = [optimizer.backprop_step(*batch) for batch in zip(x, y, strict=True)]
            optimizer.fit(x[0], y[0], max_epochs=2, generator=torch.Generator().manual_seed(0))
            optimizer.backprop_step(x[0], y[0])
            assert (optimizer.compiled is not None) == (compile == "auto" and not deterministic)
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=1e-10, atol=1e-11)
    assert len(by_programs) == (
        0 if deterministic else 60 - 30 - 1 - single_step.STEPS_BEFORE + 1
    )  # and one after the fit
    assert len(losses) == 60


def test_auto_says_nothing_where_it_cannot(monkeypatch):
    for name in ("WORTH_IT", "WORTH_IT_FOR_LONG_STEPS"):
        monkeypatch.setattr(pace, name, 0)
    monkeypatch.setattr("torchbp.engine.native.program.load", None)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout1d(0.5), torch.nn.Linear(2, 2)).double()
    x, y = rows(61)
    monkeypatch.setattr(torchbp.engine.native.translation.lowering, "HANDLERS", {})
    optimizer = torchbp.SGD(model, lr=0.1)
    made, making = [], CompiledSteps.made
    monkeypatch.setattr(CompiledSteps, "made", lambda self, *rest: (made.append(self), making(self, *rest))[1])
    optimizer.fit(x, y, batch_size=8, max_epochs=3)
    assert len(made) == 1  # it is found out once
