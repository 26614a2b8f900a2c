"""The explanation as a notebook, a LaTeX document and a drawing."""

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch

import torchbp
from tests.explanation.samples import NASTY, cancer, large, named_xor, xor
from torchbp.explanation.notation.quantities import INPUT, Quantity, d
from torchbp.explanation.notation.records import equation_text
from torchbp.explanation.render.latex import latex
from torchbp.explanation.render.numpy_code import NoCode, code, name_of
from torchbp.ops.expressions import Function, Indicator, Number, SumOver, Symbol, exp, maximum, sigma
from torchbp.ops.registry import rules
from torchbp.ops.rules import Activation

A1, Z1, W1 = Quantity("A", 1), Quantity("Z", 1), Quantity("W", 1)


def run_cells(text):
    """The variables after all cells of code were run, and what each cell showed."""
    names, shown = {}, []
    for cell in json.loads(text)["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            exec(source, names)
            if cell["outputs"]:
                shown.append((names[source.splitlines()[-1]], "".join(cell["outputs"][0]["data"]["text/plain"])))
    return names, shown


def network(activation, loss):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), activation, torch.nn.Linear(4, 2), torch.nn.Sigmoid())
    return torchbp.explain(net.double(), torch.randn(5, 3), torch.rand(5, 2), 0.3, loss)


@pytest.mark.parametrize("name", [name for name, rule in rules(Activation).items() if rule.torch_module])
def test_the_cells_of_a_notebook_compute_every_quantity(name, capsys):
    loss = torch.nn.BCELoss() if len(name) % 2 else torch.nn.MSELoss(reduction="sum")
    explanation = network(rules(Activation)[name].torch_module(), loss)
    names, shown = run_cells(explanation.to_notebook())
    for record in explanation.records:
        np.testing.assert_allclose(names[name_of(record.quantity)], record.tensor.numpy(), rtol=1e-9, atol=1e-12)
    assert len(shown) == len(explanation.records)
    for value, text in shown:
        np.testing.assert_allclose(value, eval(text, {"array": np.array}), rtol=1e-6, atol=1e-7)
    printed = capsys.readouterr().out
    asked = sum(record.stage != "again" for record in explanation.records)
    assert f"{asked} of {asked} right." in printed


def test_the_cells_of_a_notebook_compute_what_a_softmax_a_norm_a_mask_and_an_optimizer_do():
    torch.manual_seed(0)
    layers = [
        torch.nn.Linear(3, 4),
        torch.nn.LayerNorm(4),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(4, 3),
    ]
    net, x, y = torch.nn.Sequential(*layers).double(), torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    loss = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]), label_smoothing=0.1)
    explanation = torchbp.explain(net, x, y, loss=loss, optimizer=optimizer)
    names, _ = run_cells(explanation.to_notebook())
    for record in explanation.records:
        np.testing.assert_allclose(names[name_of(record.quantity)], record.tensor.numpy(), rtol=1e-9, atol=1e-12)
    assert "exercise" not in names  # a new mask would be drawn, and another update taken
    assert max(map(ord, explanation.to_latex())) < 0x180


def test_the_error_of_textbooks_is_computed_and_graded_with_its_half(capsys):
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Sigmoid()).double()
    loss = torch.nn.MSELoss(reduction="sum")
    explanation = torchbp.explain(net, torch.randn(1, 3), torch.rand(1, 2), 0.5, loss, factor=0.5)
    names, _ = run_cells(explanation.to_notebook())
    for record in explanation.records:
        np.testing.assert_allclose(names[name_of(record.quantity)], record.tensor.numpy(), rtol=1e-9, atol=1e-12)
    assert " right.\n" in capsys.readouterr().out
    assert "a factor ½ is missing" in str(names["exercise"].grade({"L": 2 * names["L"]})["L"])


def test_a_loss_with_weights_is_computed_in_a_notebook_and_not_graded():
    loss = torch.nn.BCEWithLogitsLoss(weight=torch.tensor([2.0, 1.0]), pos_weight=torch.tensor([3.0, 1.0]))
    net = torch.nn.Sequential(torch.nn.Linear(3, 2)).double()
    explanation = torchbp.explain(net, torch.randn(5, 3), torch.rand(5, 2), 0.3, loss)
    names, _ = run_cells(explanation.to_notebook())
    assert "exercise" not in names
    np.testing.assert_allclose(names["W1_new"], explanation["W1′"].tensor, rtol=1e-12)


def test_a_notebook_says_its_title_and_refuses_what_is_too_large():
    cells = json.loads(named_xor(title="a_b <i>").to_notebook())["cells"]
    assert cells[0]["source"][0] == "# a\\_b \\<i\\>\n"
    assert len({cell["id"] for cell in cells}) == len(cells)
    with pytest.raises(ValueError, match=r"at most 20,000; here they are 670,\d{3}"):
        large().to_notebook()


