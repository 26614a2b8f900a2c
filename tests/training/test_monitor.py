import re
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad

from tests.training.trainers import ARTICLE_FLAGS, network, quiet_trainer
from torchbp.cli import main
from torchbp.ops import expressions, registry
from torchbp.ops.rules import Activation
from torchbp.training import Network, TabularData
from torchbp.training.callbacks.gradient_monitor import GradientMonitor
from torchbp.training.callbacks.gradients import (
    backward_pass,
    gradient_flow,
    hardest_rows,
    sample_gradient_norms,
)
from torchbp.training.callbacks.saturation import flat_share, plot_words, saturation_trouble
from torchbp.training.cli import run_page
from torchbp.training.errors import SettingError
from torchbp.training.tasks import make_task

ACTIVATIONS = registry.rules(Activation)
CASES = [
    {"classes": ["a", "b"], "hidden": [4]},
    {"classes": ["a", "b", "c"], "hidden": [6, 5, 4], "activation": "tanh", "task": "multiclass"},
    {"classes": ["a", "b", "c"], "hidden": [6, 5], "activation": "relu", "task": "multilabel"},
    {"classes": ["a", "b"], "hidden": [3, 3], "class_weight": {"b": 2.5}},
    {"task": "multiclass", "classes": list("abc"), "hidden": [4], "class_weight": "balanced", "label_smoothing": 0.1},
    {"task": "regression", "classes": ["u", "v"], "hidden": [], "loss": "huber"},
    {
        "classes": ["u", "v"],
        "hidden": [4],
        "activation": "gelu",
        "loss": "huber",
        "norm": "layer",
        "task": "regression",
    },
    {"classes": ["u"], "hidden": [4, 3], "dropout": 0.5, "norm": "batch", "task": "regression"},
]


def case(settings):
    model = Network(5, **settings).double()
    x = torch.randn(7, 5, dtype=torch.double)
    y = torch.randint(2, (7, model.task.outputs)).double()
    if settings.get("task") == "multiclass":
        y = torch.tensor([0, 1, 2, 0, 1, 2, 2])
    model.fit_statistics(x, y)
    return model.eval(), x, y


def of_linear(gradients, linear):
    """The norm of the gradient by the weights and biases of the linear layers."""
    return torch.cat([g.flatten() for name, g in gradients.items() if name.startswith(tuple(linear))]).norm()


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_sample_gradient_norms_are_those_of_grad_of_each_row(settings):
    model, x, y = case(settings)
    parameters = dict(model.net.named_parameters())

    def loss(parameters, x, y):
        z = functional_call(model.net, parameters, (model.scaling(x)[None],))
        return model.task.losses(z, y[None])

    gradients = [grad(loss)(parameters, *row) for row in zip(x, y, strict=True)]
    linear = [f"{number}." for number, layer in enumerate(model.net) if isinstance(layer, torch.nn.Linear)]
    norms = torch.stack([of_linear(row, linear) for row in gradients])
    torch.testing.assert_close(sample_gradient_norms(*backward_pass(model, x, y)), norms)
    rows, largest = hardest_rows(model, (x, y), 3)
    torch.testing.assert_close(largest, norms.topk(3).values)
    assert rows.tolist() == norms.topk(3).indices.tolist()


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_gradient_flow_is_that_of_autograd(settings):
    model, x, y = case(settings)
    zs = []
    linears = [layer for layer in model.net if isinstance(layer, torch.nn.Linear)]
    a = model.scaling(x)
    for layer in model.net:
        a = layer(a)
        if layer in linears:
            a.retain_grad()
            zs.append(a)
    y_of_loss, loss = model.task.target(y)
    loss(a, y_of_loss).backward()
    expected = {}
    for number, (layer, z) in enumerate(zip(linears, zs, strict=True), 1):
        expected[f"dz_rms/{number}"] = (z.grad * len(x)).square().mean().sqrt()
        expected[f"dw_rms/{number}"] = layer.weight.grad.square().mean().sqrt()
        expected[f"dw_to_w/{number}"] = layer.weight.grad.norm() / layer.weight.norm()
    record = gradient_flow(model, x, y)
    for name, value in expected.items():
        assert record[name] == pytest.approx(value.item(), rel=1e-12)
    norms = sample_gradient_norms(*backward_pass(model, x, y))
    assert record["sample_gradient/max"] == norms.max()
    assert record["sample_gradient/p50"] == norms.median()


