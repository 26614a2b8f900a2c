"""What comes from files, settings and checkpoints is printed as text: it cannot command a terminal, or write lines."""

import io
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console

from tests.checks import in_this_process
from tests.commands import command_in
from torchbp.cli import main
from torchbp.printing import escape, printable, quoted, with_article
from torchbp.testing import GradientError, Report, Result
from torchbp.training import TabularData
from torchbp.training.errors import UserError

# a title of the window, colours, C1's CSI, carriage return, right-to-left, and a line that looks like ours
EVIL = "\x1b]0;PWN\x07\x1b[31m\x9b2J\r\u202e\u2028\ntorchbp: error: no\x7f"

IGNORE = json.dumps([f"id{EVIL}"])


def test_printable():
    assert printable("a\x1b[0m\n\t\x9b\u202e\udc80 é 漢 −") == r"a\x1b[0m\n\t\x9b\u202e\udc80 é 漢 −"
    assert printable("a\n\x1b", keep="\n") == "a\n\\x1b"
    assert printable(Path("a\x1b")) == r"a\x1b"
    assert printable(printable(EVIL)) == printable(EVIL)
    assert escape("<\x1b\n>") == "&lt;\\x1b\n&gt;"


@pytest.mark.parametrize(
    "name", ["plain", "Anna's 1st", "a\x1b[0m'\\\nb", "no\xa0break", "é\u202e", "$HOME `id`", "\udcff"]
)
def test_a_quoted_path_is_that_path_to_a_shell(name):
    word = quoted(Path(name))
    assert word.isprintable()
    shown = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, env={"LC_ALL": "C.UTF-8"})
    assert shown.stdout.decode(errors="surrogateescape") == name


