"""`torchbp bench training`: what a step of gradient descent costs in whole runs, and what a large table costs.

A run is timed from the making of the trainer and the network to its end, with its set-up, which is a few parts in a
hundred; the rows are there before.
"""

import contextlib
import io
import logging
import statistics
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from torchbp.benchmarks.helpers import training_runs
from torchbp.benchmarks.helpers.timing import TIMED, interleaved
from torchbp.training import TabularData

BATCH = 32
GRID = [("breast_cancer", (30, 16, 1), 100), ("digits", (64, 64, 10), 30)]  # source, sizes, epochs
LARGE_ROWS, LARGE_FEATURES = 200_000, 20
LARGE_BATCH, LARGE_EPOCHS = 4096, 10

PEER = "Lightning, default loader"
FIT, EXPLICIT = "torchbp fit", "torchbp fit, explicit"
SUMMARY = (f"a step of training, ratio of times to {PEER}", "ratio")
COLUMNS = {
    "step_us": ("µs per step", "{:.1f}"),
    "row_us": ("µs per row", "{:.3f}"),
    "ratio": ("ratio", "{:.2f}"),
    "monitor_percent": ("GradientMonitor, % of the run", "{:.1f}"),
}


def variants(task):
    """Name: the run, a function without arguments; and the names of those with GradientMonitor, with its shares."""
    shares = {FIT: [], EXPLICIT: []}
    return {
        PEER: lambda: training_runs.lightning(task),
        "torchbp Trainer": lambda: training_runs.our_trainer(task),
        "torchbp Trainer, explicit": lambda: training_runs.our_trainer(task, "explicit"),
        FIT: lambda: shares[FIT].append(training_runs.our_fit(task)),
        EXPLICIT: lambda: shares[EXPLICIT].append(training_runs.our_fit(task, "explicit")),
        "raw loop": lambda: training_runs.our_loop(task),
        "raw loop, torch.nn": lambda: training_runs.torch_loop(task),
    } | ({"scikit-learn": lambda: training_runs.scikit_learn(task)} if task.device == "cpu" else {}), shares


def measure(threads, seconds, device="cpu"):
    """A record of every number of threads, network and variant: their names, and the COLUMNS that it has.

    Validation, of `torchbp fit` alone, is in its time and not in its steps.

    Args:
        threads: numbers of threads, one run each.
        seconds: how long each network, the reading and the training of the large table are timed, warm-up apart; each
            variant has at least one turn.
        device: "cpu" or "cuda".
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.csv"
        write_large(path)
        for number in threads:
            torch.set_num_threads(number)
            with threadpool_limits(number), _pandas_threads(number):  # scikit-learn's and pandas' are not torch's
                for network, found in _measured(path, seconds, device):
                    for name, columns in found.items():
                        yield {"threads": number, "network": network, "variant": name, **columns}


def _measured(path, seconds, device):
    """Pairs of a network, or what else is done, and name: columns."""
    for source, sizes, epochs in GRID:
        task = training_runs.Task(TabularData(source, batch_size=BATCH), sizes, epochs, device)
        yield f"{source}, {'-'.join(map(str, sizes))} × {BATCH}", steps(task, seconds)
    yield f"reading a CSV of {LARGE_ROWS} × {LARGE_FEATURES}", _reading(path, seconds)
    data = TabularData(str(path), "label", batch_size=LARGE_BATCH)
    task = training_runs.Task(data, (LARGE_FEATURES, 16, 1), LARGE_EPOCHS, device)
    yield f"training, {'-'.join(map(str, task.sizes))} × {LARGE_BATCH}", rows(task, seconds)


def steps(task, seconds):
    functions, shares = variants(task)
    found = _times(functions, task.steps, "step_us", seconds, task.device)
    for name, of_runs in shares.items():
        found[name]["monitor_percent"] = 100 * statistics.median(of_runs)
    return found


def rows(task, seconds):
    functions, _ = variants(task)
    two = {name: functions[name] for name in ("raw loop", "torchbp Trainer")}
    return _times(two, task.epochs * len(task.data.splits["train"]), "row_us", seconds, task.device)


def _reading(path, seconds):
    functions = {
        "pandas.read_csv": lambda: pd.read_csv(path),
        "TabularData": lambda: TabularData(str(path), "label"),
    }
    return _times(functions, LARGE_ROWS, "row_us", seconds, "cpu")


def _times(functions, parts, key, seconds, device):
    """Name: microseconds a part, under `key`, and the ratio to the first; every function does so many parts."""
    with quiet():
        found = interleaved(functions, seconds, warm_up=1, timed=TIMED[device])
    return {name: {key: time["us"] / parts, "ratio": time["ratio"]} for name, time in found.items()}


def _pandas_threads(number):
    try:
        pd.get_option("mode.max_threads")
    except pd.errors.OptionError:  # before pandas 3.1: it reads a file in one
        return contextlib.nullcontext()
    return pd.option_context("mode.max_threads", number)


def write_large(path):
    """A CSV of LARGE_ROWS × LARGE_FEATURES numbers of about ten digits, and the label, 0 or 1."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.standard_normal((LARGE_ROWS, LARGE_FEATURES)))
    frame.columns = [f"x{i}" for i in range(LARGE_FEATURES)]
    frame["label"] = (frame["x0"] + generator.standard_normal(LARGE_ROWS) > 0).astype(int)
    frame.to_csv(path, index=False, float_format="%.9f")


@contextlib.contextmanager
def quiet():
    """No line, log or warning of what is timed: the terminal is the table's."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
