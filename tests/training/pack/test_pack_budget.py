"""A pack that is trained for a time and in several processes."""

import io
import re
import time

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from tests.training.pack.tables import OF_ROWS, QUICK, RUN, write_table
from tests.training.pairs import Pair
from torchbp.training import TabularData
from torchbp.training.errors import SettingError
from torchbp.training.pack.budget import Budget, seconds_of
from torchbp.training.pack.draws import train_draw
from torchbp.training.pack.progress import PackProgress
from torchbp.training.pack.rows import pack_rows
from torchbp.training.tasks import make_task


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("2m", 120), ("1h30m", 5400), (45, 45), ("1h1m1s", 3661)])
def test_times(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "m", "2 minutes", "-5s", "1m2h", "1h30", "2m30"])
def test_what_is_no_time(text):
    with pytest.raises(SettingError, match="must be a time, such as 90s, 2m or 1h30m"):
        seconds_of(text)


def test_a_draw_is_begun_if_it_will_end_in_time(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    budget = Budget(wanted=1, seconds=100)
    assert budget.has_room(0)
    for now, took, room in ((30, 30, True), (60, 30, True), (69, 30, True), (71, 30, False)):
        clock[0] = now
        budget.took(took)
        assert budget.has_room(5) == room, now
    assert Budget(1, seconds=1).has_room(0)
    assert not Budget(1, seconds=1, durations=[5]).has_room(1)
    for used, room in (
        ([30, 30], True),
        ([35, 35], False),
    ):  # as of a run that is resumed: a third one ends in time, or not
        assert Budget(1, seconds=100, durations=used).has_room(2) == room
    assert Budget(1, seconds=100, durations=[35] * 4, processes=2).has_room(4) is False
    assert Budget(1, seconds=100, durations=[30] * 4, processes=2).has_room(4)
    cut = Budget(1, seconds=100, durations=[30, 30], cuts={2: 38, 3: 45})  # they have ended in no smaller budget
    assert [cut.has_room(number) for number in (2, 3, 4)] == [True, False, True]
    without = Budget(wanted=2)
    assert without.has_room(1)
    assert not without.has_room(2)
    assert without.ends() == ""


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("enough", [0, 2])
def test_a_draw_ends_with_the_time_and_counts_only_if_it_is_the_first(run, monkeypatch, enough):
    """The time is used in the first draw, or in the third."""
    from torchbp.training.pack import run as of_run

    write_table("t.csv")
    monkeypatch.setattr("torchbp.training.cli.run_page.write_pack_page", lambda *_: None)
    train, epochs = of_run.train_draw, []

    def train_draw(number, rows, until, **options):
        monkeypatch.setattr(Budget, "is_over", lambda budget, share=1: number >= enough)
        draw = train(number, rows, until, **options)
        epochs.append(max(of_one["epochs"] for of_one in draw["configurations"]))
        return draw

    monkeypatch.setattr(of_run, "train_draw", train_draw)
    status, out, err = run("fit", *OF_ROWS, "--data.target", "t", *QUICK, "--budget", 3600)
    assert status == 0, err
    assert f"after {max(enough, 1) * 12} networks" in out
    assert "the budget of 3600s is used" in out
    assert epochs[-1] == 1
    assert all(count > 1 for count in epochs[:enough])


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_run_with_a_budget_trains_until_it_is_used_and_can_be_continued(run, monkeypatch):
    from torchbp.training.pack import run as of_run

    write_table("t.csv")
    monkeypatch.setattr("torchbp.training.cli.run_page.write_pack_page", lambda *_: None)
    clock = [0.0]
    train = of_run.train_draw

    def slow(*arguments, **options):
        clock[0] += 40
        return train(*arguments, **options)

    class Clock:
        monotonic, time, strftime, localtime = lambda: clock[0], time.time, time.strftime, time.localtime

    monkeypatch.setattr(of_run, "train_draw", slow)
    monkeypatch.setattr(of_run, "time", Clock)
    monkeypatch.setattr("torchbp.training.pack.budget.time", Clock)
    fit = ["fit", *OF_ROWS, "--data.target", "t", *QUICK]
    status, out, err = run(*fit, "--budget", "1m30s")
    assert status == 0, err
    assert "after 24 networks of 6 configurations: the budget of 1m30s is used" in out
    assert "networks 24  val/loss" in err
    assert "together  until " in err
    status, out, _ = run(*fit, "--budget", "2m", "--ckpt_path", RUN)
    assert status == 0
    assert "after 36 networks of 9 configurations: the budget of 2m is used" in out
    assert (RUN / "config.yaml").read_text().count("budget: 2m") == 1


def test_each_configuration_of_the_first_draw_has_its_share_of_the_time(monkeypatch):
    clock, seen = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(100, 3)), columns=list("aby"))
    data = TabularData(frame, "y")
    budget, rows = Budget(wanted=1, seconds=30), pack_rows(data, make_task("regression", data.classes), seed=0)

    def until(share):
        seen.append(share)
        clock[0] += 1  # an epoch
        return budget.is_over(share)

    draw = train_draw(0, rows, until, max_iter=1000, n_iter_no_change=1000)
    epochs, shares = [one["epochs"] for one in draw["configurations"]], list(dict.fromkeys(seen))
    assert np.cumsum(epochs).tolist() == [int(30 * share) + 1 for share in shares]
    assert shares[-1] == 1
    budget.took(1)
    clock[0] = 10
    assert not budget.is_over(0.1)  # of a later draw, which is lost


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_draw_that_was_lost_is_begun_again_only_if_there_is_more_time(run, monkeypatch):
    """The third one takes longer than the two before it."""
    from torchbp.training.pack import run as of_run

    write_table("t.csv")
    monkeypatch.setattr("torchbp.training.cli.run_page.write_pack_page", lambda *_: None)
    clock, trained, train = [0.0], [], of_run.train_draw

    def slow(number, *arguments, **options):
        trained.append(number)
        clock[0] += 40 if number < 2 else 60
        return train(number, *arguments, **options)

    class Clock:
        monotonic, time, strftime, localtime = lambda: clock[0], time.time, time.strftime, time.localtime

    monkeypatch.setattr(of_run, "train_draw", slow)
    monkeypatch.setattr(of_run, "time", Clock)
    monkeypatch.setattr("torchbp.training.pack.budget.time", Clock)
    fit = ["fit", *OF_ROWS, "--data.target", "t", *QUICK]
    for budget, begun, networks in (("2m5s", [0, 1, 2], 24), ("2m5s", [], 24), ("2m15s", [], 24), ("2m30s", [2], 36)):
        resumed = ["--ckpt_path", RUN] if RUN.exists() else []
        status, out, err = run(*fit, "--budget", budget, *resumed)
        assert status == 0, err
        assert trained == begun, budget
        assert f"after {networks} networks" in out
        trained.clear()
    assert [path.name for path in (RUN / "checkpoints/draws").glob("*.cut")] == []