CODE = {
    INPUT @ W1.T + Quantity("b", 1): "X @ W1.T + b1",
    d(A1) * (1 - A1) * (Z1 / A1): "dA1 * (1 - A1) * (Z1 / A1)",
    Z1 * (A1 @ W1): "Z1 * (A1 @ W1)",
    (Z1 * A1) @ W1: "(Z1 * A1) @ W1",
    -(Z1**2) - (-A1) + (Z1 - A1): "-Z1 ** 2 - (-A1) + Z1 - A1",
    (-Z1) ** 2: "(-Z1) ** 2",
    SumOver(d(Z1), rows=True) / Symbol("N"): "np.sum(dZ1, axis=0) / N",
    1 / (exp(-Z1) * Z1): "1 / (np.exp(-Z1) * Z1)",
    maximum(Z1, 0) * Indicator(A1, "≥", Number(-0.5)): "np.maximum(Z1, 0) * np.where(A1 >= -0.5, 1.0, 0.0)",
    W1.after() - Symbol("α") * d(W1): "W1_new - lr * dW1",
    sigma(Z1) * Number(-2): "sigma(Z1) * (-2)",
}


@pytest.mark.parametrize(("tree", "expected"), CODE.items(), ids=CODE.values())
def test_equations_as_numpy(tree, expected):
    assert code(tree) == expected


def test_a_function_without_code_is_named_and_its_numbers_are_given():
    with pytest.raises(NoCode, match="cube"):
        code(Function("cube", lambda x: x**3)(Z1))


def test_a_latex_document_has_every_equation_and_no_sign_that_latex_does_not_know():
    for explanation in (xor(), cancer(), named_xor(title=NASTY + " 50% of $x_1$ ~ 中")):
        text = explanation.to_latex()
        assert max(map(ord, text)) < 0x180  # those that pdfLaTeX's fonts have
        assert text.count(r"\begin{") == text.count(r"\end{")
        assert text.count(r"\left") - text.count(r"\leq") == text.count(r"\right")
        plain = re.sub(r"\\[\\{}$%&#_]", "", text)
        assert plain.count("$") % 2 == 0
        assert plain.count("{") == plain.count("}")
        depth = 0
        for sign in re.findall(r"[{}]", plain):
            depth += 1 if sign == "{" else -1
            assert depth >= 0
        for record in explanation.records:
            assert equation_text(record, latex) in text
    assert "50\\% of \\$x\\_1\\$ \\textasciitilde{} [U+4E2D]" in text


def test_a_drawing_has_every_unit_weight_and_bias():
    tree = ElementTree.fromstring(named_xor(features=["a", "b <i>"], outputs=["one"]).to_svg())
    space = "{http://www.w3.org/2000/svg}"
    texts = [node.text for node in tree.iter(f"{space}text")]
    titles = [node.text for node in tree.iter(f"{space}title")]
    explanation = xor()
    assert len(list(tree.iter(f"{space}rect"))) == 1 + 2 + 4 + 1 + 1
    assert f"W1[2,1] = {explanation.values['W1'][1, 0]:.4g}".replace("-", "−") in titles
    assert len(titles) == 1 + 8 + 4
    assert {"a", "b <i>", "one", "input", "layer 2", "loss", f"{explanation.loss:.4g}"} <= set(texts)
    assert sum(text.startswith(("b1 ", "b2 ")) for text in texts) == 5
    first = f"{explanation.values['dL/dZ1'][0, 0]:.3g}".replace("-", "−")
    assert not texts.count(first) > 1


def test_a_drawing_of_a_large_network_stays_small():
    text = large().to_svg()
    assert len(text) < 60_000
    assert "and 776 more" in text
    ElementTree.fromstring(text)


def test_what_a_unit_has_alone_stands_in_one_text():
    """The two parameters of a norm do not lie on one another."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3), torch.nn.Linear(3, 1))
    tree = ElementTree.fromstring(torchbp.explain(net, [1.0, 2.0], [1.0]).to_svg())
    texts = [(node.get("x"), node.get("y"), node.text) for node in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert len({text[:2] for text in texts}) == len(texts)
    assert len([text for *_, text in texts if text.endswith(", b2 0")]) == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_notebook_of_half_precision(dtype):
    torch.manual_seed(0)
    explanation = torchbp.explain(torchbp.nn.MLP(2, 3, 1, dtype=dtype), [1.0, 2.0], [1.0])
    names, _ = run_cells(explanation.to_notebook())
    np.testing.assert_allclose(names["W1_new"], explanation["W1′"].tensor.double(), rtol=0.02, atol=1e-3)


def test_the_given_numbers_have_their_names_and_meaning_in_every_text():
    """X also as it was read, before the scaling: beside each feature of few rows, and below those of many."""
    data = {"features": ["age", "b_2"], "outputs": ["ill"]}
    raw, scaled = [[30.5, 5.25], [20.5, 6.25], [40.5, 8.25]], [[1.0, -1], [0, 1], [2, 2]]
    for rows in (1, 3):
        y = [[1.0], [0], [1]][:rows]
        explanation = torchbp.explain(torchbp.nn.MLP(2, 2, 1), scaled[:rows], y, unscaled=raw[:rows], **data)
        heading = "".join(json.loads(explanation.to_notebook())["cells"][0]["source"])
        latex = explanation.to_latex()
        for text in (explanation.to_text(), explanation.to_markdown(), heading, latex):
            for number in (*raw[0], *raw[rows - 1]):
                assert f"{number:g}" in text
            assert "as it was read, before the scaling" in text
            assert "1 means ill" in text
            assert "age" in text
        assert r"its columns are age, b\_2" in latex
