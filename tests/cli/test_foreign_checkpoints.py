"""A checkpoint that is damaged, of another program, or carries code: one line, and nothing of it runs."""

import re
from pathlib import Path

import pytest
import torch

from torchbp.training import Network
from torchbp.training.errors import UserError

CANCER = str(Path(__file__).parents[2] / "configs/breast_cancer.yaml")

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


class Hostile:
    def __reduce__(self):
        return Path.touch, (Path("it_ran"),)


def test_a_checkpoint_that_carries_code_is_refused_and_runs_none(run):
    torch.save({"hyper_parameters": {}, "state_dict": Hostile()}, "hostile.ckpt")
    status, _, err = run("test", "-c", CANCER, "--ckpt_path", "hostile.ckpt")
    assert status == 1
    remedy = "use a checkpoint that torchbp has written"
    assert err == f"torchbp: error: hostile.ckpt carries code, which was not run; {remedy}\n"
    assert not Path("it_ran").exists()


def test_a_checkpoint_of_another_program_is_refused(run):
    for content, missing in (
        ({}, "hyper_parameters"),
        ({"hyper_parameters": {}}, "state_dict"),
        ([1], "hyper_parameters"),
    ):
        torch.save(content, "other.ckpt")
        status, _, err = run("test", "-c", CANCER, "--ckpt_path", "other.ckpt")
        assert (status, err) == (1, f"torchbp: error: other.ckpt is not a checkpoint of torchbp: it has no {missing}\n")


class Harmless:
    pass


def hostile_checkpoints(good):
    content = torch.load(good, weights_only=True)
    hyper = content["hyper_parameters"]
    yield "carries code", {**content, "callbacks": Hostile()}
    yield "carries code", {**content, "state_dict": {**content["state_dict"], "net.0.weight": Harmless()}}
    yield "names a class to import \\(_class_path\\)", {
        **content, "hyper_parameters": {**hyper, "_class_path": "os.system"}
    }  # fmt: skip
    yield "names a class to import \\(_instantiator\\)", {
        **content, "hyper_parameters": {**hyper, "_instantiator": "os.system"}
    }  # fmt: skip
    yield "another program", {**content, "hyper_parameters": {**hyper, "layers": 3}}
    yield "another program", {**content, "hyper_parameters": {"in_features": 30}}
    yield "another program", {**content, "hyper_parameters": {**hyper, "columns": 7}}
    yield "another program", {**content, "hyper_parameters": {**hyper, "columns": {"mean radius": None}}}
    yield "another program", {**content, "hyper_parameters": {**hyper, "hidden": "many"}}
    yield "another program", {**content, "state_dict": {}}
    yield "it has no state_dict", {**content, "state_dict": [1, 2]}


@pytest.mark.parametrize("number", range(11))
def test_hostile_and_foreign_checkpoints(number, run, checkpoint):
    message, content = list(hostile_checkpoints(checkpoint))[number]
    torch.save(content, "bad.ckpt")
    for command in ("predict", "test", "fit"):
        status, out, err = run(command, "-c", CANCER, "--ckpt_path", "bad.ckpt")
        assert (status, out) == (1, "")
        assert re.fullmatch(f"torchbp: error: bad.ckpt .*{message}.*\n", err), err
    with pytest.raises(UserError, match=message):
        Network.load_from_checkpoint("bad.ckpt")
    assert [path.name for path in Path().iterdir()] == ["bad.ckpt"]


def test_a_truncated_checkpoint_is_refused(run, checkpoint):
    content = checkpoint.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 1):
        Path("short.ckpt").write_bytes(content[:size])
        status, _, err = run("test", "-c", CANCER, "--ckpt_path", "short.ckpt")
        assert (status, err) == (1, "torchbp: error: short.ckpt is damaged, or is not a checkpoint\n")
