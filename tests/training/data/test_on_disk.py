"""Tables that are larger than memory: the same rows, features and splits, with the features in a file."""

import os

import numpy as np
import pytest
import torch

from tests.training.data.tables import table
from torchbp.cli import main
from torchbp.training import TabularData
from torchbp.training.data import rows_on_disk
from torchbp.training.errors import SettingError, UserError

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
FRAME = table(300).drop(columns=["key", "fever", "cough"]).assign(w=np.arange(300) % 5 + 1.0)
FRAME.loc[5:40, "height"] = None
FRAME.loc[[7, 99], "ill"] = None


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(rows_on_disk, "PIECE", 70)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("a.csv", {}), ("a.parquet", {"weight": "w"}), ("a.parquet", {"group": "code"}), ("a.csv", {"target": "height"})],
    ids=str,
)
def test_a_table_on_disk_is_the_one_in_memory(name, settings):
    FRAME.to_csv(name, index=False) if name == "a.csv" else FRAME.to_parquet(name)
    settings = {"target": "ill", "max_categories": 20, **settings}
    memory, disk = TabularData(name, **settings), TabularData(name, **settings, on_disk=True)
    assert (disk.columns, disk.classes, disk.table.lines) == (memory.columns, memory.classes, memory.table.lines)
    for split in memory.splits:
        for one, other in zip(memory.rows(split), disk.rows(split), strict=True):
            assert torch.equal(one.nan_to_num(99), other.nan_to_num(99))
        numbers = [[data.row_number(split, row) for row in range(len(data.splits[split]))] for data in (memory, disk)]
        assert numbers[0] == numbers[1]
    x = disk.rows("train")[0]
    assert x.untyped_storage().data_ptr() == disk.table.features.untyped_storage().data_ptr()  # no copy


def test_several_files_on_disk():
    FRAME[:100].to_parquet("a.parquet")
    FRAME[100:200].to_csv("b.csv", index=False)
    FRAME[200:].to_parquet("c.parquet")
    files = {"source": ["a.parquet", "b.csv"], "test_source": "c.parquet", "target": "ill", "max_categories": 20}
    memory, disk = TabularData(**files), TabularData(**files, on_disk=True)
    assert torch.equal(memory.rows("test")[0].nan_to_num(99), disk.rows("test")[0].nan_to_num(99))
    FRAME[100:200].assign(height="tall").to_csv("b.csv", index=False)
    FRAME[100:200].assign(height=FRAME.height.astype(str).where(FRAME.index != 150, "tall")).to_csv(
        "b.csv", index=False
    )
    with pytest.raises(UserError, match=r"^b.csv: row 51 under the header, column 'height' is 'tall', no number"):
        TabularData(**files, on_disk=True)


def test_the_columns_are_found_by_a_sample(monkeypatch):
    monkeypatch.setattr(rows_on_disk, "SAMPLE", 50)
    frame = FRAME.assign(n=range(300), rare=["x" if i == 7 else "y" if i % 2 else "z" for i in range(300)])
    frame.to_parquet("a.parquet")
    data = TabularData("a.parquet", target="ill", ignore=["note"], on_disk=True)
    assert ("left out", "'n' numbers the rows") in data.table.lines
    assert data.columns["rare"]["categories"] == ["y", "z"]


def test_a_checkpoint_knows_the_rows_on_disk(capsys, without_page):
    FRAME.to_parquet("a.parquet")
    fit = ["--data.source", "a.parquet", "--data.target", "ill", "--data.on_disk", "true"]
    assert main(["fit", *fit, "--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]) == 0
    test = ["test", "-c", "runs/run/version_0/config.yaml", "--ckpt_path", "runs/run/version_0/checkpoints/best.ckpt"]
    capsys.readouterr()
    assert main(test) == 0
    before = capsys.readouterr().out
    FRAME.sort_values("note").to_parquet("a.parquet")
    assert main(test) == 0
    assert capsys.readouterr().out == before


def test_a_source_that_cannot_be_read_twice(monkeypatch):
    for source in ("-", FRAME):
        with pytest.raises(SettingError, match=r"data.on_disk reads files several times; give the path of a file"):
            TabularData(source, target="ill", on_disk=True)
    FRAME[:0].to_parquet("a.parquet")
    with pytest.raises(UserError, match=r"a.parquet has no rows"):
        TabularData("a.parquet", target="ill", on_disk=True)


def test_a_full_disk(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    FRAME.to_parquet("a.parquet")
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"has no room for 0.0 GiB of features \(No space left on device\); set TMPDIR"):
        TabularData("a.parquet", target="ill", on_disk=True)
