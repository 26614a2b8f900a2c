"""The benchmark measures what it says; how fast anything is, no test asserts."""

import itertools
import json
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from sklearn.neural_network._stochastic_optimizers import BaseOptimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from torchbp import SGD
from torchbp.benchmarks import command
from torchbp.benchmarks.commands import layers, step, training
from torchbp.benchmarks.helpers import networks, step_variants, timing, training_runs
from torchbp.benchmarks.helpers.jax import jax_process
from torchbp.benchmarks.helpers.memory_use import peak_bytes, saved_bytes
from torchbp.benchmarks.helpers.timing import interleaved
from torchbp.cli import main
from torchbp.training import TabularData

TRAININGS = [
    "Lightning, default loader",
    "torchbp Trainer",
    "torchbp Trainer, explicit",
    "torchbp fit",
    "torchbp fit, explicit",
    "raw loop",
    "raw loop, torch.nn",
    "scikit-learn",
]


def test_interleaved_times_and_ratios(monkeypatch):
    now, order = [0.0], []

    def sleep(name, seconds):
        order.append(name)
        now[0] += seconds

    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    variants = {name: partial(sleep, name, of) for name, of in {"peer": 0.003, "twice": 0.006, "part": 0.001}.items()}
    found = interleaved(variants, 0.1, steps={"part": 4})
    assert {name: times["ratio"] for name, times in found.items()} == pytest.approx(
        {"peer": 1, "twice": 2, "part": 1 / 12}
    )
    assert found["peer"]["us"] == pytest.approx(3000)
    after_warm_up = order[10 + 1 + 10 + 1 + 2 + 1 :]
    turns = [name for name, _ in itertools.groupby(after_warm_up)]
    assert turns[:9] == ["peer", "twice", "part", "twice", "part", "peer", "part", "peer", "twice"]


def test_bytes():
    x = torch.randn(100, 50)
    weight = torch.randn(20, 50, requires_grad=True)
    assert saved_bytes(lambda: (x @ weight.t()).tanh(), [x, weight]) == 100 * 20 * 4
    assert saved_bytes(lambda: (x @ weight.t()).tanh()) == (100 * 20 + 100 * 50) * 4

    def three_at_once():
        a, b = torch.empty(1000), torch.empty(2000)
        del a
        return b, torch.empty(500)

    assert peak_bytes(lambda: None, three_at_once) == pytest.approx(3000 * 4, abs=200)


def test_every_variant_computes_the_same_gradients():
    _, found = layers.eager_layers((3, 4, 1), 5)
    results = []
    for net, loss in found.values():
        layers.forward_and_backward(net, loss)()
        results.append([p.grad.clone() for p in net.parameters()])
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])


def test_every_step_is_the_same_step(monkeypatch):
    """The weights of each variant's network, and numpy's, after two steps."""
    made = []

    def kept(make):
        return lambda *sizes: made.append(make(*sizes)) or made[-1]

    for module, name in ((step_variants, "MLP"), (step_variants, "FusedMLP"), (networks, "torch_network")):
        monkeypatch.setattr(module, name, kept(getattr(module, name)))
    variants = step_variants.eager_steps((3, 4, 1), 5)
    x, y, untrained = networks.data_and_peer((3, 4, 1), 5)
    by_hand = [p.detach().numpy().copy() for p in untrained.parameters()]
    made.pop()
    variants = [*variants.values(), step_variants.numpy_by_hand(by_hand, x.numpy(), y.numpy())]
    losses = torch.stack([torch.as_tensor(variant()).detach().clone() for _ in range(2) for variant in variants])
    losses = losses.view(2, -1)
    torch.testing.assert_close(losses, losses[:, :1].expand_as(losses))
    assert len(made) == len(variants) - 1
    for net in made:
        assert not torch.equal(net[0].weight, untrained[0].weight)
        for p, q in zip(net.parameters(), by_hand, strict=True):
            torch.testing.assert_close(p.detach(), torch.from_numpy(q))


