"""The recipe of a `fit` that names none: a pack for a table of the user's, unless something speaks against it."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.commands import command_in
from tests.training.pack.tables import OF_ROWS, RUN, write_table
from torchbp.cli import main
from torchbp.training.cli.recipe import recipe_line

FIT = ["fit", *OF_ROWS, "--data.target", "t"]
PACK = "pack: networks that differ, and the best answer together; --recipe mlp trains one"


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A folder with a table and the run that nothing but the table was named for."""
    folder = tmp_path_factory.mktemp("chosen")
    with command_in(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchbp.training.cli.run_page.write_pack_page", lambda *_: None)
        write_table("t.csv", rows=90)
        assert main(FIT) == 0
    return folder


def test_a_run_without_a_recipe_is_a_pack_and_stays_one(whole_run, run, tmp_path):
    shutil.copytree(whole_run, tmp_path / "copy")
    with command_in(tmp_path / "copy"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchbp.training.cli.run_page.write_pack_page", lambda *_: None)
        config = yaml.safe_load((RUN / "config.yaml").read_text())
        assert (config["recipe"], config["model"]["members"]) == ("pack", None)
        assert len(pd.read_csv(RUN / "configurations.csv")) == 3

        before = (RUN / "configurations.csv").read_bytes()
        for chosen in ([], ["-c", RUN / "config.yaml"]):
            status, out, err = run("fit", *chosen, "--ckpt_path", RUN)  # there is nothing left to train
            assert status == 0, err
            assert "stopped  after 12 networks of 3 configurations" in out
        del config["recipe"]  # as a run before there were recipes: then it is that of the checkpoint
        (RUN / "config.yaml").write_text(yaml.safe_dump(config))
        status, _, err = run("fit", "--ckpt_path", RUN)
        assert status == 0, err
        assert (RUN / "configurations.csv").read_bytes() == before

        status, out, _ = run("test", "--ckpt_path", RUN, "--data.source", "t.csv")
        assert status == 0
        assert float(re.search(r"test/accuracy +(\S+)", out)[1]) > 0.7
        assert run("predict", "--ckpt_path", RUN, "--data.source", "t.csv")[0] == 0
        assert len(pd.read_csv("predictions.csv")) == 90


@pytest.fixture
def chosen(monkeypatch, run):
    """Runs `fit` without the training: what it would train with, the line that says why, and the recipe that the
    config.yaml would have."""
    found = []

    def note(command, *_):
        saved = next(one.config for one in command.trainer.callbacks if hasattr(one, "config_filename"))
        line = recipe_line(command)
        found[:] = command.settings.recipe, line[0][1] if line else "", saved.recipe

    for name in ("run_pack", "run_fit"):
        monkeypatch.setattr(f"torchbp.training.cli.running.{name}", note)

    def chosen(*arguments):
        status, _, err = run(*arguments)
        assert status == 0, err
        recipe, line, saved = found
        assert saved == recipe
        assert line.startswith(f"{recipe}: ") or line == ""
        return line or recipe

    return chosen


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--recipe", "auto"],
        ["--budget", "2m"],
        ["--model.class_weight", "balanced", "--data.batch_size", "32"],
        ["--model.lr", "0.004"],  # as it is without the flag
        ["--trainer.accelerator", "cpu", "--seed_everything", "3"],
        ["--trainer.logger.init_args.name", "mine"],
        ["--data.val_source", "v.csv"],
    ],
    ids=" ".join,
)
def test_a_table_is_for_a_pack(arguments, chosen):
    write_table("t.csv")
    write_table("v.csv", seed=1)
    assert chosen(*FIT, *arguments).startswith(PACK)


