"""The public face: what `import torchbp` gives, shows and loads."""

import configparser
import pickle
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import torchbp

HEAVY = ["pytorch_lightning", "lightning", "torchmetrics", "sklearn", "scipy", "pandas", "jsonargparse", "rich", "yaml"]
PROGRAM = f"""
import sys

def loaded():
    print(*(name for name in ["torch", "numpy", *{HEAVY}] if name in sys.modules))

import torchbp, torchbp.testing.pytest_plugin, torchbp.training
loaded()
from torchbp import *
SGD, convert, nn.MLP, unstack
print(*(name for name in ("torchbp.explanation", "torchbp.testing.audit") if name in sys.modules))
check, explain, training
loaded()
estimators.MLPClassifier
loaded()
"""


@pytest.mark.processes
def test_import_loads_what_is_used_and_no_more():
    lines = subprocess.check_output([sys.executable, "-c", PROGRAM], text=True).splitlines()
    assert lines[0] == ""  # neither torch nor numpy: pytest imports the plugin in every run, of any project
    assert lines[2].split() == ["torch", "numpy"]
    assert {"sklearn"} <= set(lines[3].split()) <= {"torch", "numpy", "sklearn", "scipy", "pandas"}  # no Lightning


def test_dir_shows_the_public_names_alone():
    assert [name for name in dir(torchbp) if not name.startswith("__")] == sorted(torchbp.__all__, key=str)
    assert all(getattr(torchbp, name) is not None for name in torchbp.__all__)
    for package in (torchbp.training, torchbp.testing):
        assert [name for name in dir(package) if not name.startswith("__")] == sorted(package.__all__)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'torchbp' has no attribute 'RMSprop'"):
        torchbp.RMSprop  # noqa: B018
    assert not hasattr(torchbp, "lazy_name")


def test_help_is_a_page_that_names_what_there_is():
    description = pydoc.render_doc(torchbp, renderer=pydoc.plaintext).partition("PACKAGE CONTENTS")[0]
    assert len(description.splitlines()) <= 40
    functions = [name for name in torchbp.__all__ if name not in ("engine", "explanation", "testing")]
    assert [name for name in functions if f"torchbp.{name}" not in description] == []


def test_public_objects_can_be_pickled():
    objects = [getattr(torchbp, name) for name in torchbp.__all__ if callable(getattr(torchbp, name))]
    assert len(objects) >= 7
    assert pickle.loads(pickle.dumps(objects)) == objects


def test_a_wheel_has_every_file_that_the_code_reads():
    root = Path(torchbp.__file__).parents[1]
    settings = configparser.ConfigParser()
    settings.read(root / "setup.cfg")
    packaged = settings["options.package_data"]
    for path in (root / "torchbp").rglob("*.*"):
        if path.suffix in (".py", ".pyc") or path.name == "README.md" or not path.is_file():
            continue
        patterns = packaged[".".join(path.parent.relative_to(root).parts)].split(", ")
        assert any(path.match(pattern) for pattern in patterns), path
