"""A user's own table: texts, blanks, labels of any kind, several targets, a column of names, files without labels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.training.trainers import ARTICLE_FLAGS, network
from torchbp.cli import main
from torchbp.training import Network, TabularData
from torchbp.training.data.columns import feature_names
from torchbp.training.errors import SettingError, UserError


def table(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "key": [f"{i:03d}" for i in range(rows)],
            "height": rng.normal(170, 10, rows).round(3),
            "colour": rng.choice(["red", "blue", "green"], rows),
            "code": rng.choice([10, 20, 30], rows),
            "note": [f"free text {i}" for i in range(rows)],
        }
    )
    frame["ill"] = np.where((frame.height > 170) ^ (frame.colour == "red"), "yes", "no")
    frame["fever"] = (frame.height > 175).astype(int)
    frame["cough"] = (frame.colour == "blue").astype(int)
    return frame


ONE = {"target": "ill", "id": "key", "ignore": ["note", "fever", "cough"], "categorical": ["code"]}

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture(autouse=True)
def no_page(request):
    if request.node.name != "test_several_targets":  # which looks at the page
        request.getfixturevalue("without_page")


def write(frame, name="a.csv"):
    frame.to_csv(name, index=False) if name.endswith("csv") else frame.to_parquet(name)
    return name


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_texts_become_a_feature_for_each_category(name):
    frame = table()
    data = TabularData(write(frame, name), **ONE)
    assert data.columns == {"height": None, "colour": ["blue", "green", "red"], "code": ["10", "20", "30"]}
    expected = pd.concat([frame.height, pd.get_dummies(frame.colour), pd.get_dummies(frame.code)], axis=1).to_numpy(
        np.float32
    )
    assert torch.equal(data.table.features, torch.from_numpy(expected))
    assert feature_names(data.columns)[:3] == ["height", "colour=blue", "colour=green"]
    assert data.classes == ["no", "yes"]
    assert torch.equal(data.table.labels, torch.from_numpy((frame.ill == "yes").to_numpy(np.int64)))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([True, False] * 30, ["False", "True"]),
        ([3, 1, 2] * 20, ["1", "2", "3"]),
        ([0.0, 1.0] * 30, ["0", "1"]),
        ([0.5, -1.5] * 30, ["-1.5", "0.5"]),
        (["b", "10", "9"] * 20, ["10", "9", "b"]),
        (["NA", "None"] * 30, ["NA", "None"]),
        (["no", "yes"] * 30, ["no", "yes"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_labels_of_any_type(labels, classes, name):
    frame = table()[["height"]].assign(y=labels)
    data = TabularData(write(frame, name), target="y")
    assert data.classes == classes
    of = {str(int(v)) if isinstance(v, float) and v % 1 == 0 else str(v) for v in labels}
    assert of == set(classes)
    first = classes.index(
        str(int(labels[0])) if isinstance(labels[0], float) and labels[0] % 1 == 0 else str(labels[0])
    )
    assert data.table.labels[0] == first


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_true_and_false_are_numbers(name):
    frame = table()[["height", "ill"]].assign(smokes=[True, False] * 30)
    data = TabularData(write(frame, name), target="ill")
    assert data.columns == {"height": None, "smokes": None}
    assert data.table.features[:, 1].tolist() == [1, 0] * 30
    frame["smokes"] = frame.smokes.astype("boolean").mask(frame.height > 175)
    data = TabularData(write(frame, name), target="ill", missing="mean")
    assert data.table.features[:, 1].isnan().sum() == (frame.height > 175).sum()


def test_the_index_of_a_parquet_file_is_a_column_if_it_has_a_name(capsys):
    frame = table()[["height", "colour", "ill", "key"]]
    frame.set_index("height").to_parquet("named.parquet")
    assert list(TabularData("named.parquet", target="ill", ignore=["key"]).columns) == ["colour", "height"]
    frame.iloc[::-1].to_parquet("numbered.parquet")  # an index without a name, and out of order
    data = TabularData("numbered.parquet", target="ill", ignore=["key"])
    assert list(data.columns) == ["height", "colour"]
    fit("--data.source", "named.parquet", "--data.target", "ill", "--data.ignore", "[key]")
    predicted(capsys, "--data.source", "named.parquet", "--data.id", "key")
    assert pd.read_csv("predictions.csv").key.tolist() == list(range(60))


def test_other_separators_and_compression(tmp_path):
    frame = table()[["height", "colour", "ill"]]
    expected = TabularData(write(frame), target="ill").table.features
    for name, arguments in (
        ("s.csv", {"sep": ";"}),
        ("t.csv", {"sep": "\t"}),
        ("p.csv", {"sep": "|"}),
        ("z.csv.gz", {}),
    ):
        frame.to_csv(name, index=False, **arguments)
        assert torch.equal(TabularData(name, target="ill").table.features, expected)


def test_missing_values_are_the_mean_of_the_training_rows():
    frame = table()
    frame.loc[[3, 8], "height"] = None
    frame.loc[[5], "colour"] = None
    write(frame)
    with pytest.raises(UserError, match=r"row 4 under the header, column 'height' is blank; .* --data.missing mean"):
        TabularData("a.csv", **ONE)
    data = TabularData("a.csv", **ONE, missing="mean")
    assert data.table.features.isnan().sum() == 2 + 3
    model = network(data)
    x = data.rows("train")[0]
    model.scaling.fit(x)
    torch.testing.assert_close(model.scaling.center.numpy(), np.nanmean(x.double().numpy(), axis=0).astype(np.float32))
    torch.testing.assert_close(model.scaling.median.numpy(), np.nanmedian(x.numpy(), axis=0))
    blank = model.scaling(torch.full((1, data.in_features), torch.nan))
    assert torch.equal(blank, model.scaling(model.scaling.median[None]))


def fit(*arguments, status=0):
    assert (
        main(
            ["fit", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "30", *ARTICLE_FLAGS, *map(str, arguments)]
        )
        == status
    )


def options(settings):
    return [part for name, value in settings.items() for part in (f"--data.{name}", str(value))]


def predicted(capsys, *arguments, status=0):
    capsys.readouterr()
    path = "runs/run/version_0/checkpoints/best.ckpt"
    assert main(["predict", "--ckpt_path", path, *arguments]) == status
    return capsys.readouterr().err


@pytest.mark.parametrize("name", ["b.csv", "b.parquet"])
def test_predict_takes_a_file_without_the_target_and_keeps_the_ids(name, capsys, monkeypatch):
    monkeypatch.setattr("torchbp.training.data.sources.ROWS_AT_ONCE", 7)
    fit("--data.source", write(table()), *options(ONE))
    new = table(40, seed=1)
    write(new[["colour", "key", "code", "height", "note"]], name)  # another order, a column more, no target
    config = ["-c", "runs/run/version_0/config.yaml"]
    assert predicted(capsys, *config, "--data.source", name, "--output", "p.csv") == ""
    assert predicted(capsys, *config, "--data.source", name, "--output", "p.parquet") == ""
    out = pd.read_csv("p.csv", dtype={"key": str})
    assert list(out) == ["key", "P(yes)", "class"]
    assert out.key.tolist() == new.key.tolist()
    model = Network.load_from_checkpoint("runs/run/version_0/checkpoints/best.ckpt")
    expected = model.predict_proba(new)[:, 0]
    torch.testing.assert_close(torch.tensor(out["P(yes)"], dtype=torch.float32), expected, rtol=1e-5, atol=1e-6)
    assert out["class"].tolist() == ["yes" if p >= 0.5 else "no" for p in expected]
    parquet = pd.read_parquet("p.parquet")
    assert list(parquet) == list(out)
    assert parquet["class"].tolist() == out["class"].tolist()
    # of the checkpoint alone: rows are numbered
    assert predicted(capsys, "--data.source", name, "--output", "q.csv") == ""
    assert pd.read_csv("q.csv").row.tolist() == list(range(1, 41))


def test_a_category_that_is_new_is_named(capsys):
    fit("--data.source", write(table()), *options(ONE))
    new = table(40, seed=1)
    new.loc[[11, 12], "colour"] = "pink"
    write(new, "b.csv")
    capsys.readouterr()
    path = "runs/run/version_0/checkpoints/best.ckpt"
    assert main(["predict", "--ckpt_path", path, "--data.source", "b.csv"]) == 0
    assert capsys.readouterr().err == "note     column 'colour': 'pink' (2 rows) is new, and was treated as missing\n"
    new["colour"] = new.colour.replace("pink", None)
    model = Network.load_from_checkpoint(path)
    torch.testing.assert_close(
        torch.tensor(pd.read_csv("predictions.csv")["P(yes)"], dtype=torch.float32),
        model.predict_proba(new)[:, 0],
        rtol=1e-5,
        atol=1e-6,
    )


def test_many_classes_of_a_file(capsys):
    fit("--data.source", write(table(90)), "--data.target", "colour", "--data.ignore", "[key,note,ill,fever]")
    write(table(20, seed=2).drop(columns="colour"), "b.csv")
    predicted(capsys, "--data.source", "b.csv")
    out = pd.read_csv("predictions.csv")
    assert list(out) == ["row", "P(blue)", "P(green)", "P(red)", "class"]
    assert set(out["class"]) <= {"blue", "green", "red"}


def test_several_targets(capsys):
    settings = {"target": "[fever,cough]", "ignore": "[key,note,ill]"}
    fit("--data.source", write(table(200)), *options(settings), "--model.lr", 2, "--model.momentum", "0.9")
    out = capsys.readouterr().out
    assert "val/accuracy" in out
    data = TabularData("a.csv", target=["fever", "cough"], ignore=["key", "note", "ill"])
    assert (data.task, data.classes) == ("multilabel", ["fever", "cough"])
    frame = table(200)
    rows = data.splits["val"]
    np.testing.assert_array_equal(data.rows("val")[1].numpy(), frame[["fever", "cough"]].to_numpy()[rows])
    predicted(capsys, "--data.source", "a.csv")
    answers = pd.read_csv("predictions.csv")
    assert list(answers) == ["row", "P(fever)", "P(cough)", "fever", "cough"]
    assert (answers.fever == frame.fever).mean() > 0.9
    assert (answers.cough == frame.cough).all()
    page = Path("runs/run/version_0/report.html").read_text()
    assert "fever" in page


def test_balanced_weights_let_both_classes_weigh_the_same():
    frame = table(200)
    frame["rare"] = np.where(np.arange(200) % 10 == 0, "yes", "no")
    settings = ["--data.target", "rare", "--data.ignore", "[key,note,ill,fever,cough]"]
    fit("--data.source", write(frame), *settings, "--model.class_weight", "balanced")
    model = Network.load_from_checkpoint("runs/run/version_0/checkpoints/best.ckpt")
    data = TabularData("a.csv", target="rare", ignore=["key", "note", "ill", "fever", "cough"])
    y = data.rows("train")[1]
    loss = model.task.criterion
    assert loss.pos_weight.item() == pytest.approx(((len(y) - y.sum()) / y.sum()).item())
    assert loss.weight.item() == pytest.approx((len(y) / 2 / (len(y) - y.sum())).item())
    fit("--data.source", "a.csv", *settings, "--model.class_weight", "{yes: 3}")
    path = "runs/run/version_1/checkpoints/best.ckpt"
    assert Network.load_from_checkpoint(path).task.criterion.pos_weight.item() == pytest.approx(3)


def test_a_frame_of_raw_rows_is_scaled_by_the_network():
    fit("--data.source", write(table()), *options(ONE))
    model = Network.load_from_checkpoint("runs/run/version_0/checkpoints/best.ckpt")
    data = TabularData("a.csv", **ONE)
    assert torch.equal(model.predict_proba(table()), model.predict_proba(data.table.features))
    with pytest.raises(UserError, match="no column 'code'"):
        model.predict_proba(table().drop(columns="code"))
    with pytest.raises(UserError, match="trained without names"):
        Network(2, ["a", "b"]).predict_proba(table())


BAD = {
    "free text": (
        {"target": "ill"},
        UserError,
        "column 'note' has 60 different values.*data.ignore.*max_categories=20",
    ),
    "dates": ({"target": "ill", "ignore": ["key", "note"]}, UserError, "column 'day' holds datetime64.*data.ignore"),
    "blank column": ({"target": "ill", "ignore": ["key", "note", "day"]}, UserError, "'nothing' is blank in every row"),
    "a quantity": (
        {"target": "height", "ignore": ["key", "note", "day", "nothing"]},
        UserError,
        "target 'height' has 60 different numbers.*no quantity",
    ),
    "an id that is not there": ({"target": "ill", "id": "kee"}, SettingError, "no column 'kee'"),
    "a column ignored that is not there": ({"target": "ill", "ignore": ["no"]}, SettingError, "no column 'no'"),
    "a category that is not there": ({"target": "ill", "categorical": ["no"]}, SettingError, "no column 'no'"),
    "the target as id": ({"target": "ill", "id": "ill"}, SettingError, "data.target='ill' is also in data.ignore"),
    "targets of text": (
        {"target": ["ill", "fever"]},
        UserError,
        "'ill' is '(yes|no)'; each of several targets must be",
    ),
    "a quantity of whole numbers": (
        {"target": "hours", "ignore": ["key", "note", "day", "nothing"]},
        UserError,
        "target 'hours' has 60 different numbers, for example 100.*no quantity",
    ),
    "missing in every row": (
        {"target": "ill", "ignore": ["key", "note", "day", "nothing"]},
        UserError,
        "'unknown' is missing in every row, as 'NA'",
    ),
    "no target": ({"target": []}, SettingError, "data.target is missing"),
    "a target twice": ({"target": ["fever", "fever"]}, SettingError, "names a column twice"),
    "unknown missing": ({"target": "ill", "missing": "median"}, SettingError, "data.missing='median' must be"),
}


@pytest.mark.parametrize(("settings", "error", "message"), BAD.values(), ids=BAD)
def test_bad_tables_are_named(settings, error, message):
    frame = table()
    frame["day"] = pd.date_range("2026-01-01", periods=60)
    frame["nothing"] = np.full(60, np.nan)
    frame["unknown"] = "NA"
    frame["hours"] = range(100, 160)
    write(frame, "a.parquet")
    with pytest.raises(error, match=message):
        TabularData("a.parquet", **settings, max_categories=20)


@pytest.mark.parametrize(
    "text",
    [
        "NA",
        "na",
        "N/A",
        "n/a",
        "#N/A",
        "nan",
        "NaN",
        "NULL",
        "null",
        "None",
        "?",
        "-",
        "--",
        ".",
        " ? ",
        "<NA>",
        "\\N",
        "#REF!",
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_spellings_of_a_missing_number(text, name):
    frame = table(20)[["height", "ill"]].astype({"height": str})
    frame.loc[[3, 8], "height"] = text
    write(frame, name)
    with pytest.raises(UserError, match=r"row 4 under the header, column 'height' is .*, a missing value; .* --data"):
        TabularData(name, target="ill")
    data = TabularData(name, target="ill", missing="mean")
    assert data.columns == {"height": None}
    assert data.table.features[:, 0].isnan().nonzero().flatten().tolist() == [3, 8]
    np.testing.assert_allclose(data.table.features[:3, 0], table(20).height[:3], rtol=1e-6)
    assert data.table.notes == ()


def test_a_column_of_true_and_false_may_have_missing_values():
    write(table(20)[["height", "ill"]].assign(smokes=["TRUE", "NA", "FALSE", "TRUE"] * 5))
    smokes = TabularData("a.csv", target="ill", missing="mean").table.features[:, 1]
    assert smokes[:4].nan_to_num(9).tolist() == [1, 9, 0, 1]


@pytest.mark.parametrize("word", ["True", "FALSE"])
def test_true_among_numbers_is_a_misprint(word):
    write(table(20)[["height", "ill"]].assign(visits=["5", "1", word, "0"] * 5))
    with pytest.raises(UserError, match=f"column 'visits' is '{word}'; a feature must be a finite float32"):
        TabularData("a.csv", target="ill")


def test_plus_and_minus_are_answers():
    write(table(20)[["height", "ill"]].assign(rhesus=["+", "-"] * 10))
    data = TabularData("a.csv", target="ill")
    assert (data.columns["rhesus"], data.table.notes) == (["+", "-"], ())


def test_a_text_that_may_be_a_missing_value_is_a_category_and_is_named():
    frame = table(20)[["height", "ill"]].assign(
        land=["NA", "DE", "FR", "?"] * 5, alley=[""] + ["None", "gravel"] * 9 + ["x"]
    )
    write(frame)
    data = TabularData("a.csv", target="ill", missing="mean")
    assert data.columns == {"height": None, "land": ["?", "DE", "FR", "NA"], "alley": ["None", "gravel", "x"]}
    assert data.table.features[0, -3:].isnan().all()  # an empty cell is missing
    assert data.table.notes == (
        "column 'land': 'NA' (5 rows), '?' (5 rows) are taken as categories; leave the cells empty if they are missing",
        "column 'alley': 'None' (9 rows) is taken as a category; leave the cells empty if they are missing",
    )


def test_labels_that_may_be_missing():
    write(table(20)[["height"]].assign(y=["NA", "a", "b", "a"] * 5))
    data = TabularData("a.csv", target="y")
    assert data.classes == ["NA", "a", "b"]
    assert data.table.notes == (
        "column 'y': 'NA' (5 rows) is taken as a class; leave the cells empty if they are missing",
    )
    write(table(20)[["height"]].assign(y=["0", "1", "?", "1"] * 5))
    with pytest.raises(UserError, match=r"row 3 under the header, column 'y' is '\?', a missing value, and no label"):
        TabularData("a.csv", target="y")


def test_a_network_takes_missing_numbers_as_it_was_trained_to(capsys):
    frame = table(60)[["height", "ill"]].astype({"height": str})
    frame.loc[7, "height"] = "NA"
    fit("--data.source", write(frame), "--data.target", "ill", "--data.missing", "mean", "--trainer.max_epochs", "1")
    new = pd.DataFrame({"height": ["170.5", "N/A", "", "180"]})
    assert predicted(capsys, "--data.source", write(new, "b.csv")) == ""
    p = pd.read_csv("predictions.csv")["P(yes)"]
    assert p[1] == p[2] != p[0]
    new.loc[3, "height"] = "tall"
    err = predicted(capsys, "--data.source", write(new, "b.csv"), "--overwrite", "true", status=1)
    assert "row 4 under the header, column 'height' is 'tall'; a feature must be a finite float32" in err


SIGNED = ["1,000", "1,5", "1,234.5", "1.234,5", "1 000", "1\N{NO-BREAK SPACE}000", "1'000", "1_000", "12%", "12.5 %",
          "$5", "$1,000.50", "-$5", "5 €", "€5", "USD 5", "5 usd", "(5)", "(1,000)", "−5"]  # fmt: skip


@pytest.mark.parametrize("share", [1, 3], ids=["all", "a third"])
@pytest.mark.parametrize("text", SIGNED)
def test_numbers_with_signs_are_refused_and_never_become_others(text, share):
    values = [text if i % share == 0 else f"{i}.5" for i in range(18)]
    write(table(18)[["ill"]].assign(price=values))
    with pytest.raises(UserError, match=r"row 1 under the header, column 'price' is .*; write plain numbers") as info:
        TabularData("a.csv", target="ill")
    assert f"is {text!r}; write" in str(info.value)
    data = TabularData("a.csv", target="ill", categorical=["price"])
    assert text in data.columns["price"]


@pytest.mark.parametrize("text", ["1st class", "192.168.0.1", "2020-01-05", "12:30", "3-5", "A 100", "10+", "1,2,3"])
def test_texts_with_digits_are_categories(text):
    write(table(20)[["ill"]].assign(kind=[text, "other"] * 10))
    assert TabularData("a.csv", target="ill").columns == {"kind": sorted([text, "other"])}


NAMES = {  # the name of the first column, its 20 numbers or texts
    "R": ("", range(1, 21)),
    "pandas": ("", range(20)),
    "pandas, read and written again": ("Unnamed: 0", range(20)),
    "R, in another order": ("", [3, 1, 2, *range(4, 21)]),
    "joined tables": ("", [*range(10), *range(10)]),
    "texts": ("", [f"Mazda {i}" for i in range(20)]),
    "rownames": ("rownames", range(1, 21)),
    "row.names": ("row.names", range(1, 21)),
    "readr": ("...1", range(1, 21)),
    "X": ("X", range(1, 21)),
    "Id": ("Id", range(1, 21)),
    "id": ("id", range(5, 105, 5)),
    "PassengerId": ("PassengerId", range(1, 21)),
    "patient_id": ("patient_id", range(20)),
    "index": ("index", range(20)),
}


@pytest.mark.parametrize(("name", "values"), NAMES.values(), ids=NAMES)
def test_a_column_that_names_the_rows_is_left_out_and_said(name, values):
    frame = table(20)[["height", "ill"]]
    frame.insert(0, name, list(values))
    write(frame)
    data = TabularData("a.csv", target="ill")
    assert data.columns == {"height": None}
    name = name or "Unnamed: 0"
    assert data.table.notes == (f"column {name!r} names the rows, and is left out; give it another name to keep it",)
    for settings in ({"id": name}, {"ignore": [name]}):
        assert TabularData("a.csv", target="ill", **settings).table.notes == ()
    assert name in TabularData("a.csv", target="ill", categorical=[name]).columns


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("", np.linspace(0, 1, 20)),
        ("", ["a", "b"] * 10),
        ("id", [1, 2] * 10),
        ("x", range(1, 21)),
        ("X", range(2, 22)),
        ("paid", range(5, 105, 5)),
        ("day", range(1, 21)),
    ],
    ids=str,
)
def test_other_columns_of_numbers_stay(name, values):
    frame = table(20)[["height", "ill"]]
    frame.insert(0, name, list(values))
    write(frame)
    data = TabularData("a.csv", target="ill")
    name = name or "Unnamed: 0"
    assert list(data.columns) == [name, "height"]
    counts = list(values) == list(range(1, 21))
    note = f"column {name!r} counts the rows; add it to data.ignore, unless it is a feature"
    assert data.table.notes == ((note,) if counts else ())


def test_fit_says_what_it_left_out(capsys):
    frame = table(20)[["height", "ill"]]
    frame.to_csv("a.csv")
    fit("--data.source", "a.csv", "--data.target", "ill", "--trainer.max_epochs", "1")
    err = capsys.readouterr().err.splitlines()
    assert err[1] == "note     column 'Unnamed: 0' names the rows, and is left out; give it another name to keep it"
    assert err[2].startswith("network  1-16-1")


def test_only_row_names_beside_the_target():
    pd.DataFrame({"y": ["a", "b"] * 5}).to_csv("a.csv")
    with pytest.raises(UserError, match="no feature: its only column is the target 'y'; 'Unnamed: 0' names the rows"):
        TabularData("a.csv", target="y")


def test_a_file_without_a_header_line_is_named():
    Path("a.csv").write_text("8,307.0,chevrolet,18.5\n" + "4,120,saab,22\n" * 9)
    with pytest.raises(SettingError, match=r"has no column 'mpg' .* if that is a row, write a line with the names"):
        TabularData("a.csv", target="mpg")


def test_too_few_rows_of_a_class_for_three_splits():
    write(table(6)[["height"]].assign(y=["a", "b"] * 3))
    with pytest.raises(UserError, match=r"too few rows to split .*raise data.val_fraction"):
        TabularData("a.csv", target="y")


def test_a_stale_part_of_a_killed_predict_is_not_taken_up(capsys):
    fit("--data.source", write(table()), *options(ONE))
    for name in (".p.csv.part", ".p.csv.1.part"):
        Path(name).write_text("half of an older file\n")
    predicted(capsys, "--data.source", "a.csv", "--output", "p.csv")
    assert len(pd.read_csv("p.csv")) == 60


def test_predict_does_not_write_over_its_data_or_give_two_columns_one_name(capsys):
    settings = {"target": "[fever,cough]", "ignore": "[key,note,ill]"}
    fit("--data.source", write(table(200)), *options(settings))
    before = Path("a.csv").read_bytes()
    err = predicted(capsys, "--data.source", "a.csv", "--output", "a.csv", "--overwrite", "true", status=2)
    assert "a.csv is the data that is read" in err
    assert Path("a.csv").read_bytes() == before
    for output in ("p.csv", "p.parquet"):
        err = predicted(capsys, "--data.source", "a.csv", "--data.id", "fever", "--output", output, status=2)
        assert "data.id='fever' is also a column of the answers" in err
        assert not Path(output).exists()


@pytest.mark.parametrize("shape", [(3,), (3, 6), (3, 1), (2, 3, 7)], ids=str)
def test_rows_of_another_shape_are_refused(shape):
    model = Network(7, ["a", "b"])
    with pytest.raises(UserError, match=r"must be \(N, 7\)"):
        model.predict_proba(torch.zeros(shape))


def test_rows_of_any_type():
    model = Network(7, ["a", "b"])
    expected = model.predict_proba(torch.ones(2, 7))
    for rows in (torch.ones(2, 7, dtype=torch.double), np.ones((2, 7)), torch.ones(2, 7, dtype=torch.int)):
        assert torch.equal(model.predict_proba(rows), expected)


def test_a_broken_parquet_file_is_named():
    write(table(), "a.parquet")
    content = Path("a.parquet").read_bytes()
    Path("b.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"b.parquet is not a Parquet file"):
        TabularData("b.parquet", target="ill")
