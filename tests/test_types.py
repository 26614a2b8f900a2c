"""The public names are typed: a user's program passes `mypy --strict`, and a wrong one does not."""

import inspect
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import torchbp
from tests.public import public_objects

pytest.importorskip("mypy")
PROGRAM = Path(__file__).parent / "user_program.py"
WRONG = """
import torchbp

torchbp.convert(3)
torchbp.nn.MLP(3, 4, 1, activation=5)
torchbp.SGD(torchbp.nn.MLP(3, 1), lr="fast")
torchbp.RMSprop
torchbp.ops.sigmoid([0.0])
"""
# what no public type of the program comes from, which is most of mypy's work: parts of torch, and the extras' libraries
PARTS = "_dynamo _inductor _functorch _subclasses _refs _prims _decomp _export _higher_order_ops ao distributed "
PARTS += "export fx jit onnx profiler quantization testing utils"
LIBRARIES = "sympy transformers pytorch_lightning lightning_fabric torchmetrics rich matplotlib pandas sklearn pytest "
LIBRARIES += "_pytest jax"
UNUSED = [*(f"torch.{part}.*" for part in PARTS.split()), *(f"{library}.*" for library in LIBRARIES.split())]


@pytest.mark.processes
def test_a_program_is_what_mypy_takes_it_for(tmp_path, request):
    """In one run of mypy, which reads torch first: the parts of it that have our arguments' types."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG)
    cache = request.config.cache.mkdir("mypy")
    settings = tmp_path / "mypy.ini"
    settings.write_text(f"[mypy]\n[mypy-{','.join(UNUSED)}]\nfollow_imports = skip\n")
    options = ["--strict", "--follow-imports=silent", "--no-error-summary", f"--cache-dir={cache}"]
    options += [f"--config-file={settings}"]
    environment = {**os.environ, "MYPYPATH": str(PROGRAM.parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(PROGRAM), str(wrong)],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    lines = [line.split(":")[:2] for line in done.stdout.splitlines() if ": error: " in line]
    assert [(Path(file).name, line) for file, line in lines] == [("wrong.py", str(line)) for line in range(4, 9)]


def test_it_runs():
    runpy.run_path(str(PROGRAM))


# Lightning calls the methods of training; the types of its constructors are those of the keys
PUBLIC = {name: value for name, value in public_objects().items() if not name.startswith("torchbp.training")}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
FUNCTIONS |= {f"{name}()": value.__init__ for name, value in PUBLIC.items() if "__init__" in vars(value)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_and_result_has_a_type(name):
    signature, empty = inspect.signature(FUNCTIONS[name]), inspect.Parameter.empty
    assert [p.name for p in signature.parameters.values() if p.annotation is empty] in ([], ["self"])
    assert signature.return_annotation is not empty


def test_the_package_says_that_it_is_typed():
    assert Path(torchbp.__file__).with_name("py.typed").exists()
