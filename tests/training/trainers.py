"""A Trainer of Lightning that prints and writes nothing."""

import pytorch_lightning as pl

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


def quiet_trainer(**settings):
    return pl.Trainer(**{**QUIET, **settings})