@pytest.fixture
def small_grid(monkeypatch):
    monkeypatch.setattr(layers, "GRID", [((2, 4, 1), 1), ((3, 3, 1), 2)])
    monkeypatch.setattr(step, "GRID", layers.GRID)
    monkeypatch.setattr(jax_process, "installed", lambda: False)
    monkeypatch.setattr(training, "GRID", [("breast_cancer", (30, 4, 1), 2), ("digits", (64, 3, 10), 1)])
    monkeypatch.setattr(training, "LARGE_ROWS", 500)
    monkeypatch.setattr(training, "LARGE_BATCH", 64)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("small_grid")
def test_command(tmp_path, capsys):
    file = tmp_path / "a.json"
    assert (
        main(["bench", "layers", "--seconds", "0.01", "--no-compile", "--threads", "1", "2", "--json", str(file)]) == 0
    )
    out = capsys.readouterr().out
    assert f"torch {torch.__version__}" in out
    for threads in ("1 thread", "2 threads"):
        assert f"2-4-1 × 1, {threads}\n" in out
        assert f"ratio of times to torch.nn, {threads}\n" in out
    records = json.loads(file.read_text())["results"]
    variants = ["torch.nn", "MLP", "MLP, our loss", "FusedMLP.loss"]
    assert [(r["threads"], r["network"], r["variant"]) for r in records] == [
        (t, n, v) for t in (1, 2) for n in ("2-4-1 × 1", "3-3-1 × 2") for v in variants
    ]
    assert all(r["step_us"] > 0 and r["forward_us"] > 0 for r in records)


