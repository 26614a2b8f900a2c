"""A program that uses what the core can do, and calls every command. It prints what came of it, as JSON.

`tests/test_core.py` runs it without the packages of the extras; `.ci/run` runs it in an environment without them.
"""

import contextlib
import io
import json

import torch

import torchbp
from torchbp.cli import COMMANDS, main

ARGUMENTS = {"check": ["torch:sin", "--shape", "3", "--checks", "values"]}


def use_everything():
    torch.manual_seed(0)
    x, y = torch.randn(16, 3), torch.rand(16, 1).round()
    layers = torch.nn.Linear(3, 4), torch.nn.Sigmoid(), torch.nn.Linear(4, 1), torch.nn.Sigmoid()
    net = torchbp.convert(torch.nn.Sequential(*layers))
    torchbp.nn.BCELoss()(net(x), y).backward()
    yield "layers", all(p.grad.isfinite().all().item() for p in net.parameters())
    optimizer = torchbp.SGD(torchbp.nn.MLP(3, 4, 1), lr=0.5)
    before = optimizer.backprop_step(x, y)
    optimizer.fit(x, y, max_epochs=20)
    yield "engine", (optimizer.backprop_step(x, y) < before).item()
    compiled = torchbp.SGD(torchbp.nn.MLP(3, 4, 1), lr=0.5, compile=True)
    yield "compiled", compiled.backprop_steps(x.expand(64, -1, -1), y.expand(64, -1, -1)).isfinite().all().item()
    z = torch.randn(3, dtype=torch.double, requires_grad=True)
    yield "check", torchbp.check(torchbp.ops.sigmoid, [z], checks=["values"]).sound
    explanation = torchbp.explain(net, x[0].tolist(), [1.0], lr=0.1)
    yield "explain", "dL/dW1" in explanation.to_text() and "<html" in explanation.to_html()
    with contextlib.redirect_stdout(io.StringIO()) as page:
        help(torchbp)
    yield "help", "torchbp.convert" in page.getvalue()
    try:
        yield "training", torchbp.training.Network.__name__
    except ModuleNotFoundError as error:
        yield "training", str(error)


def call(command):
    """(exit status, whether anything was printed on stdout, what was printed on stderr)"""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main([command, *ARGUMENTS.get(command, [])])
    return status, bool(out.getvalue()), err.getvalue()


if __name__ == "__main__":
    done = dict(use_everything())
    print(json.dumps({"python": done, "commands": {command: call(command) for command in COMMANDS}}))
    assert all(done.values())
