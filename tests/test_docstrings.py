"""The examples of the public docstrings run, and give what they say.

What is written under an example is what it prints, as in Python's doctest. A comment at the end of its line may say
a shape, `# (32, 16)`; a tensor, `# tensor([0.5])`; or a number, `# ln 2 = 0.6931`: that is compared with the result.
"""

import ast
import contextlib
import doctest
import inspect
import io
import math
import re

import pytest
import torch

import torchbp
from tests.public import public_objects

PUBLIC = public_objects()
EXAMPLES = {name: doctest.DocTestParser().get_examples(inspect.getdoc(value) or "") for name, value in PUBLIC.items()}


def run_line(source, namespace):
    """The value of an expression or an assignment; and what was printed, the value of an expression included."""
    *before, last = ast.parse(source).body
    exec(compile(ast.Module(before, []), "<example>", "exec"), namespace)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<example>", "eval"), namespace)
            if value is not None:
                print(repr(value))
        else:
            exec(compile(ast.Module([last], []), "<example>", "exec"), namespace)
            target = getattr(last, "targets", [ast.Constant(None)])[0]
            value = eval(compile(ast.Expression(load(target)), "<example>", "eval"), namespace)
    return value, out.getvalue()


def load(target):
    return ast.parse(ast.unparse(target), mode="eval").body


def shapes(value):
    if isinstance(value, torch.Size):
        return [tuple(value)]
    return (
        [tuple(value.shape)] if isinstance(value, torch.Tensor) else [shape for part in value for shape in shapes(part)]
    )


def agrees(value, comment):
    """Whether the comment is true of the value, or says nothing that can be compared."""
    if re.fullmatch(r"\([\d, ]*\)(, \([\d, ]*\))*( each)?", comment):
        said = [tuple(map(int, re.findall(r"\d+", shape))) for shape in re.findall(r"\((.*?)\)", comment)]
        found = shapes(value)
        return found == (said * len(found) if comment.endswith("each") else said)
    if comment.startswith("tensor("):
        return torch.allclose(value, eval(f"torch.{comment}"), atol=6e-5)  # it prints four digits
    if number := re.search(r"= (-?[\d.]+)$", comment):
        digits = len(number[1].partition(".")[2])
        return math.isclose(value, float(number[1]), abs_tol=0.6 * 10**-digits)
    return True


@pytest.mark.parametrize("name", [name for name, examples in EXAMPLES.items() if examples])
@pytest.mark.usefixtures("in_an_empty_folder")
def test_an_example_runs_and_gives_what_it_says(name, request):
    if name.startswith("torchbp.training."):
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("trained_run").parents[2])
    namespace = {"torch": torch, "torchbp": torchbp}
    for example in EXAMPLES[name]:
        value, printed = run_line(example.source, namespace)
        if example.want:
            assert printed == example.want
        elif comment := re.search(r"  # (.*)\n$", example.source):
            assert agrees(value, comment[1]), (example.source, value)


def test_what_this_file_compares_can_differ():
    assert agrees(torch.zeros(2, 3), "(2, 3)")
    assert not agrees(torch.zeros(2, 3), "(3, 2)")
    assert agrees((torch.zeros(4), torch.zeros(4)), "(4) each")
    assert not agrees((torch.zeros(4), torch.zeros(3)), "(4) each")
    assert not agrees(torch.tensor(0.7), "ln 2 = 0.6931")
    assert agrees(torch.tensor(2.0).log(), "ln 2 = 0.6931")
    assert not agrees(torch.zeros(1), "tensor([1.])")


def test_whatever_a_user_calls_has_an_example():
    """But for what only we make: the classes of results."""
    results = "Report", "Result", "GradientError", "Explanation", "Factor", "Record", "Exercise", "Grade", "Mark"
    called = [name for name in PUBLIC if not re.search(r"\.[A-Z]\w*\.", name) and not name.endswith(results)]
    assert [name for name in called if not EXAMPLES[name]] == []
