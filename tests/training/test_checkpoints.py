"""A checkpoint holds finite weights of the network that it describes, and says which rows it was trained on."""

import copy
import resource
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.commands import command_in
from tests.training.trainers import ARTICLE_FLAGS
from torchbp.cli import main
from torchbp.training import Network, TabularData
from torchbp.training.checkpoints.compatibility import check_same_settings
from torchbp.training.data import splitting
from torchbp.training.errors import SettingError, UserError

RUN = Path("runs/run/version_0/checkpoints")


def table(rows=60):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)).round(3), columns=["a", "b", "c"])
    return frame.assign(colour=rng.choice(["red", "blue"], rows), y=rng.choice(["no", "yes"], rows))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a.csv and a run of two epochs on it."""
    folder = tmp_path_factory.mktemp("trained")
    with command_in(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchbp.training.cli.run_page.write_page", lambda *_: None)
        table().to_csv("a.csv", index=False)
        assert main(["fit", *SOURCE, "--trainer.max_epochs", "2"]) == 0
    return folder


SOURCE = ["--data.source", "a.csv", "--data.target", "y", "--trainer.accelerator", "cpu", *ARTICLE_FLAGS]


@pytest.fixture
def run(trained, tmp_path, monkeypatch, capsys, without_page):
    """The command in a copy of that folder: its status, stdout and stderr."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["torchbp"])

    def run(*arguments):
        status = main([str(a) for a in arguments])
        return status, *capsys.readouterr()

    with warnings.catch_warnings():
        yield run


def files():
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def last(frame):
    return frame.iloc[-1:]


EDITS = {
    "sorted": (lambda f: f.sort_values("a"), "its rows are in another order"),
    "reversed": (lambda f: f.iloc[::-1], "its rows are in another order"),
    "rows added at the end": (lambda f: pd.concat([f, f[:3]]), "3 rows were added"),
    "a row added at the start": (lambda f: pd.concat([last(f), f]), "1 row was added."),
    "rows removed": (lambda f: f.iloc[2:], "2 rows were removed"),
    "a value": (lambda f: f.assign(b=f.b.where(f.index != 7, 0.5)), "1 of its 60 rows are others"),
    "two values exchanged": (lambda f: f.assign(a=f.a.sort_values().values), "of its 60 rows are others"),
    "a category": (lambda f: f.assign(colour=f.colour.where(f.index != 7, "blue").where(f.index > 6, "red")), "others"),
    "labels": (lambda f: f.assign(y=f.y.values[::-1]), "of its 60 rows are others"),
}


@pytest.mark.parametrize(("edit", "message"), EDITS.values(), ids=EDITS)
def test_rows_that_were_edited_are_noticed(edit, message, run):
    edit(table()).to_csv("a.csv", index=False)
    with pytest.raises(UserError, match=r"^a.csv does not have the rows that this network was trained on: ") as info:
        TabularData("a.csv", target="y").load_state_dict(torch.load(RUN / "best.ckpt")["TabularData"])
    assert message in str(info.value)


def test_a_sorted_file_is_split_as_it_was_and_no_run_is_resumed_with_it(run):
    expected = {command: run(command, *SOURCE, "--ckpt_path", RUN / "best.ckpt") for command in ("test", "validate")}
    table().sort_values("a").to_csv("a.csv", index=False)
    before = files()
    for command, (status, out, err) in expected.items():
        assert (status, err) == (0, "")
        assert run(command, *SOURCE, "--ckpt_path", RUN / "best.ckpt") == (status, out, err)
    status, out, err = run("fit", *SOURCE, "--ckpt_path", RUN / "last.ckpt")
    assert (status, out) == (1, "")
    assert "its rows are in another order" in err
    assert "give the data as it was, or train a new network" in err
    assert len(err.splitlines()) == 1
    assert files() == before


def test_the_same_rows_may_lie_anywhere_in_any_format(run):
    Path("else").mkdir()
    table().to_csv("else/b.csv", index=False, sep=";")
    table().to_parquet("c.parquet")
    answers = {run("test", *SOURCE, "--data.source", name, "--ckpt_path", RUN / "best.ckpt")
               for name in ("a.csv", Path("a.csv").absolute(), "else/b.csv", "c.parquet")}  # fmt: skip
    ((status, out, err),) = answers
    assert (status, err) == (0, "")
    assert "test/accuracy" in out


def test_predict_and_explain_take_any_rows(run):
    table().sort_values("b")[:7].to_csv("a.csv", index=False)
    path = ["--ckpt_path", RUN / "best.ckpt", "--data.source", "a.csv"]
    assert run("predict", *path)[0] == 0
    status, out, _ = run("explain", *path, "--data.target", "y", "--row", 2, "--layer", 2)
    assert status == 0
    assert "train" not in out.splitlines()[0].replace("a trained network", "")


