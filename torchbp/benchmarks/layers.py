"""`torchbp bench layers`: a training step's forward and backward, ours beside torch.nn, eager and compiled."""

import itertools
import warnings

import torch

from torchbp.benchmarks.measure import interleaved, peak_bytes, saved_bytes
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
COMPILED = "torch.compile"
SUMMARY = ("forward and backward, ratio of times to torch.nn", "step_ratio")
COLUMNS = {
    "forward_us": ("forward µs", "{:.1f}"),
    "forward_ratio": ("ratio", "{:.2f}"),
    "step_us": ("fwd+bwd µs", "{:.1f}"),
    "step_ratio": ("ratio", "{:.2f}"),
    "saved_kib": ("saved KiB", "{:.1f}"),
    "peak_kib": ("peak KiB", "{:.1f}"),
}


def torch_network(*sizes):
    layers = []
    for in_features, out_features in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(in_features, out_features), torch.nn.Sigmoid()]
    return torch.nn.Sequential(*layers[:-1])


def networks(sizes, rows, compiled):
    """name: the network, and the loss of it as a function of nothing but its closure."""
    torch.manual_seed(0)
    x, y = torch.randn(rows, sizes[0]), torch.rand(rows, sizes[-1]).round()
    peer, layers, fused = torch_network(*sizes), MLP(*sizes), FusedMLP(*sizes)
    for net in (layers, fused):
        net.load_state_dict(peer.state_dict())
    torchs, ours = torch.nn.BCEWithLogitsLoss(), BCEWithLogitsLoss()
    found = {
        PEER: (peer, lambda: torchs(peer(x), y)),
        "MLP": (layers, lambda: torchs(layers(x), y)),
        "MLP, our loss": (layers, lambda: ours(layers(x), y)),
        "FusedMLP.loss": (fused, lambda: fused.loss(x, y)),
    }
    if compiled:
        torch._dynamo.reset()  # otherwise the sizes of the last network make this one dynamic
        copy = torch_network(*sizes)
        found[COMPILED] = (torch.compile(copy), torch.compile(lambda: torchs(copy(x), y)))
    return x, found


def step(net, loss):
    parameters = list(net.parameters())

    def step():
        for parameter in parameters:
            parameter.grad = None
        loss().backward()

    return step


def forward(net, x):
    def forward():
        with torch.no_grad():
            net(x)

    return forward


def measure(seconds, compiled):
    """A record of every network and variant: their names, and the COLUMNS.

    Args:
        seconds: how long each network's forward, and each network's step, is timed, all variants together.
        compiled: whether torch.compile takes part. It needs a C++ compiler, and about half a minute a network.
    """
    for sizes, rows in GRID:
        x, found = networks(sizes, rows, compiled)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler's own parts
            forwards = interleaved({name: forward(net, x) for name, (net, _) in found.items()}, seconds)
            steps = interleaved({name: step(net, loss) for name, (net, loss) in found.items()}, seconds)
        for name, (net, loss) in found.items():
            yield {
                "network": f"{'-'.join(map(str, sizes))} × {rows}",
                "variant": name,
                "forward_us": forwards[name]["us"],
                "forward_ratio": forwards[name]["ratio"],
                "step_us": steps[name]["us"],
                "step_ratio": steps[name]["ratio"],
                "saved_kib": saved_bytes(loss, [x, *net.parameters()]) / 1024,
                "peak_kib": peak_bytes(net.zero_grad, lambda loss=loss: loss().backward()) / 1024,
            }
