"""Which settings a pack has: its tasks, folds and recipe; and what is refused in one line."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.training.pack.tables import OF_ROWS, QUICK, RUN, write_table
from torchbp.training import PackNetwork

TASKS = {
    "multiclass": [
        "--trainer.max_epochs",
        "1",
        "--model.class_weight",
        "balanced",
        "--data.weight",
        "weight",
        "--data.ignore",
        "[group]",
    ],
    "multilabel": ["--data.group", "group", "--data.ignore", "[weight]"],
    "regression": ["--model.loss", "huber", "--data.ignore", "[weight, group]"],
}


@pytest.mark.usefixtures("in_an_empty_folder", "without_page")
@pytest.mark.parametrize("task", TASKS)
def test_each_task(task, run, monkeypatch):
    monkeypatch.setattr("torchbp.training.cli.run_page.write_pack_page", lambda *_: None)
    rows = 1300 if task == "multiclass" else 160  # so many have ranks and embeddings
    targets = write_table("t.csv", task, rows=rows)
    status, out, err = run(
        "fit", "--data.source", "t.csv", "--data.target", f"[{', '.join(targets)}]", *TASKS[task], *QUICK,
        "--model.members", 3,
    )  # fmt: skip
    assert status == 0, err
    assert ("validation rows choose" in err) == (task == "multilabel")  # those of whole groups
    for command in ("validate", "test"):
        status, scores, _ = run(command, "--ckpt_path", RUN)
        assert status == 0
        if command == "validate":
            loss = re.search(r"val/loss +(\S+)", scores)[1]
            assert f"val/loss {loss}" in out
    model = PackNetwork.load_from_checkpoint(RUN / "checkpoints/best.ckpt")
    assert (model.hparams.scaling == "ranked") == any(one["frequency"] for one in model.hparams.configurations)
    assert (model.hparams.scaling == "ranked") == (task == "multiclass")
    member, x = model.member(model.numbers[0]), model.raw_rows(pd.read_csv("t.csv"))
    with torch.no_grad():
        torch.testing.assert_close(member(x), model.nets[0](model.scaling(x)))
    assert len(model.scaling.names(list("abcdefgh"[: x.shape[1]]))) == model.hparams.inputs


@pytest.mark.usefixtures("in_an_empty_folder", "without_page")
def test_the_recipe_is_said_and_its_settings_come_before_files_and_flags(run):
    write_table("t.csv")
    Path("c.yaml").write_text("recipe: article\nmodel: {lr: 0.25}\n")
    fit = ["fit", *OF_ROWS, "--data.target", "t", "--trainer.max_epochs", 1]
    for arguments, hidden, lr, line in (
        (["-c", "c.yaml", "--model.hidden", "[5]"], [5], 0.25, "recipe   article: 16 sigmoid units"),
        (["-c", "c.yaml", "--recipe=mlp"], [64, 64], 0.25, "recipe   mlp: one network"),
    ):
        status, _, err = run(*fit, *arguments)
        assert status == 0, err
        assert err.startswith(line)
        newest = max(Path("runs/run").iterdir(), key=lambda path: path.stat().st_mtime)
        h = torch.load(newest / "checkpoints/best.ckpt", weights_only=True)["hyper_parameters"]
        assert (h["hidden"], h["lr"]) == (hidden, lr)
        assert h["activation"] == ("sigmoid" if "article" in line else "silu")


@pytest.mark.usefixtures("in_an_empty_folder")
def test_folds_are_packs(run, monkeypatch):
    monkeypatch.setattr("torchbp.training.cli.run_page.write_pack_page", lambda *_: None)
    write_table("t.csv", rows=160)
    status, out, err = run(
        "fit",
        *OF_ROWS,
        "--data.target",
        "t",
        *QUICK,
        "--model.members",
        3,
        "--data.folds",
        3,
        "--trainer.max_epochs",
        1,
    )
    assert status == 0, err
    assert re.search(r"^test/accuracy +0\.\d+ ± ", out, re.MULTILINE)
    assert err.count("recipe ") == err.count("blanks ") == 1
    assert err.count(" 9 networks; ") == 3
    rows = pd.read_csv("runs/run/version_0/out_of_fold.csv")
    model = PackNetwork.load_from_checkpoint("runs/run/version_0/fold_2/checkpoints/best.ckpt")
    part = rows[rows["fold"] == 2]
    answers = model.answers(pd.read_csv("t.csv").iloc[part["row"] - 1])
    np.testing.assert_allclose(part["P(yes)"], answers[:, 0], rtol=1e-5)


@pytest.mark.usefixtures("in_an_empty_folder")
def test_validation_rows_that_weigh_nothing_choose_no_network(run):
    write_table("t.csv")
    write_table("v.csv", seed=1)
    pd.read_csv("v.csv").assign(weight=0).to_csv("v.csv", index=False)
    fit = ["fit", "--data.source", "t.csv", "--data.ignore", "[group]", "--data.target", "t", *QUICK]
    status, out, err = run(*fit, "--data.val_source", "v.csv", "--data.weight", "weight")
    assert (status, out) == (1, "")
    assert "the weights of the validation rows (weight) are all 0" in err.splitlines()[-1]


REFUSED = {
    "model.hidden=[8]: a pack draws or sets it; leave it out of the command": ["--model.hidden", "[8]"],
    "model.hidden=[8], model.lr=0.5: a pack draws or sets them": ["--model.hidden", "[8]", "--model.lr", "0.5"],
    "stopping.patience=3: a pack has no such rule": ["--stopping.patience", "3"],
    "model.members=0 must be at least 1": ["--model.members", "0"],
    "budget=2m trains until the time is used, and model.members=9 says": ["--budget", "2m", "--model.members", "9"],
    "trainer.max_epochs=-1 must be at least 1": ["--trainer.max_epochs", "-1"],
    "data.on_disk=true: a pack holds its rows in memory; leave": ["--data.on_disk"],
    "data.on_disk=true: a pack holds its rows in memory": ["--data.on_disk", "true"],
    "trainer.precision=64-true is of Lightning's loop": ["--trainer.precision", "64-true"],
    "and a pack has none; use --budget": ["--trainer.max_time", "00:00:00:05"],
    "trainer.fast_dev_run=True is of Lightning's loop": ["--trainer.fast_dev_run", "true"],
    "budget='soon' must be a time": ["--budget", "soon"],
    "recipe=packs is not known; use auto, mlp, article, pack": ["--recipe", "packs"],
    "budget=2m is of --recipe pack": ["--recipe", "mlp", "--budget", "2m"],
    "budget='2min' must be a time, such as 90s": ["--budget", "2min", "--data.source", "nowhere.csv"],
    "too few to choose among networks": ["--data.val_fraction", "0.79"],
}


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("message", REFUSED)
def test_what_a_pack_does_not_have_is_refused_in_one_line(message, run):
    write_table("t.csv")
    status, out, err = run("fit", *OF_ROWS, "--data.target", "t", *QUICK, *REFUSED[message])
    assert status == (1 if "too few" in message else 2)
    assert out == ""
    assert message in err.splitlines()[-1]
    assert not list(Path().glob("runs/**/*.ckpt"))
