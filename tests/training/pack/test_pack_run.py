"""A pack by the training command: the run, and what the other commands do with it."""

import re
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.commands import command_in
from tests.training.pack.tables import OF_ROWS, QUICK, write_table
from torchbp.training import PackNetwork

RUN = Path("runs/run/version_0")


@pytest.fixture
def there(pack_run):
    """In the folder of `pack_run`."""
    with command_in(pack_run[0]):
        yield


def chosen(path):
    """The state and the configurations of the checkpoint in the folder of a run."""
    checkpoint = torch.load(path / "checkpoints/best.ckpt", weights_only=True)
    return checkpoint["state_dict"], checkpoint["hyper_parameters"]["configurations"]


def test_a_run_says_what_it_trained_and_what_it_chose(pack_run):
    _, out, err = pack_run
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["stopped", "chosen", "best", "baseline", "page", "next"]
    assert lines[0].endswith("after 24 networks of 6 configurations: all are trained")
    assert err.startswith("recipe   pack: networks that differ, ")
    alone, together = (
        float(re.search(rf"val/loss (\S+){end}", out, re.MULTILINE)[1]) for end in ("$", "  val/accuracy")
    )
    assert together <= alone + 1e-3
    assert "24 networks; 96 rows are 4 folds, which take turns as validation rows" in err
    assert re.search(r"networks 12 of 24  val/loss 0\.\d{4} of \d+ together", err)


@pytest.mark.usefixtures("there")
def test_the_checkpoint_has_the_chosen_networks_alone():
    state, configurations = chosen(RUN)
    shares = [one["share"] for one in configurations]
    assert len(shares) == 6
    assert sum(shares) == pytest.approx(1)
    assert {len(one["hidden"]) for one in configurations} == {1, 2, 3}
    networks = {name.split(".")[1] for name in state if name.startswith("nets.")}
    assert len(networks) == 4 * sum(share > 0 for share in shares)
    table = pd.read_csv(RUN / "configurations.csv")
    assert table["share"].tolist() == pytest.approx(shares)
    assert table["number"].tolist() == list(range(1, 7))


@pytest.mark.usefixtures("there")
def test_validate_scores_each_row_by_the_members_that_were_not_trained_on_it(pack_run, run):
    best = next(line for line in pack_run[1].splitlines() if line.startswith("best"))
    status, out, _ = run("validate", "--ckpt_path", RUN)
    assert status == 0
    for name in ("loss", "accuracy"):
        assert re.search(rf"val/{name} +(\S+)", out)[1] == re.search(rf"val/{name} (\S+)", best)[1]
    model = PackNetwork.load_from_checkpoint(RUN / "checkpoints/best.ckpt")
    frame = pd.read_csv("t.csv")
    seen = ((model.answers(frame)[:, 0].numpy() > 0.5) == (frame["t"] == "yes")).mean()
    assert seen > 0.5  # by all members, of which three of four were trained on a row


@pytest.mark.usefixtures("there")
def test_predict_writes_the_mean_by_the_shares_and_the_spread(run):
    status, *_ = run("predict", "--ckpt_path", RUN, "--overwrite", "true")
    assert status == 0
    table = pd.read_csv("predictions.csv")
    model = PackNetwork.load_from_checkpoint(RUN / "checkpoints/best.ckpt")
    with torch.no_grad():
        x = model.scaling(model.raw_rows(pd.read_csv("t.csv")))
        each = np.stack([net(x).sigmoid()[:, 0].numpy() for net in model.nets])
    shares = np.repeat([one["share"] / 4 for one in model.chosen], 4)
    np.testing.assert_allclose(table["P(yes)"], shares @ each, atol=1e-6)
    np.testing.assert_allclose(table["spread(yes)"] ** 2, shares @ (each - shares @ each) ** 2, atol=1e-6)
    assert ((table["P(yes)"] >= 0.5) == (table["class"] == "yes")).all()


@pytest.mark.usefixtures("there")
def test_the_test_rows_are_scored_and_shown_on_the_page(run):
    status, out, _ = run("test", "--ckpt_path", RUN, "-c", RUN / "config.yaml")
    assert status == 0
    assert "test/accuracy" in out
    page = (RUN / "report.html").read_text()
    accuracy = re.search(r"test/accuracy +(\S+)", out)[1]
    assert f"<dt>test/accuracy</dt><dd>{accuracy}</dd>" in page
    assert "<h2>Configurations</h2>" in page
    assert "<h2>Gradients</h2>" not in page
    assert all(f"<h3>{title}</h3>" in page for title in ("Learning rate", "Depth", "Weight decay", "Dropout"))


