"""The report as text, as JSON, on a terminal and in a notebook."""

import io
import json
import re

import numpy as np
import torch
from rich.console import Console

import torchbp
from tests.documentation import all_documentation, code_blocks
from tests.testing.multiply import Multiply, failure, numbers
from torchbp.testing.checks import CHECKS
from torchbp.testing.numerics.tensors import first_line


def test_a_failure_names_the_argument_the_entry_and_the_cause():
    inputs = numbers(2, 2), numbers(2, 2)
    text = failure(Multiply, inputs, "values")
    assert "the gradient of weight is wrong" in text
    assert "4 of 16 derivatives by weight are wrong" in text
    assert "d out[" in text
    assert " / d weight[" in text
    assert "analytical" in text
    assert " ± " in text
    assert "likely cause: the factor is weight where input belongs" in text
    assert "reproduce: torchbp.check(Multiply, inputs, checks='values', seed=0)" in text
    assert len(text.splitlines()) <= 15


def test_the_report_as_text_json_and_on_a_terminal():
    report = torchbp.check(Multiply, (numbers(3), numbers(3)), checks="fast", raise_exception=False)
    content = json.loads(report.to_json())
    assert (content["name"], content["sound"]) == ("Multiply", False)
    assert {row["check"]: row["status"] for row in content["results"]}["values"] == "FAIL"
    assert printed(report, 200) == str(report).splitlines()
    assert str(report).splitlines()[-1] == "Multiply: 5 passed, 1 failed"
    assert repr(report) == str(report)  # in a notebook
    assert repr(report["values"]).splitlines() == report["values"].lines()


def printed(report, width, **options):
    file = io.StringIO()
    Console(file=file, width=width, **options).print(report)
    return file.getvalue().splitlines()


def test_a_narrow_terminal_keeps_the_indents():
    """What goes on is indented more than what it goes on from, and takes few lines."""
    report = torchbp.check(Multiply, (numbers(3, 4), numbers(3, 4)), raise_exception=False)
    lines = printed(report, 80)
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines).split()) == " ".join(str(report).split())
    starts = tuple(f"{status} " for status in ("PASS", "FAIL", "SKIP", "UNSUPPORTED"))
    begun = [i for i, line in enumerate(lines) if line.startswith(starts)]
    assert len(begun) == len(report.results)
    for result, i, end in zip(report.ordered(), begun, begun[1:], strict=False):
        more = lines[i + 1 : end] if not result.details else []
        assert all(line.startswith(" " * 12) for line in more)
        assert len(more) <= 2, result.message
    place = next(i for i, line in enumerate(lines) if line.startswith("      d out["))
    assert lines[place + 1].startswith(("      at weight", "        "))
    assert "\x1b[" not in "".join(lines)
    assert "\x1b[1;31mFAIL" in "".join(printed(report, 80, force_terminal=True))


def test_lists_of_tensors_have_names():
    def joined(parts, scale):
        return torch.cat([part.detach() for part in parts]) * scale

    text = failure(joined, ([numbers(2), numbers(2)], numbers(4)), "values")
    assert "parts[0]" in text
    assert "zero everywhere: the graph is cut" in text


def test_kinks_are_noted_and_noise_is_inconclusive():
    report = torchbp.check(torch.relu, torch.zeros(3, requires_grad=True), checks="values")
    assert "3 entries lie at a kink" in report["values"].message

    class Rough(torch.autograd.Function):
        """Rounded as float16 is, by ways that nobody sees."""

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.tensor(x.detach().numpy().astype(np.float16).astype(np.float64)).sin()

        @staticmethod
        def backward(ctx, incoming):
            return incoming * ctx.saved_tensors[0].cos()

    report = torchbp.check(Rough, numbers(3), checks="values", raise_exception=False)
    assert report["values"].status != "FAIL", str(report)
    assert "inconclusive" in report["values"].message


def test_the_readme_shows_real_output():
    """Numbers and all, of the block that it shows; and the table of checks."""
    readme = all_documentation()
    block = next(block for block in code_blocks("python", readme) if "class Scale" in block)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    shown = re.search(r"^```text\n(FAIL .*?)\n```", readme, re.MULTILINE | re.DOTALL)[1]
    assert shown in str(names["report"])
    for name, row in CHECKS.items():
        assert f"| `{name}` | {row.level} | {row.meaning} |" in readme


def test_a_notebook_shows_colours():
    shown = torchbp.check(lambda x: (x * 2).detach(), numbers(3), checks="values", raise_exception=False)._repr_html_()
    assert shown.startswith("<pre><span")
    assert "firebrick" in shown
    assert "&lt;lambda&gt;" in shown


def test_no_url_is_cut():
    url = f"https://example.org/{'a' * 50}"
    text = first_line(ValueError(f"{'word ' * 55}{url}"))
    assert url not in text
    assert "example" not in text
    assert text.endswith("word …")
