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


# settings of the article's network, with which many a test is of known numbers
ARTICLE = {
    "hidden": [16],
    "activation": "sigmoid",
    "scaling": "standard",
    "optimizer": "sgd",
    "lr": 0.1,
    "weight_decay": 0.0,
}
ARTICLE_FLAGS = [part for name, value in ARTICLE.items() for part in (f"--model.{name}", str(value))]


def network(data, **settings):
    """The network for these rows: the article's, with these settings."""
    return Network(data.in_features, data.classes, data.columns, data.task, **{**ARTICLE, **settings})
