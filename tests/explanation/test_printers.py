"""Expression trees as text, LaTeX, Markdown, JSON and with numbers; and that nothing reads what was printed."""

import json
from pathlib import Path

import mpmath
import pytest
import torch

import torchbp
from tests.explanation.samples import XOR, named_xor, xor
from torchbp.explanation.notation.digits import exactly
from torchbp.explanation.notation.equations import rebuilt
from torchbp.explanation.notation.numbers import Value
from torchbp.explanation.notation.numeric_examples import example
from torchbp.explanation.notation.quantities import INPUT, Quantity, d
from torchbp.explanation.notation.records import equation_text
from torchbp.explanation.render.latex import latex
from torchbp.explanation.render.plain_text import partial, plain
from torchbp.ops.expressions import Function, Indicator, Number, SumOver, Symbol, exp, ln, sin

A1, Z1, W1, Y = Quantity("A", 1), Quantity("Z", 1), Quantity("W", 1), Quantity("y")
TREES = {  # each as plain text and in LaTeX
    INPUT @ W1.T + Quantity("b", 1): ("X W1ᵀ + b1", r"X \, {W_{1}}^\top + b_{1}"),
    d(Z1).T @ A1.after(): ("(dL/dZ1)ᵀ A1′", r"\left(\frac{\partial L}{\partial Z_{1}}\right)^\top \, A_{1}'"),
    d(A1) * A1 * (1 - A1): (
        "dL/dA1 ∘ A1 ∘ (1 − A1)",
        r"\frac{\partial L}{\partial A_{1}} \circ A_{1} \circ \left(1 - A_{1}\right)",
    ),
    2 * sin(Z1) ** 2 - Z1 / (1 + A1): ("2 sin(Z1)² − Z1/(1 + A1)", None),
    Z1 - (A1 - 1) - (-Z1): ("Z1 − (A1 − 1) − (−Z1)", None),
    (Z1 * 2) ** Number(0.5): ("(Z1 ∘ 2)^0.5", None),
    d(A1) * 1: ("dL/dA1 ∘ 1", r"\frac{\partial L}{\partial A_{1}} \circ 1"),
    d(A1) * (Number(1) / 6): ("dL/dA1 ∘ 1/6", None),
    d(A1) * (1 + Symbol("c") * Number(0)): ("dL/dA1 ∘ (1 + c·0)", None),
    0.2 * Number(0) + Number(3) * Number(1) / Number(2): ("0.2·0 + 3·1/2", None),
    SumOver(A1 * 2 * Y): ("Σ A1·2 y", None),
    (Z1 / A1) * Z1 * (A1 / Z1): ("(Z1/A1) ∘ Z1 ∘ A1/Z1", None),
    -(ln(A1) + exp(-Z1)): ("−(ln A1 + exp(−Z1))", r"-\left(\ln \, A_{1} + \exp\left(-Z_{1}\right)\right)"),
    Indicator(A1, "≥", Number(0)): ("[A1 ≥ 0]", r"\left[A_{1} \ge 0\right]"),
    W1 - Symbol("α") * d(W1): ("W1 − α dL/dW1", r"W_{1} - \alpha \, \frac{\partial L}{\partial W_{1}}"),
    Symbol("w") * (A1 - Y) / (Symbol("N") * Symbol("K")): ("w (A1 − y)/(NK)", None),
}


@pytest.mark.parametrize(("tree", "expected"), TREES.items(), ids=[text for text, _ in TREES.values()])
def test_trees_are_printed_with_the_brackets_that_they_need(tree, expected):
    text, mathematics = expected
    assert plain(tree) == text
    assert partial(tree) == text.replace("dL/d", "∂L/∂")
    assert mathematics in (None, latex(tree))


@pytest.mark.parametrize("tree", [SumOver(A1, rows=True), Indicator(A1, "≤", Number(2)), A1**2, A1.T, -A1, A1 / Z1])
def test_a_node_with_other_children_is_of_the_same_kind(tree):
    assert rebuilt(tree, tree.children()) == tree
    assert rebuilt(tree, [W1, *tree.children()[1:]]) != tree