SATURATED = {  # of outputs, 3 units for 2 rows: just inside and just outside of each bound
    "sigmoid": ([[0.0100, 0.0103, 0.9899], [0.5, 0.9898, 0.0]], 3 / 6),
    "tanh": ([[0.980, 0.979, -0.980], [0.0, -0.979, 1.0]], 3 / 6),
    "relu": ([[0.0, 0.0, 0.0], [0.0, 0.001, 0.0]], 2 / 3),
}


def test_saturation_of_each_activation():
    assert set(SATURATED) == {name for name in ACTIVATIONS if registry.activation(name).saves == "output"}
    for activation, (outputs, share) in SATURATED.items():
        a = torch.tensor([outputs, [[0.5] * 3] * 2])  # a second network, without
        rule = registry.activation(activation)
        torch.testing.assert_close(flat_share(rule, rule.derivative(a, None)), torch.tensor([share, 0.0]))


@pytest.fixture(params=["left", "both sides", "nowhere"])
def smooth(request):
    """The rule of ln(1 + e^z), whose slope σ(z) is a function of its input, said to be flat there."""
    rule = Activation(
        name="smooth",
        apply=F.softplus,
        forward=F.softplus,
        backward=lambda da, z: da * z.sigmoid(),
        saves="input",
        equation=expressions.Z,
        slope=expressions.Z,
        description="is smooth",
        slope_description="at most 1",
        steepest=1.0,
        flat=request.param,
        instead="tanh",
    )
    registry.register(rule)

    @registry.implements(rule)
    class Smooth(torch.nn.Module):
        def forward(self, z):
            return F.softplus(z)

    yield rule
    registry.unregister(rule)


def test_an_activation_that_saves_its_input_is_watched_by_its_rule(smooth):
    model = Network(3, ["a", "b"], hidden=[5], activation="smooth")
    with torch.no_grad():
        model.net[0].bias[:2] = -9  # two units that are flat for all rows
    x, y = torch.randn(40, 3), torch.ones(40, 1)
    x[0] *= 9  # and a row that is far off
    flat = model.net[0](x).sigmoid() < 0.04
    assert 0.4 < flat.double().mean() != flat.all(0).double().mean() == 0.4
    record = gradient_flow(model, x, y)
    if smooth.flat == "nowhere":
        assert "saturated/1" not in record
        return
    expected = flat.all(0) if smooth.flat == "left" else flat
    assert record["saturated/1"] == pytest.approx(expected.double().mean().item())
    title, caption = plot_words("smooth")
    assert title == {"left": "Dead units", "both sides": "Saturated units"}[smooth.flat]
    assert "smooth units" in caption
    assert saturation_trouble("smooth").endswith("tanh as model.activation helps")


@pytest.mark.parametrize(("rows", "watched"), [(100, 100), (341, 128), (8192, 256), (10**6, 1024)])
def test_it_watches_a_share_of_the_training_rows(rows, watched):
    data = SimpleNamespace(splits={"train": torch.arange(rows)}, rows=lambda which: (which[:, None], which[:, None]))
    monitor = GradientMonitor()
    monitor.on_train_start(SimpleNamespace(is_global_zero=True, datamodule=data), Network(1, ["a", "b"]))
    assert [t.flatten().tolist() for t in monitor.sample] == [list(range(watched))] * 2


@pytest.mark.parametrize("every", [7, None])
def test_it_watches_as_often_as_asked(every, monkeypatch):
    monkeypatch.setattr(
        "torchbp.training.callbacks.gradient_monitor.gradient_flow", lambda model, epoch: {"epoch": epoch}
    )
    monitor, seen = GradientMonitor(every), []
    for epoch in range(105):
        monitor.sample, monitor.record = (epoch,), {}
        monitor.on_train_epoch_end(SimpleNamespace(current_epoch=epoch, loggers=[]), None)
        seen += monitor.record.values()
    fewer_and_fewer = [*range(50), *range(50, 75, 2), *range(75, 100, 3), *range(100, 105, 4)]
    assert seen == (fewer_and_fewer if every is None else list(range(0, 105, every)))


def test_saturation_is_of_each_hidden_layer():
    model = Network(1, ["a", "b"], hidden=[3], activation="sigmoid", scaling="standard")
    with torch.no_grad():
        model.net[0].weight.copy_(torch.tensor([[1.0], [10.0], [-10.0]]))
        model.net[0].bias.zero_()
    x = torch.tensor([[1.0], [0.1]])  # z = 1, 10, −10 and 0.1, 1, −1
    assert gradient_flow(model, x, torch.ones(2, 1))["saturated/1"] == pytest.approx(2 / 6)


