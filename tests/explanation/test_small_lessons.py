"""The lessons of a convolution and of one attention head: every number is checked, and the notebook computes it."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import torchbp
from tests.explanation.lines import check_numbers
from torchbp.explanation.cli.lessons import LESSONS
from torchbp.explanation.render.numpy_code import name_of
from torchbp.ops.lessons.attention_head import AttentionHead


@pytest.fixture(scope="module", params=["convolution", "attention"])
def explanation(request):
    return LESSONS[request.param](1.0, 1)


def test_every_number_is_checked(explanation):
    assert [(r.name, c.by, c.ok) for r in explanation.records for c in r.checks if c.ok is not True] == []
    check_numbers(explanation.records)
    assert explanation.new_loss < explanation.loss


def test_an_attention_head_of_half_precision():
    torch.manual_seed(0)
    net = torch.nn.Sequential(AttentionHead(3, 2), torch.nn.Linear(2, 1)).bfloat16()
    explanation = torchbp.explain(net, torch.randn(4, 3), torch.ones(4, 1))
    assert [(r.name, c.by) for r in explanation.records for c in r.checks if c.ok is False] == []


def test_the_notebook_computes_every_number(explanation):
    names = {}
    cells = json.loads(explanation.to_notebook())["cells"]
    for cell in cells:
        if cell["cell_type"] == "code" and "torchbp" not in "".join(cell["source"]):
            exec("".join(cell["source"]), names)
    for record in explanation.records:
        found = names[name_of(record.quantity)]
        np.testing.assert_allclose(found, record.tensor.numpy(), rtol=1e-10, atol=1e-14, err_msg=record.name)


def test_it_is_printed_in_every_format(explanation):
    text, sign = explanation.to_text(), {"conv2d": "⋆", "attention head": "Q1"}[explanation.chain.layers[0].rule.name]
    for printed in (text, explanation.to_markdown(), explanation.to_html(), explanation.to_latex()):
        assert sign in printed or r"\star" in printed or "Q_{1}" in printed
    written = {record["name"]: record for record in json.loads(explanation.to_json())["records"]}
    assert written["Z1"]["equation"] == explanation["Z1"].equation


def test_the_heads_parts_are_torchs():
    explanation = LESSONS["attention"](1.0, 1)
    values = {name: tensor.clone().requires_grad_() for name, tensor in explanation.step.given.items()}
    q, k, v = (values["X"] @ values[name].T for name in ("Wq1", "Wk1", "Wv1"))
    shares = torch.softmax(q @ k.T / 2**0.5, -1)
    output = F.scaled_dot_product_attention(q, k, v)
    loss = F.binary_cross_entropy_with_logits(output @ values["W2"].T + values["b2"], values["y"])
    torch.testing.assert_close(explanation["P1"].tensor, shares)
    for name in ("Wq1", "Wk1", "Wv1", "W2", "X"):
        (expected,) = torch.autograd.grad(loss, values[name], retain_graph=True)
        torch.testing.assert_close(explanation[f"dL/d{name}"].tensor, expected, rtol=1e-10, atol=1e-14)
    (expected,) = torch.autograd.grad(loss, k, retain_graph=True)
    torch.testing.assert_close(explanation["dL/dK1"].tensor, expected, rtol=1e-10, atol=1e-14)


SETTINGS = [
    {"stride": 2, "padding": 1},
    {"dilation": 2, "padding": "same"},
    {"groups": 2, "bias": False},
    {"padding": "valid"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_convolutions_of_every_setting(settings):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 4, (3, 2), **settings), torch.nn.Flatten(), torch.nn.LazyLinear(1))
    x = torch.randn(2, 2, 5, 6).double()
    net(x.float())
    explanation = torchbp.explain(net.double(), x, [[1.0], [0.0]])
    assert [(r.name, c.by) for r in explanation.records for c in r.checks if c.ok is False] == []
    check_numbers(explanation.records)


def test_a_convolution_of_many_products_is_refused():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.Flatten(), torch.nn.Linear(16 * 30 * 30, 1))
    with pytest.raises(TypeError, match=r"Conv2d.* has no equations in its rule for rows of the shape \(3, 32, 32\)"):
        torchbp.explain(net, torch.randn(1, 3, 32, 32), [[1.0]])