OF_ONE = {
    "model.lr": ["--model.lr", "0.1"],
    "model.hidden": ["-c", "c.yaml"],
    "model.optimizer": ["--model.optimizer", "sgd"],
    "model.members": ["--model.members", "4"],
    "model.activation": ["--model.activation", "tanh"],
    "stopping.patience": ["--stopping.patience", "3"],
    "gradients.every_n_epochs": ["--gradients.every_n_epochs", "5"],
    "checkpoint.monitor": ["--checkpoint.monitor", "val/f1"],
    "trainer.max_epochs": ["--trainer.max_epochs", "-1"],
    "trainer.precision": ["--trainer.precision", "64-true"],
    "trainer.callbacks": ["--trainer.callbacks", "[{class_path: pytorch_lightning.callbacks.Timer}]"],
    "trainer.strategy": ["--trainer.strategy", "ddp_spawn"],
}


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("key", OF_ONE)
def test_a_setting_of_one_network_means_one(key, chosen, run):
    write_table("t.csv")
    Path("c.yaml").write_text("model: {hidden: [8]}\n")
    assert chosen(*FIT, *OF_ONE[key]).startswith(f"mlp: {key} is a setting of one network; --recipe pack trains")
    status, out, err = run(*FIT, *OF_ONE[key], "--budget", "2m")
    assert (status, out) == (2, "")
    assert f"budget=2m is of a pack, which is not trained here: {key} is a setting" in err


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_table_that_is_no_table_of_a_pack(chosen, run):
    write_table("t.csv", rows=80)
    assert chosen(*FIT) == "mlp: 48 training and 16 validation rows; a pack needs 50 and 2"
    assert chosen(*FIT, "--data.test_fraction", "0.1").startswith("pack: ")
    pd.read_csv("t.csv").head(1).to_csv("v.csv", index=False)
    line = chosen(*FIT, "--data.val_source", "v.csv")
    assert line == "mlp: 64 training and 1 validation rows; a pack needs 50 and 2"
    assert chosen(*FIT, "--data.on_disk").startswith("mlp: the table is on disk (data.on_disk)")
    status, _, err = run(*FIT, "--budget", "2m")
    assert status == 2
    assert err.endswith("not trained here: 48 training and 16 validation rows; a pack needs 50 and 2\n")


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_recipe_that_is_named_wins(chosen):
    write_table("t.csv")
    Path("c.yaml").write_text("recipe: mlp\n")
    for arguments, line in (
        (["--recipe", "mlp"], "mlp: one network, in seconds; --recipe pack trains several"),
        (["-c", "c.yaml"], "mlp: one network, in seconds; --recipe pack trains several"),
        (["-c", "c.yaml", "--recipe=pack"], "pack: networks that differ; the best"),
        (["-c", "c.yaml", "--recipe=auto"], PACK),
        (["--recipe", "pack", "--trainer.max_epochs", "3", "--model.members", "3"], "pack: networks that differ; the"),
        (["--recipe", "article"], "article: 16 sigmoid units"),
    ):
        assert chosen(*FIT, *arguments).startswith(line)


@pytest.mark.usefixtures("in_an_empty_folder")
def test_bundled_sets_have_one_network(chosen, run):
    assert chosen("fit", "-c", "breast_cancer") == "mlp"
    assert chosen("fit", "--data.source", "digits") == "mlp"
    status, _, err = run("fit", "--data.source", "digits", "--budget", "2m")
    assert status == 2
    assert "mlp is the recipe of a bundled set; add --recipe pack" in err


@pytest.mark.usefixtures("in_an_empty_folder")
def test_the_parts_of_folds_have_one_recipe(run, monkeypatch):
    """That of the first one: a later one may have a row more."""
    found = []

    def stop(command, *_):
        found.append((command.settings.recipe, len(command.datamodule.splits["train"]), recipe_line(command)))
        command.status = 130 if len(found) == 3 else 0

    for name in ("run_pack", "run_fit"):
        monkeypatch.setattr(f"torchbp.training.cli.running.{name}", stop)
    monkeypatch.setattr("torchbp.training.cli.folds._test", lambda command: {})
    monkeypatch.setattr("torchbp.training.cli.folds._answers", lambda *_: None)
    for rows, recipe in ((214, "mlp"), (240, "pack")):
        found.clear()
        write_table("t.csv", rows=rows)
        assert run(*FIT, "--data.folds", 3)[0] == 130
        assert [one for one, *_ in found] == [recipe] * 3
        assert [len(line) for *_, line in found] == [1, 0, 0]
        counts = [count for _, count, _ in found]
        assert counts[0] >= 100 if recipe == "pack" else counts == [99, 100, 100]