def test_a_split_of_another_version_of_scikit_learn_is_noticed(run, monkeypatch):
    split = splitting.train_test_split
    before = run("test", *SOURCE, "--ckpt_path", RUN / "best.ckpt")
    monkeypatch.setattr(splitting, "train_test_split", lambda rows, **settings: split(rows, **settings)[::-1])
    assert run("test", *SOURCE, "--ckpt_path", RUN / "best.ckpt") == before  # the split is the checkpoint's
    status, _, err = run("fit", *SOURCE, "--ckpt_path", RUN / "last.ckpt")
    assert status == 1
    assert "its rows are the same, but they are split in another way" in err


DIVERGES = ["--model.lr", "1e30", "--model.activation", "relu", "--data.batch_size", "4"]
DIVERGENT = {
    "": [],
    "explicit": ["--model.engine", "explicit"],
    "by accuracy": ["--checkpoint.monitor", "val/accuracy"],
    "an ensemble": ["--model.members", "3", "--model.engine", "explicit"],
}


@pytest.mark.parametrize("settings", DIVERGENT.values(), ids=DIVERGENT)
def test_a_run_that_diverges_fails_and_leaves_no_best_checkpoint(settings, run):
    status, out, _ = run("fit", *SOURCE, *DIVERGES, *settings)
    assert status == 1
    assert "next" not in out
    assert "after 1 epoch: " in out
    assert "smaller lr helps" in out
    last = Path("runs/run/version_1/checkpoints/last.ckpt")
    assert list(last.parent.iterdir()) == [last]
    with pytest.raises(UserError, match="holds nan or inf"):
        Network.load_from_checkpoint(last)


def test_no_command_takes_weights_that_are_not_finite(run):
    assert run("fit", *SOURCE, *DIVERGES)[0] == 1
    before = files()
    path = ["--ckpt_path", "runs/run/version_1/checkpoints/last.ckpt"]
    for command in ("predict", "test", "validate", "fit", "explain"):
        status, out, err = run(command, *SOURCE, *DIVERGES, *path)
        assert (status, out) == (1, "")
        assert "holds nan or inf, as after a training that diverged; train with a smaller --model.lr" in err
        assert len(err.splitlines()) == 1
    assert files() == before


def test_a_run_whose_last_step_diverges_is_a_failure(run):
    """The loss of its only epoch is that before its only step, and is finite."""
    settings = ["--model.lr", "1e38", "--model.activation", "relu", "--data.batch_size", "100"]
    status, out, _ = run("fit", *SOURCE, *settings, "--trainer.max_epochs", "1", "--stopping.monitor", "train/loss")
    assert status == 1
    assert "max_epochs 1 is reached" in out
    assert "val/loss is no longer a finite number by epoch 1. A smaller model.lr helps" in out
    last = Path("runs/run/version_1/checkpoints/last.ckpt")
    assert list(last.parent.iterdir()) == [last]
    for command, message in (("test", "a score is nan or inf"), ("predict", "to row 1 under the header is nan")):
        status, _, err = run(command, *SOURCE, *settings, "--ckpt_path", last)
        assert status == 1
        assert message in err


def test_what_was_best_before_a_run_diverged_is_kept(run, monkeypatch):
    step = torch.optim.SGD.step

    def diverging(self, *arguments, **settings):
        step(self, *arguments, **settings)
        if len(calls) == 5:  # the steps of two epochs are done
            self.param_groups[0]["lr"] = 1e38
        calls.append(self)

    calls = []
    monkeypatch.setattr(torch.optim.SGD, "step", diverging)
    settings = ["--model.activation", "relu", "--data.batch_size", "12"]
    status, out, _ = run("fit", *SOURCE, *settings)
    assert status == 1
    assert "kept     runs/run/version_1/checkpoints/best.ckpt, the best epoch's weights before that" in out
    assert run("test", *SOURCE, *settings, "--ckpt_path", "runs/run/version_1/checkpoints/best.ckpt")[0] == 0


