"""A pack by the training command: the run, and what the other commands do with it."""

import functools
import json
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.checks import in_this_process
from tests.training.kills import fit_here, killed_in_writing
from tests.training.pack.tables import OF_ROWS, QUICK, RUN, write_table
from torchbp.testing.cli import worker
from torchbp.training import PackNetwork
from torchbp.training.pack import run as of_run


def chosen(path):
    """The state and the configurations of the checkpoint in the folder of a run."""
    checkpoint = torch.load(path / "checkpoints/best.ckpt", weights_only=True)
    return checkpoint["state_dict"], checkpoint["hyper_parameters"]["configurations"]


def test_a_run_says_what_it_trained_and_what_it_chose(pack_run):
    _, out, err = pack_run
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["stopped", "chosen", "best", "baseline", "page", "next"]
    assert lines[0].endswith("after 24 networks of 6 configurations: all are trained")
    assert err.startswith("recipe   pack: networks that differ; ")
    alone, together = (
        float(re.search(rf"val/loss (\S+){end}", out, re.MULTILINE)[1]) for end in ("$", "  val/accuracy")
    )
    assert together <= 1.1 * alone  # the choice counts a doubt as well
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
    rows = torch.load(RUN / "checkpoints/best.ckpt", weights_only=True)["TabularData"]["rows"]["splits"]["val"]
    model, frame = PackNetwork.load_from_checkpoint(RUN / "checkpoints/best.ckpt"), pd.read_csv("t.csv").iloc[rows]
    p = each_answer(model, frame)
    fold = np.repeat(range(4), model.fold_sizes)
    shares = np.array([one["share"] for one in model.chosen])
    held_out = np.array([shares @ p[k::4, row] for row, k in enumerate(fold)])
    right = np.where(frame["t"] == "yes", held_out, 1 - held_out)
    assert float(re.search(r"val/loss +(\S+)", out)[1]) == pytest.approx(-np.log(right).mean(), abs=1e-4)
    assert float(re.search(r"val/accuracy +(\S+)", out)[1]) == pytest.approx((right >= 0.5).mean(), abs=1e-4)


def each_answer(model, frame):
    """P(yes) of each network, (networks, rows)."""
    with torch.no_grad():
        x = model.scaling(model.raw_rows(frame))
        return np.stack([net(x).sigmoid()[:, 0].numpy() for net in model.nets])


@pytest.mark.usefixtures("there")
def test_predict_writes_the_mean_by_the_shares_and_the_spread(run):
    status, *_ = run("predict", "--overwrite", "--ckpt_path", RUN)
    assert status == 0
    table = pd.read_csv("predictions.csv")
    model = PackNetwork.load_from_checkpoint(RUN / "checkpoints/best.ckpt")
    each = each_answer(model, pd.read_csv("t.csv"))
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
    status, _, err = run("explain", "--ckpt_path", RUN, "--member", other)
    assert status == 2
    assert f"the member {other} is none" in err


@pytest.mark.usefixtures("there")
def test_explain_shows_how_the_pack_answers_and_then_the_member_with_the_largest_share(run):
    model = PackNetwork.load_from_checkpoint(RUN / "checkpoints/best.ckpt")
    files = {"json": "e.json", "latex": "e.tex", "notebook": "e.ipynb", "markdown": "e.md", "html": "e.html"}
    names = [word for key, name in files.items() for word in (f"--{key}", name)]
    status, out, err = run("explain", "--ckpt_path", RUN, "--row", 2, *names)
    assert status == 0, err
    assert model.equation in out
    for name in list(files.values())[1:]:
        text = Path(name).read_text(encoding="utf-8")
        assert f"How {len(model.nets)} networks answer together" in text, name
        assert f"{max(model.shares()):.1%}".rstrip("%") in text, name
    found = json.loads(Path("e.json").read_text())["ensemble"]
    shares = dict(zip(model.numbers, model.shares(), strict=True))
    assert {one["number"]: one["share"] for one in found["members"]} == shares
    assert shares[found["shown"]] == max(shares.values())
    answers = model.answers(pd.read_csv("t.csv").iloc[[1]])
    torch.testing.assert_close(torch.tensor(found["together"]["values"]).double(), answers)
    truth = pd.read_csv("t.csv")["t"][1] == "yes"
    assert found["together"]["loss"] == pytest.approx(-np.log(float(answers if truth else 1 - answers)))


