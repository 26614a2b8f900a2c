"""The formats that a trained network is written in. Each writes answers of raw features, and a description in JSON."""

import contextlib
import json
import logging
import warnings

import torch

from torchbp._imports import extra_needed
from torchbp.training.export.answering import answering

ROWS = 3  # of the example that the program is traced with


def write_torchscript(network, description, path):
    """A program for `torch.jit.load`, also in C++; the description is its extra file `torchbp.json`."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit, which torch no longer develops
        model = answering(network)
        program = torch.jit.trace(model, _example(network, model))
        torch.jit.save(program, path, _extra_files={"torchbp.json": json.dumps(description)})


def write_onnx(network, description, path):
    """A graph for ONNX runtimes: the input `features`, the output `answers`; the description is its metadata."""
    with extra_needed("export", "torchbp export --format onnx"):
        import onnx
        import onnxscript  # noqa: F401  (torch's exporter imports it)

    rows = torch.export.Dim("rows")
    model = answering(network)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            model,
            (_example(network, model),),
            dynamo=True,
            verbose=False,
            dynamic_shapes=({0: rows},),
            input_names=["features"],
            output_names=["answers"],
        )
    graph = program.model_proto
    onnx.helper.set_model_props(graph, {"torchbp": json.dumps(description)})
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString())


def write_safetensors(network, description, path):
    """The tensors of the network alone, with their names in torchbp; the description is their metadata."""
    with extra_needed("export", "torchbp export --format safetensors"):
        from safetensors.torch import save

    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    path.write_bytes(save(tensors, {"torchbp": json.dumps(description)}))


# format: its function, its suffix
FORMATS = {
    "onnx": (write_onnx, ".onnx"),
    "torchscript": (write_torchscript, ".pt"),
    "safetensors": (write_safetensors, ".safetensors"),
}


def _example(network, model):
    return torch.zeros(ROWS, network.hparams.in_features, dtype=model.scaling.median.dtype)


@contextlib.contextmanager
def _quiet():
    """torch's exporter speaks of packages that it can do without, and warns of its own parts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
