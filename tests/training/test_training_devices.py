"""Training on each device that there is: the numbers, checkpoints from one to the other, and no waiting in a step."""

import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training.trainers import network, quiet_trainer
from torchbp.cli import main
from torchbp.training import Network, TabularData, UntilMinimum
from torchbp.training.callbacks.gradient_monitor import GradientMonitor

ACCELERATORS = {"cpu": "cpu", "cuda": "gpu"}
CONFIG = str(Path(__file__).parent.parent.parent / "configs/breast_cancer.yaml")
SETTINGS = [
    {"engine": "autograd"},
    {"engine": "explicit", "class_weight": {"benign": 2.0}},
    {"engine": "autograd", "members": 3},
    {"engine": "explicit", "lr": [0.1, 0.3], "members": 2},
]


def fit(device, settings, epochs=2, precision="32-true", callbacks=(), path=None):
    torch.manual_seed(1)
    data = TabularData("breast_cancer", batch_size=50)
    model = network(data, **{"lr": 0.3, "momentum": 0.5, "weight_decay": 0.01, **settings})
    trainer = quiet_trainer(
        max_epochs=epochs,
        callbacks=list(callbacks),
        precision=precision,
        accelerator=ACCELERATORS[device],
        devices=1,
    )
    trainer.fit(model, datamodule=data, ckpt_path=path, weights_only=True)
    return trainer, model, data


def measured(device, settings, **options):
    """Weights, losses, scores, the norm of the gradient and what the monitor records, of a run."""
    monitor, stopping = GradientMonitor(1), UntilMinimum(min_grad_norm=1e-9)
    trainer, model, _ = fit(device, settings, callbacks=[monitor, stopping], **options)
    shares = {name: value for name, value in monitor.record.items() if "saturated" not in name}  # steps, of a bound
    numbers = {
        **trainer.callback_metrics,
        "losses": model.train_losses,
        **model.val_scores,
        **shares,
        "norm": stopping.grad_norm,
    }
    numbers |= model.net.state_dict()
    return {name: torch.as_tensor(value, dtype=torch.double, device="cpu") for name, value in numbers.items()}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_an_epoch_is_that_of_the_cpu_in_double_precision(device, settings):
    exact = measured("cpu", settings, precision="64-true")
    found = measured(device, settings)
    assert found.keys() == exact.keys()
    for name, value in exact.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=2e-5, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize("settings", SETTINGS[1:], ids=str)
def test_a_run_goes_on(device, settings, tmp_path):
    half, path = fit(device, settings, epochs=1)[0], tmp_path / "half.ckpt"
    half.save_checkpoint(path)
    devices = OptimizerDevices()
    trainer, found, _ = fit(device, settings, epochs=3, callbacks=[devices], path=path)
    expected = fit(device, settings, epochs=3)[1]
    assert trainer.current_epoch == 3
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-6, atol=1e-7)
    assert devices.found == {device}


class OptimizerDevices(pl.Callback):
    """Where the tensors of the optimizer are, when training begins: a rate of each member that is elsewhere would be
    copied in each step."""

    def on_train_start(self, trainer, pl_module):
        (optimizer,) = trainer.optimizers
        values = [value for group in optimizer.param_groups for value in (*group["params"], *group.values())]
        values += [value for state in optimizer.state.values() for value in state.values()]
        self.found = {value.device.type for value in values if isinstance(value, torch.Tensor)}


def test_a_network_predicts_on_the_cpu(device, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["torchbp"])
    with warnings.catch_warnings():
        assert (
            main(["fit", "-c", CONFIG, "--trainer.max_epochs", "2", "--trainer.accelerator", ACCELERATORS[device]]) == 0
        )
        path = "runs/breast_cancer/version_0/checkpoints/best.ckpt"
        assert f", on {device}" in capsys.readouterr().err
        assert f", on {device}" in Path("runs/breast_cancer/version_0/report.html").read_text()
        assert main(["predict", "-c", CONFIG, "--trainer.accelerator", "cpu", "--ckpt_path", path]) == 0
    written = torch.tensor(pd.read_csv("predictions.csv")["P(benign)"].to_numpy())
    x = TabularData("breast_cancer").table.features
    model = Network.load_from_checkpoint(path, map_location=device)
    assert {t.device.type for t in model.state_dict().values()} == {device}
    torch.testing.assert_close(model.predict_proba(x).double().cpu()[:, 0], written, rtol=1e-4, atol=1e-5)


class Waits(TorchDispatchMode):
    """The operations so far whose result the program reads: it would wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        if function.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "equal", "is_nonzero"):
            self.found.append(str(function))
        return function(*arguments, **(named or {}))


class Steps(pl.Callback):
    """Watches each training step: on a GPU torch raises where something waits, elsewhere `waits` has its name."""

    watches = False

    def __init__(self):
        self.waits, self.count = Waits(), 0

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step:  # a velocity begins in the first
            self.waits.__enter__()
            self.watch("error")

    def on_train_batch_end(self, trainer, *_):
        if self.watches:
            self.watch("default")
            self.waits.__exit__(None, None, None)
            self.count += 1

    def watch(self, mode):
        self.watches = mode == "error"
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode(mode)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_no_step_waits_for_the_device(device, settings, tmp_path):
    steps = Steps()
    stopping, monitor = UntilMinimum(min_grad_norm=1e-9), GradientMonitor(1)
    trainer, _, _ = fit(device, settings, callbacks=[monitor, stopping, steps], epochs=3)
    assert steps.waits.found == []
    assert steps.count == trainer.global_step - 1
    assert steps.count > 1


def test_what_waits_is_seen(device):
    with Waits() as waits:
        torch.ones(3, device=device).sum().item()
        bool(torch.ones((), device=device) > 0)
    assert len(waits.found) == 2


def test_batches_for_a_gpu_are_in_pinned_memory(device):
    class Look(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            batch = next(iter(trainer.datamodule.train_dataloader()))
            self.pinned = [t.is_pinned() for t in batch]
            self.devices = {t.device.type for t in batch}

    look = Look()
    fit(device, SETTINGS[0], epochs=1, callbacks=[look])
    assert look.pinned == [device == "cuda"] * 2
    assert look.devices == {"cpu"}
