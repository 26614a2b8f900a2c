"""The line that says which machine and libraries the numbers are of."""

import torch

from torchbp.benchmarks.helpers import machine
from torchbp.ops import _onednn

CPUINFO = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Processor\n" * 2


def test_processor(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO)
    assert machine.processor(path) == "Intel(R) Xeon(R) Processor (GenuineIntel)"
    path.write_text(CPUINFO.replace("model name", "cpu family\t: 6\nmodel\t\t: 143\nmodel name"))
    assert machine.processor(path) == "Intel(R) Xeon(R) Processor (GenuineIntel, family 6, model 143)"
    assert machine.processor(tmp_path / "none") in (machine.platform.processor(), machine.platform.machine())


def test_blas(monkeypatch):
    monkeypatch.setattr(torch.__config__, "show", lambda: "CPU capability usage: AVX2\n BLAS_INFO=open, USE_CUDA=0")
    assert machine.blas() == "open"
    monkeypatch.setattr(torch.__config__, "show", lambda: "")
    assert machine.blas() == "unknown"


def test_machine(monkeypatch):
    monkeypatch.setattr(machine, "processor", lambda: "a processor")
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(machine, "blas", lambda: "mkl")
    monkeypatch.setattr(machine, "PEERS", ("jax", "no-such-package"))
    monkeypatch.setattr(machine, "version", lambda name: {"jax": "1.2"}.get(name) or missing(name))
    for chosen, large in ((True, "oneDNN"), (False, "that too")):
        monkeypatch.setattr(_onednn, "is_chosen", lambda chosen=chosen: chosen)
        python, torch_ = machine.platform.python_version(), torch.__version__
        assert machine.machine() == (
            f"a processor, 2 cores; Python {python}, torch {torch_}; "
            f"BLAS mkl, for large products with 1 thread {large}; jax 1.2"
        )


def missing(name):
    raise machine.PackageNotFoundError(name)
