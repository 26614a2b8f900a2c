"""Files and settings as they come, malformed or odd: each is read, or is one line with the remedy."""

import bz2
import gzip
import io
import re
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from torchbp.training import TabularData
from torchbp.training.cli.arguments import as_texts
from torchbp.training.errors import SettingError, UserError

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_page")
ROWS = 40
CSV = "u,v,y\n" + "".join(f"{7 * i % 20 / 2},{i % 3},{'ab'[i % 2]}\n" for i in range(ROWS))


def column(values, labels=lambda i: "ab"[i % 2]):
    """A table whose column v has these values, a function of the row's number, as the labels are."""
    return "u,v,y\n" + "".join(f"{7 * i % 20 / 2},{values(i)},{labels(i)}\n" for i in range(ROWS))


def labels(values):
    return column(lambda i: i % 3, values)


def in_memory(write):
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def zipped(*names):
    def write(stream):
        with zipfile.ZipFile(stream, "w") as archive:
            for name in names:
                archive.writestr(name, CSV)

    return in_memory(write)


PARQUET = in_memory(pd.read_csv(io.StringIO(CSV)).to_parquet)
OBJECTS = '{"u": 1, "y": "a"}\n{"u": 2, "y": "b"}\n' * 12
# the file: its content, and what the error says
REFUSED = {
    "page.csv": ("<!doctype html>\n<html><body>\n<p>Not found, sorry</p></body></html>\n", "line 3 has 2 values"),
    "picture.csv": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", "picture.csv is no text .* save it as CSV"),
    "zeros.csv": (bytes(500), "zeros.csv is no text .* save it as CSV, or set data.encoding"),
    "text.parquet": (CSV, "not a Parquet file: it holds text; if that is CSV, give its name the suffix .csv"),
    "text.feather": (CSV, "not a Feather file: it holds text; if that is CSV"),
    "text.xlsx": (CSV, "text.xlsx is not an Excel file: it holds text; if that is CSV"),
    "old.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old Excel .*; save it as .xlsx or CSV"),
    "cut.parquet": (PARQUET[:200], "cut.parquet is not a Parquet file"),
    "cut.csv.gz": (gzip.compress(CSV.encode())[:60], "cut.csv.gz is not a CSV file"),
    "two.zip": (zipped("a.csv", "b.csv"), "Multiple files found in ZIP file"),
    "columns.json": ('{"u": [1, 2], "y": ["a", "b"]}', "'u' holds lists; write an object for each row"),
    "nested.jsonl": (
        '{"u": {"v": 1}, "y": "a"}\n{"u": {}, "y": "b"}\n' * 12,
        "column 'u' holds dict, .*; add it to data.ignore",
    ),
    "lists.jsonl": (
        '{"u": [1], "y": "a"}\n{"u": [], "y": "b"}\n' * 12,
        "column 'u' holds list, .*; add it to data.ignore",
    ),
    "cut.jsonl": (OBJECTS + '{"u": 3, ', "cut.jsonl is not a file of JSON lines"),
    "quote.csv": (CSV.replace("\n0.5,", '\n"0.5,', 1), "EOF inside string"),
    "total.csv": (CSV + "Total,60,\n", "row 41 under the header, column 'u' is 'Total'"),
    "tall.csv": (column(lambda i: "tall" if i == 7 else i), "row 8 under the header, column 'v' is 'tall'"),
    "infinite.csv": (column(lambda i: "inf" if i == 7 else i * i % 17), "'inf', not a finite float32"),
    "digits.csv": (column(lambda i: 10**9 + i * i % 17), "differs only in digits .*; subtract its mean"),
    "currencies.csv": (column(lambda i: ["$5", "€7"][i % 2]), "amounts in \\$ and €; convert them"),
    "one_class.csv": (labels(lambda i: "a"), "at least two classes; it has 1: 'a'"),
    "no_label.csv": (labels(lambda i: ""), "no row has a label: the target 'y' is blank"),
    "ids.csv": (labels(lambda i: f"p{i}"), "40 different texts in 40 rows, .*; name another column"),
    "count.csv": (labels(lambda i: 13 * i % 17), "17 different whole numbers, .*: add --data.task regression if"),
    "tiny.csv": (CSV[:36], "too few rows to split: 3 rows; add rows"),
    "label_alone.csv": ("y\n" + "a\nb\n" * 20, "no feature beside the target 'y'"),
}
# the file: its content, and a line that is printed, or the columns
READ = {
    "parquet.csv": (PARQUET, "2 numbers (u, v)"),
    "packed.csv": (gzip.compress(CSV.encode()), "2 numbers (u, v)"),
    "packed.data": (bz2.compress(CSV.encode()), "2 numbers (u, v)"),
    "unpacked.csv.gz": (CSV, "2 numbers (u, v)"),
    "one.zip": (zipped("a.csv"), "2 numbers (u, v)"),
    "comments.csv": ("# made by a program\n# on Tuesday\n" + CSV, "the table begins in line 3; above it stands '#"),
    "title.csv": ("Patients\n\n" + CSV, "title.csv: the table begins in line 3; above it stands 'Patients'"),
    "blank_lines.csv": ("\n\n" + CSV, "2 numbers (u, v)"),
    "commas_at_the_end.csv": (CSV.replace("\n", ",\n"), "'Unnamed: 3' is blank in the training rows"),
    "more_commas_than_names.csv": (CSV.replace("\n", ",\n").replace(",\n", "\n", 1), "2 numbers (u, v)"),
    "mac.csv": (CSV.replace("\n", "\r"), "2 numbers (u, v)"),
    "windows.csv": (CSV.replace("\n", "\r\n"), "2 numbers (u, v)"),
    "blanks_in_the_header.csv": (CSV.replace("u,v,y", " u , v , y "), "2 numbers (u, v)"),
    "blanks_in_labels.csv": (labels(lambda i: ["yes", "no ", "yes", "no"][i % 4]), "no 20, yes 20"),
    "numbers_as_labels.csv": (labels(lambda i: ["0", "1.0"][i % 2]), "0 20, 1 20"),
    "truths.csv": (labels(lambda i: ["TRUE", "False"][i % 2]), "False 20, True 20"),
    "a_rare_class.csv": (labels(lambda i: "c" if i == 5 else "ab"[i % 2]), "class 'c' has 1 row, too few"),
    "labels_missing.csv": (labels(lambda i: "ab"[i // 2 % 2] if i % 2 else ""), "20 rows have no label (y)"),
    "blank_column.csv": (column(lambda i: ""), "'v' is blank in the training rows"),
    "na.csv": (column(lambda i: "NA" if i % 5 == 0 else i * i % 17), "v 8: the median of the training rows"),
    "dashes.csv": (column(lambda i: "-" if i % 5 == 0 else i * i % 17), "v 8: the median of the training rows"),
    "percent.csv": (column(lambda i: f"{i * i % 17}%"), "2 numbers (u, v)"),
    "thousands.csv": (column(lambda i: f'"1,{100 + i * i % 17}"'), "is read as one between thousands"),
    "times.csv": (column(lambda i: f"{i % 24:02}:30"), "1 date (v)"),
    "numbered.csv": (column(lambda i: i + 1), "'v' numbers the rows"),
    "the_same_twice.csv": ("u,v,y\n" + "1,2,a\n2,1,b\n" * 20, "2 numbers (u, v)"),
}  # fmt: skip


def write(name, content):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_refused(name):
    content, message = REFUSED[name]
    write(name, content)
    with pytest.raises((UserError, SettingError), match=message) as error:
        TabularData(name, target="y")
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", READ)
def test_a_file_that_is_read(name):
    content, said = READ[name]
    write(name, content)
    data = TabularData(name, target="y")
    assert len(data.table.labels) == ROWS
    assert said in "\n".join(text for _, text in data.table.lines)


FLAGS = [
    ("--data.source https://example.org/a.csv", 1, "https://example.org/a.csv is an address, .*; download it"),
    ("--data.source [t.csv,gone.csv]", 1, "gone.csv does not exist; give a file"),
    ("--data.val_source gone.csv", 1, "gone.csv does not exist; give a file"),
    ("--data.source t.csv other.csv", 2, "'other.csv' belongs to no key"),
    ("--data.target Y", 2, r"no column 'Y' \(data.target\); did you mean y\?"),
    ("--data.target z", 2, r"no column 'z' \(data.target\); it has u, v, y"),
    ("--data.sep=", 2, "data.sep is empty; give one character"),
    ("--data.sep ;", 2, "no column 'y' .*; it has u,v,y"),
    ("--data.encoding utf-99", 2, "data.encoding='utf-99' is not known; utf-8, cp1252 and latin-1 are"),
    ("--data.header maybe", 2, "data.header=maybe must be of type bool or null"),
    ("--data.decimal ;", 2, "data.decimal=';' must be '.' or ','"),
    ("--data.test_fraction 1.5", 2, "data.test_fraction=1.5 must lie between 0 and 1"),
    ("--data.val_fraction 0.6 --data.test_fraction 0.4", 2, "leave no row to train on"),
    ("--data.weight y", 2, "data.target='y' is also in data.weight"),
    ("--data.group g", 1, "too few rows to split: 2 groups; add rows of other groups"),
    ("--data.weight w", 1, "row 4 under the header, column 'w' is blank; a weight .* must be a number"),
    ("--data.time y --data.target g", 1, "column 'y' .* holds neither dates nor numbers; name another column"),
    ("--data.task regresion", 2, "data.task='regresion' must be one of binary, multiclass, multilabel, regression"),
    ("--data.task regression", 1, "column 'y' is 'a', which is no number, and regression needs numbers"),
    ("-c no.yaml", 2, "data.ignore=False must be of type str; write it in quotes"),
    ("--data.ignore --data.seed 1", 2, "data.ignore"),
    ("--ckpt_path gone", 1, "there is no checkpoint gone"),
]


@pytest.mark.parametrize(("flags", "status", "message"), FLAGS, ids=[flags for flags, *_ in FLAGS])
def test_a_flag_that_is_refused(flags, status, message, run):
    rows = CSV.splitlines()
    more = [f"{row},{'xy'[i % 2]},{'' if i == 3 else 1}" for i, row in enumerate(rows[1:])]
    write("t.csv", "\n".join([rows[0] + ",g,w", *more]) + "\n")
    write("no.yaml", "data:\n  ignore: [no]\n")
    before = ["--data.source", "t.csv", "--data.target", "y"]
    if "--data.source" in flags:
        before = before[2:]
    if "--data.weight w" not in flags:
        before += ["--data.ignore", "w" if "--data.group" in flags else "[g, w]"]
    if "--data.target g" in flags:
        before = ["--data.source", "t.csv"]
    got, out, err = run("fit", *before, *flags.split(" "))
    assert (got, out) == (status, "")
    assert re.fullmatch(f"torchbp: error: .*{message}.*\n", err), err


def test_lists_of_names_are_of_texts():
    given = ["--data.ignore", "[no, 007, 'a, b']", "--data.categorical", "yes", "--data.source=[a.csv, 1.csv]"]
    given += ["--data.target", "no", "--model.hidden", "[3]", "--data.na_values"]
    assert as_texts(given) == [
        "--data.ignore", '["no", "007", "a, b"]', "--data.categorical", '["yes"]', "--data.source",
        '["a.csv", "1.csv"]', "--data.target", "no", "--model.hidden", "[3]", "--data.na_values",
    ]  # fmt: skip


def test_missing_values_that_yaml_takes_for_something_else(run):
    write("t.csv", column(lambda i: ["-999", "no", i * i % 17][i % 3]))
    fit = ["fit", "--data.source", "t.csv", "--data.target", "y", "--trainer.max_epochs", 1]
    status, _, err = run(*fit, "--data.na_values", "[no, -999]")
    assert status == 0, err
    assert "blanks   v 27: the median of the training rows" in err


def test_a_run_from_stdin_says_that_the_next_command_needs_it_again(run, monkeypatch):
    fit = ["fit", "--data.source", "-", "--data.target", "y", "--trainer.max_epochs", 1]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(CSV.encode())))
    status, out, _ = run(*fit)
    assert status == 0
    assert out.endswith(" test --ckpt_path runs/run/version_0 < FILE\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(CSV.encode())))
    status, out, err = run("test", "--ckpt_path", "runs/run/version_0")
    assert (status, err) == (0, "")
    assert "test/accuracy" in out
    status, _, err = run("export", "gone")
    assert status == 1
    assert err == "torchbp: error: there is no checkpoint gone; the newest run here is runs/run/version_0\n"


def test_a_column_of_lists_can_be_ignored():
    write("t.jsonl", '{"u": 1, "tags": ["x"], "y": "a"}\n{"u": 2, "tags": [], "y": "b"}\n' * 20)
    data = TabularData("t.jsonl", "y", ignore=["tags"])
    assert list(data.columns) == ["u"]


@pytest.mark.parametrize("path", ["runs/t/version_9", "runs"])
def test_a_run_that_is_not_there_is_what_a_resume_complains_about(path, run):
    Path("runs").mkdir()
    status, out, err = run("fit", "--ckpt_path", path)
    assert (status, out) == (1, "")
    assert re.fullmatch("torchbp: error: (there is no checkpoint|runs has no checkpoint).*\n", err), err
