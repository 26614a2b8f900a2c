import numpy as np
import pytest
import torch

from torchbp.training import TabularData
from torchbp.training.errors import SettingError, UserError


@pytest.mark.parametrize("source", ["breast_cancer", "digits"])
def test_split_is_seeded_disjoint_complete_and_stratified(source):
    data = TabularData(source, seed=3)
    rows = torch.cat(list(data.splits.values()))
    assert torch.equal(rows.sort().values, torch.arange(len(data.table.labels)))
    assert all(
        torch.equal(a, b)
        for a, b in zip(data.splits.values(), TabularData(source, seed=3).splits.values(), strict=True)
    )
    assert not torch.equal(data.splits["test"], TabularData(source, seed=4).splits["test"])
    shares = [torch.bincount(data.table.labels[rows]) / len(rows) for rows in data.splits.values()]
    torch.testing.assert_close(shares[1], shares[0], atol=0.01, rtol=0)
    torch.testing.assert_close(shares[2], shares[0], atol=0.01, rtol=0)


def test_batches_hold_each_training_row_once_in_a_new_order():
    data = TabularData("digits", batch_size=100)
    data.order = 7
    x, y = data.rows("train")
    loader = data.train_dataloader()
    epochs = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        epochs.append(list(loader))
    for batches in epochs:
        assert [len(b) for b, _ in batches] == [100] * (len(x) // 100) + [len(x) % 100]
        torch.testing.assert_close(torch.cat([b for b, _ in batches]).sum(0), x.sum(0))
        torch.testing.assert_close(torch.cat([t for _, t in batches]).sum(0), y.sum(0))
    assert not torch.equal(epochs[0][0][0], epochs[1][0][0])


def test_batches_are_those_of_the_task():
    for source, task, dtype, shape in (
        ("breast_cancer", "binary", torch.float32, (1,)),
        ("digits", "multiclass", torch.int64, ()),
        ("diabetes", "regression", torch.float32, (1,)),
    ):
        data = TabularData(source)
        x, y = next(iter(data.val_dataloader()))
        assert (data.task, y.dtype, y.shape[1:]) == (task, dtype, shape)
        assert (x.dtype, x.shape[1:]) == (torch.float32, (data.in_features,))


def test_csv(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{a:.6f},{'yes' if a > 0 else 'no'},{b:d}" for a, b in zip(rng.normal(size=40), range(40), strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["height,ill,age", *lines]))
    data = TabularData(str(tmp_path / "a.csv"), target="ill")
    assert data.in_features == 2
    assert data.classes == ["no", "yes"]
    assert data.columns == {"height": None, "age": None}
    height, age = data.table.features.T
    assert torch.equal(data.table.labels, (height > 0).long())
    assert age.tolist() == list(range(40))


def test_csv_of_a_spreadsheet(tmp_path):
    """A byte order mark, blanks after commas, Windows line ends, labels that look like missing values."""
    rows = "".join(f"{i}, {i % 3}, {'NA' if i % 2 else 'None'}\r\n" for i in range(20))
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + f"u, v, y\r\n{rows}".encode())
    data = TabularData(str(tmp_path / "a.csv"), target="y")
    assert list(data.columns) == ["u", "v"]
    assert data.classes == ["NA", "None"]


def test_xor():
    data = TabularData("xor")
    table = dict(zip(map(tuple, data.table.features.tolist()), data.table.labels.tolist(), strict=True))
    assert table == {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 0}


def test_fractions_are_of_all_rows():
    data = TabularData("digits", val_fraction=0.3, test_fraction=0.5)
    assert [len(rows) for rows in data.splits.values()] == pytest.approx([0.2 * 1797, 0.3 * 1797, 0.5 * 1797], abs=2)


ROWS = "".join(f"{i},{i % 3},{'b' if i % 2 else 'a'}\n" for i in range(20))

BAD_CSV = {
    "empty": ("", "y", UserError, "is empty"),
    "no rows": ("u,v,y\n", "y", UserError, "no rows"),
    "no target column": ("u,v,y\n" + ROWS, "label", SettingError, "no column 'label' .* it has u, v, y"),
    "target not named": ("u,v,y\n" + ROWS, None, SettingError, "data.target is missing"),
    "text": ("u,v,y\n" + ROWS + "3,tall,a\n", "y", UserError, r"row 21 under the header, column 'v' is 'tall'"),
    "a blank": ("u,v,y\n5,,b\n" + ROWS, "y", UserError, r"row 1 under the header, column 'v' is blank"),
    "infinity": ("u,v,y\n5,inf,b\n" + ROWS, "y", UserError, r"row 1 under the header, column 'v' is 'inf'"),
    "a blank label": ("u,v,y\n5,6,\n" + ROWS, "y", UserError, r"no label in row 1 under the header"),
    "one class": ("u,v,y\n5,6,c\n7,8,c\n", "y", UserError, "at least two classes; it has 1: 'c'"),
    "a lonely class": (
        "u,v,y\n1,2,a\n1,3,a\n1,4,a\n5,6,c\n7,8,a\n",
        "y",
        UserError,
        "too few rows of the class 'c', 1; ",
    ),
    "no feature": ("y\n" + "a\nb\n" * 9, "y", UserError, "no feature"),
    "a number too large": ("u,v,y\n" + ROWS + "1e39,2,a\n", "y", UserError, "row 21 .* column 'u' is '1e\\+39'"),
    "lost digits": (
        "u,v,y\n" + "".join(f"{10**9 + i},1,{'b' if i % 2 else 'a'}\n" for i in range(20)),
        "y",
        UserError,
        "'u' differs only",
    ),
    "two columns of one name": ("u,u,y\n" + ROWS, "y", UserError, "two columns 'u'"),
    "a row longer than the header": ("v,y\n" + ROWS, "y", UserError, "not a CSV file"),
    "not text": (b"\xff\xfe\x00", "y", UserError, "not a CSV file"),
    "ragged": ("u,v,y\n1,2,a\n1,2,3,4,5,b\n", "y", UserError, "not a CSV file: .*line 3"),
}


@pytest.mark.parametrize(("content", "target", "error", "message"), BAD_CSV.values(), ids=BAD_CSV)
def test_bad_csv_is_named(content, target, error, message, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=message):
        TabularData(str(path), target=target)


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"val_fraction": 0.0},
        {"test_fraction": 1.0},
        {"val_fraction": 0.5, "test_fraction": 0.5},
        {"target": "y"},
        {"source": "nowhere.csv"},
        {"source": "tests"},
    ],
    ids=str,
)
def test_bad_settings_are_named(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        TabularData(**{"source": "xor", **settings})
