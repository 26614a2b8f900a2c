"""The machine and the libraries, in a line: ratios differ between them."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from torchbp.ops import _onednn

PEERS = "jax", "numpy", "scikit-learn", "lightgbm", "catboost", "pytabkit"


def machine(device="cpu"):
    """The GPU, the processor and its vendor; torch, its BLAS, and which library takes large products; the peers."""
    gpu = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}; " if device == "cuda" else ""
    large = "oneDNN" if _onednn.is_chosen() else "that too"
    threads = torch.get_num_threads()
    libraries = [
        f"Python {platform.python_version()}, torch {torch.__version__}",
        f"BLAS {blas()}, for large products with {threads} thread{'s' * (threads > 1)} {large}",
        ", ".join(f"{name} {of}" for name in PEERS if (of := installed_version(name))),
    ]
    return f"{gpu}{processor()}, {os.cpu_count()} cores; {'; '.join(libraries)}"


def processor(info="/proc/cpuinfo"):
    """Its name, and where the system says them its vendor, family and model: all of a vendor may have one name."""
    path = Path(info)
    text = path.read_text() if path.exists() else ""
    name, vendor, family, model = (
        found[1] if (found := re.search(rf"^{field}\s*: *(.+)$", text, re.MULTILINE)) else None
        for field in ("model name", "vendor_id", "cpu family", "model")
    )
    of_chip = [vendor, family and f"family {family}", model and f"model {model}"]
    known = ", ".join(filter(None, of_chip))
    name = name or platform.processor() or platform.machine()
    return f"{name} ({known})" if known else name


def blas():
    """The library that torch's matrix products are from, as its build names it."""
    found = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return found[1] if found else "unknown"


def installed_version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None
