"""`torchbp bench models`: its table. (tests/models: that the converted networks train as the others.)"""

import json
import sys

import pytest
import torch

from torchbp.benchmarks import commands, helpers
from torchbp.benchmarks.commands import models
from torchbp.cli import main


@pytest.fixture
def threads():
    """The command sets their number."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_the_table(tmp_path, monkeypatch, capsys):
    names = ["GPT-2", "actor-critic"]
    monkeypatch.setattr(models, "SIZES", names)
    monkeypatch.setattr(models, "SIZE", "small")
    file = tmp_path / "a.json"
    assert main(["bench", "models", "--seconds", "0.01", "--threads", "1", "--json", str(file)]) == 0
    machine, title, heading, _, *rows = capsys.readouterr().out.splitlines()
    assert f"torch {torch.__version__}" in machine
    assert title == "a step of training, ratio of times to torch.nn, 1 thread"
    columns = [column.strip() for column in heading.strip("|").split("|")]
    cells = [dict(zip(columns, [cell.strip() for cell in row.strip("|").split("|")], strict=True)) for row in rows]
    assert [row["network"] for row in cells] == names
    records = json.loads(file.read_text())["results"]
    assert [(r["threads"], r["network"], r["variant"]) for r in records] == [
        (1, name, variant) for name in names for variant in ("torch.nn", "converted")
    ]
    assert all(r["step_ms"] > 0 and r["peak_mib"] > 0 for r in records)
    assert [row["converted, ms"] for row in cells] == [f"{r['step_ms']:.1f}" for r in records[1::2]]


def test_a_library_that_is_missing_is_one_line(monkeypatch, capsys):
    for package in (commands, helpers):  # imported anew
        monkeypatch.delitem(sys.modules, f"{package.__name__}.models")
        monkeypatch.delattr(package, "models")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["bench", "models"]) == 1
    message = 'torchbp bench models needs transformers, which is not installed: pip install "torchbp[bench]"'
    assert capsys.readouterr() == ("", f"torchbp: error: {message}\n")
