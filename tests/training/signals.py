"""Signals at random moments of `fit`: no process hangs, and each run goes on to the weights of an uninterrupted one.

    python -m tests.training.signals 100        so many signals; the seed of the moments is 0, or the next argument

The tests send a few of them (test_interruption.py).
"""

import collections
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.commands import importing_processes
from tests.training.pairs import run_here

CONFIG = Path(__file__).parents[2] / "configs/breast_cancer.yaml"
FIT = [
    "fit", "-c", str(CONFIG), "--model.momentum", "0.9", "--trainer.max_epochs", "12", "--trainer.accelerator", "cpu",
    "--stopping.min_grad_norm", "1e-9", "--checkpoint.every_seconds", "0.05",
]  # fmt: skip
RUNS = Path("runs/breast_cancer")
SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
LONGEST = 60  # seconds from the signal to the end; more is called a hang
KINDS = [(engine, tensorboard) for engine in ("autograd", "explicit") for tensorboard in (True, False)]


def fit_here(folder, arguments, tensorboard):
    """The command as the whole of this process, as if TensorBoard were not installed unless `tensorboard`."""
    if not tensorboard:
        sys.modules["tensorboard"] = None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_here(folder, arguments, {}, "run")


def started(context, folder, arguments, tensorboard):
    process = context.Process(target=fit_here, args=(folder, arguments, tensorboard))
    process.start()
    while not (folder / "run.err").exists():
        time.sleep(0.005)
    return process


def uninterrupted(context, folder, engine, tensorboard):
    """The run that the others are compared with, and the seconds that it takes."""
    process, start = started(context, folder, [*FIT, "--model.engine", engine], tensorboard), time.monotonic()
    process.join()
    assert process.exitcode == 0, (folder / "run.err").read_text()
    return time.monotonic() - start


def send(context, folder, engine, tensorboard, number, delay):
    """Start a run, send it a signal after so many seconds, and resume it. Returns its exit status.

    Raises AssertionError if it hangs, prints a traceback, or cannot be resumed.
    """
    process = started(context, folder, [*FIT, "--model.engine", engine], tensorboard)
    time.sleep(delay)
    process.is_alive() and os.kill(process.pid, number)
    process.join(LONGEST)
    hangs = process.is_alive()
    if hangs:
        process.kill()
    said = (folder / "run.err").read_text()
    assert not hangs, f"it hangs: {said}"
    assert "Traceback" not in said, said
    last = newest(folder, "last.ckpt")
    ending = [*FIT, "--model.engine", engine, *(["--ckpt_path", str(last)] if last else [])]
    resumed = context.Process(target=fit_here, args=(folder, ending, tensorboard))
    resumed.start()
    resumed.join()
    assert resumed.exitcode == 0, (folder / "run.err").read_text()
    return process.exitcode


def newest(folder, name):
    """A checkpoint of the newest run, or None. A run that was killed before its first step has none."""
    return max((folder / RUNS).glob(f"*/checkpoints/{name}"), default=None)


def weights(folder, name):
    return torch.load(newest(folder, name), weights_only=True)["state_dict"]


def assert_same_weights(folder, other):
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = weights(folder, name), weights(other, name)
        assert ours.keys() == theirs.keys()
        for key, tensor in ours.items():
            assert torch.equal(tensor, theirs[key]), f"{name}: {key}"


def main(count, seed=0):
    context = importing_processes()
    draw, found = random.Random(seed), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        folder, seconds = Path(folder), {}
        for engine, tensorboard in KINDS:
            whole = folder / f"{engine}{tensorboard}"
            whole.mkdir()
            seconds[engine, tensorboard] = uninterrupted(context, whole, engine, tensorboard)
        for trial in range(count):
            engine, tensorboard = KINDS[trial % len(KINDS)]
            number, delay = draw.choice(SIGNALS), draw.uniform(0, seconds[engine, tensorboard])
            here = folder / str(trial)
            here.mkdir()
            what = f"{number.name} after {delay:.2f} s, {engine}, TensorBoard {'there' if tensorboard else 'not there'}"
            try:
                status = send(context, here, engine, tensorboard, number, delay)
                assert_same_weights(here, folder / f"{engine}{tensorboard}")
            except AssertionError as error:
                status = "failed"
                print(f"{trial}: {what}: {error}", flush=True)
            found[status] += 1
            print(f"{trial}: {what}: {status}", flush=True)
    print(dict(found))
    return found["failed"]


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
