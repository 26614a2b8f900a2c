"""What a core installation, torch and NumPy alone, can do; and what it says where a package is missing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from torchbp.cli import COMMANDS

pytestmark = pytest.mark.processes
PROGRAM = Path(__file__).parent / "core_installation.py"
EXTRAS = [
    "pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics", "jsonargparse", "sklearn", "scipy",
    "matplotlib", "pandas", "pyarrow", "yaml", "rich", "tqdm", "pytest", "jax", "hypothesis", "tensorboard",
]  # fmt: skip
WITHOUT_EXTRAS = '''
import runpy, sys

class WithoutExtras:
    """A finder of modules that does not find the packages of the extras."""

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in sys.argv[2:] else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(WithoutExtras, sys.meta_path)
runpy.run_path(sys.argv[1], run_name="__main__")
'''


@pytest.fixture(scope="module")
def core():
    """What the program prints in a process that finds no package of the extras."""
    arguments = [sys.executable, "-c", WITHOUT_EXTRAS, str(PROGRAM), *EXTRAS]
    out = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=PROGRAM.parents[1]).stdout
    return json.loads(out.splitlines()[-1])


def test_layers_engine_check_and_explain_need_torch_and_numpy_alone(core):
    assert [name for name, done in core["python"].items() if done is True] == [
        "layers", "engine", "compiled", "check", "explain", "help"
    ]  # fmt: skip
    assert core["commands"]["check"] == core["commands"]["configs"] == [0, True, ""]


@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if command.extra])
def test_a_command_whose_packages_are_missing_says_in_one_line_what_to_install(command, core):
    status, printed, error = core["commands"][command]
    assert (status, printed) == (1, False)
    assert error.startswith(f"torchbp: error: torchbp {command} needs ")
    assert error.endswith(f', which is not installed: pip install "torchbp[{COMMANDS[command].extra}]"\n')
    assert len(error.splitlines()) == 1


def test_so_does_a_name_of_training(core):
    message = core["python"]["training"]
    assert message.startswith("torchbp.training.Network needs ")
    assert message.endswith(', which is not installed: pip install "torchbp[train]"')