@pytest.mark.usefixtures("small_grid")
def test_step(capsys):
    assert main(["bench", "step", "--seconds", "0.01", "--no-compile", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    for variant in (
        "torch.nn",
        "MLP",
        "FusedMLP.loss",
        "backprop",
        "SGD.backprop_step",
        "numpy",
        "AdamW.backprop_step",
    ):
        assert variant in out
    for task, network in (("SGD", "3-3-1 × 2"), ("AdamW", "3-3-1 × 2"), ("cross-entropy", "3-3-10 × 2")):
        assert f"{network}, {task}, 1 thread" in out
    assert "with torch.optim.AdamW(fused=True), 1 thread" in out
    assert out.endswith("\nJAX is not installed: pip install 'torchbp[bench]'\n")


@pytest.mark.usefixtures("small_grid")
def test_training(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "training", "--seconds", "0.01", "--threads", "1", "--json", "a.json"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    out, err = capfd.readouterr()
    assert err == ""
    lines = [line for line in out.splitlines()[1:] if line[0] not in "┏┃┡│└"]  # all that is no table
    networks = [
        "breast_cancer, 30-4-1 × 32",
        "digits, 64-3-10 × 32",
        "reading a CSV of 500 × 20",
        "training, 20-16-1 × 64",
    ]
    summary = "a step of training, ratio of times to Lightning, default loader"
    titles = [f"{title}, 1 thread" for title in (*networks, summary)]
    assert [line.rstrip() for line in lines] == titles
    records = json.loads((tmp_path / "a.json").read_text())["results"]
    variants = [TRAININGS, TRAININGS, ["pandas.read_csv", "TabularData"], ["raw loop", "torchbp Trainer"]]
    assert [(r["threads"], r["network"], r["variant"]) for r in records] == [
        (1, n, v) for n, names in zip(networks, variants, strict=True) for v in names
    ]
    for record in records:
        time_key = "step_us" if record["network"] in networks[:2] else "row_us"
        assert record[time_key] > 0
        assert record["ratio"] > 0
        assert record["ratio"] == 1 or record["variant"] not in (TRAININGS[0], "pandas.read_csv")
        assert ("monitor_percent" in record) == record["variant"].startswith("torchbp fit")
    assert all(0 < r["monitor_percent"] < 100 for r in records if "monitor_percent" in r)


@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize(
    ("source", "sizes"),
    [("breast_cancer", (30, 4, 1)), pytest.param("digits", (64, 3, 10), marks=pytest.mark.exhaustive)],
)
def test_steps_are_what_the_time_is_divided_by(source, sizes, name, monkeypatch):
    task = training_runs.Task(TabularData(source, batch_size=100), sizes, 3)
    steps = []
    handle = register_optimizer_step_post_hook(lambda *_: steps.append("torch"))
    update = BaseOptimizer.update_params
    monkeypatch.setattr(BaseOptimizer, "update_params", lambda *a: (steps.append("scikit-learn"), update(*a)))
    explicit = SGD.backprop_step
    monkeypatch.setattr(SGD, "backprop_step", lambda *a: (steps.append("engine"), explicit(*a))[1])
    try:
        with training.quiet():
            training.variants(task)[0][name]()
    finally:
        handle.remove()
    assert len(steps) == task.steps == 3 * {"breast_cancer": 4, "digits": 11}[source]
    of = "scikit-learn" if name == "scikit-learn" else "engine" if "explicit" in name else "torch"
    assert set(steps) == {of}


def test_peers_train_on_the_standardised_training_rows():
    task = training_runs.Task(TabularData("breast_cancer"), (30, 4, 1), 1)
    x, y = task.rows
    assert len(x) == len(y) == len(task.data.splits["train"])
    torch.testing.assert_close(x.mean(0), torch.zeros(30), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(30))


def test_large_table_is_as_large_as_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "LARGE_ROWS", 300)
    training.write_large(tmp_path / "a.csv")
    data = TabularData(str(tmp_path / "a.csv"), "label")
    assert data.table.features.shape == (300, training.LARGE_FEATURES)
    assert data.classes == ["0", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "name a benchmark: layers, step, fit, ensemble, training, memory, models, all, accuracy, tables"),
        (
            "chairs",
            "invalid choice: 'chairs'; there are layers, step, fit, ensemble, training, memory, models, all, accuracy, "
            "tables",
        ),
        ("tables --seeds 0", "argument --seeds: 0 must be a positive number"),
        ("layers --threads 0", "argument --threads: 0 must be a positive number"),
        ("layers --threads many", "argument --threads: invalid int value: 'many'"),
        ("layers --seconds -1", "argument --seconds: -1 must be a positive number"),
        ("layers --json .", "argument --json: . exists; name another file"),
        ("layers --what", "there is no option --what; there are --help, --threads, --seconds, --no-compile, --device"),
        ("layers --json nowhere/a.json", "argument --json: there is no folder nowhere"),
        (f"layers --json {'a' * 300}", "cannot be written: File name too long"),
        ("layers --plot a.jpg", "argument --plot: a.jpg is no picture's name; call it a.jpg.png"),
        ("all --plot nowhere/a.png", "argument --plot: there is no folder nowhere"),
        ("layers --device tpu", "argument --device: 'tpu' is not a device to measure on; use cpu or cuda"),
        ("memory --threads 1", "--threads is no option of this command; --help shows those that it has"),
        ("training --no-compile", "--no-compile is no option of this command; --help shows those that it has"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    assert main(["bench", *arguments.split()]) == 2
    err = capsys.readouterr().err
    assert err.startswith("torchbp: error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(capsys):
    assert main(["bench", "step", "--device", "cuda"]) == 2
    assert capsys.readouterr().err == "torchbp: error: argument --device: torch finds no GPU here; use cpu\n"


@pytest.mark.parametrize("name", ["step", "all"])
def test_without_a_compiler_it_says_what_to_do(name, monkeypatch, capsys):
    monkeypatch.setattr(command, "cannot_compile", lambda: "there is no compiler; install one")
    assert main(["bench", name]) == 1
    assert capsys.readouterr() == ("", "torchbp: error: there is no compiler; install one, or add --no-compile\n")
