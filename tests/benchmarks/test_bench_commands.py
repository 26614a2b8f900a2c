"""`torchbp bench ensemble`, `memory` and `all`: their tables, JSON and pictures."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from matplotlib.image import imread

from torchbp.benchmarks import arguments, command, commands, helpers
from torchbp.benchmarks.arguments import BENCHMARKS
from torchbp.benchmarks.commands import ensemble, layers, memory, step
from torchbp.benchmarks.helpers import growth
from torchbp.benchmarks.helpers.jax import jax_process
from torchbp.cli import main


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(jax_process, "installed", lambda: False)
    monkeypatch.setattr(layers, "GRID", [((2, 4, 1), 1)])
    monkeypatch.setattr(memory, "ENSEMBLES", [(4, (2, 4, 1), 3, 2)])
    monkeypatch.setattr(ensemble, "GRID", [(4, (2, 4, 1), 1), (8, (3, 4, 1), 2)])
    axes = {axis: (of, values[:3], task) for axis, (of, values, task) in growth.AXES.items()}
    monkeypatch.setattr(growth, "AXES", axes)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("small")
def test_ensemble(tmp_path, capsys):
    options = "--seconds 0.01 --threads 1 --no-compile --json a.json --plot a.png"
    assert main(["bench", "ensemble", *options.split()]) == 0
    out = capsys.readouterr().out
    titles = [line.rstrip() for line in out.splitlines()[1:] if line[0] not in "┏┃┡│├└"]
    networks = ["4 of 2-4-1 × 1", "8 of 3-4-1 × 2"]
    growths = [
        f"growth with {axis}, µs a step"
        for axis in (
            "members: 30-16-1 × 32",
            "width: 30-width-1 × 32",
            "depth: 30-16-…-16-1 × 32, hidden layers",
            "batch: 30-16-1, rows",
        )
    ]
    summary = "a step of all members, ratio of times to torch.nn, one by one"
    assert titles == [
        *(f"{title}, 1 thread" for title in [*networks, *growths, summary]),
        "torch.nn, one by one: 4 networks are trained, and their time is scaled to all of them",
        "JAX is not installed: pip install 'torchbp[bench]'",
    ]
    assert out.count("│ exponent │") == 4
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["notes"] == titles[-2:]
    points = {(r["growth"], r["value"], r["variant"]): r for r in report["results"] if "growth" in r}
    assert len(points) == 3 * (4 + 2 + 2 + 2)
    assert points["members", 16, "SGD, members"]["us"] > 0
    shares = [r["us"] / r["member_us"] for r in report["results"] if "growth" not in r]
    assert shares == pytest.approx(4 * [4] + 4 * [8])
    assert imread(tmp_path / "a.png").std() > 0.05


@pytest.mark.usefixtures("small")
def test_memory(tmp_path, capsys):
    assert main(["bench", "memory", "--plot", "a.png"]) == 0
    out = capsys.readouterr().out
    for text in (
        "\n2-4-1 × 1\n",
        "\n4 of 2-4-1 × 3\n",
        "torch.func.vmap",
        "SGD, members, chunk=2",
        "what it needs, KiB",
    ):
        assert text in out
    assert imread(tmp_path / "a.png").std() > 0.05


@pytest.mark.usefixtures("small")
def test_all(tmp_path, monkeypatch, capfd):
    def run(words):
        assert words[:3] == [sys.executable, "-m", "torchbp"]
        return subprocess.CompletedProcess(words, main(words[3:]))

    monkeypatch.setattr(command, "subprocess", SimpleNamespace(run=run))
    for module in (arguments, command):
        monkeypatch.setattr(module, "BENCHMARKS", {name: BENCHMARKS[name] for name in ("memory", "layers")})
    options = "--seconds 0.01 --threads 1 --no-compile --json a.json --plot a.png"
    assert main(["bench", "all", *options.split()]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "ratio of times to torch.nn, 1 thread" in out
    assert "peak of a step, ratio to parameters" in out
    reports = json.loads((tmp_path / "a.json").read_text())["reports"]
    assert [report["benchmark"] for report in reports] == ["memory", "layers"]
    assert all(report["results"] for report in reports)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-layers.png", "a-memory.png", "a.json"]
    assert main(["bench", "all", "--plot", "a.png"]) == 2
    assert capfd.readouterr().err == "torchbp: error: argument --plot: a-memory.png exists; name another file\n"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["layers", "step", "ensemble", "memory"])
def test_on_cuda(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(step, "GRID", layers.GRID)
    monkeypatch.setattr(ensemble, "LARGE", (16, (2, 4, 1), 1))
    options = [] if name == "memory" else ["--seconds", "0.01", "--no-compile"]
    assert main(["bench", name, "--device", "cuda", "--json", "a.json", *options]) == 0
    assert capsys.readouterr().out.startswith(torch.cuda.get_device_name())
    records = json.loads((tmp_path / "a.json").read_text())["results"]
    assert {record.get("threads") for record in records} == {None if name == "memory" else 1}
    captured = {record["variant"] for record in records if "captured" in record["variant"]}
    if name == "step":
        assert captured == {"torch.nn, captured", "SGD.backprop_step, captured"}
    if name == "ensemble":
        assert not [record for record in records if "growth" in record]
        assert captured == {"SGD, members, captured"}
        assert "16 of 2-4-1 × 1" in {record["network"] for record in records}
    assert all(value > 0 for record in records for value in record.values() if isinstance(value, float))


def test_a_library_that_is_missing_is_one_line(monkeypatch, capsys):
    for package, name in ((commands, "training"), (helpers, "training_runs")):  # imported anew
        monkeypatch.delitem(sys.modules, f"{package.__name__}.{name}", raising=False)
        monkeypatch.delattr(package, name, raising=False)
    monkeypatch.setitem(sys.modules, "sklearn.neural_network", None)
    assert main(["bench", "training"]) == 1
    message = 'torchbp bench training needs sklearn, which is not installed: pip install "torchbp[bench]"'
    assert capsys.readouterr() == ("", f"torchbp: error: {message}\n")