def test_members_that_diverge_leave_a_checkpoint_of_the_others(run):
    settings = ["--model.lr", "[0.1, 1e30]", "--model.members", "2", "--data.batch_size", "4"]
    assert run("fit", *SOURCE, *settings, "--model.activation", "relu", "--trainer.max_epochs", "3")[0] == 0
    path = Path("runs/run/version_1/checkpoints/best.ckpt")
    model = Network.load_from_checkpoint(path)
    assert not model.net[0].weight[2:].isfinite().all()
    status, out, _ = run("test", *SOURCE, *settings, "--model.activation", "relu", "--ckpt_path", path)
    assert status == 0
    assert "nan" not in out
    content = torch.load(path)
    content["state_dict"]["chosen"] = ~content["state_dict"]["chosen"]
    torch.save(content, path)
    with pytest.raises(UserError, match=r"net.0.weight holds nan or inf"):
        Network.load_from_checkpoint(path)


def test_an_answer_that_is_no_number_is_refused(run):
    """Of finite weights and a finite row."""
    content = torch.load(RUN / "best.ckpt")
    content["state_dict"]["net.0.weight"].mul_(1e30)
    content["hyper_parameters"]["activation"] = "relu"
    torch.save(content, "large.ckpt")
    new = table(20)
    new.loc[4, ["a", "b"]] = [3e38, -3e38]
    new.to_csv("b.csv", index=False)
    before = files()
    status, out, err = run("predict", "--ckpt_path", "large.ckpt", "--data.source", "b.csv")
    assert (status, out) == (1, "")
    assert "b.csv: the network's answer to row 5 under the header is nan" in err
    assert files() == before


W = "net.0.weight"
HOSTILE = {
    "nan": (lambda w, h: {W: w * torch.nan}, {}, "net.0.weight holds nan or inf"),
    "one inf": (lambda w, h: {W: torch.where(w == w.max(), torch.inf, w)}, {}, "net.0.weight holds nan or inf"),
    "integers": (lambda w, h: {W: w.long()}, {}, "net.0.weight holds int64 numbers, and a network needs real ones"),
    "bool": (lambda w, h: {W: w > 0}, {}, "net.0.weight holds bool numbers, and a network needs real ones"),
    "complex": (lambda w, h: {W: w + 1j}, {}, "net.0.weight holds complex numbers, and a network needs real ones"),
    "8 bits": (lambda w, h: {W: w.to(torch.float8_e5m2)}, {}, "holds float8_e5m2 numbers, and a network needs real"),
    "too large for float32": (lambda w, h: {W: w.double() * 1e300}, {}, "net.0.weight holds nan or inf"),
    "too small a std": (lambda w, h: {"scaling.scale": w[0].double() ** 2 * 1e-60}, {}, "scaling.scale holds nan"),
    "sparse": (lambda w, h: {W: w.to_sparse()}, {}, "(net.0.weight is no tensor of plain numbers|is damaged)"),
    "meta": (lambda w, h: {W: w.to("meta")}, {}, "net.0.weight is no tensor of plain numbers"),
    "list": (lambda w, h: {W: w.tolist()}, {}, "net.0.weight is no tensor of plain numbers"),
    "transposed": (lambda w, h: {W: w.t()}, {}, r"net.0.weight has the shape \(5, 16\), but "),
    "more": (lambda w, h: {"more": w}, {}, "more is not one of its tensors"),
    "mean nan": (lambda w, h: {"scaling.center": w[0] * torch.nan}, {}, "scaling.center holds nan or inf"),
    "std 0": (lambda w, h: {"scaling.scale": w[0] * 0}, {}, "scaling.scale holds nan or inf"),
    "members": (lambda w, h: {}, {"members": 10**9}, "chosen is missing"),
    "members, all there": (
        lambda w, h: {W: w[:1, :1].clone().expand(10**9, 16, 5), "chosen": torch.ones(1, dtype=bool).expand(10**9)},
        {"members": 10**9},
        "missing",
    ),
    "expanded": (
        lambda w, h: {W: w[:1, :1].clone().expand(200_000, 5), "net.0.bias": w[0, :1].clone().expand(200_000),
                      "net.2.weight": w[:1, :1].clone().expand(1, 200_000)},
        {"hidden": [200_000]},
        "net.0.weight does not store each of its numbers",
    ),
    "wide": (lambda w, h: {}, {"hidden": [200_000, 200_000]}, "net.4.weight is missing"),
    "wider": (lambda w, h: {}, {"hidden": [2**40, 2**40]}, "another program"),
    "widest": (lambda w, h: {}, {"hidden": [10**30]}, "another program"),
    "deep": (lambda w, h: {}, {"hidden": [1] * 10**4}, "it names 10000 hidden layers, and has 8 tensors"),
    "features": (lambda w, h: {}, {"in_features": 10**12, "columns": None}, "scaling.median has the shape"),
    "a class": (lambda w, h: {}, {"classes": ["no"]}, "its classes are not"),
    "classes": (lambda w, h: {}, {"classes": [0, 1]}, "its classes are not"),
    "categories": (lambda w, h: {}, {"columns": {key: [] for key in "abcde"}}, "its column 'a' is of no known kind"),
    "a category twice": (
        lambda w, h: {},
        lambda h: {"columns": {**h["columns"], "colour": {**h["columns"]["colour"], "categories": ["red"] * 2}}},
        "its column 'colour' is of no known kind",
    ),
    "many rates": (lambda w, h: {}, {"lr": [0.1] * 10**5}, "another program: .{,220}$"),
    "scaling": (lambda w, h: {}, {"scaling": "0"}, "another program: model.scaling='0' is not known"),
    "task": (lambda w, h: {}, {"task": "0"}, "another program: data.task='0' is not known"),
}  # fmt: skip


