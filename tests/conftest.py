import contextlib
import os
import tempfile
import warnings

import pytest
import torch

from torchbp.engine.compiled import cannot_compile

# tensors of a few numbers gain nothing from threads, which wait for each other where a core is busy with something else
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start
# torch takes from its cache what it has compiled for another kind of vectors, and computes wrong numbers
if kind := os.environ.get("ATEN_CPU_CAPABILITY"):
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_{kind}")

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def compiler():
    """For a test whose code torch.compile builds, and not only traces."""
    if why := cannot_compile():
        pytest.skip(why)


@pytest.fixture
def without_page(monkeypatch):
    """`fit` writes no report.html, which takes longer than a small run."""
    monkeypatch.setattr("torchbp.training.cli.run_page.write_page", lambda *_: None)


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler's own parts
        yield
    torch._dynamo.reset()


@contextlib.contextmanager
def without_pictures():
    """The page of a run is written without its pictures: drawing them takes longer than a short run. Whether they are
    right, tests/training/test_report.py tests; that a run draws them, the first run of tests/cli/test_cli.py."""
    from torchbp.training.report import figures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "drawn", lambda plot: "")
        patch.setattr(figures, "png", lambda plots: b"")
        yield


@pytest.fixture
def undrawn():
    with without_pictures():
        yield
