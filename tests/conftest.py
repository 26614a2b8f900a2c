import contextlib
import gc
import io
import os
import random
import signal
import tempfile
import warnings
from pathlib import Path

import pytest
import torch

from tests.browser import CHROMIUM, Browser
from tests.commands import command_in, importing_processes, without_pictures
from torchbp.benchmarks.helpers.inductor import cannot_compile
from torchbp.cli import main

# tensors of a few numbers gain nothing from threads, which wait for each other where a core is busy with something else
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")  # no trial programs for each kind of vectors that the CPU has
# torch takes from its cache what it has compiled for another kind of vectors, and computes wrong numbers
if kind := os.environ.get("ATEN_CPU_CAPABILITY"):
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_{kind}")

# torch.manual_seed writes down the stack for each kind of device that is not there: up to a millisecond, in every test
for devices in (torch.cuda, torch.xpu, torch.mtia):
    if not devices.is_available():
        devices.manual_seed_all = lambda seed: None

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as of what a shell runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # as of what nohup runs
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

MARKED = ("browser", "compiler", "processes")  # a test that takes this fixture has the mark of the same name


def pytest_addoption(parser):
    parser.addoption("--exhaustive", action="store_true", help="run the variants of other tests, too")
    parser.addoption("--shuffle", type=int, metavar="SEED", help="files, and the tests of each, in a random order")


def pytest_collection_modifyitems(config, items):
    for item in items:
        for name in MARKED:
            if name in item.fixturenames:
                item.add_marker(name)
    if not config.getoption("exhaustive"):
        left_out = {item for item in items if item.get_closest_marker("exhaustive")}
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    if (number := config.getoption("shuffle")) is not None:
        draw, place = random.Random(number), {}
        for item in items:
            place.setdefault(item.path, draw.random())
        items.sort(key=lambda item: (place[item.path], draw.random()))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What the collection of tests imports stays. To look for garbage in it takes longer than to read the files, and
    later collections of garbage, which many a test asks for, need not look at it again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture
def run(capsys):
    """Calls the command in this process: its exit status, and what it printed on stdout and stderr."""

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


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


@pytest.fixture(scope="session")
def processes():
    return importing_processes()


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


@pytest.fixture
def undrawn():
    with without_pictures():
        yield


@pytest.fixture
def in_an_empty_folder(tmp_path):
    """The command runs here, and leaves this process as it was."""
    with command_in(tmp_path):
        yield


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """The folder of a run of two epochs on breast_cancer, with best.ckpt and last.ckpt."""
    folder = tmp_path_factory.mktemp("trained")
    config = Path(__file__).parent.parent / "configs/breast_cancer.yaml"
    with command_in(folder), without_pictures(), contextlib.redirect_stdout(io.StringIO()):
        assert main(["fit", "-c", str(config), "--trainer.max_epochs", "2"]) == 0
    return folder / "runs/breast_cancer/version_0"


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A Chromium with one page, which each test opens anew."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium and no google-chrome on the PATH")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()
