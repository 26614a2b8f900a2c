"""`torchbp bench fit`: each variant trains, in turns of processes."""

import json

import pytest
import torch

from torchbp.benchmarks.commands import fit
from torchbp.benchmarks.helpers import turns, whole_fits
from torchbp.benchmarks.helpers.jax import jax_process
from torchbp.cli import main


def training_of(kind):
    return whole_fits.Training((3, 8, 1), 16, kind, 200, 12)


@pytest.fixture(params=list(whole_fits.LR))
def training(request):
    return training_of(request.param)


def loss(parameters, x, y):
    for place, (weight, bias) in enumerate(zip(parameters[::2], parameters[1::2], strict=True)):
        x = torch.nn.functional.linear(x.sigmoid() if place else x, weight.detach().float(), bias.detach().float())
    return torch.nn.functional.binary_cross_entropy_with_logits(x, y).item()


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # scikit-learn's, of the last epoch
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=pytest.mark.exhaustive if (name, kind) == (whole_fits.JAX, "AdamW") else ())
        for name in whole_fits.VARIANTS
        for kind in whole_fits.LR
        if name != whole_fits.COMPILED
    ],
)
def test_each_variant_trains_as_the_loop_does(name, kind, monkeypatch):
    training = training_of(kind)
    if name == whole_fits.JAX:
        pytest.importorskip("jax")
    if name == whole_fits.SKLEARN:
        pytest.importorskip("sklearn")
    monkeypatch.setattr(whole_fits, "LR", {"SGD": 1.0, "AdamW": 0.03})
    for variable in ("TORCHBP_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(variable, "")  # so that they are as before afterwards
    x, y = training.data()
    expected = loss(whole_fits.raw_loop(training, x, y), x, y)
    seconds, parameters = whole_fits.VARIANTS[name](training, x, y)
    assert expected < 0.4
    assert loss(parameters, x, y) == pytest.approx(expected, abs=0.1)
    assert all(value > 0 for value in seconds.values())
    assert next(iter(seconds)).startswith(name)


def test_compiled_is_timed_with_an_empty_cache_and_again(training, monkeypatch):
    calls = []

    def our_fit(training, x, y, **options):
        calls.append((options, whole_fits.os.environ["TORCHBP_CACHE_DIR"]))
        return []

    monkeypatch.setattr(whole_fits, "our_fit", our_fit)
    for variable in ("TORCHBP_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(variable, "")
    for _ in range(2):
        seconds, _ = whole_fits.compiled_fit(training, None, None)
        assert list(seconds) == ["fit, compile=True, cold", "fit, compile=True, warm"]
    folders = [folder for _, folder in calls]
    assert folders[0] == folders[1] != folders[2] == folders[3]
    assert all(options == {"compile": True} for options, _ in calls)


PROGRAM = """
import json, sys
variant = json.loads(sys.argv[1])["variant"]
if variant == "absent":
    raise ImportError("there is no such library")
print(json.dumps("ready"), flush=True)
for turn, _ in enumerate(sys.stdin):
    if variant == "short" and turn:
        sys.exit("it is done")
    print(json.dumps({variant: {"peer": 2.0, "twice": 4.0, "short": 1.0}[variant]}), flush=True)
"""


@pytest.mark.processes
def test_turns(tmp_path, monkeypatch):
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    now = iter(range(100))
    monkeypatch.setattr(turns.time, "perf_counter", lambda: next(now))
    arguments = [{"variant": name} for name in ("peer", "twice", "absent", "short")]
    found, stopped = turns.in_turns("program", arguments, 2.5, 1)
    assert found == {
        "peer": {"s": 2.0, "ratio": 1.0},
        "twice": {"s": 4.0, "ratio": 2.0},
        "short": {"s": 1.0, "ratio": 0.5},
    }
    assert stopped == ["absent stopped: ImportError: there is no such library", "short stopped: it is done"]


@pytest.fixture
def in_this_process(monkeypatch):
    """The variants' names instead of their processes; each takes as many seconds as its place."""

    def in_turns(module, arguments, seconds, threads):
        assert module == "torchbp.benchmarks.helpers.whole_fits"
        names = [of["variant"] for of in arguments]
        assert [of["threads"] for of in arguments] == [threads] * len(names)
        json.dumps(arguments)
        return {name: {"s": place + 1, "ratio": place + 1.0} for place, name in enumerate(names)}, ["a note"]

    monkeypatch.setattr(fit, "in_turns", in_turns)
    monkeypatch.setattr(fit, "GRID", [((2, 4, 1), 1), ((3, 3, 1), 2)])
    monkeypatch.setattr(jax_process, "installed", lambda: False)


@pytest.mark.usefixtures("in_this_process")
def test_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = "--threads 1 --seconds 0.1 --no-compile --json a.json --plot a.png"
    assert main(["bench", "fit", *options.split()]) == 0
    titles = [line.rstrip() for line in capsys.readouterr().out.splitlines()[1:] if line[0] not in "┏┃┡│├└"]
    expected = []
    for optimizer in ("SGD", "AdamW"):
        expected += [f"{network}, {optimizer}, 1 thread" for network in ("2-4-1 × 1", "3-3-1 × 2")]
        expected.append(f"a whole training with {optimizer}, ratio of times to a raw loop of torch.nn, 1 thread")
    notes = ["10000 rows and 10 epochs, each variant in a process of its own", "scikit-learn's adam has no decay"]
    assert titles == [*expected, *notes, jax_process.MISSING, "a note"]
    records = json.loads((tmp_path / "a.json").read_text())["results"]
    names = [name for name in whole_fits.VARIANTS if name not in (whole_fits.JAX, whole_fits.COMPILED)]
    assert [record["variant"] for record in records] == 4 * names
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_a_library_that_is_missing_is_left_out(monkeypatch):
    monkeypatch.setattr(fit.importlib.util, "find_spec", lambda name: None)
    asked = []
    monkeypatch.setattr(fit, "in_turns", lambda module, arguments, *_: (asked.append(arguments), ({}, []))[1])
    notes = [record["note"] for record in fit.measure([1], 1, True)]
    assert any("scikit-learn is not installed" in note for note in notes)
    names = {of["variant"] for arguments in asked for of in arguments}
    assert names == set(whole_fits.VARIANTS) - {whole_fits.JAX, whole_fits.SKLEARN}
    assert len(asked) == 2 * 5


def test_what_the_process_of_a_variant_does(monkeypatch, capsys):
    """A line once it is ready, and one for each line that it reads, as test_turns reads them."""
    monkeypatch.setattr(whole_fits.sys, "stdin", ["\n", "\n"])
    allowed, threads = [], []
    monkeypatch.setattr(whole_fits.os, "sched_setaffinity", lambda *of: allowed.append(of), raising=False)
    monkeypatch.setattr(whole_fits.os, "sched_getaffinity", lambda process: {5, 3, 4}, raising=False)
    monkeypatch.setattr(whole_fits.torch, "set_num_threads", threads.append)
    whole_fits.main({"variant": whole_fits.EAGER, "training": ((2, 3, 1), 8, "SGD", 40, 2), "threads": 2})
    ready, *times = map(json.loads, capsys.readouterr().out.splitlines())
    assert ready == "ready"
    assert [list(of) for of in times] == [[whole_fits.EAGER]] * 2
    assert allowed == [(0, [3, 4])]
    assert threads == [2]
