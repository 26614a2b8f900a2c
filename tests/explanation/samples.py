"""Explanations of networks of every size, for the tests of the page."""

import functools
import json
import re

import torch

import torchbp

XOR = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]), torch.tensor([[0.0], [1], [1], [0]])
CONTROLS = "\x1b]0;PWN\x07 \x9b2J \u202eabc \u2028 \x7f \udcff"  # a terminal's, a text's direction, no character
VISIBLE = r"\x1b]0;PWN\x07 \x9b2J \u202eabc \u2028 \x7f \udcff"
NASTY = "</script><script>alert(1)</script> {{data}} & \"q\" 'a'"


@functools.cache
def xor():
    return named_xor()


def named_xor(**names):
    torch.manual_seed(0)
    return torchbp.explain(torchbp.nn.MLP(2, 4, 1, dtype=torch.float64), *XOR, lr=1.0, **names)


@functools.cache
def cancer():
    torch.manual_seed(1)
    net = torchbp.nn.MLP(30, 16, 1, dtype=torch.float64)
    names = [f"measurement number {i}" for i in range(30)]
    return torchbp.explain(net, torch.randn(30), [1.0], lr=0.5, features=names, outputs=["benign"])


@functools.cache
def large():
    torch.manual_seed(2)
    net = torchbp.nn.MLP(784, 512, 512, 10, activation="relu")
    return torchbp.explain(net, torch.rand(784), torch.eye(10)[3])


@functools.cache
def deep():
    torch.manual_seed(3)
    return torchbp.explain(torchbp.nn.MLP(2, *[4] * 8, 1, dtype=torch.float64), *XOR)


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])
