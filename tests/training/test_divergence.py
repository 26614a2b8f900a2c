"""A training that diverges: no checkpoint of it is called the best, and no command answers with nan or inf."""

import re
from pathlib import Path

import pytest
import torch

from torchbp.cli import main
from torchbp.training import Network
from torchbp.training.checkpoints.tensors import first_not_finite

CONFIG = str(Path(__file__).parents[2] / "configs/breast_cancer.yaml")
RUN = Path("runs/breast_cancer/version_0/checkpoints")
LARGE = 3e38  # a finite float32; products with it are not

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "undrawn")


@pytest.mark.parametrize(
    "settings",
    [
        "--checkpoint.monitor val/accuracy",
        "--checkpoint.monitor val/loss --model.engine explicit",
        "--checkpoint.monitor train/loss --trainer.limit_val_batches 0",
    ],
)
def test_a_run_that_diverges_at_once_has_no_best_checkpoint(settings, capsys):
    assert main(["fit", "-c", CONFIG, "--model.lr", "1e30", *settings.split()]) == 1
    assert [path.name for path in RUN.iterdir()] == ["last.ckpt"]
    for command in ("test", "validate", "predict", "explain"):
        arguments = ["-c", CONFIG] if command != "explain" else ["--data.source", "breast_cancer"]
        assert main([command, *arguments, "--ckpt_path", str(RUN / "last.ckpt")]) in (1, 2)
        assert re.fullmatch("torchbp: error: [^\n]*\n", capsys.readouterr().err.splitlines(True)[-1])
    assert not Path("predictions.csv").exists()


@pytest.mark.parametrize("monitor", ["val/loss", "val/accuracy", "train/loss"])
def test_finite_weights_with_answers_that_are_not_are_never_the_best(monitor, capsys, monkeypatch):
    """From the third epoch on. The accuracy of answers that are nan is a number, and may be the highest."""
    start = Network.on_validation_epoch_start

    def spoil(model):
        start(model)
        if model.trainer.state.fn == "fit" and model.current_epoch >= 2:
            for parameter in model.net.parameters():
                parameter.data.fill_(LARGE)

    monkeypatch.setattr(Network, "on_validation_epoch_start", spoil)
    main(["fit", "-c", CONFIG, "--trainer.max_epochs", "4", "--checkpoint.monitor", monitor])
    best = torch.load(RUN / "best.ckpt", weights_only=True)
    assert best["epoch"] < 2
    assert first_not_finite(best["state_dict"]) is None


@pytest.mark.parametrize("command", ["test", "validate", "explain"])  # predict: test_checkpoints.py
def test_no_command_answers_with_numbers_that_are_not_finite(command, trained_run, capsys):
    checkpoint = torch.load(trained_run / "checkpoints/best.ckpt", weights_only=True)
    for name, tensor in checkpoint["state_dict"].items():
        if name.startswith("net."):
            tensor.fill_(torch.finfo(tensor.dtype).max)
    if command == "explain":  # in float64 those would have a finite product
        for name in ("net.0.weight", "net.2.weight"):
            checkpoint["state_dict"][name] = checkpoint["state_dict"][name].double() * 1e270
    torch.save(checkpoint, "large.ckpt")
    arguments = ["-c", CONFIG] if command != "explain" else ["--data.source", "breast_cancer"]
    assert main([command, *arguments, "--ckpt_path", "large.ckpt"]) in (1, 2)
    err = capsys.readouterr().err
    assert re.search("torchbp: error: .*(nan|inf)", err), err
