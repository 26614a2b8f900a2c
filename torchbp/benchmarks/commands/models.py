"""`torchbp bench models`: a training step of whole networks, converted to our formulas, beside the same by torch.nn."""

import itertools

import torch

from torchbp.benchmarks.helpers.memory_use import peak_bytes
from torchbp.benchmarks.helpers.models import SIZES, task
from torchbp.benchmarks.helpers.timing import TIMED, interleaved

PEER = "torch.nn"
SIZE = "large"
SUMMARY = ("a step of training, ratio of times to torch.nn", "ratio")
COLUMNS = {
    "step_ms": ("step, ms", "{:.1f}"),
    "ratio": ("ratio", "{:.2f}"),
    "peak_mib": ("peak MiB", "{:.1f}"),
    "peak_ratio": ("ratio", "{:.2f}"),
}


def measure(threads, seconds, device="cpu"):
    """A record of every number of threads, network and variant: their names, and the COLUMNS.

    Args:
        threads: numbers of threads, one run each.
        seconds: how long the steps of each network are timed, both variants together.
        device: "cpu" or "cuda".
    """
    for number, name in itertools.product(threads, SIZES):
        torch.set_num_threads(number)
        tasks = {PEER: _made(name, device), "converted": _made(name, device).converted()}
        steps = {variant: _training_step(made) for variant, made in tasks.items()}
        times = interleaved(steps, seconds, warm_up=3, timed=TIMED[device])
        peaks = {
            variant: peak_bytes(made.network.zero_grad, steps[variant], device) / 2**20
            for variant, made in tasks.items()
        }
        for variant, made in tasks.items():
            yield {
                "threads": number,
                "network": name,
                "variant": variant,
                "parameters": sum(p.numel() for p in made.network.parameters()),
                "step_ms": times[variant]["us"] / 1e3,
                "ratio": times[variant]["ratio"],
                "peak_mib": peaks[variant],
                "peak_ratio": peaks[variant] / peaks[PEER],
            }


def _made(name, device):
    torch.manual_seed(0)
    return task(name, SIZE).to(device=device)


def _training_step(made):
    optimizer = torch.optim.SGD(made.network.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        made.loss().backward()
        optimizer.step()

    return step


def show(console, records):
    """A table in Markdown for each number of threads."""
    for threads in dict.fromkeys(record["threads"] for record in records):
        console.print(f"{SUMMARY[0]}, {threads} thread{'s' * (threads > 1)}", soft_wrap=True)
        print(markdown([record for record in records if record["threads"] == threads]))


def markdown(records):
    """A row for each network, torch.nn's figures and those of the converted one."""
    lines = ["| network | parameters | torch.nn, ms | converted, ms | ratio | torch.nn, peak MiB | converted | ratio |"]
    lines.append("|---|" + "--:|" * 7)
    for torchs, ours in zip(records[::2], records[1::2], strict=True):
        cells = [torchs["network"], f"{torchs['parameters']:,}"]
        cells += [f"{torchs['step_ms']:.1f}", f"{ours['step_ms']:.1f}", f"{ours['ratio']:.2f}"]
        cells += [f"{torchs['peak_mib']:.1f}", f"{ours['peak_mib']:.1f}", f"{ours['peak_ratio']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