@pytest.mark.parametrize(("tensors", "settings", "message"), HOSTILE.values(), ids=HOSTILE)
def test_weights_that_no_training_gave_are_refused(tensors, settings, message, run):
    content = torch.load(RUN / "best.ckpt")
    if callable(settings):
        settings = settings(content["hyper_parameters"])
    settings = content["hyper_parameters"] | settings
    state = content["state_dict"] | tensors(content["state_dict"][W], settings)
    torch.save({**content, "hyper_parameters": settings, "state_dict": state}, "bad.ckpt")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=f"bad.ckpt.*{message}"):
        Network.load_from_checkpoint("bad.ckpt")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 500 * 1024  # KiB


@pytest.mark.parametrize("order", ["1", [1], 1.5, torch.tensor(1)])
def test_an_order_of_rows_that_no_training_has_is_refused(order, run):
    content = torch.load(RUN / "last.ckpt")
    content["TabularData"]["order"] = order
    torch.save(content, "bad.ckpt")
    status, out, err = run("fit", *SOURCE, "--trainer.max_epochs", "3", "--ckpt_path", "bad.ckpt")
    assert (status, out) == (1, "")
    assert "the checkpoint's order of its rows is damaged; train a new network" in err


@pytest.mark.parametrize("lr", [[], ["x"], "x", {}], ids=str)
def test_explain_refuses_a_learning_rate_that_is_none(lr, run):
    content = torch.load(RUN / "best.ckpt")
    content["hyper_parameters"]["lr"] = lr
    torch.save(content, "bad.ckpt")
    status, out, err = run("explain", *SOURCE, "--ckpt_path", "bad.ckpt")
    assert status in (1, 2)
    assert out == ""
    assert len(err.splitlines()) == 1


def test_a_momentum_of_another_shape_is_refused(run):
    content = torch.load(RUN / "last.ckpt")
    for momentum in (torch.zeros(3), torch.zeros(16, 5, dtype=torch.long), [3]):
        content["optimizer_states"][0]["state"] = {0: {"momentum_buffer": momentum}}
        torch.save(content, "bad.ckpt")
        status, out, err = run("fit", *SOURCE, "--trainer.max_epochs", "3", "--ckpt_path", "bad.ckpt")
        assert (status, out) == (1, "")
        assert "bad.ckpt cannot be resumed: its optimizer_states do not fit the network's parameters" in err


def test_weights_of_other_precisions_are_taken(run):
    content = torch.load(RUN / "best.ckpt")
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        other = copy.deepcopy(content)
        other["state_dict"] = {name: t.to(dtype) for name, t in content["state_dict"].items()}
        torch.save(other, "other.ckpt")
        assert Network.load_from_checkpoint("other.ckpt").predict_proba(table()).isfinite().all()


NUMBER, KIND = {"kind": "number", "missing": "impute"}, {"kind": "category", "categories": ["x", "y"]}


@pytest.mark.parametrize(
    ("current", "message"),
    [
        ({"b": NUMBER}, "has the column 'a' where this command has the column 'b'"),
        ({"a": NUMBER}, "has the column 'kind' where this command has no further column"),
        (
            {"a": NUMBER, "kind": {**KIND, "categories": ["x"]}},
            r"has categories=\['x', 'y'\] in the column 'kind', but .* \['x'\]",
        ),
        ({"a": NUMBER, "kind": NUMBER}, "has kind='category' in the column 'kind', but this command has 'number'"),
    ],
    ids=str,
)
def test_columns_that_are_not_the_checkpoints_are_named(current, message):
    saved = {"columns": {"a": NUMBER, "kind": KIND}}
    with pytest.raises(SettingError, match=f"^the checkpoint {message}; use the data and config that it was trained"):
        check_same_settings(saved, {"columns": current}, "best.ckpt")
    check_same_settings(saved, saved, "best.ckpt")
    check_same_settings({"columns": None}, saved, "best.ckpt")