FILE, BEST = f"t{EVIL}.csv", "runs/run/version_0/checkpoints/best.ckpt"
TARGET = ["--data.target", f"y{EVIL}"]
YAML = {
    "key.yaml": 'model:\n  "a\\e[31m": 3\n',
    "value.yaml": 'model:\n  lr: "\\e]0;PWN\\a"\n',
    "twice.yaml": '"a\\e[31m": 3\n"a\\e[31m": 3\n',
    "list.yaml": "? [a, b]\n: 3\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with hostile tables, settings and a run."""
    folder = tmp_path_factory.mktemp("hostile")
    with command_in(folder):
        values = {
            "number": [n % 7 for n in range(40)], f"c{EVIL}": [f"{EVIL}a", f"{EVIL}b"] * 20, f"id{EVIL}": [EVIL] * 40,
            f"y{EVIL}": [f"x{EVIL}", f"x{EVIL}", f"y{EVIL}", f"y{EVIL}"] * 10,
        }  # fmt: skip
        frame = pd.DataFrame(values)
        frame.to_csv(FILE, index=False)
        frame.rename(columns={f"c{EVIL}": f"d{EVIL}"}).to_csv("renamed.csv", index=False)
        frame.assign(**{f"c{EVIL}": EVIL}).to_csv("category.csv", index=False)
        frame.assign(number=EVIL).to_csv("text.csv", index=False)
        for name, content in YAML.items():
            Path(name).write_text(content)
        logger = ["--trainer.logger.init_args.save_dir", "runs", "--trainer.max_epochs", "1"]
        assert main(["fit", "--data.source", FILE, *TARGET, "--data.ignore", IGNORE, *logger]) == 0
    return folder


@pytest.fixture
def run(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["torchbp"])
    monkeypatch.setattr("torchbp.testing.cli.worker.running_worker", in_this_process)
    monkeypatch.setattr(sys, "path", sys.path[:])  # `check` puts the folder there

    def run(*arguments):
        status = main(list(map(str, arguments)))
        out, err = capsys.readouterr()
        assert printable(out + err, keep="\n") == out + err
        return status, out, err

    with warnings.catch_warnings():
        yield run


REFUSED = [
    ["fit", "--data.source", FILE, "--data.target", "z"],
    ["fit", "--data.source", FILE, *TARGET, "--data.weight", f"c{EVIL}"],
    ["fit", "--data.source", FILE, *TARGET, "--data.categorical", json.dumps([EVIL])],
    ["fit", "--data.source", f"{EVIL}.csv", *TARGET],
    *(["fit", "-c", name] for name in (*YAML, f"{EVIL}.yaml")),
    ["fit", f"--model.{EVIL}", "3"],
    ["fit", EVIL],
    ["test", "--data.source", FILE, *TARGET, "--ckpt_path", EVIL],
    ["test", "--data.source", "renamed.csv", *TARGET, "--data.ignore", IGNORE, "--ckpt_path", BEST],
    ["predict", "--data.source", "renamed.csv", "--ckpt_path", BEST],
    ["predict", "--data.source", "text.csv", "--ckpt_path", BEST],
    ["predict", "--data.source", FILE, "--ckpt_path", BEST, "--data.id", EVIL],
    ["predict", "--data.source", FILE, "--ckpt_path", BEST, "--output", EVIL],
    ["explain", "--data.source", FILE, "--ckpt_path", BEST, "--data.target", EVIL, "--row", 3],
    ["explain", "--data.source", FILE, "--ckpt_path", BEST, "--y", EVIL, "--row", 3],
    ["check", f"{EVIL}:x"],
    ["check", f"os:{EVIL}"],
    ["bench", EVIL],
    [EVIL],
]


@pytest.mark.parametrize("arguments", REFUSED, ids=lambda arguments: printable(" ".join(map(str, arguments)))[:60])
def test_an_error_is_one_line_of_text(arguments, run):
    status, out, err = run(*arguments)
    assert status in (1, 2)
    assert out == ""
    assert err.startswith("torchbp: error: ")
    assert len(err.splitlines()) == 1


def test_what_a_run_prints_and_writes_is_text(run):
    settings = ["--data.source", FILE, *TARGET]
    name = ["--trainer.logger.init_args.name", "r\x1b[1m", "--trainer.max_epochs", "1"]
    status, out, err = run("fit", *settings, "--data.ignore", IGNORE, *name)
    assert status == 0
    assert printable(FILE) in err
    assert r"runs/r\x1b[1m/version_0/report.html" in out
    status, out, _ = run("predict", *settings, "--ckpt_path", BEST, "--data.id", f"id{EVIL}", "--output", "p\x1b.csv")
    assert (status, out) == (0, "wrote    p\\x1b.csv: 40 rows\n")
    status, out, err = run("predict", "--data.source", "category.csv", "--ckpt_path", BEST, "--output", "q.csv")
    assert status == 0
    assert printable(EVIL) in out + err
    status, out, _ = run("explain", *settings, "--ckpt_path", BEST, "--row", 3, "--html", "e.html", "--json", "e.json")
    assert status == 0
    for page in (*Path("runs").rglob("report.html"), Path("e.html")):
        text = page.read_text(encoding="utf-8")
        assert "PWN" in text
        assert not set("\x1b\x9b\x07\u202e\u2028\x7f") & set(text)
    assert f"c{EVIL}={EVIL}b" in json.loads(Path("e.json").read_text())["features"]


def test_names_of_a_checkpoint_are_text(run):
    content = torch.load(BEST)
    content["state_dict"]["\x1b]0;PWN\x07"] = torch.zeros(1)
    torch.save(content, "bad.ckpt")
    status, _, err = run("predict", "--data.source", FILE, "--ckpt_path", "bad.ckpt")
    assert status == 1
    assert r"\x1b]0;PWN\x07 is not one of its tensors" in err


def test_errors_and_reports_in_python_are_text(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError) as info:
        TabularData("renamed.csv", target="\x1b]0;PWN\x07")
    assert str(info.value).isprintable()

    report = Report("f\x1b", [Result("values", "FAIL", "of \x1b", ("at \x1b",))], ("note \x1b",))
    for text in (str(report), str(GradientError(report))):
        assert printable(text, keep="\n") == text
        assert r"at \x1b" in text
    console = Console(file=io.StringIO(), no_color=True)
    console.print(report)
    assert "\x1b" not in console.file.getvalue()


@pytest.mark.parametrize("words", ["an LSTM", "an MLP", "an ndarray", "an int", "a UNet", "a Linear", "an Identity"])
def test_a_name_has_the_article_that_is_spoken(words):
    assert with_article(words.split()[1]) == words
