"""Files of many formats, as they come: the same table, or one line that says what is wrong."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.training.data.tables import table
from torchbp.training import TabularData
from torchbp.training.data.reading.files import File
from torchbp.training.data.reading.text_files import Reading
from torchbp.training.errors import SettingError, UserError

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
FRAME = table()[["height", "colour", "code", "ill"]]
WRITERS = {
    "a.csv": FRAME.to_csv,
    "a.tsv": lambda name, index: FRAME.to_csv(name, index=index, sep="\t"),
    "semicolons.txt": lambda name, index: FRAME.to_csv(name, index=index, sep=";"),
    "bars.data": lambda name, index: FRAME.to_csv(name, index=index, sep="|"),
    "a.csv.gz": FRAME.to_csv,
    "a.csv.zip": FRAME.to_csv,
    "a.csv.xz": FRAME.to_csv,
    "decimal commas.csv": lambda name, index: FRAME.to_csv(name, index=index, sep=";", decimal=","),
    "a.parquet": FRAME.to_parquet,
    "parquet_without_a_suffix": FRAME.to_parquet,
    "a.feather": lambda name, index: FRAME.to_feather(name),
    "a.jsonl": lambda name, index: FRAME.to_json(name, orient="records", lines=True),
    "a.jsonl.gz": lambda name, index: FRAME.to_json(name, orient="records", lines=True),
    "a.json": lambda name, index: FRAME.to_json(name, orient="records"),
    "utf16.csv": lambda name, index: FRAME.to_csv(name, index=index, encoding="utf-16"),
    "a.xlsx": FRAME.to_excel,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_table(name):
    if name.endswith("xlsx"):
        pytest.importorskip("openpyxl")
    WRITERS[name](name, index=False)
    data, expected = TabularData(name, target="ill"), TabularData(FRAME, target="ill")
    assert torch.equal(data.table.features, expected.table.features)
    assert torch.equal(data.table.labels, expected.table.labels)
    assert {k: v | {"decimal": "."} for k, v in data.columns.items()} == {
        k: v | {"decimal": "."} for k, v in expected.columns.items()
    }
    pieces = pd.concat(File(name).pieces(7), ignore_index=True)
    assert pieces.colour.tolist() == FRAME.colour.tolist()


def test_stdin(monkeypatch):
    for content in (FRAME.to_csv(index=False).encode(), FRAME.to_parquet()):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        data = TabularData("-", target="ill")
        assert torch.equal(data.table.features, TabularData(FRAME, target="ill").table.features)
        assert data.source == "-"


def test_stdin_is_read_by_one_process(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UserError, match=r"data.source - is read by one process, and here are several; give a file"):
        TabularData("-", target="ill")


def test_several_files_are_one_table():
    FRAME[:25].to_csv("a.csv", index=False)
    FRAME[25:].to_parquet("b.parquet")
    data = TabularData(["a.csv", "b.parquet"], target="ill")
    assert torch.equal(data.table.features, TabularData(FRAME, target="ill").table.features)
    FRAME[25:].assign(height=["tall"] * 35).to_csv("c.csv", index=False)
    with pytest.raises(UserError, match=r"^c.csv: row 1 under the header, column 'height' is 'tall'"):
        TabularData(["a.csv", "a.csv", "c.csv"], target="ill")
    FRAME[25:].drop(columns="code").to_csv("d.csv", index=False)
    with pytest.raises(UserError, match=r"d.csv has no column 'code', as a.csv has"):
        TabularData(["a.csv", "d.csv"], target="ill")


def test_frames_and_arrays():
    frame = FRAME.set_index(np.arange(60) * 3)
    expected = TabularData(FRAME, target="ill")
    for data in (TabularData(frame, "ill"), TabularData(frame.drop(columns="ill"), frame.ill)):
        assert torch.equal(data.table.features, expected.table.features)
        assert torch.equal(data.table.labels, expected.table.labels)
        assert data.hparams.source == "the frame"
    x, y = frame[["height", "code"]].to_numpy(), frame.ill.to_numpy()
    data = TabularData(x, y)
    assert (list(data.columns), data.classes) == (["x0", "x1"], ["no", "yes"])
    np.testing.assert_array_equal(data.table.features, x.astype(np.float32))
    assert TabularData(x, np.stack([x[:, 0], x[:, 1]], 1)).classes == ["y0", "y1"]
    with pytest.raises(UserError, match="60 rows and 59 labels"):
        TabularData(x, y[1:])
    with pytest.raises(UserError, match=r"an array of the shape \(60,\) must be \(N, F\)"):
        TabularData(x[:, 0], y)
    with pytest.raises(UserError, match="the frame has two columns 'code'"):
        TabularData(pd.concat([frame, frame.code], axis=1), "ill")
    with pytest.raises(SettingError, match=r"the frame has no column 'il' \(data.target\)"):
        TabularData(frame, "il")


HEADERS = {  # the first lines, and whether the first has names
    "names": ("u,v,y\n1,2,a\n3,4,b\n", True),
    "numbers over numbers": ("8,307.0,chevrolet\n8,350,buick\n", False),
    "a number over texts": ("u,2019,2020\na,1,2\nb,3,4\n", True),
    "years": ("2019,2020,2021\n1,2,5\n3,4,6\n", True),
    "pandas's numbers": ("0,1,2\n5.5,6,1\n3,4,2\n", True),
    "texts that return": ("a,x\nb,x\na,y\n", False),
    "texts that do not": ("colour,shape\nred,round\nblue,long\n", True),
    "one name over numbers": ("a,1.5\n2,3.5\n4,5.5\n", True),
    "a blank over a name": (",u\n1,2\n2,3\n", True),
    "missing values below": ("u,v\nNA,2\n?,3\n", True),
    "one line": ("1,2,3\n", True),
}


@pytest.mark.parametrize(("content", "header"), HEADERS.values(), ids=HEADERS)
def test_a_header_line_is_found(content, header):
    Path("a.csv").write_text(content)
    file = File("a.csv")
    if content.count("\n") == 1:
        with pytest.raises(UserError, match="has no rows"):
            file.read()
        return
    frame = file.read()
    assert len(frame) == content.count("\n") - header
    assert (next(iter(frame)) == "c1") == (not header)
    assert bool(file.notes) == (not header)
    assert len(File("a.csv", Reading(header=not header)).read()) == content.count("\n") - (not header)


def test_a_table_without_a_header():
    numbers = zip([1, 8, 3, 7] * 9, np.linspace(0, 1, 36), strict=True)
    lines = [f"{a},{b},{'x' if a < 4 else 'y'}\n" for a, b in numbers]
    Path("a.csv").write_text("".join(lines))
    data = TabularData("a.csv", target="c3")
    assert list(data.columns) == ["c1", "c2"]
    note = "a.csv has no header line: its columns are called c1 … c3. With data.header true its first line has "
    assert ("note", note + "the names") in data.table.lines
    Path("b.csv").write_text("5,0.5\n")
    assert File("b.csv", wanted=["c1", "c2"]).read().to_numpy().tolist() == [[5, 0.5]]
    Path("c.csv").write_text("c2,c1\n0.5,5\n")
    assert list(File("c.csv", wanted=["c1", "c2"]).read()) == ["c2", "c1"]


def test_how_a_text_file_is_written_can_be_said():
    Path("a.txt").write_text("u   v y\n1.500  2 a\n 3.000 4  b\n")
    frame = File("a.txt", Reading(sep="space", decimal=",")).read()
    assert frame.to_numpy().tolist() == [[1500, 2, "a"], [3000, 4, "b"]]
    Path("b.txt").write_text("u\tv;w\n1\t2;3\n4\t5;6\n")
    assert [list(File("b.txt", Reading(sep=sep)).read()) for sep in ("tab", "\\t", ";")] == [
        ["u", "v;w"], ["u", "v;w"], ["u\tv", "w"]]  # fmt: skip


def test_an_encoding():
    content = "größe,art\n1,süß\n2,sauer\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        Path("a.csv").write_bytes(content.encode(encoding))
        file = File("a.csv")
        assert file.read()["art"].tolist() == ["süß", "sauer"]
        assert len(file.notes) == (encoding == "cp1252")
    assert "byte 3 is not UTF-8: the file is read as cp1252; data.encoding sets another" in file.notes
    Path("a.csv").write_bytes("größe,art\n1,ж\n".encode("cp1251", "ignore"))
    assert File("a.csv", Reading(encoding="cp1251")).read()["art"].tolist() == ["ж"]
    Path("a.csv").write_bytes("a,b\n1,ж\n".encode("cp1251"))
    with pytest.raises(UserError, match=r"is not a CSV file of the encoding utf-8: .* set data.encoding"):
        File("a.csv", Reading(encoding="utf-8")).read()
    Path("a.csv").write_bytes(b"a,b\n1,\x81\n")
    with pytest.raises(
        UserError, match=r"a.csv is no text: byte 7 is neither UTF-8 nor cp1252; save it as CSV, or set"
    ):
        File("a.csv").read()


@pytest.mark.parametrize("write", [pd.DataFrame.to_parquet, pd.DataFrame.to_feather])
def test_a_dictionary_of_numbers_has_numbers_in_every_format(write):
    write(FRAME.assign(code=FRAME.code.astype("category"), text=FRAME.code.astype(str).astype("category")), "a")
    data = TabularData("a", target="ill", ignore=["text"])
    assert [data.columns[name]["kind"] for name in ("colour", "code")] == ["category", "number"]
    assert TabularData("a", target="ill", ignore=["code"]).columns["text"]["kind"] == "number"
    assert torch.equal(data.table.features, TabularData(FRAME, target="ill").table.features)
    assert TabularData("a", target="ill", categorical=["code"]).columns["code"]["categories"] == ["10", "20", "30"]


def test_the_index_of_a_parquet_file_is_a_column_if_it_has_a_name():
    FRAME.set_index("height").to_parquet("named.parquet")
    assert list(TabularData("named.parquet", target="ill").columns) == ["colour", "code", "height"]
    FRAME.iloc[::-1].to_parquet("numbered.parquet")  # an index without a name, and out of order
    assert list(TabularData("numbered.parquet", target="ill").columns) == ["height", "colour", "code"]


def test_the_first_sheet_is_read():
    pytest.importorskip("openpyxl")
    with pd.ExcelWriter("a.xlsx") as writer:
        FRAME.to_excel(writer, sheet_name="patients", index=False)
        FRAME[:2].to_excel(writer, sheet_name="legend", index=False)
    file = File("a.xlsx")
    assert len(file.read()) == 60
    assert file.notes == ["a.xlsx has 2 sheets, of which 'patients', the first, is read"]


def test_excel_without_its_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    Path("a.xlsx").write_bytes(b"PK\3\4")
    with pytest.raises(UserError, match=r'needs openpyxl, which is not installed: pip install "torchbp\[excel\]"'):
        File("a.xlsx").read()


ROWS = "".join(f"{(7 * i) % 20 / 2},{i % 3},{'b' if i % 2 else 'a'}\n" for i in range(20))
BAD = {
    "empty": ("", "y", UserError, "is empty"),
    "no rows": ("u,v,y\n", "y", UserError, "no rows"),
    "no target column": ("u,v,y\n" + ROWS, "label", SettingError, "no column 'label' .* it has u, v, y"),
    "target not named": ("u,v,y\n" + ROWS, None, SettingError, "data.target is missing: name .* it has u, v, y"),
    "text": ("u,v,y\n" + ROWS + "3,tall,a\n", "y", UserError, r"row 21 under the header, column 'v' is 'tall'"),
    "infinity": ("u,v,y\n5,inf,b\n" + ROWS, "y", UserError, r"row 1 under the header, column 'v' is 'inf'"),
    "no label": ("u,v,y\n1,2,\n2,4,\n3,4,NA\n", "y", UserError, "no row has a label: the target 'y' is blank"),
    "one class": ("u,v,y\n5,6,c\n7,8,c\n", "y", UserError, "at least two classes; it has 1: 'c'"),
    "no feature": ("y\n" + "a\nb\n" * 9, "y", UserError, "no feature beside the target 'y'"),
    "a number too large": ("u,v,y\n" + ROWS + "1e39,2,a\n", "y", UserError, "row 21 .* column 'u' is '1e\\+39'"),
    "lost digits": (
        "u,v,y\n" + "".join(f"{10**9 + i * 7},{i % 3},{'b' if i % 2 else 'a'}\n" for i in range(20)),
        "y",
        UserError,
        "'u' differs only in digits that float32 cannot represent; subtract its mean",
    ),
    "two columns of one name": ("u,u,y\n" + ROWS, "y", UserError, "two columns 'u'"),
    "a row longer than the header": ("v,y\n" + ROWS, "y", UserError, "not a CSV file"),
    "ragged": ("u,v,y\n1,2,a\n1,2,3,4,5,b\n", "y", UserError, "not a CSV file: .*line 3"),
    "half of a pair of bytes": (b"\xff\xfe\x00", "y", UserError, "is empty"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "target", "error", "message"), BAD.values(), ids=BAD)
def test_bad_text_files_are_named(content, target, error, message):
    Path("bad.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=message):
        TabularData("bad.csv", target=target)


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.jsonl", "a.xlsx", "a.csv.gz"])
def test_damaged_files_are_named(name):
    kind = {"parquet": "Parquet", "feather": "Feather", "jsonl": "file of JSON lines", "xlsx": "Excel", "gz": "CSV"}
    if name.endswith("xlsx"):
        pytest.importorskip("openpyxl")
    WRITERS[name](name, index=False)
    content = Path(name).read_bytes()
    Path(name).write_bytes(content[: len(content) // 2 - 3])
    with pytest.raises(UserError, match=rf"^{name} is not an? {kind[name.rsplit('.')[-1]]}"):
        File(name).read()


def test_a_spreadsheets_file():
    """A byte order mark, blanks after commas, Windows line ends."""
    rows = "".join(f"{i / 2}, {i % 3}, {'x' if i % 2 else 'z'}\r\n" for i in range(20))
    Path("a.csv").write_bytes(b"\xef\xbb\xbf" + f"u, v, y\r\n{rows}".encode())
    data = TabularData("a.csv", target="y")
    assert (list(data.columns), data.classes) == (["u", "v"], ["x", "z"])
