import re
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap

from torchbp.cli import main
from torchbp.training import Classifier, TabularData
from torchbp.training.errors import SettingError
from torchbp.training.gradients import (
    GradientMonitor,
    backward_pass,
    gradient_flow,
    hardest_rows,
    sample_gradient_norms,
)

CASES = [
    {"classes": ["a", "b"], "hidden": [4]},
    {"classes": ["a", "b", "c"], "hidden": [6, 5, 4], "activation": "tanh"},
    {"classes": ["a", "b", "c"], "hidden": [6, 5], "activation": "relu", "multilabel": True},
    {"classes": ["a", "b"], "hidden": [3, 3], "pos_weight": 2.5},
]


def case(settings):
    model = Classifier(5, **settings).double()
    x = torch.randn(7, 5, dtype=torch.double)
    model.standardize.fit(x)
    y = torch.randint(2, (7, model.net[-1].out_features)).double()
    return model, x, y


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_sample_gradient_norms_are_those_of_vmap_of_grad(settings):
    model, x, y = case(settings)
    parameters = dict(model.net.named_parameters())

    def loss(parameters, x, y):
        z = functional_call(model.net, parameters, (model.standardize(x)[None],))
        return F.binary_cross_entropy_with_logits(z, y[None], pos_weight=model.loss.pos_weight)

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    norms = sum(g.flatten(1).square().sum(1) for g in gradients.values()).sqrt()
    torch.testing.assert_close(sample_gradient_norms(*backward_pass(model, x, y)), norms)
    rows, largest = hardest_rows(model, x, y, 3)
    torch.testing.assert_close(largest, norms.topk(3).values)
    assert rows.tolist() == norms.topk(3).indices.tolist()


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_gradient_flow_is_that_of_autograd(settings):
    model, x, y = case(settings)
    zs = []
    linears = [layer for layer in model.net if isinstance(layer, torch.nn.Linear)]
    a = model.standardize(x)
    for layer in model.net:
        a = layer(a)
        if layer in linears:
            a.retain_grad()
            zs.append(a)
    model.loss(a, y).backward()
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


def test_saturation_is_the_share_of_small_derivatives():
    model = Classifier(1, ["a", "b"], hidden=[3])
    with torch.no_grad():
        model.net[0].weight.copy_(torch.tensor([[1.0], [10.0], [-10.0]]))
        model.net[0].bias.zero_()
    x = torch.tensor([[1.0], [0.1]])  # z = 1, 10, −10 and 0.1, 1, −1
    assert gradient_flow(model, x, torch.ones(2, 1))["saturated/1"] == pytest.approx(2 / 6)


def test_watching_does_not_change_training(tmp_path):
    def weights(every):
        torch.manual_seed(0)
        data = TabularData("breast_cancer")
        model = Classifier(data.in_features, data.classes)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = pl.Trainer(
            max_epochs=3, callbacks=[GradientMonitor(every)], enable_checkpointing=False, accelerator="cpu", **quiet
        )
        trainer.fit(model, data)
        return model.state_dict()

    with_, without = weights(1), weights(0)
    assert all(torch.equal(with_[name], without[name]) for name in with_)


def run(tmp_path, monkeypatch, capsys, *arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["torchbp"])
    with warnings.catch_warnings():
        status = main(["fit", "--data.source", "breast_cancer", "--trainer.accelerator", "cpu", *arguments])
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
    assert run(tmp_path, monkeypatch, capsys, *deep, "--model.activation", "relu") == []


def test_saturated_units_are_told(tmp_path, monkeypatch, capsys):
    watched = run(tmp_path, monkeypatch, capsys, "--model.lr", "300", "--trainer.max_epochs", "3")
    assert any(re.match(r"\d+% of layer 1's outputs are saturated: .* smaller lr", line) for line in watched)


def test_saturation_of_a_network_that_has_learnt_is_no_trouble(tmp_path, monkeypatch, capsys):
    config = str(Path(__file__).parent.parent.parent / "configs/xor.yaml")
    assert run(tmp_path, monkeypatch, capsys, "-c", config, "--data.source", "xor") == []
    assert pd.read_csv("runs/xor/version_0/metrics.csv")["saturated/1"].max() > 0.5


def test_it_can_be_switched_off(tmp_path, monkeypatch, capsys):
    run(tmp_path, monkeypatch, capsys, "--trainer.max_epochs", "1", "--gradients.every_n_epochs", "0")
    assert "dz_rms/1" not in pd.read_csv("runs/run/version_0/metrics.csv")
    with pytest.raises(SettingError, match="every_n_epochs=-1"):
        GradientMonitor(-1)
