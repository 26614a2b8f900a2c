"""The public face: what `import torchbp` gives, shows and loads."""

import pickle
import pydoc
import subprocess
import sys

import pytest

import torchbp


def loaded_by(program, packages):
    """Which of the packages a program has imported at its end, in a fresh process."""
    program += f"\nimport sys\nprint(*(name for name in {packages} if name in sys.modules))"
    return subprocess.check_output([sys.executable, "-c", program], text=True).split()


HEAVY = ["pytorch_lightning", "lightning", "torchmetrics", "sklearn", "scipy", "pandas", "jsonargparse", "rich", "yaml"]


def test_import_loads_nothing_until_a_name_is_used():
    assert loaded_by("import torchbp.testing, torchbp.training", ["torch", "numpy", *HEAVY]) == []


def test_public_names_load_torch_and_nothing_heavier():
    program = "import torchbp; torchbp.SGD, torchbp.convert, torchbp.nn.MLP, torchbp.stack"
    packages = ["torch", *HEAVY, "torchbp.explanation", "torchbp.testing", "torchbp.training"]
    assert loaded_by(program, packages) == ["torch"]
    assert loaded_by("from torchbp import *; check, explain, training", ["torch", *HEAVY]) == ["torch"]


def test_dir_shows_the_public_names_alone():
    assert [name for name in dir(torchbp) if not name.startswith("__")] == sorted(torchbp.__all__, key=str)
    assert all(getattr(torchbp, name) is not None for name in torchbp.__all__)
    for package in (torchbp.training, torchbp.testing):
        assert [name for name in dir(package) if not name.startswith("__")] == sorted(package.__all__)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'torchbp' has no attribute 'Adam'"):
        torchbp.Adam  # noqa: B018
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
