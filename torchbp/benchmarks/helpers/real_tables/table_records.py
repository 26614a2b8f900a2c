"""The records of `torchbp bench tables` in a file, so that a bench that was killed goes on where it was."""

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np

import torchbp
from torchbp.benchmarks.helpers.machine import installed_version, processor
from torchbp.benchmarks.helpers.real_tables import table_models, table_scores

DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # whose name is not that of the package
OURS = "ops", "nn", "engine", "estimators", "scaling.py"  # what our models are computed by


class TableRecords:
    """Records by their keys, JSON lines of a file that each is appended to at once.

    Args:
        path: a file that may be there already; its last line may be cut off. None: nothing is written.

    Raises:
        ValueError: a line that is no record.
    """

    def __init__(self, path=None):
        self.path, self.of_keys = path, {}
        if path is None or not path.exists():
            return
        text = path.read_text()
        whole = text[: text.rfind("\n") + 1]  # behind it is what a killed bench was writing
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = json.loads(line)
                self.of_keys[record.pop("key")] = record
            except (ValueError, TypeError, KeyError, AttributeError):
                raise ValueError(f"line {number} of {path} is no record of bench tables; name another file") from None
        if whole != text:
            path.write_text(whole)

    def __contains__(self, key):
        return key in self.of_keys

    def __getitem__(self, key):
        return self.of_keys[key]

    def add(self, key, record):
        self.of_keys[key] = record
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps({"key": key, **record}) + "\n")


def key_of(variant, model, parts):
    """All that a record depends on, as a hexadecimal digest: the rows, the model's options, the versions of its
    library and of torch, NumPy and scikit-learn, the processor, and the source of what is measured; of our models
    their source, too.

    Args:
        variant: the name of the model. model: as it is before `fit`. parts: a `Split`.
    """
    package = type(model).__module__.split(".")[0]
    libraries = DISTRIBUTIONS.get(package, package), "torch", "numpy", "scikit-learn"
    versions = [installed_version(name) for name in libraries]
    source = Path(table_scores.__file__).read_bytes() + source_digest() * (package == torchbp.__name__)
    what = variant, package, type(model).__name__, model.get_params(), versions, source, processor()
    digest = hashlib.sha256(repr(what).encode())
    for array in parts:
        digest.update(repr((array.dtype, array.shape)).encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


@cache
def source_digest():
    """Of the files that our models are computed by, and of the one that says what is changed in the ablation."""
    root, digest = Path(torchbp.__file__).parent, hashlib.sha256()
    files = [file for name in OURS for file in ([root / name] if "." in name else sorted((root / name).rglob("*.py")))]
    for file in [*files, Path(table_models.__file__)]:
        digest.update(file.read_bytes())
    return digest.digest()