def test_percentiles_are_those_of_the_rows():
    """41 rows with gradients of 0, 1, … times that of the second: 5 % of 40 is the third."""
    model = Network(1, ["a", "b"], hidden=[1], activation="relu")
    with torch.no_grad():
        for parameter, value in zip(model.net.parameters(), (1.0, 0.0, 1.0, 0.0), strict=True):
            parameter.fill_(value)
    order = torch.randperm(41)
    norms = torch.arange(41.0)
    record = gradient_flow(model, *rows_with(model, norms[order]))
    found = [record[f"sample_gradient/{name}"] for name in ("p05", "p50", "p95", "max")]
    assert found == pytest.approx([2, 20, 38, 40], rel=1e-4)


def rows_with(model, norms):
    """Rows whose gradient has such a norm: of x < 0 it is that of the last bias, |σ(0) − y| = |½ − y|."""
    return torch.full((len(norms), 1), -1.0), 0.5 + norms[:, None]


@pytest.mark.parametrize("weight", [None, 7.0])
def test_the_guess_is_the_best_answer_without_features(weight):
    y = (torch.rand(50, 3) < torch.tensor([0.1, 0.5, 0.9])).double()
    pos_weight = None if weight is None else torch.full((3,), weight, dtype=torch.double)
    class_weight = None if weight is None else dict.fromkeys("abc", weight)
    task = make_task("multilabel", list("abc"), class_weight=class_weight).double()
    task.fit(y)
    z = torch.linspace(-8, 8, 3201, dtype=torch.double)[:, None, None].expand(-1, 50, 3)
    losses = F.binary_cross_entropy_with_logits(z, y.expand_as(z), reduction="none", pos_weight=pos_weight).mean(1)
    expected = losses.min(0).values.mean()
    assert task.constant_loss(y) == pytest.approx(expected.item(), rel=1e-4)
    assert make_task("multilabel", ["a", "b"]).constant_loss(torch.tensor([[0.0, 1.0]])) == pytest.approx(0, abs=1e-30)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_trouble_is_said_in_the_words_of_the_activation(activation):
    data = TabularData("breast_cancer")
    model = network(data, hidden=[4, 4], activation=activation)
    trainer = SimpleNamespace(callback_metrics={"train/loss": torch.tensor(0.6)}, datamodule=data)
    monitor = GradientMonitor()
    flat = registry.activation(activation).flat
    monitor.record = {"dz_rms/1": 0.9e-3, "dz_rms/2": 1.1e-3, "dz_rms/3": 1.0}
    if flat != "nowhere":
        monitor.record |= {"saturated/1": 0.49, "saturated/2": 0.5}
    vanished, *saturated = monitor.troubles(trainer, model)
    assert vanished.startswith("layer 1's gradient has vanished: its dZ is 9e-04 of the last layer's. Fewer hidden ")
    assert ("relu" in vanished) == (flat == "both sides")
    words = {"left": ["units are dead"], "both sides": ["outputs are saturated"], "nowhere": []}[flat]
    assert [trouble.partition(":")[0] for trouble in saturated] == [f"50% of layer 2's {w}" for w in words]
    assert all(f"{activation} as" not in trouble for trouble in saturated)
    trainer.callback_metrics["train/loss"] = torch.tensor(0.06)
    assert list(monitor.troubles(trainer, model)) == []


def test_watching_does_not_change_training(tmp_path):
    def weights(every):
        torch.manual_seed(0)
        data = TabularData("breast_cancer")
        model = network(data)
        quiet_trainer(max_epochs=3, callbacks=[GradientMonitor(every)]).fit(model, data)
        return model.state_dict()

    with_, without = weights(1), weights(0)
    assert all(torch.equal(with_[name], without[name]) for name in with_)


pytestmark = pytest.mark.usefixtures("undrawn")


HARDEST = [  # task, classes, y, answers, and of each row: label, predicted, P of the label
    ("binary", ["a", "b"], [[0.0], [1.0]], [[0.5], [0.2]], [("a", "b", 0.5), ("b", "a", 0.2)]),
    ("multiclass", list("abc"), [2, 0], [[0.6, 0, 0.3], [0.4, 0.2, 0]], [("c", "a", 0.3), ("a", "a", 0.4)]),
    ("multilabel", ["a", "b"], [[1.0, 0.0], [0.0, 0.0]], [[0.5, 0.25], [0.1, 0.6]],
     [("a", "a", 0.375), ("none", "b", 0.36)]),
    ("regression", ["u"], [[1.5], [-2.0]], [[1.25], [1e9]], [("1.5", "1.25", None), ("-2", "1e+09", None)]),
]  # fmt: skip


