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
        x, y = data.rows("val")
        truth, probabilities = y.numpy(), _predict_in_pieces(model, x).numpy()
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
        activation=model.net.activation,
        classes=data.classes,
        multilabel=data.multilabel,
        truth=truth,
        probabilities=probabilities,
        hardest=hardest,
        sweep=(sweep_table.HEAD, sweep_rows) if sweep_rows else None,
        config=(run / "config.yaml").read_text(),
        versions=versions,
    )


def _predict_in_pieces(model, x):
    return torch.cat([model.predict_proba(piece).float().cpu() for piece in x.split(ROWS_AT_ONCE)])


def describe_hardest(model, data, split):
    """Yield the rows of a split with the largest gradients, as dicts for the page."""
    x, y = data.rows(split)
    rows, norms = hardest_rows(model, x, y, HARDEST)
    for row, norm, truth, p in zip(rows, norms, y[rows], _predict_in_pieces(model, x[rows]), strict=True):
        label, predicted, probability = _describe_answer(model, data, truth, p)
        yield {
            "row": data.row_number(split, int(row)),
            "split": split,
            "label": label,
            "predicted": predicted,
            "probability": float(probability),  # of the label
            "norm": float(norm),
        }


def _describe_answer(model, data, truth, p):
    """The label, the predicted class, and the probability of the label, of a row with the answers p, `(outputs,)`."""
    classes = data.classes
    if model.binary:
        label, predicted = (classes[int(value)] for value in (truth[0], p[0] >= 0.5))
        return label, predicted, p[0] if truth[0] else 1 - p[0]
    if data.multilabel:
        label, predicted = (
            ", ".join(name for name, value in zip(classes, values, strict=True) if value >= 0.5) or "none"
            for values in (truth, p)
        )
        return label, predicted, torch.where(truth > 0, p, 1 - p).prod()
    return classes[int(truth.argmax())], classes[int(p.argmax())], p[truth.argmax()]
