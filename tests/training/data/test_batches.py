import numpy as np
import pandas as pd
import pytest
import torch

from torchbp.training import TabularData
from torchbp.training.errors import UserError


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


def test_xor():
    data = TabularData("xor")
    table = dict(zip(map(tuple, data.table.features.tolist()), data.table.labels.tolist(), strict=True))
    assert table == {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 0}


def test_fractions_are_of_all_rows():
    data = TabularData("digits", val_fraction=0.3, test_fraction=0.5)
    assert [len(rows) for rows in data.splits.values()] == pytest.approx([0.2 * 1797, 0.3 * 1797, 0.5 * 1797], abs=2)


def test_a_batch_has_the_weights_of_its_rows():
    frame = pd.DataFrame({"a": np.linspace(0, 1, 50), "w": np.arange(50) % 7, "y": ["no", "yes"] * 25})
    data = TabularData(frame, target="y", weight="w", batch_size=8)
    assert (data.weighted, list(data.columns)) == (True, ["a"])
    data.order = 3
    batches = list(data.train_dataloader())
    x, y, w = (torch.cat(parts) for parts in zip(*batches, strict=True))
    rows = (x[:, 0] * 49).round().long()
    assert torch.equal(w, (rows % 7).float())
    assert torch.equal(y[:, 0], (rows % 2).float())
    assert [part.shape for part in data.rows("val")] == [(10, 1), (10, 1), (10,)]
    for value, message in ((-1, "is -1.0; a weight"), (np.nan, "is blank; a weight"), (np.inf, "is inf; a weight")):
        wrong = frame.assign(w=frame.w.astype(float).where(frame.index != 4, value))
        with pytest.raises(UserError, match=f"row 5 under the header, column 'w' {message}"):
            TabularData(wrong, target="y", weight="w")
    for texts in (["0,500", "2,250"] * 25, ["0,5", "2,25"] * 25):
        assert set(TabularData(frame.assign(w=texts), target="y", weight="w").table.weights.tolist()) == {0.5, 2.25}
    with pytest.raises(UserError, match="all weights in 'w' are 0"):
        TabularData(frame.assign(w=0), target="y", weight="w")


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"batches_at_once": 0},
        {"max_categories": 0},
        {"val_fraction": 0.0},
        {"test_fraction": 1.0},
        {"val_fraction": 0.5, "test_fraction": 0.5},
        {"seed": -1},
        {"target": "y"},
        {"task": "regression"},
        {"group": "a"},
        {"missing": "mean"},
        {"decimal": ";"},
        {"encoding": "ebcdic-9"},
        {"sep": ""},
        {"folds": 1},
        {"folds": 3},
        {"fold": 2},
        {"source": ""},
        {"source": "nowhere.csv"},
        {"source": "tests"},
    ],
    ids=str,
)
def test_bad_settings_are_named(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        TabularData(**{"source": "xor", **settings})
