"""The benchmark measures what it says; how fast anything is, no test asserts."""

import json
import time

import pytest
import torch

from torchbp.benchmarks import layers
from torchbp.benchmarks.measure import interleaved, peak_bytes, saved_bytes
from torchbp.cli import main


def test_interleaved_times_and_ratios():
    order = []
    variants = {
        name: lambda name=name, s=seconds: (order.append(name), time.sleep(s))
        for name, seconds in {"peer": 0.003, "twice": 0.006}.items()
    }
    found = interleaved(variants, 0.1)
    assert found["peer"]["ratio"] == 1
    assert 1.3 < found["twice"]["ratio"] < 3
    assert found["peer"]["us"] == pytest.approx(3000, rel=0.5)
    assert [order[20:][i] for i in (0, 1, 2, 3)].count("peer") >= 1  # they take turns


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
    _, found = layers.eager((3, 4, 1), 5)
    results = []
    for net, loss in found.values():
        layers.step(net, loss)()
        results.append([p.grad.clone() for p in net.parameters()])
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])


@pytest.fixture
def small_grid(monkeypatch):
    monkeypatch.setattr(layers, "GRID", [((2, 4, 1), 1), ((3, 3, 1), 2)])
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("small_grid")
def test_command(tmp_path, capsys):
    file = tmp_path / "a.json"
    assert main(["bench", "layers", "--seconds", "0.01", "--no-compile", "--threads", "1", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert f"torch {torch.__version__}" in out
    assert "2-4-1 × 1, 1 thread" in out
    assert "ratio of times to torch.nn, 1 thread" in out
    records = json.loads(file.read_text())["results"]
    variants = ["torch.nn", "MLP", "MLP, our loss", "FusedMLP.loss"]
    assert [(r["network"], r["variant"]) for r in records] == [
        (n, v) for n in ("2-4-1 × 1", "3-3-1 × 2") for v in variants
    ]
    assert all(r["step_us"] > 0 and r["forward_us"] > 0 for r in records)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("tables", "invalid choice: 'tables' (choose from "),
        ("layers --threads 0", "argument --threads: 0 must be a positive number"),
        ("layers --threads many", "argument --threads: invalid int value: 'many'"),
        ("layers --seconds -1", "argument --seconds: -1 must be a positive number"),
        ("layers --json .", "argument --json: . exists; name another file"),
        ("layers --json nowhere/a.json", "argument --json: there is no folder nowhere"),
        ("layers --what", "unrecognized arguments: --what"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["bench", *arguments.split()])
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("torchbp: error: ")
    assert message in err
    assert err.count("\n") == 1
