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
from torchbp.training.cli.importance import column_importance
from torchbp.training.data.batches import ROWS_AT_ONCE
from torchbp.training.data.columns import feature_names

HARDEST = 10  # rows on the page
PACKAGES = ("torch", "pytorch-lightning", "numpy", "pandas", "scikit-learn")


def read_history(run):
    """The metrics of a run, a row per epoch."""
    metrics = run / "metrics.csv"
    return pd.read_csv(metrics).groupby("epoch", as_index=False).last() if metrics.is_file() else pd.DataFrame()


def write_page(command, run, lines, sweep_rows, history):
    """Write them to the folder `run`. lines: of the summary. sweep_rows: of a sweep's table, or []. history: as from
    `read_history`."""
    from torchbp.training.report import write_report  # imports matplotlib, which is needed only here

    model, data = command.model, command.datamodule
    truth = answers = None
    hardest, importance = [], []
    if command.status == 0 and not isinstance(command.trainer.strategy, FSDPStrategy):  # which splits the weights
        x, y, *w = data.rows("val")
        answers, truth = _predict_in_pieces(model, x).numpy(), model.task.truth(y)
        truth = (y if truth is None else truth).float().numpy()
        importance = column_importance(model, x, y, *w)
        for split in ("train", "val"):
            command.interruption.stop()
            hardest += describe_hardest(model, data, split)
        hardest = sorted(hardest, key=lambda row: -row["norm"])[:HARDEST]
    command.interruption.stop()
    write_report(
        run,
        **_of_folder(run),
        summary=[*run_description(command.trainer, model), *lines],
        history=history,
        activation=model.hparams.activation,
        task=model.task,
        truth=truth,
        answers=answers,
        hardest=hardest,
        sweep=(sweep_table.head(model.task), sweep_rows) if sweep_rows else None,
        importance=importance,
        features=feature_names(data.columns),
    )


def _of_folder(run):
    """What the page of any run says of its folder, and of what it was made with."""
    versions = {"python": sys.version.split()[0], "torchbp": __version__, **{name: version(name) for name in PACKAGES}}
    config = (run / "config.yaml").read_text()
    return {"title": f"{run.parent.name}, {run.name}", "config": config, "versions": versions}


def write_pack_page(run, lines, answers):
    """Write the page of a pack to its folder. run: a `PackRun`. lines: of the summary. answers: of `held_out_answers`
    to the validation rows."""
    from torchbp.training.report import write_report
    from torchbp.training.report.pack_plots import pack_plots, pack_table

    model, (x, y, *w) = run.model, run.data.rows("val")
    truth = model.task.truth(y)
    folds = len(model.fold_sizes)
    write_report(
        run.folder,
        **_of_folder(run.folder),
        summary=[*run.description, *lines],
        history=pd.DataFrame(),
        activation=model.hparams.activation,
        task=model.task,
        truth=(y if truth is None else truth).float().numpy(),
        answers=answers.float().numpy(),
        hardest=[],
        importance=column_importance(model, x, y, *w, networks=len(model.nets) // folds),
        features=feature_names(run.data.columns),
        pack=(pack_plots(model.hparams.configurations), pack_table(model.hparams.configurations, folds)),
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
