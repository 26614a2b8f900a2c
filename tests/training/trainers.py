"""A Trainer of Lightning that prints and writes nothing."""

import pytorch_lightning as pl

from torchbp.training import Network

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


def quiet_trainer(**settings):
    return pl.Trainer(**{**QUIET, **settings})


def network(data, **settings):
    """The network for these rows, as `fit` makes it."""
    return Network(data.in_features, data.classes, data.columns, data.task, **settings)