SUMS = [  # the weights and inputs of a unit, its bias, and its line
    ([(1, 2), (-3, 4)], None, "1·2 + (−3)·4 = −10"),
    ([(1, 2), (-3, 4)], 3, "1·2 + (−3)·4 + 3 = −7"),
    ([(1, 2), (3, 4), (5, 6), (7, 8)], None, "1·2 + 3·4 + 5·6 + 7·8 = 100"),
    ([(9, 9), (-7, 8), (5, 6), *[(1, 1)] * 5], None, "9·9 + (−7)·8 + 5·6 + 1·1 + 1·1 + 1·1 + 1·1 + 1·1 = 60"),
    ([(9, 9), (-7, 8), (5, 6), *[(1, 1)] * 6], None, "9·9 + (−7)·8 + 5·6 + [6 more: 6] = 61"),
    ([(9, 9), (-7, 8), (5, 6), *[(1, 1)] * 6], -2, "9·9 + (−7)·8 + 5·6 + [6 more: 6] + (−2) = 59"),
    ([(1, 1), (-1, 0.99987654)], None, "1·1 + (−1)·0.99987654 = 0.0001235"),
    ([(1, 1), (-1, 0.7777777)], None, "1·1 + (−1)·0.7778 = 0.2222"),
    ([(0, 1)], None, "0·1 = 0"),
]


@pytest.mark.parametrize(("pairs", "bias", "line"), SUMS)
def test_a_long_sum_is_shortened_and_what_cancels_has_more_digits(pairs, bias, line):
    x, w = torch.tensor(pairs, dtype=torch.float64).T.unsqueeze(1)
    values = {"X": x, "W1": w, "b1": torch.tensor([bias or 0.0], dtype=torch.float64)}
    z = (x @ w.T).item() + (bias or 0)
    tree = INPUT @ W1.T if bias is None else INPUT @ W1.T + Quantity("b", 1)
    assert example(Z1, tree, (0, 0), z, values).text() == f"Z1[1,1] = {line}"


def test_records_hold_their_structure():
    records = {record["name"]: record for record in json.loads(xor().to_json())["records"]}
    gradient = records["dL/dW1"]
    quantity = lambda letter, number=None: {"node": "Quantity", "letter": letter, "number": number, "prime": False}  # noqa: E731
    assert gradient["quantity"] == {"node": "Derivative", "of": quantity("L"), "by": quantity("W", 1)}
    dz = {"node": "Derivative", "of": quantity("L"), "by": quantity("Z", 1)}
    transposed = {"node": "Transpose", "operand": dz}
    assert gradient["sides"] == [{"node": "MatrixProduct", "left": transposed, "right": quantity("X")}]
    assert gradient["chain"] == [dz, {"node": "Derivative", "of": quantity("Z", 1), "by": quantity("W", 1)}]
    assert gradient["example"]["place"] == [1, 2]
    kinds = {record["kind"] for record in records.values()}
    assert kinds == {"output", "answer", "loss", "derivative", "update"}
    elementwise = [name for name, record in records.items() if record["elementwise"]]
    assert elementwise == ["A1", "A2", "dL/dA2", "dL/dZ2", "dL/dZ1", "A1′", "A2′"]
    assert records["W1′"]["quantity"] == quantity("W", 1) | {"prime": True}


def test_markdown_has_every_equation_in_latex():
    explanation = named_xor(title="a_b <i> $x$")
    text = explanation.to_markdown()
    assert text.startswith(r"# a\_b \<i\> \$x\$")
    for record in explanation.records:
        assert f"$$\n{equation_text(record, latex)}\n$$" in text
        assert record.why in text
    assert text.count("$$") == 2 * len(explanation.records)
    given = text.partition("## Given")[2].partition("## Forward")[0]
    assert all(f"\n{name} (" in given for name in ("X", "y", "W1", "b1", "W2", "b2"))


READS_FORMULAS = ("formula.js",)  # those that a reader types, and the names in them


def test_the_pages_script_composes_and_reads_no_name():
    folder = Path(torchbp.__file__).parent / "explanation/render/html/script"
    scripts = [path for path in folder.glob("*.js") if path.name not in READS_FORMULAS]
    assert scripts
    for path in scripts:
        script = path.read_text(encoding="utf-8")
        assert not any(sign in script for sign in ("dL", "′", "∂L", "startsWith", ".match(")), path.name


def test_a_layer_that_takes_other_numbers_is_named():
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    net[2].weight = torch.nn.Parameter(torch.ones(1, 4))
    with pytest.raises(ValueError, match=r"layer '2', a Linear, does not take numbers of the shape \(4, 3\)"):
        torchbp.explain(net, *XOR)


CUBE = Function("cube", lambda x: x**3, exact=lambda x: x**3)
ROUNDED_CUBE = Function("cube", lambda x: x**3)


@pytest.mark.parametrize(("function", "value"), [(CUBE, "1e−600"), (ROUNDED_CUBE, "0")])
def test_a_function_says_how_it_is_computed_with_many_digits(function, value):
    """Without `exact` it is computed in float64, in which 1e-600 is 0."""
    assert mpmath.nstr(exactly(function(Value(1e-200))), 3).replace("-", "−") in (value, f"{value[:1]}.0{value[1:]}")