@pytest.mark.usefixtures("there")
def test_another_file_is_scored_by_all_members(run):
    write_table("new.csv", seed=1)
    scores = []
    for command in ("validate", "test"):
        status, out, err = run(command, "--ckpt_path", RUN, "--data.source", "new.csv")
        assert status == 0
        assert "all 120 rows are scored, which are new to the network" in err
        scores.append(re.search(r"/accuracy +(\S+)", out)[1])
    model = PackNetwork.load_from_checkpoint(RUN / "checkpoints/best.ckpt")
    frame = pd.read_csv("new.csv")
    correct = (model.answers(frame)[:, 0].numpy() >= 0.5) == (frame["t"] == "yes")
    assert scores == [f"{correct.mean():.4f}"] * 2


@pytest.mark.usefixtures("there")
def test_explain_shows_a_member(run):
    model = PackNetwork.load_from_checkpoint(RUN / "checkpoints/best.ckpt")
    status, out, _ = run("explain", "--ckpt_path", RUN, "--member", model.numbers[-1], "--row", 2)
    assert status == 0
    member = model.member(model.numbers[-1])
    x = model.raw_rows(pd.read_csv("t.csv"))
    with torch.no_grad():
        torch.testing.assert_close(member(x), model.nets[-1](model.scaling(x)))
    assert "row 2" in out
    other = next(number for number in range(1, 25) if number not in model.numbers)
    for arguments, message in ((["--member", other], f"the member {other} is none"), ([], "add --member")):
        status, _, err = run("explain", "--ckpt_path", RUN, *arguments)
        assert status == 2
        assert message in err


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


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_run_that_goes_on_is_the_whole_run(pack_run, run, monkeypatch):
    """More networks are added to a run, after a signal within its second draw; all are those of the whole run."""
    from torchbp.training.pack import run as of_run

    write_table("t.csv")
    fit = ["fit", *OF_ROWS, "--data.target", "t", *QUICK]
    train = of_run.train_draw

    def interrupted(number, rows, until, **options):
        if number == 1:
            signal.raise_signal(signal.SIGINT)
        return train(number, rows, until, **options)

    with monkeypatch.context() as patch:
        patch.setattr(of_run, "train_draw", interrupted)
        status, out, _ = run(*fit, "--model.members", 24)
    assert status == 130
    assert [line.split()[0] for line in out.splitlines()] == ["stopped", "chosen", "best", "run", "resume"]
    assert "after 12 networks of 3 configurations: it was interrupted" in out
    first = (RUN / "checkpoints/draws/0.ckpt").stat().st_mtime_ns
    half = RUN / "checkpoints/draws/.1.ckpt.77.part"  # of a process that was killed while it wrote
    half.write_bytes(b"half")
    monkeypatch.setattr("torchbp.training.cli.run_page.write_pack_page", lambda *_: None)
    status, out, err = run("fit", "--ckpt_path", RUN)
    assert status == 0, err
    assert (RUN / "checkpoints/draws/0.ckpt").stat().st_mtime_ns == first
    assert not half.exists()
    (state, configurations), (whole, same) = chosen(RUN), chosen(pack_run[0] / RUN)
    assert configurations == same
    assert state.keys() == whole.keys()
    assert all(torch.equal(state[name], whole[name]) for name in whole)
    for setting, message in (
        (["--seed_everything", 1], "the checkpoint has seed=0, but this command has 1"),
        (["--data.seed", 1], "the checkpoint has seed=0, but this command has 1"),
        (["--data.missing", "refuse"], "missing"),
    ):
        status, _, err = run(*fit, "--ckpt_path", RUN, *setting)
        assert status in (1, 2)
        assert message in err
    status, _, err = run("fit", "--ckpt_path", RUN, "--recipe", "mlp")
    assert status == 2
    assert "is of a pack; add --recipe pack" in err


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


