"""The README is true: its Python runs, its commands run, and its links lead to the lines that they name."""

import itertools
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_breast_cancer

from torchbp.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
LINKS = re.findall(r"\[`([^`]+)`\]\(([^)#]+)#L(\d+)\)", README)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_python_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(blocks("python")) >= 3
    names = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)


def commands():
    """The torchbp commands of the README, the one that the first installation ends with among them."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line.split("&& .venv/bin/")[-1] for line in lines if "torchbp " in line]


def test_commands_run_in_order_and_print_what_the_readme_says(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    cancer = load_breast_cancer(as_frame=True).frame.rename(columns={"target": "diagnosis"})
    cancer["patient"] = [f"P{number:03d}" for number in range(len(cancer))]
    cancer.to_csv("tumours.csv", index=False)
    cancer.drop(columns="diagnosis").head(20).to_csv("new.csv", index=False)
    monkeypatch.setattr(sys, "argv", [".venv/bin/torchbp"])
    printed = []
    with warnings.catch_warnings():
        for command in commands():
            if "ddp" in command:  # it starts this program again
                subprocess.run([sys.executable, "-m", *shlex.split(command)], check=True, capture_output=True)
                continue
            assert main(shlex.split(command)[1:]) == 0
            printed.append("".join(reversed(capsys.readouterr())))
            if len(printed) == 1:  # the transcript's second half is the line that its first half ends with
                assert main(shlex.split(printed[0])[-5:]) == 0
                printed.append(capsys.readouterr().out)
    assert len(printed) == 16
    assert "breast_cancer, row 17" in Path("row17.html").read_text(encoding="utf-8")
    assert Path("p.csv").read_text().startswith("patient,P(1),class\nP000,")
    if not torch.cuda.is_available():
        for block, text in zip(blocks("text")[:2], printed, strict=False):
            assert shapes(text) == shapes(block)


def shapes(text):
    """Its lines without digits, each once in a row: another processor rounds otherwise, and stops epochs earlier or
    later."""
    return [line for line, _ in itertools.groupby(re.sub(r" *\d+(\.\d+)?", " #", text).splitlines())]


def test_the_transcript_holds_whenever_the_run_stops():
    text = blocks("text")[0]
    sooner = text.replace(re.search(r"^epoch   20 .*\n", text, re.MULTILINE)[0], "").replace("23", "9")
    assert sooner != text
    assert shapes(sooner) == shapes(text)
    assert shapes(text.replace("best.ckpt", "last.ckpt")) != shapes(text)


def test_there_is_a_link_for_each_formula():
    assert len(LINKS) >= 13


@pytest.mark.parametrize(("code", "path", "line"), LINKS)
def test_link_leads_to_its_line(code, path, line):
    lines = (ROOT / path).read_text().splitlines()
    found = [number for number, text in enumerate(lines, 1) if code in text]
    assert int(line) in found, f"{code!r} stands in {path} at {found}"
