"""The public face: what `import torchbp` gives, shows and loads."""

import configparser
import pickle
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import torchbp

LIGHTNING = {"pytorch_lightning", "lightning", "torchmetrics", "jsonargparse", "rich"}
TABLES = {"sklearn", "scipy", "pandas"}
HEAVY = sorted({"torch", "numpy", "yaml", "pytest", "torchbp.testing", "torchbp.explanation"} | LIGHTNING | TABLES)
AUDITOR = {"torchbp.testing", "pytest"}
CORE = AUDITOR | {"torch", "numpy"}
# what one process does, step after step: the code, and which of HEAVY may be loaded afterwards
STEPS = {
    "help": ("from torchbp.cli import main; main(['--help']); main(['fit', '--help']); main(['explain', '-h'])", set()),
    "configs": ("import torchbp; main(['configs'])", set()),
    "the auditor's command": ("import torchbp.testing.cli.command", {"torchbp.testing"}),
    "the plugin of pytest": ("import torchbp.testing.pytest_plugin", AUDITOR),  # which pytest loads in any project
    "the auditor": ("torchbp.check", CORE),
    "tasks and scalings": (
        "from torchbp.training.tasks import *; import torchbp.scaling; [make_task(n, ['a', 'b']) for n in TASKS]",
        CORE,
    ),
    "all names": ("from torchbp import *; SGD, convert, nn.MLP, unstack, explain", CORE | {"torchbp.explanation"}),
    "estimators": ("estimators.MLPClassifier", CORE | {"torchbp.explanation"} | TABLES),
    "columns": ("import torchbp.training.data.columns", CORE | {"torchbp.explanation"} | TABLES),
    "the benchmark of layers": (
        "from torchbp.benchmarks.commands import layers; layers.GRID = layers.GRID[:1]; "
        "main(['bench', 'layers', '--no-compile', '--seconds', '0.01', '--threads', '1'])",
        CORE | {"torchbp.explanation", "yaml", "rich"} | TABLES,
    ),
}
LOADED = f"print('loaded', *(name for name in {HEAVY} if name in sys.modules))"


@pytest.mark.processes
def test_import_loads_what_is_used_and_no_more():
    program = "\n".join(["import sys", *(f"{code}\n{LOADED}" for code, _ in STEPS.values())])
    printed = subprocess.check_output([sys.executable, "-c", program], text=True)
    found = [set(line.split()[1:]) for line in printed.splitlines() if line.startswith("loaded")]
    more = {step: loaded - may for (step, (_, may)), loaded in zip(STEPS.items(), found, strict=True)}
    assert {step: names for step, names in more.items() if names} == {}
    assert {"torch", "numpy"} <= found[list(STEPS).index("the auditor")]


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
