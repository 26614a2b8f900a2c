"""`torchbp export`: the files answer as the network does, by the programs that read them."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from torchbp.cli import main
from torchbp.training import Network
from torchbp.training.export.answering import Answering, _ndtri, description
from torchbp.training.export.formats import FORMATS

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")

NETWORKS = {
    "binary": {"classes": ["no", "yes"]},
    "multiclass": {"classes": ["a", "b", "c"], "scaling": "robust", "norm": "layer", "dropout": 0.5},
    "multilabel": {"classes": ["a", "b", "c"], "scaling": "clipped", "activation": "gelu"},
    "regression": {"classes": ["t", "u"], "norm": "batch", "activation": "relu", "hidden": [5, 4]},
    "ensemble": {"task": "multiclass", "classes": ["a", "b", "c"], "members": 4},
    "quantiles": {"task": "regression", "classes": ["t"], "scaling": "quantile", "members": 3, "hidden": []},
}


def network_and_rows(name):
    """A network with random weights, fitted to random rows, and others: some lack a value or lie far away."""
    settings = {"task": name, **NETWORKS[name]}
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=generator) * torch.tensor([1.0, 100.0, 1e-3])
    x[:, 2] = x[:, 2].round(decimals=3)  # equal values
    x[::7, 1] = torch.nan
    torch.manual_seed(1)
    network = Network(3, columns=None, **settings)
    network.scaling.fit(x)
    for name, tensor in network.task.named_buffers():
        if name in ("center", "scale"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 9 + 1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    if network.members:
        network.chosen[1] = False
    new = torch.randn(40, 3, generator=generator) * torch.tensor([3.0, 300.0, 3e-3])
    return network.eval(), torch.cat([x[:30], new, torch.full((1, 3), torch.nan)])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_exported_network_is_the_network(name):
    network, x = network_and_rows(name)
    with torch.no_grad():
        torch.testing.assert_close(Answering(network)(x), network.answers(x), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_torchscript(name):
    network, x = network_and_rows(name)
    FORMATS["torchscript"][0](network, {"of": name}, Path("m.pt"))
    extra = {"torchbp.json": ""}
    program = torch.jit.load("m.pt", _extra_files=extra)
    for rows in (x, x[:1]):
        with torch.no_grad():
            torch.testing.assert_close(program(rows), network.answers(rows), rtol=1e-5, atol=1e-5)
    assert json.loads(extra["torchbp.json"]) == {"of": name}


@pytest.mark.parametrize("name", ["quantiles"])  # the exporter takes seconds
def test_onnx(name):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    network, x = network_and_rows(name)
    FORMATS["onnx"][0](network, {"of": name}, Path("m.onnx"))
    program = ReferenceEvaluator("m.onnx")
    for rows in (x, x[:1]):
        (answers,) = program.run(None, {"features": rows.numpy()})
        np.testing.assert_allclose(answers, network.answers(rows).numpy(), rtol=1e-4, atol=1e-5)
    assert [prop.value for prop in onnx.load("m.onnx").metadata_props if prop.key == "torchbp"] == [
        f'{{"of": "{name}"}}'
    ]


@pytest.mark.parametrize("name", ["regression", "ensemble"])
def test_safetensors(name):
    safetensors = pytest.importorskip("safetensors")
    network, x = network_and_rows(name)
    FORMATS["safetensors"][0](network, description(network, "1"), Path("m.safetensors"))
    with safetensors.safe_open("m.safetensors", "pt") as file:
        settings = json.loads(file.metadata()["torchbp"])["settings"]
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (it is no dict)
    again = Network(**settings)
    again.load_state_dict(state)
    assert torch.equal(again.eval().answers(x), network.answers(x))


def test_the_normal_quantiles_are_those_of_torch():
    share = torch.cat([torch.logspace(-7, -0.31, 500, dtype=torch.double), torch.tensor([0.5], dtype=torch.double)])
    share = torch.cat([share, 1 - share])
    torch.testing.assert_close(_ndtri(share), torch.special.ndtri(share), rtol=2e-9, atol=1e-9)


@pytest.mark.parametrize("format", FORMATS)
def test_the_command(format, trained_run, capsys):
    suffix = FORMATS[format][1]
    assert main(["export", str(trained_run), "--format", format]) == 0
    assert capsys.readouterr() == (f"wrote    model{suffix}\n", "")
    assert main(["export", str(trained_run / "checkpoints/last.ckpt"), "--format", format]) == 2
    assert (
        capsys.readouterr().err == f"torchbp: error: model{suffix} exists; name another --output, or add --overwrite\n"
    )
    assert [path.name for path in Path().iterdir()] == [f"model{suffix}"]


def test_features_that_are_no_columns_are_said(capsys, without_page):
    frame = pd.DataFrame(
        {"u": np.linspace(0, 1, 40), "colour": ["red", "blue", "red", "green"] * 10, "y": [*"ab"] * 20}
    )
    frame.to_csv("a.csv", index=False)
    fit = ["fit", "--data.source", "a.csv", "--data.target", "y", "--trainer.max_epochs", "1"]
    assert main(fit) == 0
    capsys.readouterr()
    assert main(["export", "runs/run/version_0", "--format", "torchscript"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("note     its input is 4 features, made of 2 columns: ")


def test_the_description_names_features_and_answers(trained_run):
    network = Network.load_from_checkpoint(str(trained_run / "checkpoints/best.ckpt"))
    said = json.loads(json.dumps(description(network, "1.0")))
    assert said["task"] == "binary"
    assert said["answers"] == ["P(benign)"]
    assert said["features"][0] == "mean radius"
    assert len(said["features"]) == 30


BAD = [
    ("export nowhere", 1, "there is no checkpoint nowhere"),
    ("export .", 1, r"\. has no checkpoint; it is no run"),
    ("export RUN/../..", 1, r".* has no checkpoint; name a run in it, such as \S*version_0"),
    ("export RUN --format onxx", 2, "argument --format: invalid choice: 'onxx'; did you mean onnx?"),
    ("export RUN --output model.bin", 2, "--output model.bin must end in .onnx"),
    ("export RUN --output no/model.onnx", 2, "--output no/model.onnx lies in no, which is no folder"),
    ("export", 2, "the following arguments are required: RUN"),
    ("export RUN --forma onnx", 2, "there is no option --forma; did you mean --format?"),
]


@pytest.mark.parametrize(("arguments", "status", "message"), BAD, ids=[arguments for arguments, *_ in BAD])
def test_errors_are_one_line(arguments, status, message, trained_run, capsys):
    assert main([word.replace("RUN", str(trained_run)) for word in arguments.split()]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(f"torchbp: error: {message}.*\n", err), err
    assert list(Path().iterdir()) == []


def test_a_missing_package_is_one_line(trained_run, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert main(["export", str(trained_run)]) == 1
    needs = "torchbp export --format onnx needs onnx, which is not installed"
    assert capsys.readouterr().err == f'torchbp: error: {needs}: pip install "torchbp[export]"\n'
