"""The README is true: its Python runs, its commands run, and its links lead to the lines that they name."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
LINKS = re.findall(r"\[`([^`]+)`\]\(([^)#]+)#L(\d+)\)", README)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", blocks("python"))
def test_python_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


def test_there_is_a_link_for_each_formula():
    assert len(LINKS) >= 13


@pytest.mark.parametrize(("code", "path", "line"), LINKS)
def test_link_leads_to_its_line(code, path, line):
    lines = (ROOT / path).read_text().splitlines()
    found = [number for number, text in enumerate(lines, 1) if code in text]
    assert int(line) in found, f"{code!r} stands in {path} at {found}"
