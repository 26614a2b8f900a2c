"""What a core installation, torch and NumPy alone, can do; and what it says where a package is missing.

One process has no other package: every import of one fails there. `.ci/run` does the same in a real environment.
"""

import json
import subprocess
import sys

import pytest

PROGRAM = '''
import contextlib, importlib.metadata, io, json, sys

class WithoutExtras:
    """A finder of modules that does not find the packages of the extras."""

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in MISSING else self.finder.find_spec(name, path, target)

MISSING = {MISSING}
CHECK = "check torch:sin --shape 3 --checks values jvp"
sys.meta_path[:] = map(WithoutExtras, sys.meta_path)

import torch, torchbp
from torchbp import *
from torchbp.cli import main

torch.manual_seed(0)
x, y = torch.randn(16, 3), torch.rand(16, 1).round()
net = convert(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sigmoid(), torch.nn.Linear(4, 1), torch.nn.Sigmoid()))
nn.BCELoss()(net(x), y).backward()
mlp = nn.MLP(3, 4, 1)
history = SGD(mlp, lr=0.5).fit(x, y, epochs=20)
done = {
    "gradient": all(p.grad.isfinite().all().item() for p in net.parameters()),
    "descends": (history[-1] < history[0]).item(),
    "checked": check(ops.sigmoid, torch.randn(3, dtype=torch.double, requires_grad=True), checks=["values"]).sound,
    "explained": "dL/dW1" in str(explain(net, x[:1], y[:1], lr=0.1)),
    "page": explain(net, x[0].tolist(), [1.0], lr=0.1).html().lower().startswith("<!doctype html>"),
}
try:
    torchbp.training.Classifier
except ModuleNotFoundError as error:
    done["training"] = str(error)
for command in ("fit", "validate", "test", "predict", "explain", "bench", CHECK, "configs"):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(command.split())
    done[command.split()[0]] = [status, bool(out.getvalue()), err.getvalue()]
help(torchbp)
print(json.dumps(done))
'''
MISSING = [
    "pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics", "jsonargparse", "sklearn", "scipy",
    "matplotlib", "pandas", "pyarrow", "yaml", "rich", "tqdm", "pytest", "jax", "hypothesis", "tensorboard",
]  # fmt: skip


@pytest.fixture(scope="module")
def core():
    program = PROGRAM.replace("{MISSING}", repr(MISSING))
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])


def test_layers_engine_check_and_explain_need_torch_and_numpy_alone(core):
    assert all(core[name] is True for name in ("gradient", "descends", "checked", "explained", "page"))
    assert core["check"] == core["configs"] == [0, True, ""]


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict", "explain", "bench"])
def test_a_command_whose_packages_are_missing_says_in_one_line_what_to_install(command, core):
    status, printed, error = core[command]
    extra = "bench" if command == "bench" else "train"
    assert (status, printed) == (1, False)
    assert error.startswith(f"torchbp: error: torchbp {command} needs ")
    assert error.endswith(f', which is not installed: pip install "torchbp[{extra}]"\n')
    assert len(error.splitlines()) == 1


def test_so_does_a_name_of_training(core):
    assert core["training"].startswith("torchbp.training.Classifier needs ")
    assert core["training"].endswith(', which is not installed: pip install "torchbp[train]"')