REFUSED = {
    "model.hidden=[8]: a pack draws or sets it": ["--model.hidden", "[8]"],
    "stopping.patience=3: a pack has no such rule": ["--stopping.patience", "3"],
    "model.members=0 must be at least 1": ["--model.members", "0"],
    "trainer.max_epochs=-1 must be at least 1": ["--trainer.max_epochs", "-1"],
    "data.on_disk=true: a pack holds its rows in memory": ["--data.on_disk", "true"],
    "trainer.precision=64-true is of Lightning's loop": ["--trainer.precision", "64-true"],
    "trainer.fast_dev_run=True is of Lightning's loop": ["--trainer.fast_dev_run", "true"],
    "budget='soon' must be a time": ["--budget", "soon"],
    "recipe=packs is not known; use mlp, article, pack": ["--recipe", "packs"],
    "budget=2m is of --recipe pack": ["--recipe", "mlp", "--budget", "2m"],
    "too few to choose among networks": ["--data.val_fraction", "0.79"],
}


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("message", REFUSED)
def test_what_a_pack_does_not_have_is_refused_in_one_line(message, run):
    write_table("t.csv")
    status, out, err = run("fit", *OF_ROWS, "--data.target", "t", *QUICK, *REFUSED[message])
    assert status in (1, 2)
    assert out == ""
    assert message in err.splitlines()[-1]
    assert not list(Path().glob("runs/**/*.ckpt"))


def test_a_damaged_checkpoint_is_refused(pack_run, tmp_path, run):
    checkpoint = torch.load(pack_run[0] / RUN / "checkpoints/best.ckpt", weights_only=True)
    one = next(one for one in checkpoint["hyper_parameters"]["configurations"] if one["share"])
    for hidden in ([64] * 100_000, "a lot", [65] * len(one["hidden"]), [10**9] * len(one["hidden"])):
        one["hidden"] = hidden
        torch.save(checkpoint, tmp_path / "x.ckpt")
        status, _, err = run("test", "--ckpt_path", tmp_path / "x.ckpt", "--data.source", pack_run[0] / "t.csv")
        assert status == 1
        assert len(err.splitlines()) == 1
        assert "is a checkpoint of another program" in err


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("scaling", ["clipped", "ranked"])
def test_the_exported_pack_answers_as_the_pack(scaling):
    from torchbp.training.export.answering import answering, description

    configurations = [
        {"number": 1, "hidden": [8], "lr": 0.1, "weight_decay": 0.1, "dropout": 0.0, "loss": 1.0, "share": 0.25},
        {"number": 2, "hidden": [8], "lr": 0.1, "weight_decay": 0.1, "dropout": 0.0, "loss": 2.0, "share": 0.0},
        {"number": 3, "hidden": [4, 4], "lr": 0.1, "weight_decay": 0.1, "dropout": 0.5, "loss": 1.5, "share": 0.75},
    ]
    x = torch.randn(60, 3) * torch.tensor([1.0, 100.0, 1e-3])
    x[:, 1] = x[:, 1].sign()  # two values: it has no ranks
    x[::7, 0] = torch.nan
    inputs = 3 if scaling == "clipped" else 5
    configurations[2]["frequency"] = 0.0 if scaling == "clipped" else 0.3
    settings = {"fold_sizes": [30, 30], "inputs": inputs, "scaling": scaling}
    model = PackNetwork(3, ["a", "b", "c"], None, "multiclass", configurations, **settings).eval()
    model.scaling.fit(x.double())
    exported, expected = answering(model), model.answers(x)
    assert len(model.nets) == 4
    assert model.numbers == [1, 2, 5, 6]
    with torch.no_grad():
        torch.testing.assert_close(exported(x), expected.float(), rtol=1e-4, atol=1e-5)
    assert description(model, "1")["answers"] == ["P(a)", "P(b)", "P(c)"]


@pytest.mark.usefixtures("there")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_export(run):
    status, *_ = run("export", RUN, "--format", "torchscript", "--overwrite")
    assert status == 0
    model = PackNetwork.load_from_checkpoint(RUN / "checkpoints/best.ckpt")
    x = model.raw_rows(pd.read_csv("t.csv")).float()
    answers = torch.jit.load("model.pt")(x)
    torch.testing.assert_close(answers, model.answers(x).float(), rtol=1e-4, atol=1e-5)
