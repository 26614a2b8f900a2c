"""The model of a pack: which rows its networks are trained on, its export, and checkpoints that are none."""

import numpy as np
import pandas as pd
import pytest
import torch

from tests.training.pack.tables import RUN
from torchbp.estimators.pack_training import PackTraining
from torchbp.training import PackNetwork, TabularData
from torchbp.training.cli import importance
from torchbp.training.export.answering import answering, description
from torchbp.training.pack.choice import choose
from torchbp.training.pack.closing import chosen_words
from torchbp.training.pack.draws import fit_folds
from torchbp.training.pack.rows import PackRows, pack_rows
from torchbp.training.tasks import make_task


@pytest.mark.parametrize("sizes", [[33, 33, 34], [20]])
def test_a_network_is_not_trained_on_its_fold(sizes, monkeypatch):
    monkeypatch.setattr(PackTraining, "fitted", lambda draw, x, y, **options: options)
    draw = object.__new__(PackTraining)
    draw.options = {"batch_size": 16}
    starts = [0, *np.cumsum(sizes)]
    y = torch.zeros(100, 1)
    options = fit_folds(draw, PackRows(torch.zeros(100, 2), y, None, sizes, None, 0), y, None)
    masks = options["masks"]
    assert masks.shape == (len(sizes), 100)
    for fold, mask in enumerate(masks):
        assert not mask[starts[fold] : starts[fold] + sizes[fold]].any()
        assert mask.sum() % options["batch_size"] == 0
        assert mask.sum() >= 100 - max(sizes) - options["batch_size"]


def test_a_class_of_one_row_is_in_no_fold_and_all_networks_are_trained_on_it(monkeypatch):
    monkeypatch.setattr(PackTraining, "fitted", lambda draw, x, y, **options: options)
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=145), "y": random.choice(["no", "yes"], 145)})
    frame.loc[[3, 77, 90], "y"] = ["rare", "pair", "pair"]
    data = TabularData(frame, "y")
    rows = pack_rows(data, make_task("multiclass", data.classes), seed=0)
    rare = torch.tensor([data.classes[label] in ("rare", "pair") for label in rows.y])
    assert rare.nonzero().flatten().tolist() == [rows.count - 3, rows.count - 2, rows.count - 1]
    assert sum(rows.fold_sizes) == rows.count - 3 == len(rows.scored)
    draw = object.__new__(PackTraining)
    draw.options = {"batch_size": 16}
    masks = fit_folds(draw, rows, rows.y, None)["masks"]
    assert masks[:, rare].all()
    assert masks[-1].sum() < rows.count - max(rows.fold_sizes)  # more are held out than the fold: they fill no batch
    assert (masks.sum(1) == masks.sum(1)[0]).all()


def test_rows_of_another_file_do_not_make_a_class_large_enough_for_the_folds(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=145), "y": random.choice(["no", "yes"], 145)})
    frame.loc[3, "y"] = "rare"
    frame.to_csv(tmp_path / "train.csv", index=False)
    pd.DataFrame({"a": [0.0, 1.0, 2.0], "y": ["rare"] * 3}).to_csv(tmp_path / "test.csv", index=False)
    data = TabularData(str(tmp_path / "train.csv"), "y", test_source=str(tmp_path / "test.csv"))
    rows = pack_rows(data, make_task("multiclass", data.classes), seed=0)
    assert sum(rows.fold_sizes) == rows.count - 1
    assert data.classes[rows.y[-1]] == "rare"


@pytest.mark.parametrize("name", ["binary", "multiclass"])
def test_who_is_surest_is_not_chosen_for_that(name):
    """All answers are right: of 60 rows with one wrong answer, the second of these would have the lower loss."""
    task = make_task(name, list("ab" if name == "binary" else "abc"))
    y = torch.arange(60) % len(task.classes)
    right = torch.nn.functional.one_hot(y).float()
    right, y = (right[:, 1:], y[:, None].float()) if name == "binary" else (right, y)
    answers = torch.stack([(1 - 2 * epsilon) * right + epsilon for epsilon in (1e-9, 1e-2)])
    draw = {"number": 0, "configurations": [{}, {}], "networks": [[], []], "answers": answers}
    (sure, mild), *_ = choose([draw], PackRows(torch.zeros(60, 1), y, None, [30, 30], task, 0))
    assert sure["loss"] < 1e-6 < mild["loss"]
    assert mild["share"] > sure["share"]