def assert_same(one, other):
    """Two runs have the same configurations, shares and networks, bit for bit."""
    one, other = (torch.load(folder / "checkpoints/best.ckpt", weights_only=True) for folder in (one, other))
    assert one["hyper_parameters"]["configurations"] == other["hyper_parameters"]["configurations"]
    assert one["state_dict"].keys() == other["state_dict"].keys()
    assert all(torch.equal(other["state_dict"][name], tensor) for name, tensor in one["state_dict"].items())


@pytest.mark.processes
@pytest.mark.usefixtures("in_an_empty_folder")
def test_two_processes_train_the_members_of_one(pack_run, processes):
    write_table("t.csv")
    two = ["--trainer.strategy", "ddp", "--trainer.devices", "2"]
    pair = Pair(processes, ["fit", *OF_ROWS, "--data.target", "t", *QUICK, *two, "--model.members", "24"])
    assert pair.join() == [0, 0], pair.text(0, "err") + pair.text(1, "err")
    assert_same(pack_run[0] / RUN, RUN)
    assert pair.text(1, "out") == pair.text(1, "err") == ""
    assert "24 networks; 96 rows are 4 folds, which take turns as validation rows, in 2 processes" in pair.text(
        0, "err"
    )


@pytest.mark.parametrize("total", [36, None])
def test_a_terminal_shows_a_bar(total, monkeypatch):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160)
    monkeypatch.setattr("torchbp.training.pack.progress.Console", lambda stderr: console)
    with PackProgress(total, "" if total else "until 12:00:00") as progress:
        progress.show(12, 0.25, 4)
    last = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out.getvalue()).splitlines()[-1]
    assert re.match("networks 12/36" if total else "networks 12 ", last)
    assert last.rstrip().endswith("val/loss 0.2500 of 4 together" + ("" if total else "  until 12:00:00"))
