"""`torchbp bench layers`: a training step's forward and backward, ours beside torch.nn, eager and compiled."""

import itertools
import warnings

import torch

from torchbp.benchmarks.helpers.memory_use import peak_bytes, saved_bytes
from torchbp.benchmarks.helpers.networks import data_and_peer, torch_network
from torchbp.benchmarks.helpers.timing import TIMED, interleaved
from torchbp.nn import MLP, BCEWithLogitsLoss, FusedMLP

# the network's sizes, and rows a batch
GRID = [
    ((2, 4, 1), 1),
    ((30, 16, 1), 32),
    ((30, 64, 64, 1), 128),
    ((784, 256, 1), 128),
    ((784, 512, 512, 1), 1024),
]
PEER = "torch.nn"
SUMMARY = ("forward and backward, ratio of times to torch.nn", "step_ratio")
COLUMNS = {
    "forward_us": ("forward µs", "{:.1f}"),
    "forward_ratio": ("ratio", "{:.2f}"),
    "step_us": ("fwd+bwd µs", "{:.1f}"),
    "step_ratio": ("ratio", "{:.2f}"),
    "saved_kib": ("saved KiB", "{:.1f}"),
    "peak_kib": ("peak KiB", "{:.1f}"),
}


def eager_layers(sizes, rows):
    """The batch, and name: the network and its loss, a function without arguments."""
    x, y, peer = data_and_peer(sizes, rows)
    layers, fused = MLP(*sizes), FusedMLP(*sizes)
    for net in (layers, fused):
        net.load_state_dict(peer.state_dict())
    torchs, ours = torch.nn.BCEWithLogitsLoss(), BCEWithLogitsLoss()
    return x, {
        PEER: (peer, lambda: torchs(peer(x), y)),
        "MLP": (layers, lambda: torchs(layers(x), y)),
        "MLP, our loss": (layers, lambda: ours(layers(x), y)),
        "FusedMLP.loss": (fused, lambda: fused.loss(x, y)),
    }


def _compiled_layers(sizes, rows):
    """The same of torch.nn compiled, beside torch.nn."""
    x, y, peer = data_and_peer(sizes, rows)
    torch._dynamo.reset()  # otherwise the sizes of the last network make this one dynamic
    loss, copy = torch.nn.BCEWithLogitsLoss(), torch_network(*sizes)
    return x, {
        PEER: (peer, lambda: loss(peer(x), y)),
        "torch.compile": (torch.compile(copy), torch.compile(lambda: loss(copy(x), y))),
    }


def forward_and_backward(net, loss):
    parameters = list(net.parameters())

    def step():
        for parameter in parameters:
            parameter.grad = None
        loss().backward()

    return step


def _forward_alone(net, x):
    def forward():
        with torch.no_grad():
            net(x)

    return forward


def measure(threads, seconds, with_compile, device="cpu"):
    """A record of every number of threads, network and variant: their names, and the COLUMNS.

    torch.compile comes last, beside torch.nn once more: once it was used in a process, eager modules are slower there.

    Args:
        threads: numbers of threads, one run each.
        seconds: how long each network's forward, and each network's step, is timed, all variants together.
        with_compile: whether torch.compile takes part. It needs a C++ compiler.
        device: "cpu" or "cuda".
    """
    for make in (eager_layers, _compiled_layers) if with_compile else (eager_layers,):
        for number, (sizes, rows) in itertools.product(threads, GRID):
            torch.set_num_threads(number)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the compiler's own parts
                with torch.device(device):
                    made = make(sizes, rows)
                found = _measured_network(*made, seconds, device)
            for name, columns in found.items():
                if make is eager_layers or name != PEER:
                    network = f"{'-'.join(map(str, sizes))} × {rows}"
                    yield {"threads": number, "network": network, "variant": name, **columns}


def _measured_network(x, variants, seconds, device):
    timed = TIMED[device]
    forwards = interleaved({name: _forward_alone(net, x) for name, (net, _) in variants.items()}, seconds, timed=timed)
    steps = interleaved(
        {name: forward_and_backward(net, loss) for name, (net, loss) in variants.items()}, seconds, timed=timed
    )
    return {
        name: {
            "forward_us": forwards[name]["us"],
            "forward_ratio": forwards[name]["ratio"],
            "step_us": steps[name]["us"],
            "step_ratio": steps[name]["ratio"],
            "saved_kib": saved_bytes(loss, [x, *net.parameters()]) / 1024,
            "peak_kib": peak_bytes(net.zero_grad, lambda loss=loss: loss().backward(), device) / 1024,
        }
        for name, (net, loss) in variants.items()
    }