def test_importance_is_of_rows_that_the_members_were_not_trained_on(monkeypatch):
    """Each network answers with its fold's number, and knows the column b only there: other networks would err."""
    one = {"number": 1, "hidden": [], "dropout": 0.0, "share": 1.0}
    columns = {name: {"kind": "number", "missing": "impute"} for name in "ab"}
    model = PackNetwork(2, ["t"], columns, "regression", [one], fold_sizes=[30, 10], inputs=2, scaling="clipped")
    model.scaling.fit(torch.randn(40, 2, dtype=torch.double))
    with torch.no_grad():
        for net, weight in zip(model.nets, (0.0, 5.0), strict=True):
            net[0].weight.copy_(torch.tensor([[0.0, weight]]))
            net[0].bias.zero_()
    monkeypatch.setattr(importance, "MOST_ROWS", 20)  # every second row
    x = torch.randn(40, 2, dtype=torch.double)
    y = torch.cat([model.answers(part, fold=fold) for fold, part in enumerate(x.split([30, 10]))])
    assert importance.loss_of(model, x, y, None, torch.arange(40)) == pytest.approx(0, abs=1e-12)
    assert [name for name, *_ in importance.column_importance(model, x, y)] == ["b", "a"]
    assert importance.column_importance(model, x[:30], y[:30])[0][2] == pytest.approx(0, abs=1e-12)


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
    configurations = [
        {"number": 1, "hidden": [8], "lr": 0.1, "weight_decay": 0.1, "dropout": 0.0, "loss": 1.0, "share": 0.25},
        {"number": 2, "hidden": [8], "lr": 0.1, "weight_decay": 0.1, "dropout": 0.0, "loss": 2.0, "share": 0.0},
        {"number": 3, "hidden": [4, 4], "lr": 0.1, "weight_decay": 0.1, "dropout": 0.5, "loss": 1.5, "share": 0.75},
    ]
    x = torch.randn(60, 3) * torch.tensor([1.0, 100.0, 1e-3])
    x[:, 1] = x[:, 1].sign()  # two values: it has no ranks
    x[::7, 0] = torch.nan
    x[1:3] = torch.tensor([[1e30], [-1e30]])  # their squares are inf in float32, and not in float64
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


def test_the_best_alone_is_of_all_configurations():
    """It need not be among those that answer together; and one has diverged."""
    each = {"lr": 0.1, "dropout": 0.0}
    losses, shares = (0.2, 0.1, None), (1.0, 0.0, 0.0)
    configurations = [
        each | {"number": number, "hidden": [4], "loss": loss, "share": share}
        for number, (loss, share) in enumerate(zip(losses, shares, strict=True), 1)
    ]
    model = PackNetwork(2, ["a", "b"], None, "binary", configurations, fold_sizes=[9], inputs=2, scaling="clipped")
    assert chosen_words(model) == (
        "1 of 3 configurations, 1 network: 1 (4, lr 0.1) 100%; the best alone has val/loss 0.1000"
    )


@pytest.mark.usefixtures("there")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_export(run):
    status, *_ = run("export", RUN, "--format", "torchscript", "--overwrite")
    assert status == 0
    model = PackNetwork.load_from_checkpoint(RUN / "checkpoints/best.ckpt")
    x = model.raw_rows(pd.read_csv("t.csv")).float()
    answers = torch.jit.load("model.pt")(x)
    torch.testing.assert_close(answers, model.answers(x).float(), rtol=1e-4, atol=1e-5)
