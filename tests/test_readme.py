"""The README and the chapters are true: their Python runs, their commands run, and their links lead to the lines that
they name."""

import contextlib
import itertools
import re
import shlex
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_breast_cancer

from tests.commands import without_pictures
from tests.documentation import ROOT, code_blocks, documentation, headings
from tests.training.pairs import Pair
from torchbp.cli import main

TEXTS = documentation()
README = TEXTS[Path("README.md")]
FORMULAS = [  # [`code`](file#L12)
    (str(path), code, target, line)
    for path, text in TEXTS.items()
    for code, target, line in re.findall(r"\[`([^`]+)`\]\(([^)#]+)#L(\d+)\)", text)
]
LINKS = [
    (str(path), target, anchor)
    for path, text in TEXTS.items()
    for target, anchor in re.findall(r"\]\(([^)#: ]*)#?([^): ]*)\)", text)
    if not re.fullmatch(r"L\d+", anchor)
]


@pytest.mark.parametrize("text", TEXTS.values(), ids=map(str, TEXTS))
def test_python_blocks_run_one_after_the_other(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in code_blocks("python", text):
        exec(compile(block, "README.md", "exec"), names)


def test_there_are_blocks_of_python():
    assert sum(len(code_blocks("python", text)) for text in TEXTS.values()) >= 7


SOONER = ["--model.engine", "explicit"]  # the same steps in a fifth of the time
SHORTER = ["--trainer.max_epochs", "3"]  # of the runs whose scores the README does not show


def commands():
    """The torchbp commands of the documentation, the one that the first installation ends with among them."""
    lines = [line for text in TEXTS.values() for block in code_blocks("sh", text) for line in block.splitlines()]
    return [line.split("&& .venv/bin/")[-1] for line in lines if "torchbp " in line]


def test_commands_run_in_order_and_print_what_the_readme_says(tmp_path, monkeypatch, capsys, processes):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    cancer = load_breast_cancer(as_frame=True).frame.rename(columns={"target": "diagnosis"})
    cancer["patient"] = [f"P{number:03d}" for number in range(len(cancer))]
    cancer.to_csv("tumours.csv", index=False)
    cancer.drop(columns="diagnosis").head(20).to_csv("new.csv", index=False)
    monkeypatch.setattr(sys, "argv", [".venv/bin/torchbp"])
    printed = []
    with_scores = [f"torchbp fit -c configs/{name}.yaml" for name in TABLE]
    assert set(with_scores) < set(commands())
    with warnings.catch_warnings(), contextlib.ExitStack() as after_the_first:
        for command in commands():
            arguments = shlex.split(command)[1:]
            is_fit, is_pack = arguments[0] == "fit", "tumours.csv" in arguments
            if is_fit and not is_pack and command not in with_scores:
                arguments += SHORTER
            if "ddp" in command:  # it starts a second process: tests/training/test_processes.py
                assert Pair(processes, arguments).join() == [0, 0]
                continue
            assert main([*arguments, *(SOONER if printed and is_fit and not is_pack else ())]) == 0
            printed.append("".join(reversed(capsys.readouterr())))
            if len(printed) == 1:  # the transcript's second half is the line that its first half ends with
                assert main(shlex.split(printed[0])[-3:]) == 0
                printed.append(capsys.readouterr().out)
                assert Path("runs/breast_cancer/version_0/curves.png").read_bytes().startswith(b"\x89PNG")
                after_the_first.enter_context(without_pictures())
        scores = {name: score_of_test(name, capsys) for name in TABLE}
    assert len(printed) == 18
    assert "breast_cancer, row 17" in Path("row17.html").read_text(encoding="utf-8")
    assert Path("p.csv").read_text().startswith("patient,P(1),spread(1),class\nP000,")
    assert len(scores) == 4
    assert scores == pytest.approx(TABLE, abs=0.03)
    if not torch.cuda.is_available():
        for block, text in zip(code_blocks("text", README)[:2], printed, strict=False):
            assert shapes(text) == shapes(block)


TABLE = {  # name of a configuration: the score that the README shows
    name: float(score) for name, score in re.findall(r"^\| \[`(\w+)`\].* \|[R² ]+([\d.]+) \|$", README, re.MULTILINE)
}


def score_of_test(name, capsys):
    """The accuracy, or R², of the first run of a configuration on its test rows."""
    assert main(["test", "--ckpt_path", f"runs/{name}/version_0"]) == 0
    return float(re.search(r"^test/(accuracy|r2) +(\S+)$", capsys.readouterr().out, re.MULTILINE)[2])


def shapes(text):
    """Its lines without digits, each once in a row: another processor rounds otherwise, and stops epochs earlier or
    later."""
    return [line for line, _ in itertools.groupby(re.sub(r" *\d+(\.\d+)?", " #", text).splitlines())]


def test_the_transcript_holds_whenever_the_run_stops():
    text = code_blocks("text", README)[0]
    sooner = text.replace(re.search(r"^epoch   20 .*\n", text, re.MULTILINE)[0], "").replace("23", "9")
    assert sooner != text
    assert shapes(sooner) == shapes(text)
    assert shapes(text.replace("best.ckpt", "last.ckpt")) != shapes(text)


def test_the_readme_is_read_in_ten_minutes():
    assert len(README.splitlines()) <= 300


def test_there_is_a_link_for_each_formula():
    assert len(FORMULAS) >= 13


@pytest.mark.parametrize(("text", "code", "path", "line"), FORMULAS)
def test_link_leads_to_its_line(text, code, path, line):
    lines = (ROOT / text).parent.joinpath(path).read_text(encoding="utf-8").splitlines()
    found = [number for number, text in enumerate(lines, 1) if code in text]
    assert int(line) in found, f"{code!r} stands in {path} at {found}"


@pytest.mark.parametrize(("text", "path", "anchor"), LINKS)
def test_link_leads_to_a_file_and_a_heading(text, path, anchor):
    file = (ROOT / text).parent / path if path else ROOT / text
    assert file.exists()
    assert not anchor or anchor in headings(file.read_text(encoding="utf-8"))
