"""The page of a run: report.html and two pictures, from metrics.csv and the network as it is now."""

import sys
from importlib.metadata import version

import pandas as pd
import torch
from pytorch_lightning.strategies import FSDPStrategy

from torchbp import __version__
from torchbp.training.callbacks.gradients import hardest_rows
from torchbp.training.callbacks.progress import run_description
from torchbp.training.cli import sweep_table
from torchbp.training.data.batches import ROWS_AT_ONCE

HARDEST = 10  # rows on the page
PACKAGES = ("torch", "pytorch-lightning", "numpy", "pandas", "scikit-learn")


def write_page(command, run, lines, sweep_rows):
    """Write them to the folder `run`. lines: of the summary. sweep_rows: of a sweep's table, or []."""
    from torchbp.training.report import write_report  # imports matplotlib, which is needed only here

    model, data = command.model, command.datamodule
    metrics = run / "metrics.csv"
    history = pd.read_csv(metrics).groupby("epoch", as_index=False).last() if metrics.is_file() else pd.DataFrame()
    truth = probabilities = None
    hardest = []
    if command.status == 0 and not isinstance(command.trainer.strategy, FSDPStrategy):  # which splits the weights
        x, y, *_ = data.rows("val")
        truth, answers = model.task.truth(y), _predict_in_pieces(model, x)
        if truth is not None:
            truth, probabilities = truth.float().numpy(), answers.numpy()
        for split in ("train", "val"):
            command.interruption.stop()
            hardest += describe_hardest(model, data, split)
        hardest = sorted(hardest, key=lambda row: -row["norm"])[:HARDEST]
    command.interruption.stop()
    versions = {"python": sys.version.split()[0], "torchbp": __version__, **{name: version(name) for name in PACKAGES}}
    write_report(
        run,
        title=f"{run.parent.name}, {run.name}",
        summary=[*run_description(command.trainer, model), *lines],
        history=history,
        activation=model.hparams.activation,
        task=model.task,
        truth=truth,
        probabilities=probabilities,
        hardest=hardest,
        sweep=(sweep_table.head(model.task), sweep_rows) if sweep_rows else None,
        config=(run / "config.yaml").read_text(),
        versions=versions,
    )


def _predict_in_pieces(model, x):
    return torch.cat([model.answers(piece).float().cpu() for piece in x.split(ROWS_AT_ONCE)])


def describe_hardest(model, data, split):
    """Yield the rows of a split with the largest gradients, as dicts for the page."""
    x, y, *w = data.rows(split)
    rows, norms = hardest_rows(model, (x, y, *w), HARDEST)
    for row, norm, truth, p in zip(rows, norms, y[rows], _predict_in_pieces(model, x[rows]), strict=True):
        label, predicted, probability = model.task.described(truth, p)
        yield {
            "row": data.row_number(split, int(row)),
            "split": split,
            "label": label,
            "predicted": predicted,
            "probability": probability,  # of the label
            "norm": float(norm),
        }