@pytest.mark.parametrize(("task", "classes", "truth", "p", "rows"), HARDEST, ids=[case[0] for case in HARDEST])
def test_the_hardest_rows_have_their_label_and_its_probability(task, classes, truth, p, rows, monkeypatch):
    monkeypatch.setattr(run_page, "hardest_rows", lambda *_: (torch.tensor([1, 0]), torch.tensor([9.0, 4.0])))
    monkeypatch.setattr(run_page, "_predict_in_pieces", lambda model, x: torch.tensor(p)[x])
    rows_of = lambda split: (torch.arange(2), torch.tensor(truth))  # noqa: E731
    data = SimpleNamespace(row_number=lambda split, row: [31, 11][row], rows=rows_of)
    model = SimpleNamespace(task=make_task(task, classes))
    found = list(run_page.describe_hardest(model, data, "val"))
    assert [(row["row"], row["split"], row["norm"]) for row in found] == [(11, "val", 9.0), (31, "val", 4.0)]
    for row, (label, predicted, p) in zip(reversed(found), rows, strict=True):
        assert (row["label"], row["predicted"]) == (label, predicted)
        assert row["probability"] is p is None or row["probability"] == pytest.approx(p)


def run(tmp_path, monkeypatch, capsys, *arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["torchbp"])
    article = [] if "-c" in arguments else ARTICLE_FLAGS
    with warnings.catch_warnings():
        status = main(["fit", "--data.source", "breast_cancer", "--trainer.accelerator", "cpu", *article, *arguments])
    assert status == 0
    return re.findall(r"^watch +(.*)$", capsys.readouterr().out, re.MULTILINE)


def test_a_healthy_run_has_nothing_to_say_and_a_row_for_each_epoch(tmp_path, monkeypatch, capsys):
    assert run(tmp_path, monkeypatch, capsys, "--trainer.max_epochs", "4") == []
    table = pd.read_csv("runs/run/version_0/metrics.csv").groupby("epoch").last()
    assert len(table) == 4
    for name in ("dz_rms/1", "dz_rms/2", "dw_rms/1", "dw_to_w/2", "saturated/1", "sample_gradient/p95", "val/loss"):
        assert table[name].notna().all()
    if find_spec("tensorboard") is None:
        pytest.skip("TensorBoard is not installed: metrics.csv has the numbers alone")
    events = next(Path("runs/run/version_0").glob("events.out.tfevents*")).read_bytes()
    assert b"dz_rms/1" in events
    assert b"val/loss" in events


def test_a_deep_sigmoid_network_is_told_that_its_gradient_has_vanished(tmp_path, monkeypatch, capsys):
    deep = ["--model.hidden", "[8, 8, 8, 8, 8, 8]", "--trainer.max_epochs", "2"]
    watched = run(tmp_path, monkeypatch, capsys, *deep)
    assert watched
    assert all("gradient has vanished" in line and "relu" in line for line in watched)
    assert watched[0].startswith("layer 1's")
    assert "vanished" not in str(run(tmp_path, monkeypatch, capsys, *deep, "--model.activation", "relu"))


def test_saturated_units_are_told(tmp_path, monkeypatch, capsys):
    watched = run(tmp_path, monkeypatch, capsys, "--model.lr", "300", "--trainer.max_epochs", "3")
    assert any(re.match(r"\d+% of layer 1's outputs are saturated: .* smaller lr", line) for line in watched)


def test_saturation_of_a_network_that_has_learnt_is_no_trouble(tmp_path, monkeypatch, capsys):
    config = str(Path(__file__).parent.parent.parent / "configs/xor.yaml")
    assert run(tmp_path, monkeypatch, capsys, "-c", config, "--data.source", "xor", "--model.lr", "5") == []
    assert pd.read_csv("runs/xor/version_0/metrics.csv")["saturated/1"].max() > 0.5


def test_it_can_be_switched_off(tmp_path, monkeypatch, capsys):
    run(tmp_path, monkeypatch, capsys, "--trainer.max_epochs", "1", "--gradients.every_n_epochs", "0")
    assert "dz_rms/1" not in pd.read_csv("runs/run/version_0/metrics.csv")
    with pytest.raises(SettingError, match="every_n_epochs=-1"):
        GradientMonitor(-1)