@pytest.mark.usefixtures("there")
def test_check_audits_a_member(run, monkeypatch):
    """In this process: tests/testing has workers."""
    monkeypatch.setattr(worker, "running_worker", in_this_process)
    monkeypatch.setattr(sys, "path", sys.path[:])
    model = PackNetwork.load_from_checkpoint(RUN / "checkpoints/best.ckpt")
    status, out, err = run("check", RUN, "--member", model.numbers[0], "--checks", "values", "linearity")
    assert status == 0, out + err
    for arguments, message in (
        ([RUN], f"holds many networks, and one is audited: add --member {model.numbers[0]}"),
        ([RUN, "--member", 0], "the member 0 is none of those that answer"),
        (["torchbp.nn:Sigmoid", "--member", 1], "--member 1 is of a run's folder, and torchbp.nn:Sigmoid is none"),
        (["t.csv"], "t.csv"),
    ):
        status, _, err = run("check", *arguments)
        assert status == 2
        assert message in err
        assert len(err.splitlines()) == 1


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_run_that_goes_on_is_the_whole_run(pack_run, run, monkeypatch):
    """More networks are added to a run, after a signal within its second draw; all are those of the whole run."""
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
        (["--trainer.max_epochs", 5], "the checkpoint has max_epochs=4, but this command has 5"),
        (["--data.batch_size", 8], "the checkpoint has batch_size=None, but this command has 8"),
        (["--seed_everything", 1], "the checkpoint has seed=0, but this command has 1"),
        (["--data.seed", 1], "the checkpoint has seed=0, but this command has 1"),
        (["--data.missing", "refuse"], "missing"),
    ):
        status, _, err = run(*fit, "--ckpt_path", RUN, *setting)
        assert status in (1, 2)
        assert message in err
    status, _, err = run("fit", "--ckpt_path", RUN / "checkpoints/best.ckpt")
    assert status == 2
    assert "best.ckpt is no last.ckpt of a run, whose draws a pack goes on with; name the run's folder" in err
    torch.manual_seed(7)  # any number, where the command has no seed; the checkpoint's counts
    status, out, err = run("fit", "--ckpt_path", RUN, "--model.members", 3, "--seed_everything", "false")
    assert status == 0, err  # there was nothing to train
    assert "networks 24 of 24  val/loss" in err
    (RUN / "checkpoints/draws/1.ckpt").write_bytes(b"x")
    status, _, err = run("fit", "--ckpt_path", RUN)
    assert status == 1
    assert "1.ckpt is damaged; delete it, and resume the run: it is trained again" in err
    status, _, err = run("fit", "--ckpt_path", RUN, "--recipe", "mlp")
    assert status == 2
    assert "is of a pack; add --recipe pack" in err


def die(share):
    os.kill(os.getpid(), signal.SIGKILL)


def die_after_an_epoch_of_the_second_draw(folder, arguments):
    train = of_run.train_draw
    of_run.train_draw = lambda number, rows, until, **options: train(number, rows, die if number else until, **options)
    fit_here(folder, arguments)


def killed_in_the_second_draw(processes, arguments):
    process = processes.Process(target=die_after_an_epoch_of_the_second_draw, args=(os.getcwd(), arguments))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in (RUN / "checkpoints/draws").iterdir()] == ["0.ckpt"]


KILLS = {
    "in the second draw": killed_in_the_second_draw,
    "before the first best.ckpt is written": functools.partial(killed_in_writing, save=2),
    "while the first draw is written": functools.partial(killed_in_writing, save=3),
    "between last.ckpt and best.ckpt": functools.partial(killed_in_writing, save=5),
    "before the second draw is in its place": functools.partial(killed_in_writing, replace=6),
}
RARE = "before the first best.ckpt is written", "between last.ckpt and best.ckpt"


@pytest.mark.processes
@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize(
    "moment", [pytest.param(name, marks=pytest.mark.exhaustive if name in RARE else ()) for name in KILLS]
)
def test_a_run_that_was_killed_goes_on_to_the_same_ensemble(moment, pack_run, processes, run, monkeypatch):
    write_table("t.csv")
    KILLS[moment](processes, ["fit", *OF_ROWS, "--data.target", "t", *QUICK, "--model.members", "24"])
    assert not (RUN / "configurations.csv").exists()
    monkeypatch.setattr("torchbp.training.cli.run_page.write_pack_page", lambda *_: None)
    status, _, err = run("fit", "--ckpt_path", RUN)
    assert status == 0, err
    assert not list(RUN.rglob(".*.part"))
    (state, configurations), (whole, same) = chosen(RUN), chosen(pack_run[0] / RUN)
    assert configurations == same
    assert state.keys() == whole.keys()
    assert all(torch.equal(state[name], whole[name]) for name in whole)
