"""The files that `torchbp explain` writes, and the lessons."""

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from tests.explanation.test_formats import run_cells
from torchbp.cli import main
from torchbp.explanation.cli.files import ENDS, files_of
from torchbp.explanation.cli.lessons import LESSONS, OTHERS, lesson
from torchbp.training.errors import SettingError

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def test_every_format_is_written(capsys):
    words = [f"--{key} e{end}" for key, end in ENDS.items()]
    assert main(shlex.split(f"explain --row 2 {' '.join(words)}")) == 0
    assert capsys.readouterr().out.count("wrote    e.") == len(ENDS) == 6
    assert json.loads(Path("e.json").read_text())["records"][0]["name"] == "Z1"
    assert Path("e.html").read_text().startswith("<!")
    assert Path("e.tex").read_text().startswith(r"\documentclass")
    assert Path("e.md").read_text().startswith("# xor, row 2")
    assert json.loads(Path("e.ipynb").read_text())["nbformat"] == 4
    assert ElementTree.parse("e.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize("key", ENDS)
def test_a_name_of_another_ending_is_refused(key):
    settings = SimpleNamespace(**dict.fromkeys(ENDS) | {key: "e.txt"})
    with pytest.raises(SettingError, match=f"--{key} e.txt must be a file that ends in {ENDS[key]}"):
        files_of(settings)


SETTINGS = OTHERS | {"lr": None, "steps": 1}


@pytest.mark.parametrize("name", LESSONS)
def test_the_notebook_of_a_lesson_runs_and_is_graded_right(name, capsys):
    text = lesson(SimpleNamespace(lesson=name, **SETTINGS)).to_notebook()
    names, shown = run_cells(text)
    lines = capsys.readouterr().out.splitlines()
    assert len(shown) >= 20
    assert names["L_new"] < names["L"]
    assert [line.split()[-1] for line in lines if line] == [*["right"] * (len(lines) - 2), "right."]
    if name == "article":
        run_cells(text.replace("dZ2 = (A2 - y) / N", "dZ2 = (y - A2) / N"))
        printed = capsys.readouterr().out
        assert "dL/dZ2  wrong: the sign is wrong" in printed
        assert printed.count("wrong:") == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"lesson": "nope"}, "--lesson nope is not known; use article, xor, makemore, convolution"),
        ({"row": 2}, "--row does not go with --lesson, which has a network and rows of its own"),
        ({"descent": "trained"}, "--descent does not go with --lesson"),
        ({"saturate": True}, "--saturate does not go with --lesson"),
        ({"lr": -1.0}, "lr=-1.0 must be a positive number"),
    ],
)
def test_keys_that_do_not_fit_a_lesson(other, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        lesson(SimpleNamespace(**{"lesson": "xor", **SETTINGS, **other}))


def test_a_lesson_on_the_command_line(capsys):
    assert main(["explain", "--lesson", "xor", "--layer", "9"]) == 2
    assert "no layer 9: the network has layers 1 to 2" in capsys.readouterr().err
